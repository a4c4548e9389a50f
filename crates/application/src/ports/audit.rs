//! The check of stored data against the ledger.

use std::fmt;

use async_trait::async_trait;

use super::StoreResult;

/// A stored value that differs from the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The value, e.g. `template 7 issue_count`.
    pub subject: String,
    /// The value by the ledger.
    pub expected: String,
    /// The stored value.
    pub found: String,
}

impl Difference {
    /// Makes a difference.
    pub fn new(subject: impl Into<String>, expected: impl ToString, found: impl ToString) -> Self {
        Self {
            subject: subject.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected {}, found {}",
            self.subject, self.expected, self.found
        )
    }
}

/// Checks stored data against the ledger.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Recomputes every counter, limit and state from coupons and histories, and returns each difference.
    async fn audit(&self) -> StoreResult<Vec<Difference>>;
}
