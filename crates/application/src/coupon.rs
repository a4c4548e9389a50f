//! What shops do with coupons (contract §3).

use std::sync::Arc;

use goodpon_domain::{
    coupon::{self, IssuanceStatus, IssueRefusal},
    id::{MerchantId, TemplateId},
    template::{Owned, Template, TemplateStatus},
    wallet::{self, HeldCoupon},
};

use crate::{
    App, Failure,
    idempotency::{Idempotency, Outcome, Peek},
    ports::{
        CancelOutcome, CancelRequest, IssueOutcome, IssueRequest, RedeemOutcome, RedeemRequest,
        StoreResult,
    },
    turns::{Tenant, Wide},
};

/// There is no such template that is issuable and the merchant's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemplateNotFound;

/// A template as one of the shop's users sees it.
#[derive(Debug, Clone)]
pub struct TemplateForUser {
    /// The template.
    pub template: Arc<Template>,
    /// All coupons ever accepted.
    pub issue_count: i64,
    /// Whether the user could get one now.
    pub issuance_status: IssuanceStatus,
}

/// Shows a published template to a user, or to nobody in particular.
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

/// Issues a coupon, first come, first served.
pub async fn issue(
    app: &App,
    request: IssueRequest,
    idempotency: Option<Idempotency<IssueOutcome>>,
) -> StoreResult<Outcome<IssueOutcome>> {
    let outcome = app.stores.gate.issue(request, idempotency).await;
    outcome.inspect(count_issue)
}

/// Counts an issue that ran now; replays are no issues.
fn count_issue(outcome: &Outcome<IssueOutcome>) {
    let Outcome::Ran(outcome) = outcome else {
        return;
    };
    let outcome = match outcome {
        Ok(()) => "issued",
        Err(IssueRefusal::TemplateNotFound) => "not_found",
        Err(IssueRefusal::NotOwnedByMerchant) => "not_owned",
        Err(IssueRefusal::NotIssuablePeriod) => "period",
        Err(IssueRefusal::NotIssuable) => "not_issuable",
        Err(IssueRefusal::AlreadyIssued) => "already_issued",
        Err(IssueRefusal::SoldOut) => "sold_out",
    };
    metrics::counter!("goodpon_issue_total", "outcome" => outcome).increment(1);
}

/// Returns what is known of the key of an issue that cannot run, for its request is malformed. `template` is `None`
/// where its id is.
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

/// Returns what is known of the key of a redemption or cancellation that cannot run, for its request is malformed.
pub async fn peek<T>(app: &App, idempotency: Option<&Idempotency<T>>) -> StoreResult<Peek> {
    match idempotency {
        None => Ok(Peek::Free),
        Some(one) => app.stores.coupons.peek(one.key, one.body).await,
    }
}

/// A user with more coupons than that is read within a turn of the merchant's.
const FEW_COUPONS: usize = 64;

async fn held(app: &App, merchant: MerchantId, user_id: &str) -> StoreResult<Wide<HeldCoupon>> {
    let few = app
        .stores
        .coupons
        .held(merchant, user_id, FEW_COUPONS)
        .await?;
    if let Some(few) = few {
        return Ok(Wide::small(few));
    }
    let turn = app.turns.take(Tenant::Merchant(merchant)).await?;
    let all = app
        .stores
        .coupons
        .held(merchant, user_id, usize::MAX)
        .await?;
    Ok(Wide::of(all.unwrap_or_default(), turn))
}

/// The user's coupons in hand, in the contract's order.
pub async fn in_hand(
    app: &App,
    merchant: MerchantId,
    user_id: &str,
) -> StoreResult<Wide<HeldCoupon>> {
    let held = held(app, merchant, user_id).await?;
    let now = app.clock.now();
    Ok(held.map(|held| wallet::in_hand(held, now)))
}

/// The user's coupons that can be redeemed, for an order of that amount, in the contract's order.
pub async fn available(
    app: &App,
    merchant: MerchantId,
    user_id: &str,
    order_amount: i64,
) -> StoreResult<Wide<HeldCoupon>> {
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
    app.stores.coupons.redeem(request, idempotency).await
}

/// Cancels a redemption.
pub async fn cancel(
    app: &App,
    request: CancelRequest,
    idempotency: Option<Idempotency<CancelOutcome>>,
) -> StoreResult<Outcome<CancelOutcome>> {
    app.stores.coupons.cancel(request, idempotency).await
}
