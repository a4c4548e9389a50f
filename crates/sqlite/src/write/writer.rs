//! The one thread that writes.
//!
//! It takes all requests that have queued up, up to a bound, and hands them to [`Groups`] as one group. They are answered
//! after their commit with `synchronous=FULL`, and not before.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use goodpon_application::ports::{StoreError, StoreResult};
use goodpon_supervise::{Report, Supervisor, Task, Thread};
use goodpon_trace::TraceContext;
use metrics::{Gauge, Histogram};
use tokio::sync::oneshot;

use super::{
    group::{Group, Groups, Request},
    pulse::Pulse,
    tx::Tx,
};
use crate::error::OpenError;

/// Requests of one group, so that none waits for too many others.
const MAX_GROUP: usize = 512;
/// Requests that wait for the writer. Further ones are refused at once.
const MAX_QUEUE: usize = 32_768;

enum Message {
    Request(Box<dyn Request>, Instant),
    FinishCheckpoint,
    Stop,
}

struct Closure<F, T> {
    run: F,
    trace: Option<TraceContext>,
    result: Option<T>,
    reply: oneshot::Sender<StoreResult<T>>,
}

impl<F, T> Request for Closure<F, T>
where
    F: FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn trace(&self) -> Option<TraceContext> {
        self.trace
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        self.result = None;
        self.result = Some((self.run)(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: StoreResult<()>) {
        let Self {
            run, result, reply, ..
        } = *self;
        let result = committed.and_then(|()| {
            result.ok_or_else(|| StoreError::Unexpected("the request left no result".into()))
        });
        // Before the answer: its caller must find free what the request held, such as the claim of a key.
        drop(run);
        // A caller that has gone away needs no answer.
        let _ = reply.send(result);
    }
}

/// A request that runs a closure, and the end at which its answer arrives.
pub(crate) fn request<T: Send + 'static>(
    run: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
) -> (Box<dyn Request>, oneshot::Receiver<StoreResult<T>>) {
    let (reply, answer) = oneshot::channel();
    let request = Closure {
        run,
        trace: goodpon_trace::current(),
        result: None,
        reply,
    };
    (Box::new(request), answer)
}

/// The handle to the writer thread. Dropping it lets queued requests finish and ends the thread.
pub(crate) struct Writer {
    queue: Sender<Message>,
    pulse: Arc<Pulse>,
    thread: Option<Thread>,
}

/// Asks the writer for the last step of a checkpoint.
#[derive(Clone)]
pub(crate) struct Handle(Sender<Message>);

impl Handle {
    pub(crate) fn finish_checkpoint(&self) {
        let _ = self.0.send(Message::FinishCheckpoint);
    }
}

impl Writer {
    pub(crate) fn start(groups: Groups, supervisor: &Supervisor) -> Result<Self, OpenError> {
        let (queue, requests) = bounded(MAX_QUEUE);
        let pulse = Arc::clone(&groups.pulse);
        let mut work = Work {
            groups,
            figures: Figures::default(),
        };
        // Without the thread nothing is answered, and memory that a panic leaves behind is not to be trusted.
        let task = Task::exit_at_once("writer").ends_by_itself();
        let thread = supervisor.spawn_thread(task, move |report| {
            work.run(&requests, report);
            Ok(())
        });
        let thread = thread.map_err(OpenError::Thread)?;
        Ok(Self {
            queue,
            pulse,
            thread: Some(thread),
        })
    }

    /// The state of the thread.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle(self.queue.clone())
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        run: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (request, answer) = request(run);
        self.queue
            .try_send(Message::Request(request, Instant::now()))
            .map_err(|error| StoreError::Unavailable {
                reason: match error {
                    TrySendError::Full(_) => "too many writes are waiting".into(),
                    TrySendError::Disconnected(_) => "the store is closing".into(),
                },
                may_have_happened: false,
            })?;
        answer.await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable {
                reason: "the writer ended before it answered".into(),
                may_have_happened: true,
            })
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.queue.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            thread.join();
        }
    }
}

struct Work {
    groups: Groups,
    figures: Figures,
}

struct Figures {
    batch_size: Histogram,
    wait: Histogram,
    depth: Gauge,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            batch_size: metrics::histogram!("goodpon_writer_batch_size"),
            wait: metrics::histogram!("goodpon_writer_wait_seconds"),
            depth: metrics::gauge!("goodpon_writer_queue_depth"),
        }
    }
}

impl Work {
    fn run(&mut self, requests: &Receiver<Message>, report: &Report) {
        let mut group: Group = Vec::with_capacity(MAX_GROUP);
        while let Ok(message) = requests.recv() {
            let mut next = Some(message);
            let mut then = None;
            while let Some(message) = next.take() {
                match message {
                    Message::Request(request, queued) => {
                        self.figures.wait.record(queued.elapsed());
                        group.push(request);
                    }
                    other => {
                        then = Some(other);
                        break;
                    }
                }
                if group.len() < MAX_GROUP {
                    next = requests.try_recv().ok();
                }
            }
            self.figures.depth.set(requests.len() as f64);
            if !group.is_empty() {
                self.figures.batch_size.record(group.len() as f64);
                self.groups.run(&mut group);
                report.ran();
            }
            if self.groups.disk.has_failed() {
                return;
            }
            match then {
                Some(Message::FinishCheckpoint) => {
                    self.groups.finish_checkpoint();
                }
                Some(Message::Stop) => return self.groups.close(),
                _ => {}
            }
        }
    }
}
