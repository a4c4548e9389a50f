//! Confirmations: gates learn which events count, some milliseconds' worth at a time, and no issue waits for it.
//!
//! What does not get to its gate is lost here and settled by the reconciler, which publishes the reservation again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use goodpon_application::ports::Clock;
use goodpon_domain::{gate::Epoch, id::TemplateId};
use goodpon_supervise::{Ended, Report};
use goodpon_valkey::{Confirmation, Valkey};
use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use crate::{Scaled, gate_of};

/// How long the first of a batch waits for others, unless somebody waits for it.
const LINGER: Duration = Duration::from_millis(2);

/// Events that wait at the most: beyond that they are left to the reconciler. Some hundred bytes each.
const MOST_WAITING: usize = 16_384;

/// Events that are taken from there at a time.
const MOST_TAKEN: usize = 4_096;

/// Events that one call tells a gate, and calls that run at a time.
const MOST_IN_CALL: usize = 256;
const CALLS: usize = 64;

/// How long a reading waits until the gate has heard what this process answered: longer than any call to a gate takes.
const LONGEST_FLUSH: Duration = Duration::from_secs(2);

/// Takes confirmations in. [`run`] tells them.
#[derive(Clone, Default)]
pub(crate) struct Confirmer(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Something waits that did not before, or somebody waits for it.
    wake: Notify,
    /// How many events were taken from the queue and told, or left to the reconciler.
    told: watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            queue: Mutex::default(),
            wake: Notify::new(),
            told: watch::Sender::new(0),
        }
    }
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Confirmation>,
    /// How many events ever came.
    came: u64,
    /// Templates with events that wait or are under way.
    untold: HashMap<TemplateId, Untold>,
    /// Whether somebody waits.
    is_wanted: bool,
}

/// Events of a template.
#[derive(Default)]
struct Untold {
    count: usize,
    /// How many events had come with the latest of them.
    latest: u64,
}

impl Confirmer {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells soon that an event counts. If that gets lost, the reconciler settles it.
    pub(crate) fn confirm(&self, confirmation: Confirmation) {
        let mut queue = self.queue();
        if queue.events.len() >= MOST_WAITING {
            left_to_reconciler("full", 1);
            return;
        }
        queue.came += 1;
        let latest = queue.came;
        let untold = queue
            .untold
            .entry(confirmation.event.template_id)
            .or_default();
        untold.count += 1;
        untold.latest = latest;
        queue.events.push_back(confirmation);
        let is_first = queue.events.len() == 1;
        drop(queue);
        if is_first {
            self.0.wake.notify_one();
        }
    }

    /// Waits until the gates of these templates were told what was taken in before. Nobody waits where nothing was.
    pub(crate) async fn flush(&self, templates: &[TemplateId]) {
        self.flush_up_to(|queue| {
            let untold = templates.iter().filter_map(|id| queue.untold.get(id));
            untold.map(|untold| untold.latest).max()
        })
        .await;
    }

    /// As [`Self::flush`], for all templates.
    #[cfg(test)]
    pub(crate) async fn flush_all(&self) {
        self.flush_up_to(|queue| Some(queue.came)).await;
    }

    async fn flush_up_to(&self, latest: impl FnOnce(&Queue) -> Option<u64>) {
        let mut told = self.0.told.subscribe();
        let latest = {
            let mut queue = self.queue();
            let Some(latest) = latest(&queue) else {
                return;
            };
            queue.is_wanted = true;
            latest
        };
        self.0.wake.notify_one();
        let all_told = told.wait_for(|told| *told >= latest);
        // After that the counts may lack what the reconciler will settle.
        let _ = tokio::time::timeout(LONGEST_FLUSH, all_told).await;
    }

    /// Takes what waits, up to the size of one call to a gate.
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

    /// Waits until something waits, and a little for more, unless somebody waits for it.
    async fn gathered(&self) {
        let wanted = async {
            while !self.queue().is_wanted {
                self.0.wake.notified().await;
            }
        };
        while self.queue().events.is_empty() {
            self.0.wake.notified().await;
        }
        let _ = tokio::time::timeout(LINGER, wanted).await;
    }
}

/// Events that were taken from the queue. Dropped, they are confirmed or left to the reconciler, and nobody waits for them.
struct Taken<'a> {
    confirmer: &'a Confirmer,
    events: Vec<Confirmation>,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut queue = self.confirmer.queue();
        for Confirmation { event, .. } in &self.events {
            if let Some(untold) = queue.untold.get_mut(&event.template_id) {
                untold.count -= 1;
                if untold.count == 0 {
                    queue.untold.remove(&event.template_id);
                }
            }
        }
        metrics::gauge!("goodpon_confirms_waiting").set(queue.events.len() as f64);
        drop(queue);
        let count = self.events.len() as u64;
        self.confirmer.0.told.send_modify(|told| *told += count);
    }
}

/// Tells gates what is taken in, until it is dropped.
pub(crate) async fn run(scaled: &Scaled, report: &Report) -> Ended {
    let confirmer = &scaled.confirmer;
    loop {
        confirmer.gathered().await;
        let taken = confirmer.take();
        tell(&scaled.valkey, scaled.clock.as_ref(), &taken.events).await;
        drop(taken);
        report.ran();
    }
}

/// Tells gates which events count. What cannot be told is told by the reconciler later.
pub(crate) async fn tell(valkey: &Valkey, clock: &dyn Clock, events: &[Confirmation]) {
    let mut by_gate: HashMap<(TemplateId, Epoch), Vec<Confirmation>> = HashMap::new();
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
            calls.push(tell_gate(valkey, template, epoch, some, clock.now()));
        }
    }
    let some_at_a_time = futures::stream::iter(calls).buffer_unordered(CALLS);
    some_at_a_time.collect::<()>().await;
}

async fn tell_gate(
    valkey: &Valkey,
    template: TemplateId,
    epoch: Epoch,
    events: Vec<Confirmation>,
    now: Timestamp,
) {
    let told = match valkey.bound() {
        Ok(bound) => {
            let gate = gate_of(template);
            bound.confirm(gate, epoch, &events, now).await.map(|_| ())
        }
        Err(error) => Err(error),
    };
    if let Err(error) = told {
        left_to_reconciler("failed", events.len() as u64);
        tracing::debug!(%error, "confirmations are left to the reconciler");
    }
}

fn left_to_reconciler(why: &'static str, count: u64) {
    metrics::counter!("goodpon_confirms_left_total", "why" => why).increment(count);
}
