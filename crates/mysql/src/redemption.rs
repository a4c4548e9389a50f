//! Redemptions and their cancellation.
//!
//! A redemption reads without locks, decides, and writes where what it read still holds: a coupon's row is compared
//! with its last change and set, and a template's place is taken where one is left. One that was overtaken runs again
//! and locks the rows before it reads them. A cancellation locks them at once.

use std::sync::LazyLock;

use goodpon_application::{
    idempotency::{Idempotency, Outcome},
    ports::{CancelOutcome, CancelRequest, RedeemOutcome, RedeemRequest},
};
use goodpon_domain::{
    coupon::{Coupon, CouponStatus},
    id::CouponId,
    ledger::{Amounts, CountDelta, Decided, HistoryAction},
    redemption::{self as rules, CancelWish},
    template::{Limit, LimitType, Template},
};

use crate::{
    codec::{history_action, limit_type, micros, template_status},
    columns::Columns,
    coupon_state::{COLUMNS, Stored, read},
    fault::Result,
    idempotency::{self, Record},
    ledger,
    lock::Lock,
    script::Script,
    session::Session,
    template_row,
};

/// What a request about a coupon looks at, as it was committed last.
struct Seen {
    record: Option<Record>,
    stored: Option<Stored>,
    /// Its template; redemptions in slots are not counted.
    template: Option<Template>,
}

/// The statement of [`look`]: of a key and a coupon.
pub(crate) fn look_sql() -> String {
    format!(
        "SELECT {}, {COLUMNS}, t.id IS NOT NULL, {}
         FROM coupons c
         LEFT JOIN idempotency_records r ON r.id = ?
         LEFT JOIN coupon_templates t ON t.id = c.template_id
         WHERE c.id = ?",
        idempotency::COLUMNS,
        template_row::COLUMNS_BUT_SLOTS,
    )
}

async fn look<T>(
    session: &mut Session<'_>,
    coupon: CouponId,
    idempotency: Option<&Idempotency<T>>,
) -> Result<Seen> {
    static SQL: LazyLock<String> = LazyLock::new(look_sql);
    let read = |row: &mut Columns| {
        let (record, stored) = (idempotency::read(row)?, Some(read(row)?));
        let template = match row.read::<bool>()? {
            true => Some(template_row::read(row)?),
            false => None,
        };
        Ok(Seen {
            record,
            stored,
            template,
        })
    };
    let key = idempotency.map(|idempotency| idempotency.key);
    if let Some(seen) = session.first(&SQL, (key, coupon.to_bytes()), read).await? {
        return Ok(seen);
    }
    let record = match key {
        Some(key) => idempotency::find(session, key).await?,
        None => None,
    };
    Ok(Seen {
        record,
        stored: None,
        template: None,
    })
}

/// Locks a coupon and, before it, its template: `unlimited` tells how, where redemptions have no limit.
pub(crate) async fn lock(
    session: &mut Session<'_>,
    coupon: CouponId,
    unlimited: Lock,
) -> Result<()> {
    let id = coupon.to_bytes();
    let sql = "SELECT t.id, t.limit_type FROM coupons c JOIN coupon_templates t ON t.id = c.template_id WHERE c.id = ?";
    let read = |row: &mut Columns| Ok((row.read::<i64>()?, limit_type::read(row)?));
    let Some((template, limit)) = session.first(sql, (id,), read).await? else {
        return Ok(());
    };
    let how = match limit {
        LimitType::RedeemCount => Lock::Exclusive,
        LimitType::None | LimitType::IssueCount => unlimited,
    };
    if how != Lock::None {
        let sql = format!("SELECT id FROM coupon_templates WHERE id = ?{}", how.sql());
        session.first(&sql, (template,), |_| Ok(())).await?;
    }
    let sql = "SELECT id FROM coupons WHERE id = ? FOR UPDATE";
    session.first(sql, (id,), |_| Ok(())).await?;
    Ok(())
}

/// In how many rows redemptions of a template without a redeem limit are counted.
const SLOTS: u8 = 64;

/// Adds to `script` by how much the count of redemptions changes of a template without a redeem limit. To be said last:
/// others that come to the same row wait until this is committed.
fn count_in_slot(script: &mut Script, coupon: &Coupon, counts: CountDelta) {
    let [.., low] = coupon.id.to_bytes();
    script.say(
        "INSERT INTO template_redemptions (template_id, slot, redeem_count) VALUES (?, ?, ?)
         ON DUPLICATE KEY UPDATE redeem_count = redeem_count + ?",
        [
            coupon.template_id.0.into(),
            i64::from(low % SLOTS).into(),
            counts.redeemed.into(),
            counts.redeemed.into(),
        ],
    );
}

pub(crate) async fn redeem(
    session: &mut Session<'_>,
    request: &RedeemRequest,
    idempotency: Option<&Idempotency<RedeemOutcome>>,
) -> Result<Outcome<RedeemOutcome>> {
    let seen = look(session, request.coupon_id, idempotency).await?;
    let now = session.now;
    if let Some(known) = idempotency::recall(seen.record.as_ref(), idempotency, now) {
        return Ok(known);
    }
    let (stored, template) = (seen.stored.as_ref(), seen.template.as_ref());
    let at = stored.map_or(now, |stored| stored.next_at(now));
    let decision = rules::redeem(
        stored.map(|stored| &stored.coupon),
        template,
        request.merchant_id,
        &request.order,
        at,
    );
    let (outcome, posting) = Decided::split(decision);
    let mut script = Script::default();
    let done = stored.zip(template).zip(posting.as_ref());
    let is_limited = done.is_some_and(|((_, template), _)| has_redeem_limit(template));
    if let Some(((stored, template), posting)) = done {
        if is_limited {
            // What was decided above without a lock is decided again with one.
            script.must(
                "UPDATE coupon_templates SET redeem_count = redeem_count + ?
                 WHERE id = ? AND status = ? AND redeem_count < limit_count",
                [
                    posting.counts.redeemed.into(),
                    template.id.0.into(),
                    template_status::code(template.status).into(),
                ],
            );
        }
        ledger::post(&mut script, stored, at, session.history_id(at), posting);
    }
    idempotency::remember(
        &mut script,
        idempotency,
        seen.record.as_ref(),
        &outcome,
        now,
    );
    if let Some(((stored, _), posting)) = done.filter(|_| !is_limited) {
        count_in_slot(&mut script, &stored.coupon, posting.counts);
    }
    session.together(&script).await?;
    Ok(Outcome::Ran(outcome))
}

fn has_redeem_limit(template: &Template) -> bool {
    matches!(template.terms.limit, Limit::RedeemCount(_))
}

/// The statement of [`redeemed_amounts`]: of a coupon and the time of its last entry.
pub(crate) fn redeemed_sql() -> String {
    format!(
        "SELECT order_amount, discount_amount FROM coupon_histories FORCE INDEX (coupon_histories_by_coupon)
         WHERE coupon_id = ? AND recorded_at = ? AND action = {}",
        history_action::code(HistoryAction::Redeem),
    )
}

/// The amounts of a redeemed coupon's last entry, which is its REDEEM.
async fn redeemed_amounts(session: &mut Session<'_>, stored: &Stored) -> Result<Amounts> {
    static SQL: LazyLock<String> = LazyLock::new(redeemed_sql);
    let values = (stored.coupon.id.to_bytes(), micros(stored.changed_at));
    let read = |row: &mut Columns| row.amounts();
    let found = session.first(&SQL, values, read).await?;
    // An entry that is missing is damage, which the audit tells.
    Ok(found.unwrap_or_default())
}

/// To be run with the rows locked, the template's too: a discard must not be committed between the look at its status
/// and the commit, or the coupon would be left behind in state ISSUED.
pub(crate) async fn cancel(
    session: &mut Session<'_>,
    request: &CancelRequest,
    idempotency: Option<&Idempotency<CancelOutcome>>,
) -> Result<Outcome<CancelOutcome>> {
    let seen = look(session, request.coupon_id, idempotency).await?;
    let now = session.now;
    if let Some(known) = idempotency::recall(seen.record.as_ref(), idempotency, now) {
        return Ok(known);
    }
    let (stored, template) = (seen.stored.as_ref(), seen.template.as_ref());
    let at = stored.map_or(now, |stored| stored.next_at(now));
    let redeemed = match stored {
        Some(stored) if stored.coupon.status == CouponStatus::Redeemed => {
            redeemed_amounts(session, stored).await?
        }
        _ => Amounts::default(),
    };
    let wish = CancelWish {
        order_id: &request.order_id,
        reason: &request.reason,
    };
    let decision = rules::cancel(
        stored.map(|stored| &stored.coupon),
        template,
        request.merchant_id,
        wish,
        redeemed,
        at,
    );
    let (outcome, posting) = Decided::split(decision);
    let mut script = Script::default();
    let done = stored.zip(template).zip(posting.as_ref());
    if let Some(((stored, _), posting)) = done {
        ledger::post(&mut script, stored, at, session.history_id(at), posting);
    }
    idempotency::remember(
        &mut script,
        idempotency,
        seen.record.as_ref(),
        &outcome,
        now,
    );
    if let Some(((stored, template), posting)) = done {
        if has_redeem_limit(template) {
            script.say(
                "UPDATE coupon_templates SET redeem_count = redeem_count + ? WHERE id = ?",
                [posting.counts.redeemed.into(), template.id.0.into()],
            );
        } else {
            count_in_slot(&mut script, &stored.coupon, posting.counts);
        }
    }
    session.together(&script).await?;
    Ok(Outcome::Ran(outcome))
}
