//! The health of the store's dependencies.

use async_trait::async_trait;

/// The health of one dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyHealth {
    /// Its name, for operators.
    pub name: &'static str,
    /// The problem; `None` if it is well.
    pub problem: Option<String>,
    /// True if the process can do nothing without it.
    pub is_vital: bool,
}

/// The health of the store's dependencies.
#[async_trait]
pub trait Health: Send + Sync {
    /// Asks each dependency.
    async fn check(&self) -> Vec<DependencyHealth>;
}
