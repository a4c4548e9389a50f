//! Coupons once they are issued.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_application::{
    idempotency::{Idempotency, Outcome, Peek},
    ports::{CancelOutcome, CancelRequest, Coupons, RedeemOutcome, RedeemRequest, StoreResult},
};
use goodpon_domain::{coupon::CouponStatus, id::MerchantId, wallet::HeldCoupon};

use crate::{
    Store, codec::row_limit, columns::Columns, coupon_state, lock::Lock, redemption, template_row,
};

/// Selects a user's coupons of any state, with their templates. Redemptions that are counted in slots are left out of the
/// templates' counts: they matter only to templates with a limit, which have none.
pub(crate) fn held_sql() -> String {
    format!(
        "SELECT {}, {} FROM coupons c FORCE INDEX (coupons_by_user)
         JOIN coupon_templates t ON t.id = c.template_id AND t.merchant_id = c.merchant_id
         WHERE c.merchant_id = ? AND c.user_id = ? LIMIT ?",
        coupon_state::COLUMNS,
        template_row::COLUMNS_BUT_SLOTS,
    )
}

#[async_trait]
impl Coupons for Store {
    async fn held(
        &self,
        merchant: MerchantId,
        user_id: &str,
        max: usize,
    ) -> StoreResult<Option<Vec<HeldCoupon>>> {
        let sql = held_sql();
        let limit = row_limit(max.saturating_add(1));
        let read = |row: &mut Columns| {
            Ok(HeldCoupon {
                coupon: coupon_state::read(row)?.coupon,
                template: Arc::new(template_row::read(row)?),
            })
        };
        let mut held = self
            .read(|session| Box::pin(session.rows(&sql, (merchant.0, user_id, limit), read)))
            .await?;
        if held.len() > max {
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
                    redemption::lock(session, request.coupon_id, Lock::None).await?;
                }
                redemption::redeem(session, request, key).await
            })
        });
        self.run_with_key(key, run).await
    }

    async fn cancel(
        &self,
        request: CancelRequest,
        idempotency: Option<Idempotency<CancelOutcome>>,
    ) -> StoreResult<Outcome<CancelOutcome>> {
        let (request, key) = (&request, idempotency.as_ref());
        let run = self.transact(|session| {
            Box::pin(async move {
                redemption::lock(session, request.coupon_id, Lock::Shared).await?;
                redemption::cancel(session, request, key).await
            })
        });
        self.run_with_key(key, run).await
    }

    async fn peek(&self, key: [u8; 16], body: [u8; 16]) -> StoreResult<Peek> {
        self.peek_key(key, body).await
    }
}
