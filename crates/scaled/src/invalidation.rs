//! Forgets cached templates that other processes have changed.

use std::sync::Arc;

use goodpon_domain::id::TemplateId;
use goodpon_supervise::{Ended, Report};
use goodpon_valkey::{Invalidation, Valkey};
use tokio::sync::watch;

use crate::partner::gate_cache::GateCache;

/// Forgets templates as other processes report their changes, until `stop` is true.
pub(crate) async fn listen(
    gates: Arc<GateCache>,
    valkey: Valkey,
    report: Report,
    mut stop: watch::Receiver<bool>,
) -> Ended {
    let mut changes = valkey.subscribe();
    loop {
        let change = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            change = changes.next() => change,
        };
        match change {
            Invalidation::Changed(template) => match template.parse() {
                Ok(id) => gates.forget(TemplateId(id)),
                Err(_) => gates.forget_all(),
            },
            Invalidation::Missed => gates.forget_all(),
        }
        report.ran();
    }
}
