//! Mail is delivered by one process at a time: two at once would send the same mail twice.

use async_trait::async_trait;
use goodpon_application::ports::{Backlog, Outbox, QueuedMail, StoreResult, StoredMail};
use jiff::Timestamp;

use crate::{Store, gate::NOW};

/// For how long a process that does not come back keeps others from delivering. Each look for due mails renews it; what
/// one look found is begun within a second and takes half a minute, so that it is over long before another process begins.
const LEASED_FOR_MICROS: i64 = 120_000_000;

/// The outbox as the processes of an installation share it: mails are due to whoever holds the lease.
pub struct SharedOutbox {
    store: Store,
    holder: [u8; 16],
}

impl SharedOutbox {
    /// The outbox of `store`, for this process.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let mut holder = [0; 16];
        store.inner.random.fill(&mut holder);
        Self { store, holder }
    }

    /// Takes the lease, or holds it for longer. Whether it is this process's now.
    async fn lease(&self) -> StoreResult<bool> {
        let holder = self.holder;
        let held = self
            .store
            .transact(|session| {
                Box::pin(async move {
                    let make =
                        "INSERT IGNORE INTO leases (name, holder, until) VALUES ('mail', ?, 0)";
                    session.run(make, (holder,)).await?;
                    // One that is held is at least a microsecond later, so that the row changes.
                    let take = format!(
                        "UPDATE leases SET holder = ?, until = GREATEST(until + 1, {NOW} + ?)
                         WHERE name = 'mail' AND (holder = ? OR until < {NOW})"
                    );
                    session
                        .run(&take, (holder, LEASED_FOR_MICROS, holder))
                        .await
                })
            })
            .await?;
        Ok(held > 0)
    }
}

#[async_trait]
impl Outbox for SharedOutbox {
    async fn due(&self, limit: usize) -> StoreResult<Vec<QueuedMail>> {
        match self.lease().await? {
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
        Outbox::list(&self.store, to, limit).await
    }
}
