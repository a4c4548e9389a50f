//! Work that is due by the clock, in small batches beside live requests.
//!
//! A reader looks for it, so that a sweep with nothing to do leaves the writer alone; the writer
//! looks at each piece again before it changes it.

use std::sync::LazyLock;

use async_trait::async_trait;
use goodpon_application::{
    idempotency::ANSWER_RETENTION,
    ports::{MAIL_RETENTION, StoreResult, TOKEN_RETENTION, Upkeep},
};
use goodpon_domain::{id::TemplateId, template::TemplateStatus};
use jiff::SignedDuration;
use rusqlite::{Connection, params};

use crate::{
    codec::{micros, row_limit, template_status},
    store::Store,
    sweep::Purpose,
    template,
    write::tx::Tx,
};

/// Templates whose end has come. The code stands in the text, for SQLite uses a partial index only where the text repeats
/// its condition.
static DUE_TEMPLATES: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT id FROM coupon_templates INDEXED BY coupon_templates_ending
     WHERE status = {} AND absolute_expires_at IS NOT NULL AND absolute_expires_at <= ?1 LIMIT ?2",
        template_status::code(TemplateStatus::Issuable)
    )
});

fn expire_template(tx: &mut Tx<'_>, id: TemplateId) -> rusqlite::Result<bool> {
    let now = tx.now;
    let is_due = tx.template(id)?.is_some_and(|template| {
        template.status == TemplateStatus::Issuable
            && template.status_at(now) == TemplateStatus::Expired
    });
    if is_due {
        template::change_status(tx, id, TemplateStatus::Expired, None)?;
    }
    Ok(is_due)
}

/// A kind of rows that are deleted when they are old.
struct Litter {
    /// Selects rows with their time, oldest first; `?1` is the limit.
    oldest: &'static str,
    delete: &'static str,
    kept_for: SignedDuration,
}

const LITTER: [Litter; 4] = [
    Litter {
        oldest: "SELECT seq, stored_at FROM idempotency_records ORDER BY seq LIMIT ?1",
        delete: "DELETE FROM idempotency_records WHERE seq = ?1 AND stored_at <= ?2",
        kept_for: ANSWER_RETENTION,
    },
    Litter {
        oldest: "SELECT digest, created_at FROM verification_tokens INDEXED BY verification_tokens_by_age
                 ORDER BY created_at LIMIT ?1",
        delete: "DELETE FROM verification_tokens WHERE digest = ?1 AND created_at <= ?2",
        kept_for: TOKEN_RETENTION,
    },
    Litter {
        oldest: "SELECT id, sent_at FROM mails INDEXED BY mails_sent WHERE sent_at IS NOT NULL
                 ORDER BY sent_at LIMIT ?1",
        delete: "DELETE FROM mails WHERE id = ?1 AND sent_at <= ?2",
        kept_for: MAIL_RETENTION,
    },
    Litter {
        oldest: "SELECT id, created_at FROM mails INDEXED BY mails_unsent WHERE sent_at IS NULL
                 ORDER BY created_at LIMIT ?1",
        delete: "DELETE FROM mails WHERE id = ?1 AND sent_at IS NULL AND created_at <= ?2",
        kept_for: MAIL_RETENTION,
    },
];

/// The keys of up to `limit` rows that are no younger than `until`. Stops at the first that is.
fn old_rows(
    connection: &Connection,
    litter: &Litter,
    until: i64,
    limit: usize,
) -> rusqlite::Result<Vec<rusqlite::types::Value>> {
    let mut statement = connection.prepare_cached(litter.oldest)?;
    let mut rows = statement.query([row_limit(limit)])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(1)? > until {
            break;
        }
        keys.push(row.get(0)?);
    }
    Ok(keys)
}

#[async_trait]
impl Upkeep for Store {
    async fn expire_templates(&self, limit: usize) -> StoreResult<usize> {
        let now = micros(self.inner.clock.now());
        let find = move |connection: &Connection| {
            connection
                .prepare_cached(&DUE_TEMPLATES)?
                .query_map(params![now, row_limit(limit)], |row| {
                    row.get(0).map(TemplateId)
                })?
                .collect()
        };
        let found: Vec<TemplateId> = self.scan(find).await?;
        if found.is_empty() {
            return Ok(0);
        }
        self.write(move |tx| {
            let mut done = 0;
            for &id in &found {
                done += usize::from(expire_template(tx, id)?);
            }
            Ok(done)
        })
        .await
    }

    async fn expire_coupons(&self, limit: usize) -> StoreResult<usize> {
        self.settle_coupons(Purpose::Expire, limit).await
    }

    async fn discard_coupons(&self, limit: usize) -> StoreResult<usize> {
        self.settle_coupons(Purpose::Discard, limit).await
    }

    async fn clean_up(&self, limit: usize) -> StoreResult<usize> {
        let now = self.inner.clock.now();
        let mut done = self.forget_keys(limit).await?;
        done += self.forget_unverified(limit - done).await?;
        done += self.blank_ended_tokens(limit - done).await?;
        for litter in &LITTER {
            let until = micros(now - litter.kept_for);
            let left = limit - done;
            let keys = self
                .scan(move |connection| old_rows(connection, litter, until, left))
                .await?;
            if keys.is_empty() {
                continue;
            }
            done += self
                .write(move |tx| {
                    let mut statement = tx.connection.prepare_cached(litter.delete)?;
                    let deleted = keys
                        .iter()
                        .map(|key| statement.execute(params![key, until]));
                    deleted.sum::<rusqlite::Result<usize>>()
                })
                .await?;
        }
        Ok(done)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{account::UNVERIFIED, mail::ENDED_TOKENS};

    #[test]
    fn what_is_due_is_found_by_seeks() {
        let mut connection = Connection::open_in_memory().unwrap();
        crate::schema::migrate(&mut connection).unwrap();
        let oldest = LITTER.iter().map(|litter| litter.oldest);
        let others = [DUE_TEMPLATES.as_str(), UNVERIFIED, ENDED_TOKENS];
        for sql in others.into_iter().chain(oldest) {
            let plan = crate::schema::query_plan(&connection, sql);
            for forbidden in [
                "SCAN c",
                "SCAN accounts",
                "TEMP B-TREE",
                "SCAN coupon_histories",
            ] {
                assert!(!plan.contains(forbidden), "{sql}\n{plan}");
            }
        }
    }
}
