//! Issues of coupons, first come, first served.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_domain::{
    coupon::IssueOutcome,
    id::{MerchantId, TemplateId},
    template::Template,
};

use super::StoreResult;
use crate::idempotency::{Idempotency, Outcome, Peek};

/// A request to issue a coupon.
#[derive(Debug, Clone)]
pub struct IssueRequest {
    /// The merchant whose shop asks.
    pub merchant_id: MerchantId,
    /// The template.
    pub template_id: TemplateId,
    /// The user who is to get the coupon.
    pub user_id: String,
}

/// The issues of a template so far, as one user sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssueStanding {
    /// The number of coupons ever accepted.
    pub issue_count: i64,
    /// True if one of them is the user's.
    pub user_has_one: bool,
}

/// Issues coupons, first come, first served: exact under any concurrency and across any crash.
#[async_trait]
pub trait IssueGate: Send + Sync {
    /// Issues a coupon. A success is durable before it is answered. With an idempotency key, the answer is stored in one
    /// transaction with the effect.
    async fn issue(
        &self,
        request: IssueRequest,
        idempotency: Option<Idempotency<IssueOutcome>>,
    ) -> StoreResult<Outcome<IssueOutcome>>;
    /// Returns the issues of `template` so far; without a user, `user_has_one` is false.
    async fn standing(
        &self,
        template: &Arc<Template>,
        user_id: Option<&str>,
    ) -> StoreResult<IssueStanding>;
    /// Returns the number of coupons ever accepted of each of these templates, in their order.
    async fn issue_counts(&self, templates: &[Arc<Template>]) -> StoreResult<Vec<i64>>;
    /// Looks the idempotency key of an issue of `template` up; changes nothing.
    async fn peek(
        &self,
        template: TemplateId,
        idempotency: &Idempotency<IssueOutcome>,
    ) -> StoreResult<Peek>;
}
