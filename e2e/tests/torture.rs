//! Some rounds of torture; `cargo xtask torture` runs any number.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::backend::Backend;
use goodpon_e2e::{Options, scaled, torture};

/// The embedded set is one process, which crashes ten times. Of the scaled-out one each part is killed or cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_lose_nothing() {
    let progress = |line: &str| println!("{line}");
    let outcome = match Backend::of_this_run() {
        Backend::Embedded => {
            let plan = torture::Plan::rounds(10, 20_260_101);
            torture::run(plan, Options::default(), progress).await
        }
        Backend::Scaled => {
            let plan = scaled::Plan::every_kind("test", 20_260_101);
            scaled::run(&plan, progress).await
        }
    };
    if let Err(violations) = outcome {
        panic!("{violations}");
    }
}
