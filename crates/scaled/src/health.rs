//! Which of the three servers answers, and whether what they hold is right.

use async_trait::async_trait;
use goodpon_application::{
    audit::Difference,
    ports::{DependencyHealth, Health, StoreResult},
};

use crate::Scaled;

#[async_trait]
impl Health for Scaled {
    async fn check(&self) -> Vec<DependencyHealth> {
        let mut all = Health::check(&self.store).await;
        all.push(DependencyHealth {
            name: "valkey",
            problem: self.valkey.bound().err().map(|error| error.to_string()),
        });
        all.push(DependencyHealth {
            name: "kafka",
            problem: self.publisher.is_up().err(),
        });
        all
    }

    async fn audit(&self) -> StoreResult<Vec<Difference>> {
        self.store.audit().await
    }
}
