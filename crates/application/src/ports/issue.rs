//! First come, first served.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_domain::{
    coupon::IssueOutcome,
    id::{MerchantId, TemplateId},
    template::Template,
};

use super::StoreResult;
use crate::idempotency::{Idempotency, Outcome, Peek};

/// A wish for a coupon.
#[derive(Debug, Clone)]
pub struct IssueRequest {
    /// Whose shop asks.
    pub merchant_id: MerchantId,
    /// Of which template.
    pub template_id: TemplateId,
    /// For whom.
    pub user_id: String,
}

/// How a template's issue stands for one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssueStanding {
    /// All ever accepted.
    pub issue_count: i64,
    /// Whether this user is among them.
    pub user_has_one: bool,
}

/// First come, first served: exact under any concurrency and across any crash.
#[async_trait]
pub trait IssueGate: Send + Sync {
    /// Issues a coupon. A success is durable when it is answered. With an idempotency key, the answer
    /// is remembered as one with the effect.
    async fn issue(
        &self,
        request: IssueRequest,
        idempotency: Option<Idempotency<IssueOutcome>>,
    ) -> StoreResult<Outcome<IssueOutcome>>;
    /// How the issue of `template` stands, for `user_id` if there is one.
    async fn standing(
        &self,
        template: &Arc<Template>,
        user_id: Option<&str>,
    ) -> StoreResult<IssueStanding>;
    /// How many coupons were ever accepted of each of these templates, in their order.
    async fn issue_counts(&self, templates: &[Arc<Template>]) -> StoreResult<Vec<i64>>;
    /// What is known of the idempotency key of an issue of `template`, changing nothing.
    async fn peek(
        &self,
        template: TemplateId,
        idempotency: &Idempotency<IssueOutcome>,
    ) -> StoreResult<Peek>;
}
