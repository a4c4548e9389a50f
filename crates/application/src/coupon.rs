//! The use cases of shops: issue, redemption, cancellation and lists of coupons (contract §3).

use std::sync::Arc;

use goodpon_domain::{
    coupon::{self, IssuanceStatus},
    id::{MerchantId, TemplateId},
    template::{Owned, Template, TemplateStatus},
    wallet::{self, HeldCoupon},
};

use crate::{
    App, Failure,
    idempotency::{Idempotency, Outcome, Peek},
    metric,
    ports::{
        CancelOutcome, CancelRequest, IssueOutcome, IssueRequest, RedeemOutcome, RedeemRequest,
        StoreResult,
    },
    turns::{Tenant, WideRead},
};

/// The merchant has no such template, or it is not issuable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateNotFound;

/// A template as it is shown to one of the shop's users.
#[derive(Debug, Clone)]
pub struct TemplateForUser {
    /// The template.
    pub template: Arc<Template>,
    /// The number of coupons ever accepted; scaled out it may be ahead of the template's own count.
    pub issue_count: i64,
    /// The answer to whether the user could be issued a coupon now.
    pub issuance_status: IssuanceStatus,
}

/// Returns a published template with its issuance status, for a user if one is given.
pub async fn template_for_user(
    app: &App,
    merchant: MerchantId,
    id: TemplateId,
    user_id: Option<&str>,
) -> Result<TemplateForUser, Failure<TemplateNotFound>> {
    let now = app.clock.now();
    let template = match app.stores.templates.find(merchant, id).await? {
        Owned::Mine(template) if template.status_at(now) == TemplateStatus::Issuable => template,
        _ => return Err(Failure::Refused(TemplateNotFound)),
    };
    let standing = app.stores.gate.standing(&template, user_id).await?;
    let issuance_status =
        coupon::issuance_status(&template, standing.user_has_one, standing.issue_count, now);
    Ok(TemplateForUser {
        template,
        issue_count: standing.issue_count,
        issuance_status,
    })
}

/// Issues a coupon, first come, first served, and counts the outcome in the metrics.
pub async fn issue(
    app: &App,
    request: IssueRequest,
    idempotency: Option<Idempotency<IssueOutcome>>,
) -> StoreResult<Outcome<IssueOutcome>> {
    let outcome = app.stores.gate.issue(request, idempotency).await;
    outcome.inspect(metric::count_issue)
}

/// Looks the key up without issuing; used when the request is malformed. `template` is `None` if its id is malformed.
pub async fn peek_issue(
    app: &App,
    template: Option<TemplateId>,
    idempotency: Option<&Idempotency<IssueOutcome>>,
) -> StoreResult<Peek> {
    match idempotency {
        None => Ok(Peek::Free),
        // A malformed id matches no template: the key is looked up under id 0.
        Some(idempotency) => {
            let template = template.unwrap_or(TemplateId(0));
            app.stores.gate.peek(template, idempotency).await
        }
    }
}

/// Looks the key of a redemption or cancellation up without running it; used when the request is malformed.
pub async fn peek<T>(app: &App, idempotency: Option<&Idempotency<T>>) -> StoreResult<Peek> {
    match idempotency {
        None => Ok(Peek::Free),
        Some(one) => app.stores.coupons.peek(one.key, one.body).await,
    }
}

/// The most coupons that are read without a turn; for a user who has more, the read waits for the merchant's turn.
const MAX_COUPONS_WITHOUT_TURN: usize = 64;

async fn held(app: &App, merchant: MerchantId, user_id: &str) -> StoreResult<WideRead<HeldCoupon>> {
    let few = app
        .stores
        .coupons
        .held(merchant, user_id, MAX_COUPONS_WITHOUT_TURN)
        .await?;
    if let Some(few) = few {
        return Ok(WideRead::without_turn(few));
    }
    let turn = app.turns.take(Tenant::Merchant(merchant)).await?;
    let all = app
        .stores
        .coupons
        .held(merchant, user_id, usize::MAX)
        .await?;
    Ok(WideRead::in_turn(all.unwrap_or_default(), turn))
}

/// Lists the coupons in the user's hand, in the contract's order.
pub async fn in_hand(
    app: &App,
    merchant: MerchantId,
    user_id: &str,
) -> StoreResult<WideRead<HeldCoupon>> {
    let held = held(app, merchant, user_id).await?;
    let now = app.clock.now();
    Ok(held.map(|held| wallet::in_hand(held, now)))
}

/// Lists the user's coupons that can be redeemed, in the contract's order for an order of `order_amount`.
pub async fn available(
    app: &App,
    merchant: MerchantId,
    user_id: &str,
    order_amount: i64,
) -> StoreResult<WideRead<HeldCoupon>> {
    let held = held(app, merchant, user_id).await?;
    let now = app.clock.now();
    Ok(held.map(|held| wallet::available(held, order_amount, now)))
}

/// Redeems a coupon for an order.
pub async fn redeem(
    app: &App,
    request: RedeemRequest,
    idempotency: Option<Idempotency<RedeemOutcome>>,
) -> StoreResult<Outcome<RedeemOutcome>> {
    let outcome = app.stores.coupons.redeem(request, idempotency).await;
    outcome.inspect(metric::count_redemption)
}

/// Cancels a redemption.
pub async fn cancel(
    app: &App,
    request: CancelRequest,
    idempotency: Option<Idempotency<CancelOutcome>>,
) -> StoreResult<Outcome<CancelOutcome>> {
    let outcome = app.stores.coupons.cancel(request, idempotency).await;
    outcome.inspect(metric::count_cancellation)
}
