//! Time and randomness.

use jiff::Timestamp;

/// The wall clock. Code of ours reads the time of day only through this.
pub trait Clock: Send + Sync {
    /// Returns the present time, to the microsecond.
    fn now(&self) -> Timestamp;
}

/// The source of random bytes that are fit for secrets. Code of ours draws secrets and ids only from this.
pub trait Random: Send + Sync {
    /// Fills `bytes` with random bytes.
    fn fill(&self, bytes: &mut [u8]);
}
