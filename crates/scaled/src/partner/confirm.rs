//! Confirms events that count at their gates, in batches of a few milliseconds. No issue waits for this.
//!
//! An event whose confirmation fails is dropped here: the reconciler publishes its reservation again and confirms it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use goodpon_application::ports::{Clock, StoreResult};
use goodpon_domain::{
    gate::{Confirmation, Epoch, GateId},
    id::TemplateId,
};
use tokio::sync::{Notify, watch};

use crate::ports::GateServers;

/// The time for which the first event of a batch waits for others, unless a flush is requested.
const GATHER_TIME: Duration = Duration::from_millis(2);

/// The largest number of events in the queue, of a few hundred bytes each. More are left to the reconciler.
const MAX_QUEUED: usize = 16_384;

/// The largest number of events that are taken from the queue at a time.
const MAX_BATCH: usize = 4_096;

/// The largest number of events of one call to a gate, and of calls that run at a time.
const MAX_EVENTS_PER_CALL: usize = 256;
const MAX_CONCURRENT_CALLS: usize = 64;

/// The time limit of a flush: longer than any call to a gate takes.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Queues confirmations, and sends them to their gates.
pub(crate) struct Confirmer {
    servers: Arc<dyn GateServers>,
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    /// Notified when the empty queue gets an event, and when a flush is requested.
    wake: Notify,
    /// The number of events since the start that were sent, or left to the reconciler after they had been queued.
    done: watch::Sender<u64>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Confirmation>,
    /// The number of events since the start that were queued.
    queued: u64,
    /// The templates with events in the queue or in a batch that is being sent.
    unsent: HashMap<TemplateId, Unsent>,
    /// A flush waits for the queue to be sent.
    flush_requested: bool,
}

/// A template's events that are not yet sent.
#[derive(Default)]
struct Unsent {
    count: usize,
    /// The value of [`Queue::queued`] with the latest of them.
    latest: u64,
}

impl Confirmer {
    pub(crate) fn new(servers: Arc<dyn GateServers>, clock: Arc<dyn Clock>) -> Self {
        Self {
            servers,
            clock,
            queue: Mutex::default(),
            wake: Notify::new(),
            done: watch::Sender::new(0),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues an event that counts. If it is lost before it is sent, the reconciler confirms it.
    pub(crate) fn confirm(&self, confirmation: Confirmation) {
        let mut queue = self.queue();
        if queue.events.len() >= MAX_QUEUED {
            count_left_to_reconciler("full", 1);
            return;
        }
        queue.queued += 1;
        let latest = queue.queued;
        let unsent = queue
            .unsent
            .entry(confirmation.event.template_id)
            .or_default();
        unsent.count += 1;
        unsent.latest = latest;
        queue.events.push_back(confirmation);
        let is_first = queue.events.len() == 1;
        drop(queue);
        if is_first {
            self.wake.notify_one();
        }
    }

    /// Waits until the queued events of these templates are sent; returns at once if there are none.
    pub(crate) async fn flush(&self, templates: &[TemplateId]) {
        self.flush_up_to(|queue| {
            let unsent = templates.iter().filter_map(|id| queue.unsent.get(id));
            unsent.map(|unsent| unsent.latest).max()
        })
        .await;
    }

    /// Waits until the queued events of all templates are sent.
    #[cfg(test)]
    pub(crate) async fn flush_all(&self) {
        self.flush_up_to(|queue| Some(queue.queued)).await;
    }

    async fn flush_up_to(&self, latest: impl FnOnce(&Queue) -> Option<u64>) {
        let mut done = self.done.subscribe();
        let latest = {
            let mut queue = self.queue();
            let Some(latest) = latest(&queue) else {
                return;
            };
            queue.flush_requested = true;
            latest
        };
        self.wake.notify_one();
        let all_done = done.wait_for(|done| *done >= latest);
        // After a timeout the gates' counts may lack events that the reconciler will confirm.
        let _ = tokio::time::timeout(FLUSH_TIMEOUT, all_done).await;
    }

    /// Waits for events, and sends a batch.
    pub(crate) async fn send_next(&self) {
        self.gather().await;
        let batch = self.take_batch();
        self.send(&batch.events).await;
    }

    /// Takes up to [`MAX_BATCH`] events from the queue.
    fn take_batch(&self) -> Batch<'_> {
        let mut queue = self.queue();
        let count = queue.events.len().min(MAX_BATCH);
        metrics::gauge!("goodpon_confirms_waiting").set(queue.events.len() as f64);
        queue.flush_requested = false;
        Batch {
            confirmer: self,
            events: queue.events.drain(..count).collect(),
        }
    }

    /// Waits until there is an event, and then for [`GATHER_TIME`] or until a flush is requested.
    async fn gather(&self) {
        let flush_requested = async {
            while !self.queue().flush_requested {
                self.wake.notified().await;
            }
        };
        while self.queue().events.is_empty() {
            self.wake.notified().await;
        }
        let _ = tokio::time::timeout(GATHER_TIME, flush_requested).await;
    }

    /// Confirms events at their gates. Events whose confirmation fails are left to the reconciler.
    pub(crate) async fn send(&self, events: &[Confirmation]) {
        let mut by_gate: BTreeMap<(TemplateId, Epoch), Vec<Confirmation>> = BTreeMap::new();
        for confirmation in events {
            let event = &confirmation.event;
            let gate = by_gate.entry((event.template_id, event.epoch)).or_default();
            gate.push(confirmation.clone());
        }
        let mut calls = Vec::new();
        for ((template, epoch), mut events) in by_gate {
            while !events.is_empty() {
                let rest = events.split_off(events.len().min(MAX_EVENTS_PER_CALL));
                let some = std::mem::replace(&mut events, rest);
                calls.push(self.send_to_gate(GateId::of(template), epoch, some));
            }
        }
        let limited = futures::stream::iter(calls).buffer_unordered(MAX_CONCURRENT_CALLS);
        limited.collect::<()>().await;
    }

    async fn send_to_gate(&self, gate: GateId, epoch: Epoch, events: Vec<Confirmation>) {
        if let Err(error) = self.try_send(gate, epoch, &events).await {
            count_left_to_reconciler("failed", events.len() as u64);
            tracing::debug!(%error, "confirmations are left to the reconciler");
        }
    }

    async fn try_send(
        &self,
        gate: GateId,
        epoch: Epoch,
        events: &[Confirmation],
    ) -> StoreResult<()> {
        let server = self.servers.bound()?;
        server
            .confirm(gate, epoch, events, self.clock.now())
            .await?;
        Ok(())
    }
}

/// Events that were taken from the queue. When it is dropped, they count as done: they were sent, or the task was aborted
/// and they are left to the reconciler. No flush waits for them any longer.
struct Batch<'a> {
    confirmer: &'a Confirmer,
    events: Vec<Confirmation>,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let mut queue = self.confirmer.queue();
        for Confirmation { event, .. } in &self.events {
            if let Some(unsent) = queue.unsent.get_mut(&event.template_id) {
                unsent.count -= 1;
                if unsent.count == 0 {
                    queue.unsent.remove(&event.template_id);
                }
            }
        }
        metrics::gauge!("goodpon_confirms_waiting").set(queue.events.len() as f64);
        drop(queue);
        let count = self.events.len() as u64;
        self.confirmer.done.send_modify(|done| *done += count);
    }
}

fn count_left_to_reconciler(why: &'static str, count: u64) {
    metrics::counter!("goodpon_confirms_left_total", "why" => why).increment(count);
}
