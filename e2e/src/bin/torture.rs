//! Rounds of torture from the command line: `torture [--backend embedded|scaled] [--rounds N] [--seed N] [--set NAME]
//! [--cut kill|power|mix] [--history FILE]`, or `torture --abuse`: attacks, or `torture --upgrade`: exchanges of the program, on the set
//! that `GOODPON_E2E_BACKEND` names.
//! Exit 1 on any violation.

#![allow(clippy::expect_used)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use goodpon_e2e::backend::Backend;
use goodpon_e2e::history::History;
use goodpon_e2e::upgrade::{self, Way};
use goodpon_e2e::{Options, abuse, scaled, torture};
use tokio::signal::unix::{SignalKind, signal};

/// Upgrades of each kind, and the requests meanwhile.
const UPGRADES: u64 = 10;
const REQUESTS: u64 = 400_000;

struct Wish {
    backend: Backend,
    rounds: u32,
    seed: u64,
    set: String,
    cut: torture::Cut,
    history: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::args().skip(1).eq(["--abuse"]) {
        return end(
            abuse::run(abuse::Size::LARGE, |line| println!("{line}")),
            "no attack did harm",
        )
        .await;
    }
    if std::env::args().skip(1).eq(["--upgrade"]) {
        return end(upgrades(), "nobody noticed an upgrade").await;
    }
    let wish = match parse(std::env::args().skip(1)) {
        Ok(wish) => wish,
        Err(why) => {
            eprintln!(
                "{why}\nusage: torture [--backend embedded|scaled] [--rounds N] [--seed N] [--set NAME] \
                 [--cut kill|power|mix] [--history FILE]"
            );
            return ExitCode::from(2);
        }
    };
    let rounds = wish.rounds;
    let history = match wish.history.as_deref().map(History::create).transpose() {
        Ok(history) => history.map(Arc::new),
        Err(error) => {
            eprintln!("--history: {error}");
            return ExitCode::from(2);
        }
    };
    let progress = |line: &str| println!("{line}");
    let tortured = async {
        match wish.backend {
            Backend::Embedded => {
                let plan = torture::Plan {
                    history,
                    ..torture::Plan::rounds(rounds, wish.seed, wish.cut)
                };
                torture::run(plan, Options::default().embedded(), progress).await
            }
            Backend::Scaled => {
                let plan = scaled::Plan {
                    history,
                    ..scaled::Plan::random(&wish.set, rounds, wish.seed)
                };
                scaled::run(&plan, progress).await
            }
        }
    };
    let praise = format!("nothing lost, nothing doubled in {rounds} rounds");
    end(tortured, &praise).await
}

/// Waits for the outcome and prints it. Ends the child processes at an interrupt.
async fn end(run: impl Future<Output = Result<(), String>>, praise: &str) -> ExitCode {
    let outcome = tokio::select! {
        outcome = run => outcome,
        () = interrupted() => return ExitCode::from(130),
    };
    match outcome {
        Ok(()) => {
            println!("{praise}");
            ExitCode::SUCCESS
        }
        Err(violations) => {
            eprintln!("VIOLATIONS in {violations}");
            ExitCode::FAILURE
        }
    }
}

/// Exchanges the program in each way, under so much load that each upgrade meets requests of all clients.
async fn upgrades() -> Result<(), String> {
    for way in [Way::InPlace, Way::SocketRestart] {
        let tally = upgrade::run(way, UPGRADES, REQUESTS).await?;
        println!("{way:?}: {UPGRADES} upgrades, {tally:?}");
    }
    Ok(())
}

async fn interrupted() {
    let mut term = signal(SignalKind::terminate()).expect("signals");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Wish, String> {
    let mut wish = Wish {
        backend: Backend::Embedded,
        rounds: 10,
        seed: time_seed(),
        set: "torture".into(),
        cut: torture::Cut::Mix,
        history: None,
    };
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || {
            let number: Result<u64, _> = value.parse();
            number.map_err(|_| format!("{flag}: no number: {value}"))
        };
        match flag.as_str() {
            "--backend" => {
                wish.backend = match value.as_str() {
                    "embedded" => Backend::Embedded,
                    "scaled" => Backend::Scaled,
                    _ => return Err(format!("no back end: {value}")),
                }
            }
            "--rounds" => {
                let number = number()?;
                wish.rounds =
                    u32::try_from(number).map_err(|_| format!("too many rounds: {number}"))?;
            }
            "--seed" => wish.seed = number()?,
            "--set" => wish.set = value,
            "--cut" => {
                wish.cut = match value.as_str() {
                    "kill" => torture::Cut::Kill,
                    "power" => torture::Cut::Power,
                    "mix" => torture::Cut::Mix,
                    _ => return Err(format!("no way to end a server: {value}")),
                }
            }
            "--history" => wish.history = Some(value.into()),
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    Ok(wish)
}

/// Makes a seed that differs from run to run; it is printed, so that a run can be repeated.
#[allow(clippy::disallowed_methods, reason = "a fresh seed is the purpose")]
fn time_seed() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ since.as_secs()
}
