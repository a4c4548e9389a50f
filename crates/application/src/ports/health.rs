//! Which dependencies answer.

use async_trait::async_trait;

/// One dependency and whether it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyHealth {
    /// Its name, for operators.
    pub name: &'static str,
    /// What is wrong, if anything is.
    pub problem: Option<String>,
    /// Whether nothing at all works without it.
    pub is_vital: bool,
}

/// Which dependencies answer.
#[async_trait]
pub trait Health: Send + Sync {
    /// Asks each dependency.
    async fn check(&self) -> Vec<DependencyHealth>;
}
