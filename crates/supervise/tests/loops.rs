//! Loops under supervision, by the clock of the tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use goodpon_supervise::{Failure, State, Supervisor, Task};
use tokio::time::{Instant, sleep, timeout};

/// The longest time that anything here may take.
const DEADLINE: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn a_loop_that_panics_is_run_anew_after_growing_rests() {
    let supervisor = Supervisor::new();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let began = Instant::now();
    supervisor.spawn(Task::restart("sweeper"), move |report, mut stop| {
        let run = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            assert!(run > 2, "on purpose");
            report.ran();
            let _ = stop.wait_for(|stop| *stop).await;
            Ok(())
        }
    });
    sleep(Duration::from_millis(500)).await;
    let resting = &supervisor.statuses()[0];
    assert_eq!((resting.state, resting.restarts), (State::Resting, 0));
    assert_eq!(resting.last_error.as_deref(), Some("panic: on purpose"));
    while runs.load(Ordering::Relaxed) < 4 {
        assert!(began.elapsed() < DEADLINE, "it is not run anew");
        sleep(Duration::from_millis(100)).await;
    }
    let seconds = began.elapsed().as_secs();
    assert!(
        (7..9).contains(&seconds),
        "rests of 1, 2 and 4 s: {seconds}"
    );
    let running = &supervisor.statuses()[0];
    assert_eq!((running.state, running.restarts), (State::Running, 3));
    assert!(running.last_run.is_some());
    supervisor.stop();
    assert!(supervisor.finish(DEADLINE).await.is_empty());
    assert_eq!(supervisor.statuses()[0].state, State::Ended);
    assert_eq!(supervisor.failure(), None);
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_returns_although_nobody_stops_it_has_failed() {
    let supervisor = Supervisor::new();
    supervisor.spawn(Task::exit("listener"), |_, _| async { Ok(()) });
    let failure = timeout(DEADLINE, supervisor.failed()).await.unwrap();
    assert_eq!(
        failure.to_string(),
        "listener broke down: it ended although nobody asked it to"
    );
    assert_eq!(supervisor.statuses()[0].state, State::Failed);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_made_anew_ends_the_process_when_it_fails() {
    let supervisor = Supervisor::new();
    supervisor.spawn_once(Task::restart("listener"), |_, _| async {
        sleep(Duration::from_secs(5)).await;
        panic!("on purpose");
    });
    let failure = timeout(DEADLINE, supervisor.failed()).await.unwrap();
    assert_eq!(
        failure.to_string(),
        "listener broke down: panic: on purpose"
    );
    let status = &supervisor.statuses()[0];
    assert_eq!((status.state, status.restarts), (State::Failed, 0));
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_that_ends_the_process_is_reported() {
    let supervisor = Supervisor::new();
    supervisor.spawn(Task::exit("first"), |_, _| async {
        panic!("number {}", 1);
    });
    supervisor.spawn(Task::exit("second"), |_, _| async {
        sleep(Duration::from_secs(1)).await;
        Err("the disk is gone".into())
    });
    sleep(Duration::from_secs(2)).await;
    let failure = Failure {
        task: "first",
        reason: "panic: number 1".into(),
    };
    let failed = timeout(DEADLINE, supervisor.failed()).await;
    assert_eq!(failed.unwrap(), failure);
    let second = &supervisor.statuses()[1];
    assert_eq!(second.last_error.as_deref(), Some("the disk is gone"));
}

#[tokio::test(start_paused = true)]
async fn what_ends_by_itself_may_return_and_is_not_waited_for() {
    let supervisor = Supervisor::new();
    supervisor.spawn(Task::exit("filler").ends_by_itself(), |_, _| async {
        Ok(())
    });
    let left = supervisor.spawn(Task::exit("admin").ends_by_itself(), |_, _| async {
        sleep(Duration::from_secs(60)).await;
        Ok(())
    });
    sleep(Duration::from_secs(1)).await;
    supervisor.stop();
    assert!(supervisor.finish(Duration::from_secs(5)).await.is_empty());
    let states: Vec<_> = supervisor.statuses().iter().map(|one| one.state).collect();
    assert_eq!(states, [State::Ended, State::Running]);
    timeout(DEADLINE, left.ended()).await.unwrap();
    assert_eq!(supervisor.failure(), None);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_until_its_deadline_and_names_tasks_that_are_late() {
    let supervisor = Supervisor::new();
    let dropped = Arc::new(());
    let held = Arc::downgrade(&dropped);
    supervisor.spawn(Task::restart("slow"), move |_, _| {
        let dropped = Arc::clone(&dropped);
        async move {
            sleep(Duration::from_secs(3600)).await;
            drop(dropped);
            Ok(())
        }
    });
    supervisor.spawn(Task::restart("upkeep").dropped_at_stop(), |_, _| {
        std::future::pending()
    });
    let resting = supervisor.spawn(Task::restart("resting"), |_, _| async {
        Err("always".into())
    });
    sleep(Duration::from_secs(20)).await;
    let began = Instant::now();
    supervisor.stop();
    // A rest ends with the stop.
    timeout(Duration::from_secs(1), resting.ended())
        .await
        .unwrap();
    assert_eq!(supervisor.finish(Duration::from_secs(5)).await, ["slow"]);
    assert_eq!(began.elapsed().as_secs(), 5);
    while held.strong_count() > 0 {
        assert!(began.elapsed() < DEADLINE, "the slow loop was not dropped");
        sleep(Duration::from_millis(10)).await;
    }
}
