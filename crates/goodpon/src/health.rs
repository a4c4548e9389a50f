//! The health of a process whose dependencies are not all there yet.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use goodpon_application::ports::{DependencyHealth, Health};

/// The health of the dependencies that are open: of the database alone, while the others wait for it.
pub struct Present(RwLock<Arc<dyn Health>>);

impl Present {
    /// Begins with the health of `first`.
    pub fn new(first: Arc<dyn Health>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(first)))
    }

    /// Answers with the health of `next` from now on.
    pub fn replace(&self, next: Arc<dyn Health>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
    }

    fn get(&self) -> Arc<dyn Health> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Health for Present {
    async fn check(&self) -> Vec<DependencyHealth> {
        self.get().check().await
    }
}

/// The health before anything is open.
pub struct Starting;

#[async_trait]
impl Health for Starting {
    async fn check(&self) -> Vec<DependencyHealth> {
        vec![DependencyHealth {
            name: "database",
            problem: Some("goodpon is starting".into()),
            is_vital: true,
        }]
    }
}
