//! What is due by the clock, in small batches beside live requests. Any number of processes may do it at once: what
//! one has locked, the others leave to it.

use async_trait::async_trait;
use goodpon_application::{
    idempotency::KEPT_FOR,
    ports::{StoreResult, Upkeep},
};
use goodpon_domain::{
    account::UNVERIFIED_FOR,
    coupon::CouponStatus,
    id::TemplateId,
    ledger::{self as rules, Posting},
    template::TemplateStatus,
};
use jiff::{SignedDuration, Timestamp};
use mysql_async::Value;

use crate::{
    Store,
    account::forget_unverified,
    codec::{coupon_status, micros, row_limit, template_status},
    columns::Columns,
    coupon_state::{self, Stored},
    fault::{Fault, Result},
    ledger,
    lock::Lock,
    mail::blank_ended_tokens,
    script::{Literal, Script},
    session::Session,
    template_row,
};

/// How long a verification token is kept: for a day after it was spent, so that its link can say so.
const TOKENS_KEPT_FOR: SignedDuration = SignedDuration::from_mins(24 * 60 + 30);
/// How long a mail stays in the mailbox after it left; after it was written, where it never left.
const MAILS_KEPT_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Templates whose end has come: status, the time, how many.
pub(crate) const DUE_TEMPLATES: &str =
    "SELECT id FROM coupon_templates FORCE INDEX (coupon_templates_ending)
     WHERE status = ? AND absolute_expires_at <= ? ORDER BY absolute_expires_at LIMIT ?";

/// The coupons whose end has come: status, the time, how many.
pub(crate) fn due_coupons_sql() -> String {
    format!(
        "SELECT {} FROM coupons c FORCE INDEX (coupons_due)
         WHERE c.status = ? AND c.expires_at <= ? ORDER BY c.expires_at LIMIT ? FOR UPDATE SKIP LOCKED",
        coupon_state::COLUMNS
    )
}

/// Discarded templates whose walk has not come to its end, and whether it has begun: status, how many.
pub(crate) const OPEN_WALKS: &str = "SELECT STRAIGHT_JOIN t.id, w.template_id IS NOT NULL
     FROM coupon_templates t FORCE INDEX (coupon_templates_ending)
     LEFT JOIN discard_walks w ON w.template_id = t.id
     WHERE t.status = ? AND (w.finished IS NULL OR w.finished = 0) LIMIT ?";

/// The coupons before a walk: template, the last user that was passed, how many.
pub(crate) fn walk_sql() -> String {
    format!(
        "SELECT {} FROM coupons c FORCE INDEX (coupons_one_for_each_user)
         WHERE c.template_id = ? AND c.user_id > ? ORDER BY c.user_id LIMIT ? FOR UPDATE",
        coupon_state::COLUMNS
    )
}

/// A kind of rows that are deleted when they are old.
pub(crate) struct Litter {
    /// The keys of the oldest, up to a time and so many.
    pub(crate) oldest: &'static str,
    delete: &'static str,
    kept_for: SignedDuration,
}

pub(crate) const LITTER: [Litter; 4] = [
    Litter {
        oldest: "SELECT id FROM idempotency_records FORCE INDEX (idempotency_records_by_age)
                 WHERE stored_at <= ? ORDER BY stored_at LIMIT ? FOR UPDATE SKIP LOCKED",
        delete: "DELETE FROM idempotency_records WHERE id = ?",
        kept_for: KEPT_FOR,
    },
    Litter {
        oldest: "SELECT digest FROM verification_tokens FORCE INDEX (verification_tokens_by_age)
                 WHERE created_at <= ? ORDER BY created_at LIMIT ? FOR UPDATE SKIP LOCKED",
        delete: "DELETE FROM verification_tokens WHERE digest = ?",
        kept_for: TOKENS_KEPT_FOR,
    },
    Litter {
        oldest: "SELECT id FROM mails FORCE INDEX (mails_sent)
                 WHERE sent_at <= ? ORDER BY sent_at LIMIT ? FOR UPDATE SKIP LOCKED",
        delete: "DELETE FROM mails WHERE id = ?",
        kept_for: MAILS_KEPT_FOR,
    },
    Litter {
        oldest: "SELECT id FROM mails FORCE INDEX (mails_unsent)
                 WHERE sent_at IS NULL AND created_at <= ? ORDER BY created_at LIMIT ?
                 FOR UPDATE SKIP LOCKED",
        delete: "DELETE FROM mails WHERE id = ?",
        kept_for: MAILS_KEPT_FOR,
    },
];

/// So many discarded templates are looked at for one whose walk nobody else is at.
const MOST_WALKS: usize = 16;
/// So many coupons a walk looks at, at least, while it finds none to discard.
const LOOKED_AT: usize = 500;

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
    // Templates are locked in the order of their ids, as issuers do.
    found.sort_unstable();
    session.begin().await?;
    let mut done = 0;
    for id in found {
        done += expire_template(session, id).await?;
    }
    // Another process may have been first with all of them; it is for the next look to tell whether more are due.
    Ok(done.max(1))
}

/// Writes what was decided of these coupons, which are locked.
async fn settle<'a>(
    session: &mut Session<'_>,
    decided: impl IntoIterator<Item = (&'a Stored, Posting)>,
) -> Result<usize> {
    let (mut script, mut count) = (Script::default(), 0);
    for (stored, posting) in decided {
        let at = stored.next_at(session.now);
        ledger::post(&mut script, stored, at, session.history_id(at), &posting);
        count += 1;
    }
    session.together(&script).await?;
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
    settle(session, decided).await
}

/// How far a walk has come.
struct Walk {
    template: TemplateId,
    passed_user_id: String,
    /// Why its template was discarded.
    reason: Option<String>,
}

/// Takes up the walk of a discarded template, unless another process is at it or it has come to its end.
async fn take_up(session: &mut Session<'_>, template: TemplateId) -> Result<Option<Walk>> {
    let sql = "SELECT w.passed_user_id FROM discard_walks w
               WHERE w.template_id = ? AND w.finished = 0 FOR UPDATE SKIP LOCKED";
    let passed = session.first(sql, (template.0,), |row| row.read()).await?;
    let Some(passed_user_id) = passed else {
        return Ok(None);
    };
    // It will not change any more.
    let sql = "SELECT discard_reason FROM coupon_templates WHERE id = ?";
    let reason = session.first(sql, (template.0,), |row| row.read()).await?;
    Ok(Some(Walk {
        template,
        passed_user_id,
        reason: reason.flatten(),
    }))
}

/// Goes on with a walk until up to `limit` coupons are discarded. Gives how many, or 1 where it only passed others and
/// has more before it.
async fn go_on(session: &mut Session<'_>, walk: Walk, limit: usize) -> Result<usize> {
    let window = limit.max(LOOKED_AT);
    let before = (walk.template.0, &walk.passed_user_id, row_limit(window));
    let mut found = session
        .rows(&walk_sql(), before, coupon_state::read)
        .await?;
    let is_end = found.len() < window;
    let is_issued = |stored: &Stored| stored.coupon.status == CouponStatus::Issued;
    let beyond = found
        .iter()
        .enumerate()
        .filter(|(_, stored)| is_issued(stored))
        .nth(limit);
    let is_end = is_end && beyond.is_none();
    if let Some((place, _)) = beyond {
        found.truncate(place);
    }
    let passed = match found.last() {
        Some(last) => last.coupon.user_id.clone(),
        None => walk.passed_user_id,
    };
    let reason = walk.reason.as_deref();
    let decided = found
        .iter()
        .filter_map(|stored| Some((stored, rules::discard(&stored.coupon, reason)?)));
    let settled = settle(session, decided).await?;
    let sql = "UPDATE discard_walks SET passed_user_id = ?, finished = ? WHERE template_id = ?";
    session.run(sql, (passed, is_end, walk.template.0)).await?;
    Ok(settled.max(usize::from(!is_end)))
}

/// Coupons that are issued to a template after its discard are written as discarded, and a cancellation that began
/// before it was committed before it: a walk need not come back.
async fn discard_coupons(session: &mut Session<'_>, limit: usize) -> Result<usize> {
    let discarded = template_status::code(TemplateStatus::Discarded);
    let read = |row: &mut Columns| Ok((TemplateId(row.read()?), row.read::<bool>()?));
    let open = session
        .rows(OPEN_WALKS, (discarded, row_limit(MOST_WALKS)), read)
        .await?;
    let mut ended = false;
    for (template, has_begun) in open {
        if !has_begun {
            let sql = "INSERT IGNORE INTO discard_walks (template_id, passed_user_id, finished) VALUES (?, '', 0)";
            session.run(sql, (template.0,)).await?;
        }
        session.begin().await?;
        if let Some(walk) = take_up(session, template).await? {
            let done = go_on(session, walk, limit).await?;
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
    litter: &Litter,
    until: Timestamp,
    limit: usize,
) -> Result<usize> {
    let old = (micros(until), row_limit(limit));
    let keys = session
        .rows(litter.oldest, old, |row| row.read::<Value>())
        .await?;
    let mut script = Script::default();
    for key in &keys {
        let key = match key {
            Value::Bytes(bytes) => bytes.as_slice().into(),
            Value::Int(id) => Literal::Number(*id),
            _ => return Err(Fault::Corrupt("a key")),
        };
        script.say(litter.delete, [key]);
    }
    session.together(&script).await?;
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
        let unverified = now - UNVERIFIED_FOR;
        let mut done = self
            .transact(|session| Box::pin(forget_unverified(session, unverified, limit)))
            .await?;
        let left = limit - done;
        done += self
            .transact(|session| Box::pin(blank_ended_tokens(session, left)))
            .await?;
        for litter in &LITTER {
            let (until, left) = (now - litter.kept_for, limit - done);
            done += self
                .transact(|session| Box::pin(delete(session, litter, until, left)))
                .await?;
        }
        Ok(done)
    }
}
