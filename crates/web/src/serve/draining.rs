//! The time between the decision to stop and the stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The state of a process that is about to stop and still serves; all clones share it.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// Begins, and never ends.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether it has begun.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
