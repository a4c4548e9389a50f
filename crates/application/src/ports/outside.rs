//! The outside that is no store: time and randomness.

use jiff::Timestamp;

/// The time. Never read otherwise.
pub trait Clock: Send + Sync {
    /// The present instant, to the microsecond.
    fn now(&self) -> Timestamp;
}

/// Unpredictable bytes, fit for secrets. Never drawn otherwise.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}
