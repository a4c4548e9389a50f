//! Coupons once they are issued: redemption, cancellation, a user's coupons; and the writing of history entries.
//!
//! A redemption reads without locks, decides, and writes where what it read still holds: a coupon's row is compared
//! with its last change and set, and a template's place is taken where one is left. Whoever was overtaken runs again
//! and locks the rows before it reads them. A cancellation locks them at once.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use goodpon_application::{
    idempotency::{Idempotency, Outcome, Peek},
    ports::{CancelOutcome, CancelRequest, Coupons, RedeemOutcome, RedeemRequest, StoreResult},
};
use goodpon_domain::{
    coupon::{self, Coupon, CouponStatus},
    history::{Amounts, HistoryAction},
    id::{CouponId, HistoryId, MerchantId, TemplateId},
    template::{Limit, LimitType, Template},
    wallet::HeldCoupon,
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    Store,
    codec::{coupon_status, history_action, limit_type, micros, row_limit, template_status},
    columns::Columns,
    fault::Result,
    idempotency::{self, Record},
    script::Script,
    session::Session,
    template::{self, Lock},
};

/// A coupon as it is stored.
pub(crate) struct Stored {
    pub(crate) coupon: Coupon,
    /// When its last entry was recorded.
    pub(crate) changed_at: Timestamp,
}

/// The columns that [`read`] reads, of `coupons` as `c`.
pub(crate) const COLUMNS: &str =
    "c.id, c.merchant_id, c.template_id, c.user_id, c.status, c.issued_at, c.expires_at,
    c.order_id, c.changed_at";

/// Reads [`COLUMNS`].
pub(crate) fn read(row: &mut Columns) -> Result<Stored> {
    let coupon = Coupon {
        id: row.coupon_id()?,
        merchant_id: MerchantId(row.read()?),
        template_id: TemplateId(row.read()?),
        user_id: row.read()?,
        status: coupon_status::read(row)?,
        issued_at: row.timestamp()?,
        expires_at: row.optional_timestamp()?,
        order_id: row.read()?,
    };
    let changed_at = row.timestamp()?;
    Ok(Stored { coupon, changed_at })
}

impl Stored {
    /// When its next entry is recorded. Processes have clocks of their own, and a coupon's entries must stand in the
    /// order in which they happened.
    pub(crate) fn next_at(&self, now: Timestamp) -> Timestamp {
        let behind = self.changed_at.checked_add(SignedDuration::from_micros(1));
        behind.map_or(now, |behind| behind.max(now))
    }
}

/// A history entry that is about to be written.
pub(crate) struct Entry<'a> {
    pub(crate) action: HistoryAction,
    pub(crate) order_id: Option<&'a str>,
    pub(crate) reason: Option<&'a str>,
    pub(crate) amounts: Amounts,
}

/// Adds to `script` a coupon's change and the entries that tell of it, all recorded at `at`, the first under `id` and
/// the others behind it. The script fails with [`crate::fault::Fault::Overtaken`] if the coupon was changed since it
/// was read.
pub(crate) fn change(
    script: &mut Script,
    stored: &Stored,
    at: Timestamp,
    id: HistoryId,
    entries: &[Entry<'_>],
) {
    let Stored { coupon, changed_at } = stored;
    let (mut status, mut order_id) = (coupon.status, coupon.order_id.as_deref());
    for entry in entries {
        status = entry.action.leads_to();
        order_id = entry.order_id.or(order_id);
    }
    let (coupon_id, at) = (coupon.id.to_bytes(), micros(at));
    script.must(
        "UPDATE coupons SET status = ?, changed_at = ?, order_id = ? WHERE id = ? AND changed_at = ?",
        [
            coupon_status::code(status).into(),
            at.into(),
            order_id.into(),
            (&coupon_id).into(),
            micros(*changed_at).into(),
        ],
    );
    let mut id = id;
    for entry in entries {
        script.say(
            "INSERT INTO coupon_histories
                 (merchant_id, recorded_at, id, template_id, action, coupon_id, order_id, reason, order_amount,
                  discount_amount)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                coupon.merchant_id.0.into(),
                at.into(),
                (&id.to_bytes()).into(),
                coupon.template_id.0.into(),
                history_action::code(entry.action).into(),
                (&coupon_id).into(),
                entry.order_id.into(),
                entry.reason.into(),
                entry.amounts.order.into(),
                entry.amounts.discount.into(),
            ],
        );
        id = id.next();
    }
}

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
        template::COLUMNS_BUT_SLOTS,
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
            true => Some(template::read(row)?),
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

/// Adds to `script` that a coupon of a template without a redeem limit was redeemed (1) or its redemption cancelled
/// (−1). To be said last: others that come to the same row wait until this is committed.
fn count_in_slot(script: &mut Script, coupon: &Coupon, change: i64) {
    let [.., low] = coupon.id.to_bytes();
    script.say(
        "INSERT INTO template_redemptions (template_id, slot, redeem_count) VALUES (?, ?, ?)
         ON DUPLICATE KEY UPDATE redeem_count = redeem_count + ?",
        [
            coupon.template_id.0.into(),
            i64::from(low % SLOTS).into(),
            change.into(),
            change.into(),
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
    let (merchant, order) = (request.merchant_id, &request.order);
    let at = stored.map_or(now, |stored| stored.next_at(now));
    let coupon = stored.map(|stored| &stored.coupon);
    let outcome = coupon::redeem(coupon, template, merchant, order, at);
    let mut script = Script::default();
    let done = stored.zip(template).zip(outcome.as_ref().ok());
    let is_limited = done.is_some_and(|((_, template), _)| has_redeem_limit(template));
    if let Some(((stored, template), redemption)) = done {
        if is_limited {
            // What was decided above without a lock is decided again with one.
            script.must(
                "UPDATE coupon_templates SET redeem_count = redeem_count + 1
                 WHERE id = ? AND status = ? AND redeem_count < limit_count",
                [
                    template.id.0.into(),
                    template_status::code(template.status).into(),
                ],
            );
        }
        let entry = Entry {
            action: HistoryAction::Redeem,
            order_id: Some(&order.id),
            reason: None,
            amounts: Amounts::of(redemption),
        };
        change(&mut script, stored, at, session.history_id(at), &[entry]);
    }
    idempotency::remember(
        &mut script,
        idempotency,
        seen.record.as_ref(),
        &outcome,
        now,
    );
    if let Some(((stored, _), _)) = done.filter(|_| !is_limited) {
        count_in_slot(&mut script, &stored.coupon, 1);
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
async fn cancel(
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
    let outcome = coupon::cancel(
        stored.map(|stored| &stored.coupon),
        template,
        request.merchant_id,
        &request.order_id,
        request.reason.clone(),
        at,
    );
    let mut script = Script::default();
    let done = stored.zip(template).zip(outcome.as_ref().ok());
    if let Some(((stored, template), cancellation)) = done {
        let mut entries = vec![Entry {
            action: HistoryAction::CancelRedemption,
            order_id: Some(&request.order_id),
            reason: Some(&request.reason),
            amounts: redeemed_amounts(session, stored).await?.cancelled(),
        }];
        entries.extend(cancellation.aftermath().map(|action| {
            Entry {
                action,
                order_id: None,
                reason: template
                    .discard_reason
                    .as_deref()
                    .filter(|_| action == HistoryAction::Discard),
                amounts: Amounts::default(),
            }
        }));
        change(&mut script, stored, at, session.history_id(at), &entries);
    }
    idempotency::remember(
        &mut script,
        idempotency,
        seen.record.as_ref(),
        &outcome,
        now,
    );
    if let Some(((stored, template), _)) = done {
        if has_redeem_limit(template) {
            script.say(
                "UPDATE coupon_templates SET redeem_count = redeem_count - 1 WHERE id = ?",
                [template.id.0.into()],
            );
        } else {
            count_in_slot(&mut script, &stored.coupon, -1);
        }
    }
    session.together(&script).await?;
    Ok(Outcome::Ran(outcome))
}

/// A user's coupons in whatever state, with their templates: the server stops at the limit. Redemptions in slots are not counted: only a limit matters
/// to who holds a coupon.
pub(crate) fn held_sql() -> String {
    format!(
        "SELECT {COLUMNS}, {} FROM coupons c FORCE INDEX (coupons_by_user)
         JOIN coupon_templates t ON t.id = c.template_id AND t.merchant_id = c.merchant_id
         WHERE c.merchant_id = ? AND c.user_id = ? LIMIT ?",
        template::COLUMNS_BUT_SLOTS,
    )
}

#[async_trait]
impl Coupons for Store {
    async fn held(
        &self,
        merchant: MerchantId,
        user_id: &str,
        most: usize,
    ) -> StoreResult<Option<Vec<HeldCoupon>>> {
        let sql = held_sql();
        let limit = row_limit(most.saturating_add(1));
        let read = |row: &mut Columns| {
            Ok(HeldCoupon {
                coupon: read(row)?.coupon,
                template: Arc::new(template::read(row)?),
            })
        };
        let mut held = self
            .read(|session| Box::pin(session.rows(&sql, (merchant.0, user_id, limit), read)))
            .await?;
        if held.len() > most {
            return Ok(None);
        }
        held.retain(|one: &HeldCoupon| one.coupon.status == CouponStatus::Issued);
        Ok(Some(held))
    }

    async fn redeem(
        &self,
        request: RedeemRequest,
        idempotency: Option<Idempotency<RedeemOutcome>>,
    ) -> StoreResult<Outcome<RedeemOutcome>> {
        let (request, key) = (&request, idempotency.as_ref());
        let mut is_first_try = true;
        let run = self.transact_late(|session| {
            let is_first_try = std::mem::take(&mut is_first_try);
            Box::pin(async move {
                if !is_first_try {
                    session.begin().await?;
                    lock(session, request.coupon_id, Lock::None).await?;
                }
                redeem(session, request, key).await
            })
        });
        self.one_of_a_key(key, run).await
    }

    async fn cancel(
        &self,
        request: CancelRequest,
        idempotency: Option<Idempotency<CancelOutcome>>,
    ) -> StoreResult<Outcome<CancelOutcome>> {
        let (request, key) = (&request, idempotency.as_ref());
        let run = self.transact(|session| {
            Box::pin(async move {
                lock(session, request.coupon_id, Lock::Shared).await?;
                cancel(session, request, key).await
            })
        });
        self.one_of_a_key(key, run).await
    }

    async fn peek(&self, key: [u8; 16], body: [u8; 16]) -> StoreResult<Peek> {
        self.peek_key(key, body).await
    }
}
