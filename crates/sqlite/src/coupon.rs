//! Coupons once they are issued.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_application::{
    idempotency::{Idempotency, Outcome, Peek},
    ports::{CancelOutcome, CancelRequest, Coupons, RedeemOutcome, RedeemRequest, StoreResult},
};
use goodpon_domain::{
    coupon::CouponStatus,
    id::{CouponId, MerchantId, TemplateId},
    template::{Owned, Template},
    wallet::HeldCoupon,
};
use rusqlite::Connection;

use crate::{
    idempotency::Answers, late::coupon_state::Stored, redemption, store::Store,
    write::published::Published,
};

/// Coupons whose look-up takes at most a few hundred microseconds if their pages are in memory.
const FEW_COUPONS: usize = 64;

#[async_trait]
impl Coupons for Store {
    async fn held(
        &self,
        merchant: MerchantId,
        user_id: &str,
        most: usize,
    ) -> StoreResult<Option<Vec<HeldCoupon>>> {
        let (published, user_id) = (Arc::clone(&self.inner.published), user_id.to_owned());
        let read =
            move |connection: &Connection| published.held_at(connection, merchant, &user_id, most);
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
        self.write_once(idempotency, Answers::Own, move |tx| {
            redemption::redeem(tx, &request)
        })
        .await
    }

    async fn cancel(
        &self,
        request: CancelRequest,
        idempotency: Option<Idempotency<CancelOutcome>>,
    ) -> StoreResult<Outcome<CancelOutcome>> {
        self.write_once(idempotency, Answers::Own, move |tx| {
            redemption::cancel(tx, &request)
        })
        .await
    }

    async fn peek(&self, key: [u8; 16], body: [u8; 16]) -> StoreResult<Peek> {
        self.peek_key(key, body).await
    }
}

impl Published {
    /// All coupons of the merchant that the user ever got.
    pub(crate) fn all_coupons(
        &self,
        connection: &Connection,
        merchant: MerchantId,
        user_id: &str,
    ) -> rusqlite::Result<Vec<Stored>> {
        let ids = self.holders.all_of_user(connection, merchant, user_id)?;
        self.states
            .load_all(connection, ids.into_iter().map(CouponId::from_bytes))
    }

    /// See [`Coupons::held`].
    fn held_at(
        &self,
        connection: &Connection,
        merchant: MerchantId,
        user_id: &str,
        most: usize,
    ) -> rusqlite::Result<Option<Vec<HeldCoupon>>> {
        let ids =
            self.holders
                .some_of_user(connection, merchant, user_id, most.saturating_add(1))?;
        if ids.len() > most {
            return Ok(None);
        }
        let ids = ids.into_iter().map(CouponId::from_bytes);
        let mut held = Vec::with_capacity(ids.len());
        for Stored { coupon, .. } in self.states.load_all(connection, ids)? {
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

    /// A committed template, from memory or by this connection.
    pub(crate) fn template_at(
        &self,
        connection: &Connection,
        id: TemplateId,
    ) -> rusqlite::Result<Option<Arc<Template>>> {
        let cache = &self.templates;
        if let Some(template) = cache.get(id) {
            return Ok(Some(template));
        }
        let generation = cache.generation();
        let read = crate::template_row::load(connection, id)?.map(Arc::new);
        if let Some(template) = &read {
            cache.offer(generation, template);
        }
        Ok(read)
    }
}

impl Store {
    /// A committed template, if it is the merchant's.
    pub(crate) async fn find_template(
        &self,
        merchant: MerchantId,
        id: TemplateId,
    ) -> StoreResult<Owned<Arc<Template>>> {
        let found = match self.inner.published.templates.get(id) {
            Some(template) => Some(template),
            None => {
                let published = Arc::clone(&self.inner.published);
                self.read(move |connection| published.template_at(connection, id))
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
