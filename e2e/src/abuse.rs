//! Attacks on a running server: no client, tenant or stranger may harm the others. CI runs them small; `cargo xtask
//! torture --abuse` runs them large.

mod accounts;
mod caches;
mod floods;
mod noisy_tenant;
mod slow_readers;

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;

pub use accounts::{claimed_addresses, tokens_of_another_database, tokens_that_a_restore_forgot};
pub use caches::{caches_in_front, unknown_credentials};
pub use floods::logins_and_sign_ups;
pub use noisy_tenant::widest_requests;
pub use slow_readers::{places_for_others, slow_readers_are_cut_off};

/// The size of the attacks.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Connections of clients that do not read.
    pub slow_readers: usize,
    /// Networks that log in with a wrong password, and as many that sign up.
    pub networks: u16,
    /// Logins of the owner meanwhile.
    pub logins: usize,
    /// Templates of the tenant that reads as widely as can be: 1,000 are its quota by default.
    pub wide_templates: usize,
    /// The time for which a sale is measured, each time.
    pub sale: Duration,
    /// Addresses that a thief signs up with before or beside their owners.
    pub addresses: usize,
    /// Accounts whose tokens are sent to a database that does not know them.
    pub accounts: usize,
    /// Requests with credentials that nobody has.
    pub unknown_credentials: usize,
}

impl Size {
    /// The size for every run of the tests.
    pub const SMALL: Self = Self {
        slow_readers: 60,
        networks: 64,
        logins: 8,
        wide_templates: 300,
        sale: Duration::from_secs(3),
        addresses: 4,
        accounts: 3,
        unknown_credentials: 4_000,
    };

    /// The size for an hour in which nothing else runs.
    pub const LARGE: Self = Self {
        slow_readers: 600,
        networks: 512,
        logins: 40,
        wide_templates: 1_000,
        sale: Duration::from_secs(15),
        addresses: 40,
        accounts: 30,
        unknown_credentials: 200_000,
    };
}

/// Runs every attack, one after the other, and reports the time that each took.
///
/// # Errors
/// The first attack that did harm, with its name.
pub async fn run(size: Size, mut progress: impl FnMut(&str)) -> Result<(), String> {
    let attacks: [(&str, BoxFuture<()>); 9] = [
        (
            "slow readers are cut off",
            slow_readers_are_cut_off().boxed(),
        ),
        (
            "slow readers leave places for others",
            places_for_others(size).boxed(),
        ),
        (
            "logins and sign-ups of many networks",
            logins_and_sign_ups(size).boxed(),
        ),
        (
            "the widest requests of one tenant",
            widest_requests(size).boxed(),
        ),
        (
            "addresses claimed before their owners",
            claimed_addresses(size).boxed(),
        ),
        (
            "tokens of another database",
            tokens_of_another_database(size).boxed(),
        ),
        (
            "tokens that a restore forgot",
            tokens_that_a_restore_forgot(size).boxed(),
        ),
        ("caches in front", caches_in_front().boxed()),
        (
            "credentials that nobody has",
            unknown_credentials(size).boxed(),
        ),
    ];
    for (name, attack) in attacks {
        let began = Instant::now();
        // The hook has printed a panic by now, with its line.
        let outcome = AssertUnwindSafe(attack).catch_unwind().await;
        outcome.map_err(|_| format!("{name}: it did harm"))?;
        progress(&format!("{name}: {:.1} s", began.elapsed().as_secs_f64()));
    }
    Ok(())
}

/// Reads the resident memory of a server, in KiB, as the kernel counts it.
///
/// # Panics
/// The process is not there.
#[must_use]
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let figure = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
    figure.parse().unwrap()
}
