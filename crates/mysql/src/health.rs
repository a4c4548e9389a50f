//! Whether the database answers, and whether what it holds is right.

use async_trait::async_trait;
use goodpon_application::ports::{
    Audit, DependencyHealth, Difference, Health, StoreError, StoreResult,
};

use crate::{Store, audit, fault::Result, session::Session};

/// Writes a row and takes it back: a server that only reads, or has no room, says so.
async fn try_write(session: &mut Session<'_>) -> Result<()> {
    session.begin().await?;
    let id = session.history_id(session.now).to_bytes();
    let sql = "INSERT INTO idempotency_records (id, body, status, answer, stored_at) VALUES (?, ?, 0, '', 0)";
    session.run(sql, (id, id)).await?;
    session.roll_back().await
}

impl Store {
    async fn ask(&self) -> std::result::Result<(), String> {
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
            problem: self.ask().await.err(),
            is_vital: true,
        }]
    }
}

#[async_trait]
impl Audit for Store {
    async fn audit(&self) -> StoreResult<Vec<Difference>> {
        self.scan_at_once(|session| Box::pin(audit::run(session)))
            .await
    }
}
