//! Redemptions and their cancellation.
//!
//! A redemption reads without locks, decides, and writes only if the rows are unchanged: the UPDATE of the coupon compares
//! its last change, and that of a template with a redeem limit compares the count. If it was overtaken, it runs again and
//! locks the rows before it reads them. A cancellation locks them from the start.

use std::sync::LazyLock;

use goodpon_application::{
    idempotency::{Idempotency, Outcome},
    ports::{CancelOutcome, CancelRequest, RedeemOutcome, RedeemRequest},
};
use goodpon_domain::{
    coupon::{Coupon, CouponStatus},
    id::CouponId,
    ledger::{Amounts, CountDelta, Decision, HistoryAction},
    redemption::{self as rules, CancelInput},
    template::{Limit, LimitType, Template},
};

use crate::{
    codec::{history_action, limit_type, micros, template_status},
    columns::Columns,
    coupon_state::{COLUMNS, StoredCoupon, read},
    fault::Result,
    idempotency::{self, StoredAnswer},
    ledger,
    lock::Lock,
    script::Script,
    session::Session,
    template_row,
};

/// The rows that a request about a coupon needs, as they were committed last.
struct Loaded {
    answer: Option<StoredAnswer>,
    stored: Option<StoredCoupon>,
    /// The coupon's template; its count leaves out redemptions that are counted in slots.
    template: Option<Template>,
}

/// Returns the statement of [`load`]. Parameters: the idempotency key, the coupon.
pub(crate) fn load_sql() -> String {
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

async fn load<T>(
    session: &mut Session<'_>,
    coupon: CouponId,
    idempotency: Option<&Idempotency<T>>,
) -> Result<Loaded> {
    static SQL: LazyLock<String> = LazyLock::new(load_sql);
    let read = |row: &mut Columns| {
        let (answer, stored) = (idempotency::read(row)?, Some(read(row)?));
        let template = match row.read::<bool>()? {
            true => Some(template_row::read(row)?),
            false => None,
        };
        Ok(Loaded {
            answer,
            stored,
            template,
        })
    };
    let key = idempotency.map(|idempotency| idempotency.key);
    let loaded = session.first(&SQL, (key, coupon.to_bytes()), read).await?;
    if let Some(loaded) = loaded {
        return Ok(loaded);
    }
    let answer = match key {
        Some(key) => idempotency::find(session, key).await?,
        None => None,
    };
    Ok(Loaded {
        answer,
        stored: None,
        template: None,
    })
}

/// Locks a coupon's template and then the coupon. A template with a redeem limit is locked exclusively, any other by
/// `without_limit`.
pub(crate) async fn lock(
    session: &mut Session<'_>,
    coupon: CouponId,
    without_limit: Lock,
) -> Result<()> {
    let id = coupon.to_bytes();
    let sql = "SELECT t.id, t.limit_type FROM coupons c JOIN coupon_templates t ON t.id = c.template_id WHERE c.id = ?";
    let read = |row: &mut Columns| Ok((row.read::<i64>()?, limit_type::read(row)?));
    let Some((template, limit)) = session.first(sql, (id,), read).await? else {
        return Ok(());
    };
    let lock = match limit {
        LimitType::RedeemCount => Lock::Exclusive,
        LimitType::None | LimitType::IssueCount => without_limit,
    };
    if lock != Lock::None {
        let sql = format!("SELECT id FROM coupon_templates WHERE id = ?{}", lock.sql());
        session.first(&sql, (template,), |_| Ok(())).await?;
    }
    let sql = "SELECT id FROM coupons WHERE id = ? FOR UPDATE";
    session.first(sql, (id,), |_| Ok(())).await?;
    Ok(())
}

/// The number of rows among which the redemptions of a template without a redeem limit are counted, so that redemptions
/// at the same time seldom wait for each other.
const COUNT_SLOTS: u8 = 64;

/// Adds to `script` the change of the redemption count of a template without a redeem limit. Must be the script's last
/// statement: other redemptions of the slot wait from here to the commit.
fn count_in_slot(script: &mut Script, coupon: &Coupon, counts: CountDelta) {
    let [.., low] = coupon.id.to_bytes();
    script.add(
        "INSERT INTO template_redemptions (template_id, slot, redeem_count) VALUES (?, ?, ?)
         ON DUPLICATE KEY UPDATE redeem_count = redeem_count + ?",
        [
            coupon.template_id.0.into(),
            i64::from(low % COUNT_SLOTS).into(),
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
    let loaded = load(session, request.coupon_id, idempotency).await?;
    let now = session.now;
    if let Some(outcome) = idempotency::recall(loaded.answer.as_ref(), idempotency, now) {
        return Ok(outcome);
    }
    let (stored, template) = (loaded.stored.as_ref(), loaded.template.as_ref());
    let at = stored.map_or(now, |stored| stored.next_entry_at(now));
    let decision = rules::redeem(
        stored.map(|stored| &stored.coupon),
        template,
        request.merchant_id,
        &request.order,
        at,
    );
    let (outcome, posting) = Decision::split(decision);
    let mut script = Script::default();
    let done = stored.zip(template).zip(posting.as_ref());
    let is_limited = done.is_some_and(|((_, template), _)| has_redeem_limit(template));
    if let Some(((stored, template), posting)) = done {
        if is_limited {
            // Checks again what was decided above without a lock.
            script.add_must_change(
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
        loaded.answer.as_ref(),
        &outcome,
        now,
    );
    if let Some(((stored, _), posting)) = done.filter(|_| !is_limited) {
        count_in_slot(&mut script, &stored.coupon, posting.counts);
    }
    session.run_script(&script).await?;
    Ok(Outcome::Ran(outcome))
}

fn has_redeem_limit(template: &Template) -> bool {
    matches!(template.terms.limit, Limit::RedeemCount(_))
}

/// Returns the statement of [`redeemed_amounts`]. Parameters: the coupon, the time of its last entry.
pub(crate) fn redeemed_sql() -> String {
    format!(
        "SELECT order_amount, discount_amount FROM coupon_histories FORCE INDEX (coupon_histories_by_coupon)
         WHERE coupon_id = ? AND recorded_at = ? AND action = {}",
        history_action::code(HistoryAction::Redeem),
    )
}

/// Returns the amounts of a redeemed coupon's last entry, which is its REDEEM.
async fn redeemed_amounts(session: &mut Session<'_>, stored: &StoredCoupon) -> Result<Amounts> {
    static SQL: LazyLock<String> = LazyLock::new(redeemed_sql);
    let values = (stored.coupon.id.to_bytes(), micros(stored.changed_at));
    let read = |row: &mut Columns| row.amounts();
    let found = session.first(&SQL, values, read).await?;
    // A missing entry is damage, which the audit reports; it does not block the cancellation.
    Ok(found.unwrap_or_default())
}

/// Cancels a redemption. The rows of coupon and template must be locked: if a discard were committed between the read of
/// the template's status and this commit, the coupon would stay in state ISSUED for ever.
pub(crate) async fn cancel(
    session: &mut Session<'_>,
    request: &CancelRequest,
    idempotency: Option<&Idempotency<CancelOutcome>>,
) -> Result<Outcome<CancelOutcome>> {
    let loaded = load(session, request.coupon_id, idempotency).await?;
    let now = session.now;
    if let Some(outcome) = idempotency::recall(loaded.answer.as_ref(), idempotency, now) {
        return Ok(outcome);
    }
    let (stored, template) = (loaded.stored.as_ref(), loaded.template.as_ref());
    let at = stored.map_or(now, |stored| stored.next_entry_at(now));
    let redeemed = match stored {
        Some(stored) if stored.coupon.status == CouponStatus::Redeemed => {
            redeemed_amounts(session, stored).await?
        }
        _ => Amounts::default(),
    };
    let wish = CancelInput {
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
    let (outcome, posting) = Decision::split(decision);
    let mut script = Script::default();
    let done = stored.zip(template).zip(posting.as_ref());
    if let Some(((stored, _), posting)) = done {
        ledger::post(&mut script, stored, at, session.history_id(at), posting);
    }
    idempotency::remember(
        &mut script,
        idempotency,
        loaded.answer.as_ref(),
        &outcome,
        now,
    );
    if let Some(((stored, template), posting)) = done {
        if has_redeem_limit(template) {
            script.add(
                "UPDATE coupon_templates SET redeem_count = redeem_count + ? WHERE id = ?",
                [posting.counts.redeemed.into(), template.id.0.into()],
            );
        } else {
            count_in_slot(&mut script, &stored.coupon, posting.counts);
        }
    }
    session.run_script(&script).await?;
    Ok(Outcome::Ran(outcome))
}
