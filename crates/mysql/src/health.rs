//! The health of the database, and the audit of its data.

use async_trait::async_trait;
use goodpon_application::ports::{
    Audit, DependencyHealth, Difference, Health, StoreError, StoreResult,
};

use crate::{Store, audit, fault::Result, session::Session};

/// Writes a row and rolls back, which fails on a server that is read-only or has no space.
async fn try_write(session: &mut Session<'_>) -> Result<()> {
    session.begin().await?;
    let id = session.history_id(session.now).to_bytes();
    let sql = "INSERT INTO idempotency_records (id, body, status, answer, stored_at) VALUES (?, ?, 0, '', 0)";
    session.run(sql, (id, id)).await?;
    session.roll_back().await
}

impl Store {
    async fn probe(&self) -> std::result::Result<(), String> {
        self.check().await.map_err(|error| error.to_string())?;
        let written = self.read(|session| Box::pin(try_write(session))).await;
        written.map_err(|error| match error {
            StoreError::Unavailable { reason, .. } | StoreError::Unexpected(reason) => reason,
        })
    }
}

#[async_trait]
impl Health for Store {
    async fn check(&self) -> Vec<DependencyHealth> {
        vec![DependencyHealth {
            name: "mysql",
            problem: self.probe().await.err(),
            is_vital: true,
        }]
    }
}

#[async_trait]
impl Audit for Store {
    async fn audit(&self) -> StoreResult<Vec<Difference>> {
        self.scan_snapshot(|session| Box::pin(audit::run(session)))
            .await
    }
}
