//! Checks that the three servers answer, and that their data agree.

use async_trait::async_trait;
use goodpon_application::ports::{Audit, DependencyHealth, Difference, Health, StoreResult};

use crate::{ports::IssueLog, scaled::Scaled};

#[async_trait]
impl Health for Scaled {
    async fn check(&self) -> Vec<DependencyHealth> {
        let mut all = Health::check(&self.store).await;
        all.push(DependencyHealth {
            name: "valkey",
            problem: self.valkey.bound().err().map(|error| error.to_string()),
            is_vital: false,
        });
        all.push(DependencyHealth {
            name: "kafka",
            problem: self.kafka.problem(),
            is_vital: false,
        });
        all.extend(self.standstill.problem().map(|problem| DependencyHealth {
            name: "issuer",
            problem: Some(problem),
            is_vital: false,
        }));
        all
    }
}

#[async_trait]
impl Audit for Scaled {
    async fn audit(&self) -> StoreResult<Vec<Difference>> {
        let mut differences = self.store.audit().await?;
        differences.extend(self.audit_gates().await?);
        Ok(differences)
    }
}

/// The health of an issuer process: Valkey does not matter to it, and without MySQL or Kafka it can do no work.
pub struct IssuerHealth(pub Scaled);

#[async_trait]
impl Health for IssuerHealth {
    async fn check(&self) -> Vec<DependencyHealth> {
        let all = self.0.check().await.into_iter();
        let without_valkey = all.filter(|one| one.name != "valkey");
        let vital = without_valkey.map(|one| DependencyHealth {
            is_vital: true,
            ..one
        });
        vital.collect()
    }
}
