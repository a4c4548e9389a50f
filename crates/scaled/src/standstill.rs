//! The partitions that this process's issuer cannot process, for readiness and metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The partitions that stand still, each with the reason.
#[derive(Default)]
pub(crate) struct Standstill {
    partitions: Mutex<BTreeMap<i32, String>>,
}

impl Standstill {
    /// Records that a partition stands still.
    pub(crate) fn stands(&self, partition: i32, reason: String) {
        self.partitions().insert(partition, reason);
        set_gauge(partition, true);
    }

    /// Records that a partition goes on.
    pub(crate) fn goes_on(&self, partition: i32) {
        if self.partitions().remove(&partition).is_some() {
            set_gauge(partition, false);
        }
    }

    /// Forgets the partitions that are no longer assigned to this issuer.
    pub(crate) fn keep_only(&self, assigned: &[i32]) {
        self.partitions().retain(|partition, _| {
            let is_kept = assigned.contains(partition);
            if !is_kept {
                set_gauge(*partition, false);
            }
            is_kept
        });
    }

    /// Describes the partitions that stand still, for `/readyz`; `None` if there are none.
    pub(crate) fn problem(&self) -> Option<String> {
        let partitions = self.partitions();
        let lines = partitions
            .iter()
            .map(|(partition, reason)| format!("partition {partition} stands still: {reason}"));
        let lines: Vec<String> = lines.collect();
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    fn partitions(&self) -> MutexGuard<'_, BTreeMap<i32, String>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn set_gauge(partition: i32, stands: bool) {
    let gauge = metrics::gauge!("goodpon_issuer_standing", "partition" => partition.to_string());
    gauge.set(f64::from(u8::from(stands)));
}
