//! Ten crash rounds; `cargo xtask torture --rounds N` runs any number.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::Options;
use goodpon_e2e::torture::{Plan, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_crashes_lose_nothing() {
    let outcome = run(Plan::rounds(10, 20_260_101), Options::default(), |line| {
        println!("{line}")
    })
    .await;
    if let Err(violations) = outcome {
        panic!("{violations}");
    }
}
