//! Compares the scripts with their reference: the same random actions on both must give the same answers and leave the same
//! keys.

mod held;
mod run;
mod terms;

use goodpon_valkey::Valkey;

use crate::{scene::SOON, server::Server};
use run::Run;

const SEEDS: u64 = 6;
const ACTIONS: usize = 400;

#[tokio::test]
async fn the_scripts_do_what_their_reference_does() {
    let server = Server::start(&[]).await;
    compare(&server, false).await;
}

#[tokio::test]
async fn the_scripts_do_what_their_reference_does_when_memory_is_short() {
    let server = Server::start(&[]).await;
    let _: () = server.run("DEBUG POPULATE 1 filler 40000000").await;
    let _: () = server.run("CONFIG SET maxmemory 47mb").await;
    compare(&server, true).await;
}

async fn compare(server: &Server, spare: bool) {
    let mut seen = std::collections::BTreeMap::new();
    for seed in 1..=SEEDS {
        let valkey = Valkey::open(&server.url(), &format!("seed-{seed}")).unwrap();
        valkey.bound_within(SOON).await.unwrap();
        assert_eq!(valkey.is_short_of_memory(), spare);
        let mut run = Run::new(server, valkey, seed, spare).await;
        for _ in 0..ACTIONS {
            run.act().await;
        }
        for (kind, times) in run.seen {
            *seen.entry(kind).or_insert(0) += times;
        }
    }
    // Every kind of answer must have been compared.
    for kind in [
        "Replay",
        "Mismatch",
        "Closed",
        "Reserved",
        "Help",
        "Refused",
        "AlreadyIssued",
        "SoldOut",
        "Wait",
        "Done",
        "WrongServer",
        "NotOlder",
        "CountDiffers",
        "StillPending",
        "NotThere",
        "confirmed",
        "pending",
    ] {
        assert!(seen.contains_key(kind), "no {kind} in {seen:?}");
    }
}
