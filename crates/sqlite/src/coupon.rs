//! Coupons once they are issued: redemption, cancellation, a user's coupons; and the writing of history entries.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_application::{
    idempotency::{Idempotency, Outcome, Peek},
    ports::{CancelOutcome, CancelRequest, Coupons, RedeemOutcome, RedeemRequest, StoreResult},
};
use goodpon_domain::{
    coupon::{self, Coupon, CouponStatus},
    history::{Amounts, HistoryAction},
    id::{CouponId, HistoryId, MerchantId, TemplateId},
    template::{Owned, Template},
    wallet::HeldCoupon,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    Inner, Store,
    codec::history_action,
    coupon_state::{Change, State, Stored},
    place::Place,
    writer::Tx,
};

/// So many coupons are looked up in a few hundred microseconds at the most, if their pages are in memory.
const FEW_COUPONS: usize = 64;

/// Writes the entries that tell of a coupon's change, and takes notice of its state behind the last of them.
pub(crate) fn change<'a>(
    tx: &mut Tx<'_>,
    stored: &Stored,
    entries: impl IntoIterator<Item = Entry<'a>>,
) -> rusqlite::Result<()> {
    let (mut change, mut order_id) = (stored.change, stored.coupon.order_id.as_deref());
    let mut status = stored.coupon.status;
    for entry in entries {
        status = entry.action.leads_to();
        order_id = entry.order_id.or(order_id);
        let id = tx.history_id();
        change = Some(entry.write(tx, id, change)?);
    }
    if let Some(change) = change {
        let state = State {
            status,
            order_id: order_id.map(Into::into),
            change,
        };
        tx.states.add(stored.coupon.id.to_bytes(), state);
    }
    Ok(())
}

/// A history entry that is about to be written.
pub(crate) struct Entry<'a> {
    action: HistoryAction,
    coupon: &'a Coupon,
    order_id: Option<&'a str>,
    reason: Option<&'a str>,
    amounts: Amounts,
}

impl<'a> Entry<'a> {
    pub(crate) fn new(action: HistoryAction, coupon: &'a Coupon) -> Self {
        Self {
            action,
            coupon,
            order_id: None,
            reason: None,
            amounts: Amounts::default(),
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

    pub(crate) fn amounts(self, amounts: Amounts) -> Self {
        Self { amounts, ..self }
    }

    /// Writes it as of the transaction's instant, behind the coupon's last entry if that is not the ISSUE.
    pub(crate) fn write(
        &self,
        tx: &mut Tx<'_>,
        id: HistoryId,
        behind: Option<Change>,
    ) -> rusqlite::Result<Change> {
        let number = match self.action {
            HistoryAction::Issue => 0,
            _ => behind.map_or(0, |change| change.number) + 1,
        };
        let place = Place::new(tx.now, id.to_bytes());
        tx.connection
            .prepare_cached(
                "INSERT INTO coupon_histories
                 (template_id, recorded_at, id, merchant_id, action, coupon_id, number, previous_at, previous_id, order_id, reason,
                  order_amount, discount_amount)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            )?
            .execute(params![
                self.coupon.template_id.0,
                place.0,
                place.1,
                self.coupon.merchant_id.0,
                history_action::code(self.action),
                self.coupon.id.to_bytes(),
                number,
                behind.map(|change| change.place.0),
                behind.map(|change| change.place.1),
                self.order_id,
                self.reason,
                self.amounts.order,
                self.amounts.discount,
            ])?;
        let Coupon {
            merchant_id,
            template_id,
            ..
        } = *self.coupon;
        tx.activity
            .note(tx.connection, merchant_id, template_id, place.0)?;
        Ok(Change { number, place })
    }
}

/// Loads a coupon and its template as the transaction sees them.
fn load_both(
    tx: &mut Tx<'_>,
    id: CouponId,
) -> rusqlite::Result<(Option<Stored>, Option<Template>)> {
    let stored = tx.states.load(tx.connection, id)?;
    let template = match &stored {
        Some(stored) => tx.template(stored.coupon.template_id)?.cloned(),
        None => None,
    };
    Ok((stored, template))
}

fn redeem(tx: &mut Tx<'_>, request: &RedeemRequest) -> rusqlite::Result<RedeemOutcome> {
    let (found, template) = load_both(tx, request.coupon_id)?;
    let (merchant, order) = (request.merchant_id, &request.order);
    let coupon = found.as_ref().map(|stored| &stored.coupon);
    let outcome = coupon::redeem(coupon, template.as_ref(), merchant, order, tx.now);
    if let (Ok(redemption), Some(stored)) = (&outcome, &found) {
        let entry = Entry::new(HistoryAction::Redeem, &stored.coupon)
            .order(&order.id)
            .amounts(Amounts::of(redemption));
        change(tx, stored, [entry])?;
        if let Some(template) = tx.template(stored.coupon.template_id)? {
            template.redeem_count += 1;
        }
    }
    Ok(outcome)
}

/// The amounts of a coupon's last entry, which in a coupon that is redeemed is its REDEEM.
fn last_amounts(tx: &Tx<'_>, stored: &Stored) -> rusqlite::Result<Amounts> {
    let Some(Change { place, .. }) = stored.change else {
        return Ok(Amounts::default());
    };
    let found = tx
        .connection
        .prepare_cached(
            "SELECT order_amount, discount_amount FROM coupon_histories
             WHERE template_id = ?1 AND recorded_at = ?2 AND id = ?3",
        )?
        .query_row(
            params![stored.coupon.template_id.0, place.0, place.1],
            |row| {
                Ok(Amounts {
                    order: row.get(0)?,
                    discount: row.get(1)?,
                })
            },
        )
        .optional()?;
    // An entry that is missing is damage, which the audit tells.
    Ok(found.unwrap_or_default())
}

fn cancel(tx: &mut Tx<'_>, request: &CancelRequest) -> rusqlite::Result<CancelOutcome> {
    let (found, template) = load_both(tx, request.coupon_id)?;
    let outcome = coupon::cancel(
        found.as_ref().map(|stored| &stored.coupon),
        template.as_ref(),
        request.merchant_id,
        &request.order_id,
        request.reason.clone(),
        tx.now,
    );
    if let (Ok(cancellation), Some(stored)) = (&outcome, &found) {
        let coupon = &stored.coupon;
        let cancelled = Entry::new(HistoryAction::CancelRedemption, coupon)
            .order(&request.order_id)
            .reason(Some(&request.reason))
            .amounts(last_amounts(tx, stored)?.cancelled());
        let aftermath = cancellation.aftermath().map(|action| {
            let discard_reason = template.as_ref().and_then(|t| t.discard_reason.as_deref());
            let reason = discard_reason.filter(|_| action == HistoryAction::Discard);
            Entry::new(action, coupon).reason(reason)
        });
        change(tx, stored, [cancelled].into_iter().chain(aftermath))?;
        if let Some(template) = tx.template(coupon.template_id)? {
            template.redeem_count -= 1;
        }
    }
    Ok(outcome)
}

#[async_trait]
impl Coupons for Store {
    async fn held(
        &self,
        merchant: MerchantId,
        user_id: &str,
        most: usize,
    ) -> StoreResult<Option<Vec<HeldCoupon>>> {
        let (store, user_id) = (self.clone(), user_id.to_owned());
        let read =
            move |connection: &Connection| store.held_at(connection, merchant, &user_id, most);
        match most <= FEW_COUPONS {
            true => self.glance(read).await,
            false => self.scan(read).await,
        }
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
        self.peek_key(key, body).await
    }
}

impl Store {
    /// All coupons that the user ever got of the merchant's.
    pub(crate) fn all_coupons(
        &self,
        connection: &Connection,
        merchant: MerchantId,
        user_id: &str,
    ) -> rusqlite::Result<Vec<Stored>> {
        let Inner {
            waiting_holders,
            waiting_states,
            ..
        } = &*self.inner;
        let ids = waiting_holders.all_of_user(connection, merchant, user_id)?;
        waiting_states.load_all(connection, ids.into_iter().map(CouponId::from_bytes))
    }

    /// See [`Coupons::held`].
    fn held_at(
        &self,
        connection: &Connection,
        merchant: MerchantId,
        user_id: &str,
        most: usize,
    ) -> rusqlite::Result<Option<Vec<HeldCoupon>>> {
        let Inner {
            waiting_holders,
            waiting_states,
            ..
        } = &*self.inner;
        let ids =
            waiting_holders.some_of_user(connection, merchant, user_id, most.saturating_add(1))?;
        if ids.len() > most {
            return Ok(None);
        }
        let ids = ids.into_iter().map(CouponId::from_bytes);
        let mut held = Vec::with_capacity(ids.len());
        for Stored { coupon, .. } in waiting_states.load_all(connection, ids)? {
            if coupon.status != CouponStatus::Issued {
                continue;
            }
            let template = self.template_at(connection, coupon.template_id)?;
            if let Some(template) = template.filter(|one| one.merchant_id == merchant) {
                held.push(HeldCoupon { coupon, template });
            }
        }
        Ok(Some(held))
    }

    /// A template as committed, from memory or by this connection.
    fn template_at(
        &self,
        connection: &Connection,
        id: TemplateId,
    ) -> rusqlite::Result<Option<Arc<Template>>> {
        let cache = &self.inner.templates;
        if let Some(template) = cache.get(id) {
            return Ok(Some(template));
        }
        let generation = cache.generation();
        let read = crate::template::load(connection, id)?.map(Arc::new);
        if let Some(template) = &read {
            cache.offer(generation, template);
        }
        Ok(read)
    }

    /// A template as committed, as far as it is the merchant's.
    pub(crate) async fn find_template(
        &self,
        merchant: MerchantId,
        id: TemplateId,
    ) -> StoreResult<Owned<Arc<Template>>> {
        let found = match self.inner.templates.get(id) {
            Some(template) => Some(template),
            None => {
                let store = self.clone();
                self.read(move |connection| store.template_at(connection, id))
                    .await?
            }
        };
        Ok(match found {
            None => Owned::Absent,
            Some(template) if template.merchant_id != merchant => Owned::Foreign,
            Some(template) => Owned::Mine(template),
        })
    }
}
