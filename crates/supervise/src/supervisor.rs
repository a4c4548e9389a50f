//! Runs the tasks, and keeps their list and their state.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::Ended;
use crate::looping::{self, Loop};
use crate::report::{Report, TaskStatus};
use crate::task::{OnFailure, OnStop, Task};
use crate::thread::{self, Thread};
use crate::verdict::{Failure, Verdicts};

/// Runs tasks, each as its [`Task`] states. Cheap to clone; all clones are one. Threads need no runtime, loops are
/// spawned on the current one.
#[derive(Clone)]
pub struct Supervisor(Arc<Inner>);

struct Inner {
    /// In the order of their start.
    tasks: Mutex<Vec<Watched>>,
    verdicts: Arc<Verdicts>,
}

/// A task in the supervisor's list.
struct Watched {
    report: Report,
    ended: watch::Receiver<bool>,
    cut_off: Option<tokio::task::AbortHandle>,
    wake: Option<thread::Waker>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Supervisor {
    /// Makes a supervisor without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            tasks: Mutex::default(),
            verdicts: Arc::default(),
        }))
    }

    /// Runs a loop on the current runtime. `start` makes each run; it is called anew after a failure of a task that
    /// restarts. A run is handed its [`Report`] and the [stop](Self::stopping). A panic leaves what the run shared with
    /// others as it was in that moment.
    pub fn spawn<F>(
        &self,
        task: Task,
        mut start: impl FnMut(Report, watch::Receiver<bool>) -> F + Send + 'static,
    ) -> Loop
    where
        F: Future<Output = Ended> + Send + 'static,
    {
        let report = Report::new(task);
        let (over, ended) = watch::channel(false);
        let (verdicts, running) = (Arc::clone(&self.0.verdicts), report.clone());
        let handle = tokio::spawn(async move {
            let stop = verdicts.stopping();
            let make = || start(running.clone(), stop.clone());
            looping::run(&verdicts, &running, make).await;
            let _ = over.send(true);
        });
        let cut_off = handle.abort_handle();
        self.tasks().push(Watched {
            report,
            ended: ended.clone(),
            cut_off: Some(cut_off),
            wake: None,
        });
        Loop::new(ended)
    }

    /// Runs what cannot be made anew, such as a listener, once on the current runtime. Its failure ends the process,
    /// also where the task says to restart it.
    pub fn spawn_once<F>(
        &self,
        task: Task,
        run: impl FnOnce(Report, watch::Receiver<bool>) -> F + Send + 'static,
    ) -> Loop
    where
        F: Future<Output = Ended> + Send + 'static,
    {
        let on_failure = match task.on_failure {
            OnFailure::Restart | OnFailure::Exit => OnFailure::Exit,
            OnFailure::ExitAtOnce => OnFailure::ExitAtOnce,
        };
        let mut run = Some(run);
        self.spawn(Task { on_failure, ..task }, move |report, stop| {
            let running = run.take().map(|run| run(report, stop));
            async move {
                match running {
                    Some(running) => running.await,
                    None => Err("it cannot be run anew".into()),
                }
            }
        })
    }

    /// Runs `body` on a thread of its own, anew on the same thread after a failure of a task that restarts. A thread
    /// whose task is waited for asks [`Self::stopping`] for the stop; one that ends by itself is ended by its owner.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn spawn_thread(
        &self,
        task: Task,
        body: impl FnMut(&Report) -> Ended + Send + 'static,
    ) -> std::io::Result<Thread> {
        let report = Report::new(task);
        let (thread, ended) = Thread::start(Arc::clone(&self.0.verdicts), report.clone(), body)?;
        self.tasks().push(Watched {
            report,
            ended,
            cut_off: None,
            wake: Some(thread.waker()),
        });
        Ok(thread)
    }

    /// Returns a channel that turns true with the stop.
    #[must_use]
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.0.verdicts.stopping()
    }

    /// Says that [`Self::stop`] was called.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.verdicts.is_stopping()
    }

    /// Asks all tasks to end. Nothing is run anew from now on.
    pub fn stop(&self) {
        self.0.verdicts.stop();
        for watched in self.tasks().iter() {
            if let Some(wake) = &watched.wake {
                wake.wake();
            }
        }
    }

    /// Waits until every task that a stop waits for has ended, for `within` at most; then drops the loops that still run,
    /// but for those that end by themselves. Returns the names of the tasks that were waited for in vain. To be called
    /// after [`Self::stop`].
    pub async fn finish(&self, within: Duration) -> Vec<&'static str> {
        let deadline = Instant::now() + within;
        let mut waited_for = Vec::new();
        for watched in self.tasks().iter() {
            if watched.report.task().on_stop == OnStop::Wait {
                waited_for.push((watched.report.task().name, watched.ended.clone()));
            }
        }
        let mut late = Vec::new();
        for (name, mut ended) in waited_for {
            // A sender that is gone was dropped with its task.
            let over = ended.wait_for(|ended| *ended);
            if tokio::time::timeout_at(deadline, over).await.is_err() {
                late.push(name);
            }
        }
        for watched in self.tasks().iter() {
            let leave_alone = watched.report.task().on_stop == OnStop::LeaveAlone;
            if let Some(cut_off) = watched.cut_off.as_ref().filter(|_| !leave_alone) {
                cut_off.abort();
            }
        }
        late
    }

    /// Waits for the first failure that ends the process, and returns it.
    pub async fn failed(&self) -> Failure {
        self.0.verdicts.failed().await
    }

    /// Returns the first failure that ended the process, if there was one.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.0.verdicts.failure()
    }

    /// Returns the state of every task, in the order of their start.
    #[must_use]
    pub fn statuses(&self) -> Vec<TaskStatus> {
        let tasks = self.tasks();
        tasks
            .iter()
            .map(|watched| watched.report.status())
            .collect()
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Watched>> {
        self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
