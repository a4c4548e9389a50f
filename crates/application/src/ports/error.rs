//! What goes wrong in a store beyond the refusals that the contract names.

/// What goes wrong in a store beyond the refusals that the contract names.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is full, or does not answer in time: 503.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// For the log.
        reason: String,
        /// Whether the effect may come, or have come, all the same.
        may_have_happened: bool,
    },
    /// Anything unforeseen: 500.
    #[error("unexpected: {0}")]
    Unexpected(String),
}

/// The result of every store call.
pub type StoreResult<T> = Result<T, StoreError>;
