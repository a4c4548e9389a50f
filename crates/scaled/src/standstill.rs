//! Which partitions this process's issuer cannot go on with, for readiness and metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The partitions that stand still, each with the reason.
#[derive(Default)]
pub(crate) struct Standstill {
    partitions: Mutex<BTreeMap<i32, String>>,
}

impl Standstill {
    /// Notes that a partition stands still.
    pub(crate) fn stands(&self, partition: i32, reason: String) {
        self.partitions().insert(partition, reason);
        tell(partition, true);
    }

    /// Notes that a partition goes on, or is another issuer's now.
    pub(crate) fn goes_on(&self, partition: i32) {
        if self.partitions().remove(&partition).is_some() {
            tell(partition, false);
        }
    }

    /// Forgets the partitions that are not this issuer's any more.
    pub(crate) fn keep_only(&self, assigned: &[i32]) {
        self.partitions().retain(|partition, _| {
            let is_kept = assigned.contains(partition);
            if !is_kept {
                tell(*partition, false);
            }
            is_kept
        });
    }

    /// What to tell of it, if any stands still.
    pub(crate) fn problem(&self) -> Option<String> {
        let partitions = self.partitions();
        let told = partitions
            .iter()
            .map(|(partition, reason)| format!("partition {partition} stands still: {reason}"));
        let told: Vec<String> = told.collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    fn partitions(&self) -> MutexGuard<'_, BTreeMap<i32, String>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(partition: i32, stands: bool) {
    let gauge = metrics::gauge!("goodpon_issuer_standing", "partition" => partition.to_string());
    gauge.set(f64::from(u8::from(stands)));
}
