//! Confirmations: gates are told which events count, some milliseconds' worth at a time, and nobody waits for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use goodpon_application::ports::Clock;
use goodpon_domain::{
    gate::{Epoch, IssueEvent},
    id::TemplateId,
};
use goodpon_valkey::Valkey;
use tokio::sync::{mpsc, oneshot};

use crate::gate_of;

/// How long the first of a batch waits for others.
const LINGER: Duration = Duration::from_millis(2);

/// Events of a batch at the most.
const BATCH: usize = 256;

enum Word {
    Confirm(IssueEvent),
    /// All that came before is told, as far as it can be.
    Flush(oneshot::Sender<()>),
}

/// Takes confirmations in. They are told by a task that ends with the last clone.
#[derive(Clone)]
pub(crate) struct Confirmer(mpsc::UnboundedSender<Word>);

impl Confirmer {
    /// Starts the task on the current runtime.
    pub(crate) fn start(valkey: Valkey, clock: Arc<dyn Clock>) -> Self {
        let (sender, words) = mpsc::unbounded_channel();
        tokio::spawn(run(words, valkey, clock));
        Self(sender)
    }

    /// Tells soon that an event counts. If that gets lost, the reconciler settles it.
    pub(crate) fn confirm(&self, event: IssueEvent) {
        // Without the task the runtime ends, and the reconciler of another process settles it.
        let _ = self.0.send(Word::Confirm(event));
    }

    /// Waits until all that was taken in before was told.
    pub(crate) async fn flush(&self) {
        let (done, told) = oneshot::channel();
        if self.0.send(Word::Flush(done)).is_ok() {
            let _ = told.await;
        }
    }
}

async fn run(mut words: mpsc::UnboundedReceiver<Word>, valkey: Valkey, clock: Arc<dyn Clock>) {
    while let Some(first) = words.recv().await {
        let (mut events, mut flushes) = (Vec::new(), Vec::new());
        let mut sort = |word| match word {
            Word::Confirm(event) => {
                events.push(event);
                events.len() < BATCH
            }
            Word::Flush(done) => {
                flushes.push(done);
                false
            }
        };
        let mut goes_on = sort(first);
        let end = tokio::time::sleep(LINGER);
        tokio::pin!(end);
        while goes_on {
            tokio::select! {
                biased;
                word = words.recv() => match word {
                    Some(word) => goes_on = sort(word),
                    None => break,
                },
                () = &mut end => break,
            }
        }
        tell(&valkey, clock.as_ref(), events).await;
        for done in flushes {
            // Who has stopped waiting needs no answer.
            let _ = done.send(());
        }
    }
}

/// Tells gates which events count. What cannot be told is told by the reconciler later.
pub(crate) async fn tell(valkey: &Valkey, clock: &dyn Clock, events: Vec<IssueEvent>) {
    let mut by_gate: HashMap<(TemplateId, Epoch), Vec<IssueEvent>> = HashMap::new();
    for event in events {
        let gate = by_gate.entry((event.template_id, event.epoch)).or_default();
        gate.push(event);
    }
    let calls = by_gate
        .into_iter()
        .map(|((template, epoch), events)| async move {
            let bound = valkey.bound()?;
            let gate = gate_of(template);
            bound.confirm(gate, epoch, &events, clock.now()).await
        });
    for told in futures::future::join_all(calls).await {
        if let Err(error) = told {
            tracing::debug!(%error, "confirmations are left to the reconciler");
        }
    }
}
