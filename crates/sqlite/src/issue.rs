//! First come, first served, in one transaction.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use goodpon_application::{
    idempotency::{Idempotency, Outcome, Peek},
    ports::{IssueGate, IssueOutcome, IssueRequest, IssueStanding, StoreResult},
};
use goodpon_domain::{
    coupon::{self, Coupon, CouponStatus, IssueRefusal},
    history::HistoryAction,
    id::{HistoryId, MerchantId, TemplateId},
    template::{Owned, Template},
};
use rusqlite::{Connection, params};

use crate::{
    Store,
    codec::{coupon_status, micros},
    coupon::Entry,
    writer::Tx,
};

/// A hint, never the truth: whether a user got a coupon of a template lately. It tells which requests are worth a
/// look at the committed rows before they bother the writer.
pub(crate) struct RecentUsers {
    hasher: RandomState,
    slots: Vec<AtomicU64>,
}

const SLOTS: usize = 1 << 20;

impl Default for RecentUsers {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl RecentUsers {
    fn slot(&self, template: TemplateId, user_id: &str) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one((template, user_id));
        (&self.slots[hash as usize % SLOTS], hash)
    }

    fn note(&self, template: TemplateId, user_id: &str) {
        let (slot, hash) = self.slot(template, user_id);
        slot.store(hash, Ordering::Relaxed);
    }

    fn may_have_one(&self, template: TemplateId, user_id: &str) -> bool {
        let (slot, hash) = self.slot(template, user_id);
        slot.load(Ordering::Relaxed) == hash
    }
}

/// Whether the user has, or had, a coupon of the template.
fn has_one(
    connection: &Connection,
    merchant: MerchantId,
    template: TemplateId,
    user_id: &str,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT 1 FROM coupons WHERE merchant_id = ?1 AND user_id = ?2 AND template_id = ?3",
        )?
        .exists(params![merchant.0, user_id, template.0])
}

/// Decides and writes an issue within the running transaction.
fn issue(tx: &mut Tx<'_>, request: &IssueRequest) -> rusqlite::Result<IssueOutcome> {
    let (now, merchant, template_id) = (tx.now, request.merchant_id, request.template_id);
    let owned = match tx.template(template_id)? {
        None => Owned::Absent,
        Some(template) if template.merchant_id != merchant => Owned::Foreign,
        Some(template) => Owned::Mine(&*template),
    };
    let template = match coupon::admit(owned, now) {
        Ok(template) => template,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Err(refusal) = coupon::take_place(template, false, template.issue_count) {
        let has_one = has_one(tx.connection, merchant, template_id, &request.user_id)?;
        return Ok(Err(if has_one {
            IssueRefusal::AlreadyIssued
        } else {
            refusal
        }));
    }
    let period = template.terms.period;
    let coupon = Coupon {
        id: tx.coupon_id(),
        merchant_id: merchant,
        template_id,
        user_id: request.user_id.clone(),
        status: CouponStatus::Issued,
        issued_at: now,
        expires_at: period.expiry(now, tx.zone()),
        order_id: None,
    };
    let inserted = insert(tx.connection, &coupon)?;
    tx.recent().note(template_id, &request.user_id);
    if !inserted {
        return Ok(Err(IssueRefusal::AlreadyIssued));
    }
    // The coupon's id serves as the entry's too: so the entry is found by its key, however many share the instant.
    let entry_id = HistoryId::from_bytes(coupon.id.to_bytes());
    Entry::new(HistoryAction::Issue, &coupon).write(tx, entry_id)?;
    if let Some(template) = tx.template(template_id)? {
        template.issue_count += 1;
    }
    Ok(Ok(()))
}

/// Inserts a coupon unless its user has one: the UNIQUE index is what decides.
fn insert(connection: &Connection, coupon: &Coupon) -> rusqlite::Result<bool> {
    let rows = connection
        .prepare_cached(
            "INSERT INTO coupons (id, merchant_id, template_id, user_id, status, issued_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (merchant_id, user_id, template_id) DO NOTHING",
        )?
        .execute(params![
            coupon.id.to_bytes(),
            coupon.merchant_id.0,
            coupon.template_id.0,
            coupon.user_id,
            coupon_status::code(coupon.status),
            micros(coupon.issued_at),
            coupon.expires_at.map(micros),
        ])?;
    Ok(rows == 1)
}

impl Store {
    /// A refusal that needs no write: the template as committed tells it, or rows that will never go away.
    fn refuse_early(&self, request: &IssueRequest) -> StoreResult<Option<IssueRefusal>> {
        let (merchant, id) = (request.merchant_id, request.template_id);
        let template = match self.find_template(merchant, id)? {
            Owned::Mine(template) => template,
            Owned::Foreign => return Ok(Some(IssueRefusal::NotOwnedByMerchant)),
            Owned::Absent => return Ok(Some(IssueRefusal::TemplateNotFound)),
        };
        let admitted = coupon::admit(Owned::Mine(&template), self.inner.clock.now());
        if let Err(refusal) = admitted {
            return Ok(Some(refusal));
        }
        let sold_out = template.is_sold_out(template.issue_count);
        if !sold_out && !self.inner.recent.may_have_one(id, &request.user_id) {
            return Ok(None);
        }
        let has_one =
            self.read(|connection| has_one(connection, merchant, id, &request.user_id))?;
        Ok(coupon::take_place(&template, has_one, template.issue_count).err())
    }
}

#[async_trait]
impl IssueGate for Store {
    async fn issue(
        &self,
        request: IssueRequest,
        idempotency: Option<Idempotency<IssueOutcome>>,
    ) -> StoreResult<Outcome<IssueOutcome>> {
        // With a key the refusal must be remembered, so it goes to the writer.
        if idempotency.is_none()
            && let Some(refusal) = self.refuse_early(&request)?
        {
            return Ok(Outcome::Ran(Err(refusal)));
        }
        self.write_once(idempotency, move |tx| issue(tx, &request))
            .await
    }

    async fn standing(
        &self,
        template: &Arc<Template>,
        user_id: Option<&str>,
    ) -> StoreResult<IssueStanding> {
        let user_has_one = match user_id {
            None => false,
            Some(user_id) => self.read(|connection| {
                has_one(connection, template.merchant_id, template.id, user_id)
            })?,
        };
        Ok(IssueStanding {
            issue_count: template.issue_count,
            user_has_one,
        })
    }

    async fn issue_counts(&self, templates: &[Arc<Template>]) -> StoreResult<Vec<i64>> {
        Ok(templates
            .iter()
            .map(|template| template.issue_count)
            .collect())
    }

    async fn peek(&self, idempotency: &Idempotency<IssueOutcome>) -> StoreResult<Peek> {
        self.peek_key(idempotency.key, idempotency.body)
    }
}
