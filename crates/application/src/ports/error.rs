//! The failures of ports.

/// A failure of a port, other than the refusals that the contract names.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is full, or does not answer in time: answered 503.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// The reason, for the log.
        reason: String,
        /// True if the effect may have happened, or may happen still.
        may_have_happened: bool,
    },
    /// Anything unforeseen: answered 500.
    #[error("unexpected: {0}")]
    Unexpected(String),
}

/// The result of every store call.
pub type StoreResult<T> = Result<T, StoreError>;
