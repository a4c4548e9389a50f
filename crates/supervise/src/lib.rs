//! The one way to run something for ever: background loops and threads under a [`Supervisor`].
//!
//! Each task has a name and states what its failure means ([`OnFailure`]) and what a stop does with it ([`OnStop`]):
//!
//! ```
//! # use goodpon_supervise::{Supervisor, Task};
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let supervisor = Supervisor::new();
//! // A loop: made anew after a failure, and it ends soon after the stop.
//! supervisor.spawn(Task::restart("sweeper"), |report, mut stop| async move {
//!     loop {
//!         report.ran(); // or report.trouble(&error)
//!         tokio::select! {
//!             _ = stop.wait_for(|stop| *stop) => return Ok(()),
//!             () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
//!         }
//!     }
//! });
//! // A thread whose owner ends it; without it the process is of no use.
//! let (sender, work) = std::sync::mpsc::channel::<u32>();
//! let task = Task::exit_at_once("writer").ends_by_itself();
//! let thread = supervisor.spawn_thread(task, move |report| {
//!     while work.recv().is_ok() {
//!         report.ran();
//!     }
//!     Ok(())
//! });
//! # let thread = thread.unwrap();
//! drop(sender);
//! thread.join();
//! supervisor.stop();
//! assert!(supervisor.finish(std::time::Duration::from_secs(5)).await.is_empty());
//! # }
//! ```
//!
//! **What a failure is.** A panic; an `Err` that the task returns, with the reason as one line; and the return of `Ok`
//! before a stop was asked for, unless the task [ends by itself](Task::ends_by_itself). Trouble that a task gets over
//! alone, such as a database that is away for a while, is no failure: it goes to [`Report::trouble`].
//!
//! **What it never does.** It swallows no failure, runs nothing anew after the stop, and waits for nothing beyond the
//! deadline. It knows nothing of coupons.
//!
//! **What is seen.** [`Supervisor::statuses`] gives the state of each task, for `/readyz`; the metrics
//! `goodpon_task_up{task}` and `goodpon_task_restarts_total{task}` show the same over time; each failure is one ERROR line.

mod abort;
mod looping;
pub mod metric;
mod report;
mod supervisor;
mod task;
mod thread;
mod verdict;

pub use abort::end_at_once;
pub use looping::Loop;
pub use report::{Report, State, TaskStatus};
pub use supervisor::Supervisor;
pub use task::{OnFailure, OnStop, Task};
pub use thread::Thread;
pub use verdict::Failure;

/// The end of a run: as it should be, or with a reason of one line.
pub type Ended = Result<(), String>;
