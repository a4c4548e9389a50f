//! Coupons once they are issued: redemption, cancellation, a user's coupons; and the writing of history entries.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_application::{
    idempotency::{Idempotency, Outcome, Peek},
    ports::{CancelOutcome, CancelRequest, Coupons, RedeemOutcome, RedeemRequest, StoreResult},
};
use goodpon_domain::{
    coupon::{self, Coupon, CouponStatus},
    history::HistoryAction,
    id::{CouponId, HistoryId, MerchantId, TemplateId},
    template::{Owned, Template},
    wallet::HeldCoupon,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    Store,
    codec::{coupon_id, coupon_status, history_action, micros, optional_timestamp, timestamp},
    trail,
    writer::Tx,
};

/// The columns that [`read`] reads, and then the rest of a query, as one constant.
macro_rules! select_coupons {
    ($rest:literal) => {
        concat!(
            "SELECT id, merchant_id, template_id, user_id, status, issued_at, expires_at, order_id ",
            $rest
        )
    };
}
pub(crate) use select_coupons;

/// Reads a row of [`select_coupons`].
pub(crate) fn read(row: &Row<'_>) -> rusqlite::Result<Coupon> {
    Ok(Coupon {
        id: coupon_id(row, 0)?,
        merchant_id: MerchantId(row.get(1)?),
        template_id: TemplateId(row.get(2)?),
        user_id: row.get(3)?,
        status: coupon_status::read(row, 4)?,
        issued_at: timestamp(row, 5)?,
        expires_at: optional_timestamp(row, 6)?,
        order_id: row.get(7)?,
    })
}

/// What a coupon's row keeps free, in bytes: room for one redemption with an order id of up to 24 bytes.
pub(crate) const ROOM: i64 = 48;

/// The coupon of that id, whosever it is: the domain tells apart what its caller may know.
pub(crate) fn load(connection: &Connection, id: CouponId) -> rusqlite::Result<Option<Coupon>> {
    connection
        .prepare_cached(select_coupons!("FROM coupons WHERE id = ?1"))?
        .query_row([id.to_bytes()], read)
        .optional()
}

/// Writes the state of a coupon, the order of its last redemption and the entries that tell of the change.
pub(crate) fn change_state<'a>(
    tx: &Tx<'_>,
    coupon: &Coupon,
    status: CouponStatus,
    order_id: Option<&str>,
    entries: impl IntoIterator<Item = Entry<'a>>,
) -> rusqlite::Result<()> {
    let mut places = Vec::new();
    for entry in entries {
        let id = tx.history_id();
        entry.write(tx, id)?;
        trail::push(&mut places, tx.now, id);
    }
    // What || makes of blobs counts as text until it is cast back. A size below 0 is one of 0.
    tx.connection
        .prepare_cached(
            "UPDATE coupons SET status = ?2, order_id = ?3, trail = CAST(coalesce(trail, x'') || ?4 AS BLOB),
                 room = zeroblob(?5 - octet_length(coalesce(?3, '')) - octet_length(coalesce(trail, x'') || ?4))
             WHERE id = ?1",
        )?
        .execute(params![
            coupon.id.to_bytes(),
            coupon_status::code(status),
            order_id,
            places,
            ROOM
        ])?;
    Ok(())
}

/// A history entry that is about to be written.
pub(crate) struct Entry<'a> {
    action: HistoryAction,
    coupon: &'a Coupon,
    order_id: Option<&'a str>,
    reason: Option<&'a str>,
}

impl<'a> Entry<'a> {
    pub(crate) fn new(action: HistoryAction, coupon: &'a Coupon) -> Self {
        Self {
            action,
            coupon,
            order_id: None,
            reason: None,
        }
    }

    pub(crate) fn order(self, order_id: &'a str) -> Self {
        Self {
            order_id: Some(order_id),
            ..self
        }
    }

    pub(crate) fn reason(self, reason: Option<&'a str>) -> Self {
        Self { reason, ..self }
    }

    /// Writes it as of the transaction's instant, with nothing in the coupon's trail: [`change_state`] adds that.
    pub(crate) fn write(self, tx: &Tx<'_>, id: HistoryId) -> rusqlite::Result<()> {
        tx.connection
            .prepare_cached(
                "INSERT INTO coupon_histories
                 (template_id, recorded_at, id, merchant_id, action, coupon_id, order_id, reason)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                self.coupon.template_id.0,
                micros(tx.now),
                id.to_bytes(),
                self.coupon.merchant_id.0,
                history_action::code(self.action),
                self.coupon.id.to_bytes(),
                self.order_id,
                self.reason,
            ])?;
        Ok(())
    }
}

/// Loads a coupon and its template as the transaction sees them.
fn load_both(
    tx: &mut Tx<'_>,
    id: CouponId,
) -> rusqlite::Result<(Option<Coupon>, Option<Template>)> {
    let coupon = load(tx.connection, id)?;
    let template = match &coupon {
        Some(coupon) => tx.template(coupon.template_id)?.cloned(),
        None => None,
    };
    Ok((coupon, template))
}

fn redeem(tx: &mut Tx<'_>, request: &RedeemRequest) -> rusqlite::Result<RedeemOutcome> {
    let (found, template) = load_both(tx, request.coupon_id)?;
    let (merchant, order) = (request.merchant_id, &request.order);
    let outcome = coupon::redeem(found.as_ref(), template.as_ref(), merchant, order, tx.now);
    if let (Ok(_), Some(coupon)) = (&outcome, &found) {
        let order_id = Some(order.id.as_str());
        let entry = Entry::new(HistoryAction::Redeem, coupon).order(&order.id);
        change_state(tx, coupon, CouponStatus::Redeemed, order_id, [entry])?;
        if let Some(template) = tx.template(coupon.template_id)? {
            template.redeem_count += 1;
        }
    }
    Ok(outcome)
}

fn cancel(tx: &mut Tx<'_>, request: &CancelRequest) -> rusqlite::Result<CancelOutcome> {
    let (found, template) = load_both(tx, request.coupon_id)?;
    let outcome = coupon::cancel(
        found.as_ref(),
        template.as_ref(),
        request.merchant_id,
        &request.order_id,
        request.reason.clone(),
        tx.now,
    );
    if let (Ok(cancellation), Some(coupon)) = (&outcome, &found) {
        let order_id = Some(request.order_id.as_str());
        let cancelled = Entry::new(HistoryAction::CancelRedemption, coupon)
            .order(&request.order_id)
            .reason(Some(&request.reason));
        let aftermath = cancellation.aftermath().map(|action| {
            let discard_reason = template.as_ref().and_then(|t| t.discard_reason.as_deref());
            let reason = discard_reason.filter(|_| action == HistoryAction::Discard);
            Entry::new(action, coupon).reason(reason)
        });
        let entries = [cancelled].into_iter().chain(aftermath);
        change_state(tx, coupon, cancellation.status, order_id, entries)?;
        if let Some(template) = tx.template(coupon.template_id)? {
            template.redeem_count -= 1;
        }
    }
    Ok(outcome)
}

/// With a join SQLite would prepare the statement anew each time.
pub(crate) const HELD: &str = select_coupons!(
    "FROM coupons WHERE status = 0
     AND id IN (SELECT coupon_id FROM coupon_holders WHERE merchant_id = ?1 AND user_id = ?2)"
);

#[async_trait]
impl Coupons for Store {
    async fn held(&self, merchant: MerchantId, user_id: &str) -> StoreResult<Vec<HeldCoupon>> {
        let waiting = self.inner.waiting_holders.of_user(merchant, user_id);
        let coupons = self.read(|connection| {
            let mut coupons = connection
                .prepare_cached(HELD)?
                .query_map(params![merchant.0, user_id], read)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            for id in waiting.into_iter().map(CouponId::from_bytes) {
                // It may have been entered meanwhile.
                if coupons.iter().all(|coupon| coupon.id != id) {
                    let coupon = load(connection, id)?;
                    coupons.extend(coupon.filter(|coupon| coupon.status == CouponStatus::Issued));
                }
            }
            Ok(coupons)
        })?;
        let mut held = Vec::with_capacity(coupons.len());
        for coupon in coupons {
            if let Owned::Mine(template) = self.find_template(merchant, coupon.template_id)? {
                held.push(HeldCoupon { coupon, template });
            }
        }
        Ok(held)
    }

    async fn redeem(
        &self,
        request: RedeemRequest,
        idempotency: Option<Idempotency<RedeemOutcome>>,
    ) -> StoreResult<Outcome<RedeemOutcome>> {
        self.write_once(idempotency, move |tx| redeem(tx, &request))
            .await
    }

    async fn cancel(
        &self,
        request: CancelRequest,
        idempotency: Option<Idempotency<CancelOutcome>>,
    ) -> StoreResult<Outcome<CancelOutcome>> {
        self.write_once(idempotency, move |tx| cancel(tx, &request))
            .await
    }

    async fn peek(&self, key: [u8; 16], body: [u8; 16]) -> StoreResult<Peek> {
        self.peek_key(key, body)
    }
}

impl Store {
    /// A template as committed, as far as it is the merchant's.
    pub(crate) fn find_template(
        &self,
        merchant: MerchantId,
        id: TemplateId,
    ) -> StoreResult<Owned<Arc<Template>>> {
        let cache = &self.inner.templates;
        let found = match cache.get(id) {
            Some(template) => Some(template),
            None => {
                let generation = cache.generation();
                let read = self.read(|connection| crate::template::load(connection, id))?;
                let read = read.map(Arc::new);
                if let Some(template) = &read {
                    cache.offer(generation, template);
                }
                read
            }
        };
        Ok(match found {
            None => Owned::Absent,
            Some(template) if template.merchant_id != merchant => Owned::Foreign,
            Some(template) => Owned::Mine(template),
        })
    }
}
