//! Work that is due by the clock, in small batches beside live requests. Any number of processes may do it at once: rows
//! that one has locked are skipped by the others.

use async_trait::async_trait;
use goodpon_application::{
    idempotency::ANSWER_RETENTION,
    ports::{MAIL_RETENTION, StoreResult, TOKEN_RETENTION, Upkeep},
};
use goodpon_domain::{
    account::UNVERIFIED_ACCOUNT_LIFETIME,
    coupon::CouponStatus,
    id::TemplateId,
    ledger::{self as rules, Posting},
    template::TemplateStatus,
};
use jiff::{SignedDuration, Timestamp};
use mysql_async::Value;

use crate::{
    Store,
    account::delete_unverified,
    codec::{coupon_status, micros, row_limit, template_status},
    columns::Columns,
    coupon_state::{self, StoredCoupon},
    fault::{Fault, Result},
    ledger,
    lock::Lock,
    mail::blank_ended_tokens,
    script::{Literal, Script},
    session::Session,
    template_row,
};

/// Selects templates that are past their end. Parameters: the status, the time, the number of rows.
pub(crate) const DUE_TEMPLATES: &str =
    "SELECT id FROM coupon_templates FORCE INDEX (coupon_templates_ending)
     WHERE status = ? AND absolute_expires_at <= ? ORDER BY absolute_expires_at LIMIT ?";

/// Selects coupons that are past their end. Parameters: the status, the time, the number of rows.
pub(crate) fn due_coupons_sql() -> String {
    format!(
        "SELECT {} FROM coupons c FORCE INDEX (coupons_due)
         WHERE c.status = ? AND c.expires_at <= ? ORDER BY c.expires_at LIMIT ? FOR UPDATE SKIP LOCKED",
        coupon_state::COLUMNS
    )
}

/// Selects discarded templates whose walk is not finished, and whether it has begun. Parameters: the status, the number
/// of rows.
pub(crate) const OPEN_WALKS: &str = "SELECT STRAIGHT_JOIN t.id, w.template_id IS NOT NULL
     FROM coupon_templates t FORCE INDEX (coupon_templates_ending)
     LEFT JOIN discard_walks w ON w.template_id = t.id
     WHERE t.status = ? AND (w.finished IS NULL OR w.finished = 0) LIMIT ?";

/// Selects the coupons that a walk reads next. Parameters: the template, the last user that it passed, the number of
/// rows.
pub(crate) fn walk_sql() -> String {
    format!(
        "SELECT {} FROM coupons c FORCE INDEX (coupons_one_for_each_user)
         WHERE c.template_id = ? AND c.user_id > ? ORDER BY c.user_id LIMIT ? FOR UPDATE",
        coupon_state::COLUMNS
    )
}

/// A kind of rows that are deleted once they are older than their retention.
pub(crate) struct OldRows {
    /// Selects the keys of the oldest rows. Parameters: the latest time, the number of rows.
    pub(crate) oldest: &'static str,
    delete: &'static str,
    kept_for: SignedDuration,
}

pub(crate) const OLD_ROWS: [OldRows; 4] = [
    OldRows {
        oldest: "SELECT id FROM idempotency_records FORCE INDEX (idempotency_records_by_age)
                 WHERE stored_at <= ? ORDER BY stored_at LIMIT ? FOR UPDATE SKIP LOCKED",
        delete: "DELETE FROM idempotency_records WHERE id = ?",
        kept_for: ANSWER_RETENTION,
    },
    OldRows {
        oldest: "SELECT digest FROM verification_tokens FORCE INDEX (verification_tokens_by_age)
                 WHERE created_at <= ? ORDER BY created_at LIMIT ? FOR UPDATE SKIP LOCKED",
        delete: "DELETE FROM verification_tokens WHERE digest = ?",
        kept_for: TOKEN_RETENTION,
    },
    OldRows {
        oldest: "SELECT id FROM mails FORCE INDEX (mails_sent)
                 WHERE sent_at <= ? ORDER BY sent_at LIMIT ? FOR UPDATE SKIP LOCKED",
        delete: "DELETE FROM mails WHERE id = ?",
        kept_for: MAIL_RETENTION,
    },
    OldRows {
        oldest: "SELECT id FROM mails FORCE INDEX (mails_unsent)
                 WHERE sent_at IS NULL AND created_at <= ? ORDER BY created_at LIMIT ?
                 FOR UPDATE SKIP LOCKED",
        delete: "DELETE FROM mails WHERE id = ?",
        kept_for: MAIL_RETENTION,
    },
];

/// The most discarded templates that one call tries to find one whose walk no other process has locked.
const MAX_WALKS_TRIED: usize = 16;
/// The fewest coupons that a walk reads in one call, because most of them may have nothing to discard.
const MIN_WALK_COUPONS: usize = 500;

async fn expire_template(session: &mut Session<'_>, id: TemplateId) -> Result<usize> {
    let Some(template) = template_row::load(session, id, Lock::Exclusive).await? else {
        return Ok(0);
    };
    let is_due = template.status == TemplateStatus::Issuable
        && template.status_at(session.now) == TemplateStatus::Expired;
    if is_due {
        let expired = template_status::code(TemplateStatus::Expired);
        let sql = "UPDATE coupon_templates SET status = ? WHERE id = ?";
        session.run(sql, (expired, id.0)).await?;
    }
    Ok(usize::from(is_due))
}

async fn expire_templates(session: &mut Session<'_>, limit: usize) -> Result<usize> {
    let issuable = template_status::code(TemplateStatus::Issuable);
    let due = (issuable, micros(session.now), row_limit(limit));
    let read = |row: &mut Columns| Ok(TemplateId(row.read()?));
    let mut found = session.rows(DUE_TEMPLATES, due, read).await?;
    if found.is_empty() {
        return Ok(0);
    }
    // Locks templates in the order of their ids, as issuers do, so that the two do not deadlock.
    found.sort_unstable();
    session.begin().await?;
    let mut done = 0;
    for id in found {
        done += expire_template(session, id).await?;
    }
    // Another process may have expired all of these; the next call finds out whether more are due.
    Ok(done.max(1))
}

/// Writes the postings of these coupons, which are locked, and returns their number.
async fn write_postings<'a>(
    session: &mut Session<'_>,
    decided: impl IntoIterator<Item = (&'a StoredCoupon, Posting)>,
) -> Result<usize> {
    let (mut script, mut count) = (Script::default(), 0);
    for (stored, posting) in decided {
        let at = stored.next_entry_at(session.now);
        ledger::post(&mut script, stored, at, session.history_id(at), &posting);
        count += 1;
    }
    session.run_script(&script).await?;
    Ok(count)
}

async fn expire_coupons(session: &mut Session<'_>, limit: usize) -> Result<usize> {
    let issued = coupon_status::code(CouponStatus::Issued);
    let due = (issued, micros(session.now), row_limit(limit));
    let coupons = session
        .rows(&due_coupons_sql(), due, coupon_state::read)
        .await?;
    let now = session.now;
    let decided = coupons
        .iter()
        .filter_map(|stored| Some((stored, rules::expire(&stored.coupon, now)?)));
    write_postings(session, decided).await
}

/// A walk through the coupons of a discarded template, in the order of their users.
struct Walk {
    template: TemplateId,
    /// The last user whose coupon it has handled.
    passed_user_id: String,
    /// The reason of the template's discard.
    reason: Option<String>,
}

/// Locks and loads the walk of a discarded template; `None` if another process has locked it or it is finished.
async fn lock_walk(session: &mut Session<'_>, template: TemplateId) -> Result<Option<Walk>> {
    let sql = "SELECT w.passed_user_id FROM discard_walks w
               WHERE w.template_id = ? AND w.finished = 0 FOR UPDATE SKIP LOCKED";
    let passed = session.first(sql, (template.0,), |row| row.read()).await?;
    let Some(passed_user_id) = passed else {
        return Ok(None);
    };
    // Needs no lock: the reason of a discard never changes.
    let sql = "SELECT discard_reason FROM coupon_templates WHERE id = ?";
    let reason = session.first(sql, (template.0,), |row| row.read()).await?;
    Ok(Some(Walk {
        template,
        passed_user_id,
        reason: reason.flatten(),
    }))
}

/// Advances a walk until up to `limit` coupons are discarded. Returns their number, or 1 if it only passed others and is
/// not finished.
async fn advance(session: &mut Session<'_>, walk: Walk, limit: usize) -> Result<usize> {
    let window = limit.max(MIN_WALK_COUPONS);
    let next = (walk.template.0, &walk.passed_user_id, row_limit(window));
    let mut found = session.rows(&walk_sql(), next, coupon_state::read).await?;
    let is_end = found.len() < window;
    let is_issued = |stored: &StoredCoupon| stored.coupon.status == CouponStatus::Issued;
    let first_beyond_limit = found
        .iter()
        .enumerate()
        .filter(|(_, stored)| is_issued(stored))
        .nth(limit);
    let is_end = is_end && first_beyond_limit.is_none();
    if let Some((index, _)) = first_beyond_limit {
        found.truncate(index);
    }
    let passed = match found.last() {
        Some(last) => last.coupon.user_id.clone(),
        None => walk.passed_user_id,
    };
    let reason = walk.reason.as_deref();
    let decided = found
        .iter()
        .filter_map(|stored| Some((stored, rules::discard(&stored.coupon, reason)?)));
    let discarded = write_postings(session, decided).await?;
    let sql = "UPDATE discard_walks SET passed_user_id = ?, finished = ? WHERE template_id = ?";
    session.run(sql, (passed, is_end, walk.template.0)).await?;
    Ok(discarded.max(usize::from(!is_end)))
}

/// Discards coupons of discarded templates. A walk never has to return to a user that it passed: a coupon that is issued
/// after the discard is written as discarded, and a cancellation locks the template, so that it is committed either before
/// the discard or with a discarded coupon.
async fn discard_coupons(session: &mut Session<'_>, limit: usize) -> Result<usize> {
    let discarded = template_status::code(TemplateStatus::Discarded);
    let read = |row: &mut Columns| Ok((TemplateId(row.read()?), row.read::<bool>()?));
    let open = session
        .rows(OPEN_WALKS, (discarded, row_limit(MAX_WALKS_TRIED)), read)
        .await?;
    let mut ended = false;
    for (template, has_begun) in open {
        if !has_begun {
            let sql = "INSERT IGNORE INTO discard_walks (template_id, passed_user_id, finished) VALUES (?, '', 0)";
            session.run(sql, (template.0,)).await?;
        }
        session.begin().await?;
        if let Some(walk) = lock_walk(session, template).await? {
            let done = advance(session, walk, limit).await?;
            if done > 0 {
                return Ok(done);
            }
            ended = true;
        }
        session.commit().await?;
    }
    Ok(usize::from(ended))
}

async fn delete(
    session: &mut Session<'_>,
    old_rows: &OldRows,
    latest: Timestamp,
    limit: usize,
) -> Result<usize> {
    let old = (micros(latest), row_limit(limit));
    let keys = session
        .rows(old_rows.oldest, old, |row| row.read::<Value>())
        .await?;
    let mut script = Script::default();
    for key in &keys {
        let key = match key {
            Value::Bytes(bytes) => bytes.as_slice().into(),
            Value::Int(id) => Literal::Number(*id),
            _ => return Err(Fault::Corrupt("a key")),
        };
        script.add(old_rows.delete, [key]);
    }
    session.run_script(&script).await?;
    Ok(keys.len())
}

#[async_trait]
impl Upkeep for Store {
    async fn expire_templates(&self, limit: usize) -> StoreResult<usize> {
        self.transact_late(|session| Box::pin(expire_templates(session, limit)))
            .await
    }

    async fn expire_coupons(&self, limit: usize) -> StoreResult<usize> {
        self.transact(|session| Box::pin(expire_coupons(session, limit)))
            .await
    }

    async fn discard_coupons(&self, limit: usize) -> StoreResult<usize> {
        self.transact_late(|session| Box::pin(discard_coupons(session, limit)))
            .await
    }

    async fn clean_up(&self, limit: usize) -> StoreResult<usize> {
        let now = self.inner.clock.now();
        let unverified = now - UNVERIFIED_ACCOUNT_LIFETIME;
        let mut done = self
            .transact(|session| Box::pin(delete_unverified(session, unverified, limit)))
            .await?;
        let left = limit - done;
        done += self
            .transact(|session| Box::pin(blank_ended_tokens(session, left)))
            .await?;
        for old_rows in &OLD_ROWS {
            let (latest, left) = (now - old_rows.kept_for, limit - done);
            done += self
                .transact(|session| Box::pin(delete(session, old_rows, latest, left)))
                .await?;
        }
        Ok(done)
    }
}
