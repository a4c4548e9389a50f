//! The lease for mail delivery. One process at a time delivers: two would send the same mail twice.

use async_trait::async_trait;
use goodpon_application::ports::{Backlog, Mails, QueuedMail, StoreResult, StoredMail};
use jiff::Timestamp;

use crate::{Store, session::NOW};

/// The duration of the lease, which each read of due mails renews. The mails of one read are sent within about half a
/// minute, long before another process can take the lease.
const LEASE_MICROS: i64 = 120_000_000;

/// The outbox as the processes of an installation share it: only the process that has the lease finds mails due.
pub struct LeasedMails {
    store: Store,
    holder: [u8; 16],
}

impl LeasedMails {
    /// Makes this process's view of the outbox of `store`.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let mut holder = [0; 16];
        store.inner.random.fill(&mut holder);
        Self { store, holder }
    }

    /// Takes or renews the lease, and returns whether this process has it now.
    async fn take_lease(&self) -> StoreResult<bool> {
        let holder = self.holder;
        let changed_rows = self
            .store
            .transact(|session| {
                Box::pin(async move {
                    let make =
                        "INSERT IGNORE INTO leases (name, holder, until) VALUES ('mail', ?, 0)";
                    session.run(make, (holder,)).await?;
                    // A renewed lease ends at least a microsecond later, so that the row counts as changed.
                    let take = format!(
                        "UPDATE leases SET holder = ?, until = GREATEST(until + 1, {NOW} + ?)
                         WHERE name = 'mail' AND (holder = ? OR until < {NOW})"
                    );
                    session.run(&take, (holder, LEASE_MICROS, holder)).await
                })
            })
            .await?;
        Ok(changed_rows > 0)
    }
}

#[async_trait]
impl Mails for LeasedMails {
    async fn due(&self, limit: usize) -> StoreResult<Vec<QueuedMail>> {
        match self.take_lease().await? {
            true => self.store.due(limit).await,
            false => Ok(Vec::new()),
        }
    }

    async fn backlog(&self) -> StoreResult<Backlog> {
        self.store.backlog().await
    }

    async fn mark_sent(&self, id: i64) -> StoreResult<()> {
        self.store.mark_sent(id).await
    }

    async fn mark_failed(
        &self,
        id: i64,
        retry_at: Option<Timestamp>,
        error: String,
    ) -> StoreResult<()> {
        self.store.mark_failed(id, retry_at, error).await
    }

    async fn list(&self, to: Option<&str>, limit: usize) -> StoreResult<Vec<StoredMail>> {
        Mails::list(&self.store, to, limit).await
    }
}
