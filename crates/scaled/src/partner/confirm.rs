//! Confirmations: gates learn which events count, some milliseconds' worth at a time, and no issue waits for it.
//!
//! What does not get to its gate is lost here and settled by the reconciler, which publishes the reservation again.

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

/// How long the first of a batch waits for others, unless a reading waits for it.
const LINGER: Duration = Duration::from_millis(2);

/// The most events that wait: beyond that they are left to the reconciler. Some hundred bytes each.
const MOST_WAITING: usize = 16_384;

/// The most events that are taken from there at a time.
const MOST_TAKEN: usize = 4_096;

/// The most events of one call to a gate, and the most calls that run at a time.
const MOST_IN_CALL: usize = 256;
const MOST_CALLS: usize = 64;

/// How long a reading waits until the gate has heard what this process answered: longer than any call to a gate takes.
const LONGEST_FLUSH: Duration = Duration::from_secs(2);

/// Takes confirmations in, and sends them to their gates.
pub(crate) struct Confirmer {
    servers: Arc<dyn GateServers>,
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    /// There is an event where none was before, or a reading waits.
    wake: Notify,
    /// The number of events that were taken from the queue and sent, or left to the reconciler.
    done: watch::Sender<u64>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Confirmation>,
    /// The number of events that ever came.
    came: u64,
    /// Templates with events that wait or are under way.
    unsent: HashMap<TemplateId, Unsent>,
    /// Whether a reading waits.
    is_wanted: bool,
}

/// Events of a template.
#[derive(Default)]
struct Unsent {
    count: usize,
    /// The number of events that had come with the latest of them.
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

    /// Takes an event in that counts. If it gets lost before its gate has heard of it, the reconciler settles it.
    pub(crate) fn confirm(&self, confirmation: Confirmation) {
        let mut queue = self.queue();
        if queue.events.len() >= MOST_WAITING {
            left_to_reconciler("full", 1);
            return;
        }
        queue.came += 1;
        let latest = queue.came;
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

    /// Waits until the gates of these templates have heard of what was taken in before; not at all where nothing was.
    pub(crate) async fn flush(&self, templates: &[TemplateId]) {
        self.flush_up_to(|queue| {
            let unsent = templates.iter().filter_map(|id| queue.unsent.get(id));
            unsent.map(|unsent| unsent.latest).max()
        })
        .await;
    }

    /// As [`Self::flush`], for all templates.
    #[cfg(test)]
    pub(crate) async fn flush_all(&self) {
        self.flush_up_to(|queue| Some(queue.came)).await;
    }

    async fn flush_up_to(&self, latest: impl FnOnce(&Queue) -> Option<u64>) {
        let mut done = self.done.subscribe();
        let latest = {
            let mut queue = self.queue();
            let Some(latest) = latest(&queue) else {
                return;
            };
            queue.is_wanted = true;
            latest
        };
        self.wake.notify_one();
        let all_done = done.wait_for(|done| *done >= latest);
        // After that the counts may lack what the reconciler will settle.
        let _ = tokio::time::timeout(LONGEST_FLUSH, all_done).await;
    }

    /// Waits for events, and sends them.
    pub(crate) async fn send_next(&self) {
        self.gathered().await;
        let taken = self.take();
        self.send(&taken.events).await;
    }

    /// Takes what waits, up to the most that is sent at a time.
    fn take(&self) -> Taken<'_> {
        let mut queue = self.queue();
        let count = queue.events.len().min(MOST_TAKEN);
        metrics::gauge!("goodpon_confirms_waiting").set(queue.events.len() as f64);
        queue.is_wanted = false;
        Taken {
            confirmer: self,
            events: queue.events.drain(..count).collect(),
        }
    }

    /// Waits until there is an event, and a little for more, unless a reading waits.
    async fn gathered(&self) {
        let wanted = async {
            while !self.queue().is_wanted {
                self.wake.notified().await;
            }
        };
        while self.queue().events.is_empty() {
            self.wake.notified().await;
        }
        let _ = tokio::time::timeout(LINGER, wanted).await;
    }

    /// Reports to gates which events count. What does not get there is left to the reconciler.
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
                let rest = events.split_off(events.len().min(MOST_IN_CALL));
                let some = std::mem::replace(&mut events, rest);
                calls.push(self.send_to_gate(GateId::of(template), epoch, some));
            }
        }
        let some_at_a_time = futures::stream::iter(calls).buffer_unordered(MOST_CALLS);
        some_at_a_time.collect::<()>().await;
    }

    async fn send_to_gate(&self, gate: GateId, epoch: Epoch, events: Vec<Confirmation>) {
        if let Err(error) = self.try_send(gate, epoch, &events).await {
            left_to_reconciler("failed", events.len() as u64);
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

/// Events that were taken from the queue. Dropped, they are sent or left to the reconciler, and no reading waits for them.
struct Taken<'a> {
    confirmer: &'a Confirmer,
    events: Vec<Confirmation>,
}

impl Drop for Taken<'_> {
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

fn left_to_reconciler(why: &'static str, count: u64) {
    metrics::counter!("goodpon_confirms_left_total", "why" => why).increment(count);
}
