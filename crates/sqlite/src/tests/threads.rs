//! The end of the process, or a new start, when one of the store's threads breaks down.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use goodpon_application::ports::Clock;
use goodpon_port_laws::{FreshRandom, World};
use goodpon_supervise::{State, Supervisor};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::{store::Store, tests::Scene};

/// Set in the process that is to end.
const ENDS: &str = "GOODPON_TEST_ENDS";

/// Breaks down on the writer's thread, outside of any request.
struct BrokenClock(Timestamp);

impl Clock for BrokenClock {
    fn now(&self) -> Timestamp {
        let is_writer = std::thread::current().name() == Some("goodpon-writer");
        assert!(!is_writer, "no time");
        self.0
    }
}

async fn break_writer() {
    let (folder, random) = (TempDir::new().unwrap(), Arc::new(FreshRandom::default()));
    let clock = Arc::new(BrokenClock(World::clock().now()));
    let supervisor = Supervisor::new();
    let store = Store::open(folder.path(), clock, random, World::zone(), &supervisor).unwrap();
    // The call may return an error that its writer has ended, or never return.
    let _ = store.write(|_| Ok(())).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_writer_that_breaks_down_ends_the_process() {
    if std::env::var_os(ENDS).is_some() {
        return break_writer().await;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    let this = "tests::threads::a_writer_that_breaks_down_ends_the_process";
    let output = command
        .args(["--exact", this, "--nocapture"])
        .env(ENDS, "1")
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let line = "goodpon: ending at once: writer broke down: panic: no time";
    assert!(log.contains(line), "{log}");
}

#[tokio::test]
async fn all_threads_are_known_and_end_with_the_store() {
    let scene = Scene::new().await;
    let (folder, random) = (TempDir::new().unwrap(), Arc::new(FreshRandom::default()));
    let (clock, supervisor) = (Arc::clone(&scene.clock) as _, Supervisor::new());
    let store = Store::open(folder.path(), clock, random, World::zone(), &supervisor).unwrap();
    let states = || {
        let statuses = supervisor.statuses();
        let states = statuses.iter().map(|task| (task.name, task.state));
        states.collect::<Vec<_>>()
    };
    assert_eq!(states()[0], ("writer", State::Running));
    assert_eq!(states()[2], ("checkpoint", State::Running));
    store.close();
    let ended = ["writer", "holder_filter", "checkpoint"].map(|name| (name, State::Ended));
    let states = states();
    let (first, readers) = states.split_at(ended.len());
    assert_eq!(first, ended);
    let are_readers = |(name, state): &(&str, State)| {
        ["lookups", "scans"].contains(name) && *state == State::Ended
    };
    assert!(
        readers.len() >= 4 && readers.iter().all(are_readers),
        "{readers:?}"
    );
}
