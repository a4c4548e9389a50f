//! Threads under supervision. A test that ends the process runs it as a child.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use goodpon_supervise::{State, Supervisor, Task, end_at_once};

/// The longest time that anything here may take.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_thread_that_panics_is_run_anew() {
    let supervisor = Supervisor::new();
    let (ran, runs) = mpsc::channel();
    let stop = supervisor.stopping();
    let mut run = 0;
    let thread = supervisor.spawn_thread(Task::restart("checkpointer"), move |report| {
        run += 1;
        ran.send(run).unwrap();
        assert!(run > 1, "on purpose");
        while !*stop.borrow() {
            report.ran();
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    });
    thread.unwrap();
    assert_eq!(runs.recv_timeout(DEADLINE), Ok(1));
    assert_eq!(runs.recv_timeout(DEADLINE), Ok(2));
    let status = &supervisor.statuses()[0];
    assert_eq!((status.state, status.restarts), (State::Running, 1));
    assert_eq!(status.last_error.as_deref(), Some("panic: on purpose"));
    supervisor.stop();
    assert!(supervisor.finish(DEADLINE).await.is_empty());
    assert_eq!(supervisor.statuses()[0].state, State::Ended);
}

#[tokio::test]
async fn a_thread_whose_panic_ends_the_process_is_reported() {
    let supervisor = Supervisor::new();
    let task = Task::exit("issuer");
    let thread = supervisor.spawn_thread(task, |_| panic!("on purpose"));
    let failure = tokio::time::timeout(DEADLINE, supervisor.failed()).await;
    assert_eq!(
        failure.unwrap().to_string(),
        "issuer broke down: panic: on purpose"
    );
    thread.unwrap().join();
}

#[test]
fn the_owner_of_a_thread_that_rests_does_not_wait_for_the_rest() {
    let supervisor = Supervisor::new();
    let (ran, runs) = mpsc::channel();
    let task = Task::restart("filler").ends_by_itself();
    let mut next_rest_is_long = 0;
    let thread = supervisor.spawn_thread(task, move |_| {
        next_rest_is_long += 1;
        ran.send(next_rest_is_long).unwrap();
        Err("always".into())
    });
    // The rests are 1, 2 and 4 s.
    while runs.recv_timeout(DEADLINE).unwrap() < 3 {}
    let began = Instant::now();
    thread.unwrap().join();
    assert!(began.elapsed() < Duration::from_secs(3), "{began:?}");
    assert_eq!(supervisor.statuses()[0].state, State::Ended);
}

/// The variable that makes the child end itself, and in which way.
const DEED: &str = "GOODPON_SUPERVISE_TEST_DEED";

#[test]
fn deed_of_the_child() {
    match std::env::var(DEED).as_deref() {
        Ok("panic") => {
            let task = Task::exit_at_once("writer");
            let thread = Supervisor::new().spawn_thread(task, |_| panic!("on purpose"));
            thread.unwrap().join();
        }
        Ok("call") => end_at_once("the disk failed"),
        _ => {}
    }
}

#[test]
fn what_ends_at_once_says_so_in_one_line() {
    for (deed, line) in [
        (
            "panic",
            "goodpon: ending at once: writer broke down: panic: on purpose",
        ),
        ("call", "goodpon: ending at once: the disk failed"),
    ] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "deed_of_the_child", "--nocapture"])
            .env(DEED, deed)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), None, "{deed}: ended by a signal");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.lines().any(|one| one == line), "{stderr}");
    }
}
