//! A gate for tests: an issue is one transaction that locks its template's row. It writes the same rows as the scaled-out
//! issue path, so the laws of the other ports can be tested without Valkey and Kafka.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_application::{
    idempotency::{Idempotency, Outcome, Peek},
    ports::{IssueGate, IssueOutcome, IssueRequest, IssueStanding, StoreResult},
};
use goodpon_domain::{
    coupon::{self, Coupon, CouponStatus, Issued},
    id::{CouponId, TemplateId},
    template::{Owned, Template},
};

use crate::{
    Store, codec::micros, fault::Result, idempotency, lock::Lock, script::Script, session::Session,
    template_row,
};

/// Issues coupons directly in the database.
pub(crate) struct DirectGate(pub(crate) Store);

async fn user_has_one(session: &mut Session<'_>, template: TemplateId, user: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM coupons WHERE template_id = ? AND user_id = ?";
    let found = session
        .first(sql, (template.0, user), |row| row.read::<i64>())
        .await?;
    Ok(found.is_some())
}

async fn issue(
    session: &mut Session<'_>,
    store: &Store,
    request: &IssueRequest,
    key: Option<&Idempotency<IssueOutcome>>,
) -> Result<Outcome<IssueOutcome>> {
    let template = template_row::load(session, request.template_id, Lock::Exclusive).await?;
    let stored = match key {
        Some(key) => idempotency::find(session, key.key).await?,
        None => None,
    };
    let now = session.now;
    if let Some(outcome) = idempotency::recall(stored.as_ref(), key, now) {
        return Ok(outcome);
    }
    let has_one = user_has_one(session, request.template_id, &request.user_id).await?;
    let owned = match &template {
        None => Owned::Absent,
        Some(template) if template.merchant_id != request.merchant_id => Owned::Foreign,
        Some(template) => Owned::Mine(template),
    };
    let placed = coupon::check_template(owned, now).and_then(|template| {
        coupon::check_user_and_limit(template, has_one, template.issue_count)?;
        Ok(template.terms.period)
    });
    let mut script = Script::default();
    let outcome = placed.map(|period| {
        let coupon = Coupon {
            id: CouponId::new(now, store.random_u64()),
            merchant_id: request.merchant_id,
            template_id: request.template_id,
            user_id: request.user_id.clone(),
            status: CouponStatus::Issued,
            issued_at: now,
            expires_at: period.expiry(now, &store.inner.zone),
            order_id: None,
        };
        insert(&mut script, &coupon);
        Issued {
            coupon_id: Some(coupon.id),
        }
    });
    idempotency::remember(&mut script, key, stored.as_ref(), &outcome, now);
    session.run_script(&script).await?;
    Ok(Outcome::Ran(outcome))
}

/// Adds to `script` the statements that write the coupon, its ISSUE entry and its template's count.
pub(crate) fn insert(script: &mut Script, coupon: &Coupon) {
    let (id, issued_at) = (coupon.id.to_bytes(), micros(coupon.issued_at).into());
    let expires_at = coupon.expires_at.map(micros);
    script.add(
        "INSERT INTO coupons (id, merchant_id, template_id, user_id, status, issued_at, expires_at, changed_at)
         VALUES (?, ?, ?, ?, 0, ?, ?, ?)",
        [
            (&id).into(),
            coupon.merchant_id.0.into(),
            coupon.template_id.0.into(),
            coupon.user_id.as_str().into(),
            issued_at,
            expires_at.into(),
            issued_at,
        ],
    );
    script.add(
        "INSERT INTO coupon_histories (merchant_id, recorded_at, id, template_id, action, coupon_id)
         VALUES (?, ?, ?, ?, 0, ?)",
        [
            coupon.merchant_id.0.into(),
            issued_at,
            (&id).into(),
            coupon.template_id.0.into(),
            (&id).into(),
        ],
    );
    script.add_must_change(
        "UPDATE coupon_templates SET issue_count = issue_count + 1 WHERE id = ?",
        [coupon.template_id.0.into()],
    );
}

#[async_trait]
impl IssueGate for DirectGate {
    async fn issue(
        &self,
        request: IssueRequest,
        idempotency: Option<Idempotency<IssueOutcome>>,
    ) -> StoreResult<Outcome<IssueOutcome>> {
        let (store, request, key) = (&self.0, &request, idempotency.as_ref());
        let run = store.transact(|session| Box::pin(issue(session, store, request, key)));
        store.run_with_key(key, run).await
    }

    async fn standing(
        &self,
        template: &Arc<Template>,
        user_id: Option<&str>,
    ) -> StoreResult<IssueStanding> {
        let issue_count = self.issue_counts(std::slice::from_ref(template)).await?[0];
        let user_has_one = match user_id {
            Some(user) => {
                let id = template.id;
                self.0
                    .read(|session| Box::pin(user_has_one(session, id, user)))
                    .await?
            }
            None => false,
        };
        Ok(IssueStanding {
            issue_count,
            user_has_one,
        })
    }

    async fn issue_counts(&self, templates: &[Arc<Template>]) -> StoreResult<Vec<i64>> {
        let ids: Vec<TemplateId> = templates.iter().map(|template| template.id).collect();
        self.0.written_counts(&ids).await
    }

    async fn peek(
        &self,
        _: TemplateId,
        idempotency: &Idempotency<IssueOutcome>,
    ) -> StoreResult<Peek> {
        self.0.peek_key(idempotency.key, idempotency.body).await
    }
}
