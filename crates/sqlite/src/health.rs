//! The health of the database: that it answers, and that its contents agree with each other.

use async_trait::async_trait;
use goodpon_application::ports::{
    Audit, DependencyHealth, Difference, Health, StoreError, StoreResult,
};

use crate::{audit, schema, store::Store};

impl Store {
    async fn ask(&self) -> StoreResult<()> {
        self.read(|connection| {
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        })
        .await?;
        let writer = &self.inner.writer;
        if let Some(problem) = writer.pulse().problem() {
            return Err(StoreError::Unavailable {
                reason: problem.into(),
                may_have_happened: false,
            });
        }
        if writer.pulse().is_failing() {
            // A small write finds out that the disk is well again, even if a balancer sends no traffic meanwhile.
            self.write(|tx| schema::touch(tx.connection)).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Health for Store {
    async fn check(&self) -> Vec<DependencyHealth> {
        let problem = self.ask().await.err().map(|error| match error {
            StoreError::Unavailable { reason, .. } | StoreError::Unexpected(reason) => reason,
        });
        vec![DependencyHealth {
            name: "database",
            problem,
            is_vital: true,
        }]
    }
}

#[async_trait]
impl Audit for Store {
    async fn audit(&self) -> StoreResult<Vec<Difference>> {
        self.scan(audit::run).await
    }
}
