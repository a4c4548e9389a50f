//! Some rounds of torture; `cargo xtask torture` runs any number.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use goodpon_e2e::backend::Backend;
use goodpon_e2e::history::{self, History};
use goodpon_e2e::torture::Cut;
use goodpon_e2e::{Options, scaled, torture};

fn progress(line: &str) {
    println!("{line}");
}

/// Kills or power cuts of one process on the embedded set.
async fn embedded(cut: Cut, seed: u64, history: Arc<History>) -> Result<(), String> {
    let plan = torture::Plan {
        history: Some(history),
        ..torture::Plan::rounds(8, seed, cut)
    };
    torture::run(plan, Options::default().embedded(), progress).await
}

/// Kills or cuts off each part of the scaled-out set.
async fn scaled(history: Arc<History>) -> Result<(), String> {
    let plan = scaled::Plan {
        history: Some(history),
        ..scaled::Plan::every_kind("test", 20_260_101)
    };
    scaled::run(&plan, progress).await
}

/// Reads the history of all calls back and checks it.
async fn loses_nothing(run: impl AsyncFnOnce(Arc<History>) -> Result<(), String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    let outcome = run(Arc::new(History::create(&path).unwrap())).await;
    if let Err(violations) = outcome {
        panic!("{violations}");
    }
    let calls = history::check(&std::fs::read_to_string(path).unwrap());
    assert!(calls.unwrap() > 500, "no history of note");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_lose_nothing() {
    match Backend::of_this_run() {
        Backend::Embedded => {
            loses_nothing(async |history| embedded(Cut::Kill, 20_260_101, history).await).await;
        }
        Backend::Scaled => loses_nothing(scaled).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_nothing() {
    loses_nothing(async |history| embedded(Cut::Power, 20_260_102, history).await).await;
}
