//! Whether what is stored is right.

use std::fmt;

use async_trait::async_trait;

use super::StoreResult;

/// Something stored that disagrees with the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is about, e.g. `template 7 issue_count`.
    pub subject: String,
    /// What the ledger says.
    pub expected: String,
    /// What is stored.
    pub found: String,
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

/// Proves what is stored by the ledger.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Recomputes every counter, limit and state from coupons and histories, and returns each difference.
    async fn audit(&self) -> StoreResult<Vec<Difference>>;
}
