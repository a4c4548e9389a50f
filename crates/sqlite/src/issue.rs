//! First come, first served, in one transaction.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_application::{
    idempotency::{Idempotency, Outcome, Peek},
    ports::{IssueGate, IssueOutcome, IssueRequest, IssueStanding, StoreResult},
};
use goodpon_domain::{
    coupon::{self, Coupon, CouponStatus, IssueRefusal, Issued},
    id::{HistoryId, MerchantId, TemplateId},
    ledger::{HistoryAction, Transition},
    template::{Owned, Template},
};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::{
    codec::{coupon_status, micros},
    idempotency::Answers,
    late::holder::Holder,
    ledger,
    store::Store,
    write::{published::Published, tx::Tx},
};

/// Decides and writes an issue within the running transaction.
pub(crate) fn issue(tx: &mut Tx<'_>, request: &IssueRequest) -> rusqlite::Result<IssueOutcome> {
    let (now, merchant, template_id) = (tx.now, request.merchant_id, request.template_id);
    let holder = Holder::new(merchant, &request.user_id, template_id);
    let surely_none = tx.filter().surely_has_none(template_id, &request.user_id);
    let is_looked_up = !surely_none || tx.filter().is_check_due();
    let has_one = is_looked_up && tx.memory.holders.find(tx.connection, &holder)?.is_some();
    if has_one && surely_none {
        return Err(refute_filter(tx, template_id));
    }
    if has_one {
        // The filter may not be whole yet. From now on a reader refuses the user.
        tx.filter().add(template_id, &request.user_id);
    }
    let owned = match tx.template(template_id)? {
        None => Owned::Absent,
        Some(template) if template.merchant_id != merchant => Owned::Foreign,
        Some(template) => Owned::Mine(&*template),
    };
    let placed = coupon::check_template(owned, now).and_then(|template| {
        coupon::check_user_and_limit(template, has_one, template.issue_count)?;
        Ok(template.terms.period)
    });
    let period = match placed {
        Ok(period) => period,
        Err(refusal) => return Ok(Err(refusal)),
    };
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
    insert(tx.connection, &coupon)?;
    tx.filter().add(template_id, &request.user_id);
    tx.memory.holders.add(holder, coupon.id.to_bytes());
    // The coupon's id is the entry's too, so that the entry is found by its key among all of the same instant.
    let entry_id = HistoryId::from_bytes(coupon.id.to_bytes());
    let issued = Transition::bare(HistoryAction::Issue);
    let issued = ledger::write(tx, &coupon, &issued, entry_id, None)?;
    tx.memory.states.pass(issued.position);
    if let Some(template) = tx.template(template_id)? {
        template.issue_count += 1;
    }
    Ok(Ok(Issued {
        coupon_id: Some(coupon.id),
    }))
}

/// Gives the filter up: it called a holder new. Nothing of this group is committed; when its requests run again, every user
/// is looked up.
fn refute_filter(tx: &Tx<'_>, template: TemplateId) -> rusqlite::Error {
    tx.filter().refute();
    tracing::error!(
        %template,
        "the filter of holders was wrong: users may have two coupons of a template: run `goodpon verify`; until the next start everybody is looked up"
    );
    rusqlite::Error::ToSqlConversionFailure("the filter of holders was wrong".into())
}

fn insert(connection: &Connection, coupon: &Coupon) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO coupons (id, merchant_id, template_id, user_id, status, issued_at, expires_at, changes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0)",
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
    Ok(())
}

/// A decision from committed state in memory, before the writer is asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Early {
    /// The request is refused, now or for ever.
    Refused(IssueRefusal),
    /// The user may have a coupon; a look-up decides.
    MayHaveOne,
    /// The writer decides.
    Open,
}

/// Decides from a committed template and the filter. A user whom the filter does not know has none of the coupons that the
/// template counts: the filter is filled before their commit, and the template is published after it.
pub(crate) fn refuse_early(
    published: &Published,
    template: &Template,
    user_id: &str,
    now: Timestamp,
) -> Early {
    if let Err(refusal) = coupon::check_template(Owned::Mine(template), now) {
        return Early::Refused(refusal);
    }
    let filter = &published.filter;
    if filter.surely_has_none(template.id, user_id) {
        return match coupon::check_user_and_limit(template, false, template.issue_count) {
            Err(refusal) => Early::Refused(refusal),
            Ok(()) => Early::Open,
        };
    }
    let is_sold_out = template.is_sold_out(template.issue_count);
    match is_sold_out || filter.seems_to_have_one(template.id, user_id) {
        true => Early::MayHaveOne,
        false => Early::Open,
    }
}

impl Store {
    /// Refuses a request without a write, by the committed template or by rows that will never go away.
    async fn refuse_early(&self, request: &IssueRequest) -> StoreResult<Option<IssueRefusal>> {
        let (merchant, id) = (request.merchant_id, request.template_id);
        let template = match self.find_template(merchant, id).await? {
            Owned::Mine(template) => template,
            Owned::Foreign => return Ok(Some(IssueRefusal::NotOwnedByMerchant)),
            Owned::Absent => return Ok(Some(IssueRefusal::TemplateNotFound)),
        };
        let (published, now) = (&self.inner.published, self.inner.clock.now());
        Ok(
            match refuse_early(published, &template, &request.user_id, now) {
                Early::Refused(refusal) => Some(refusal),
                Early::MayHaveOne => {
                    let has_one = self.has_one(merchant, id, &request.user_id).await?;
                    coupon::check_user_and_limit(&template, has_one, template.issue_count).err()
                }
                Early::Open => None,
            },
        )
    }

    /// True if the user has, or had, a coupon of the template.
    async fn has_one(
        &self,
        merchant: MerchantId,
        template: TemplateId,
        user_id: &str,
    ) -> StoreResult<bool> {
        if self.inner.known_holders.contains(template, user_id) {
            return Ok(true);
        }
        let holder = Holder::new(merchant, user_id, template);
        let store = self.clone();
        let find =
            move |connection: &Connection| store.inner.published.holders.find(connection, &holder);
        let has_one = self.glance(find).await?.is_some();
        if has_one {
            self.inner.known_holders.add(template, user_id);
        }
        Ok(has_one)
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
            && let Some(refusal) = self.refuse_early(&request).await?
        {
            return Ok(Outcome::Ran(Err(refusal)));
        }
        self.write_once(idempotency, Answers::Common, move |tx| issue(tx, &request))
            .await
    }

    async fn standing(
        &self,
        template: &Arc<Template>,
        user_id: Option<&str>,
    ) -> StoreResult<IssueStanding> {
        let user_has_one = match user_id {
            None => false,
            Some(user_id) => {
                self.has_one(template.merchant_id, template.id, user_id)
                    .await?
            }
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

    async fn peek(
        &self,
        _: TemplateId,
        idempotency: &Idempotency<IssueOutcome>,
    ) -> StoreResult<Peek> {
        self.peek_key(idempotency.key, idempotency.body).await
    }
}
