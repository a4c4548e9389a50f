//! Settles issued coupons: those past their expiry, and those of discarded templates.
//!
//! A template's coupons expire in the order of their issue, and its history holds their ISSUE entries in that order.
//! So each template has a walk through its history that looks at each coupon once, and what it has passed needs no
//! index to be found: such a coupon is expired, discarded, or redeemed after its end, where a cancellation settles
//! it at once. A coupon that is not yet due stops the walk, also when it is redeemed: a cancellation may give it
//! back. (After a change of the time zone's rules a later coupon may be due before an earlier one. It waits for it.)

use std::sync::LazyLock;

use goodpon_application::ports::StoreResult;
use goodpon_domain::{
    coupon::CouponStatus,
    id::{CouponId, TemplateId},
    ledger::{self as rules, HistoryAction},
    template::TemplateStatus,
};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use crate::{
    codec::{history_action, micros, row_limit, template_status},
    late::coupon_state::Stored,
    ledger,
    position::LedgerPosition,
    store::Store,
    write::{
        tx::Tx,
        walk::{self, Walk},
    },
};

/// The reason for which coupons are settled.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Expire,
    Discard,
}

/// Entries that are read in one query.
const CHUNK: usize = 64;
/// The cost of one write at most: 1 for an entry, and more for a coupon, which may stand on a page of its own.
const BUDGET: usize = 4_000;
const COUPON_COST: usize = 10;
/// Templates of one write at most.
const MOST_TEMPLATES: usize = 256;
/// Writes of one call while they settle nothing, before the turn is given back.
const MOST_IDLE_WRITES: usize = 16;

/// Templates whose next coupon is due, or may be: the time is unknown.
const OPEN_WALKS: &str = "SELECT t.id, w.next_due_at, w.passed_at, w.passed_id
     FROM coupon_templates t LEFT JOIN template_walks w ON w.template_id = t.id
     WHERE w.finished IS NOT 1 AND (w.next_due_at IS NULL OR w.next_due_at <= ?1)";

/// Discarded templates whose walk has not reached its end. The code stands in the text, for SQLite uses a partial index
/// only where the text repeats its condition.
static WITHDRAWN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT t.id FROM coupon_templates t INDEXED BY coupon_templates_discarded
     LEFT JOIN template_walks w ON w.template_id = t.id
     WHERE t.status = {} AND w.finished IS NOT 1 LIMIT ?1",
        template_status::code(TemplateStatus::Discarded)
    )
});

const ENTRIES: &str = "SELECT recorded_at, id, action FROM coupon_histories
     WHERE template_id = ?1 AND (recorded_at, id) > (?2, ?3) AND recorded_at < ?4 ORDER BY recorded_at, id LIMIT ?5";

/// The next entries before `until`. The flag of each is true for an ISSUE.
fn entries(
    connection: &Connection,
    template: TemplateId,
    passed: LedgerPosition,
    until: i64,
) -> rusqlite::Result<Vec<(LedgerPosition, bool)>> {
    connection
        .prepare_cached(ENTRIES)?
        .query_map(
            params![
                template.0,
                passed.micros,
                passed.id,
                until,
                row_limit(CHUNK)
            ],
            |row| {
                let is_issue = history_action::read(row, 2)? == HistoryAction::Issue;
                Ok((LedgerPosition::read(row, 0, 1)?, is_issue))
            },
        )?
        .collect()
}

/// True if a walk has a coupon before it, or a whole chunk of other entries, which is worth a write.
fn has_more(
    connection: &Connection,
    template: TemplateId,
    passed: LedgerPosition,
    until: i64,
) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached(ENTRIES)?;
    let mut rows = statement.query(params![
        template.0,
        passed.micros,
        passed.id,
        until,
        row_limit(CHUNK)
    ])?;
    let mut others = 0;
    while let Some(row) = rows.next()? {
        if history_action::read(row, 2)? == HistoryAction::Issue {
            return Ok(true);
        }
        others += 1;
    }
    Ok(others == CHUNK)
}

/// Templates whose walk can go on. Costs at most a seek a template, and none where the next due time is known.
pub(crate) fn find(
    connection: &Connection,
    purpose: Purpose,
    now: Timestamp,
) -> rusqlite::Result<Vec<TemplateId>> {
    if let Purpose::Discard = purpose {
        return connection
            .prepare_cached(&WITHDRAWN)?
            .query_map([row_limit(MOST_TEMPLATES)], |row| {
                row.get(0).map(TemplateId)
            })?
            .collect();
    }
    let mut statement = connection.prepare_cached(OPEN_WALKS)?;
    let mut rows = statement.query([micros(now)])?;
    let mut found = Vec::new();
    while found.len() < MOST_TEMPLATES
        && let Some(row) = rows.next()?
    {
        let template = TemplateId(row.get(0)?);
        let is_due = row.get::<_, Option<i64>>(1)?.is_some();
        let passed = LedgerPosition::read_optional(row, 2, 3)?.unwrap_or(LedgerPosition::BEGINNING);
        if is_due || has_more(connection, template, passed, micros(now))? {
            found.push(template);
        }
    }
    Ok(found)
}

/// A walk's step over one coupon.
enum Step {
    Pass,
    Settled,
    /// The walk waits for the coupon until this time in microseconds.
    Wait(i64),
}

fn expire(tx: &mut Tx<'_>, stored: &Stored) -> rusqlite::Result<Step> {
    let coupon = &stored.coupon;
    if let Some(posting) = rules::expire(coupon, tx.now) {
        ledger::post(tx, stored, posting)?;
        return Ok(Step::Settled);
    }
    match coupon.status {
        CouponStatus::Expired | CouponStatus::Discarded => Ok(Step::Pass),
        _ if coupon.is_past_expiry(tx.now) => Ok(Step::Pass),
        _ => Ok(Step::Wait(coupon.expires_at.map_or(i64::MAX, micros))),
    }
}

fn discard(tx: &mut Tx<'_>, stored: &Stored, reason: Option<&str>) -> rusqlite::Result<Step> {
    match rules::discard(&stored.coupon, reason) {
        None => Ok(Step::Pass),
        Some(posting) => {
            ledger::post(tx, stored, posting)?;
            Ok(Step::Settled)
        }
    }
}

/// The rest of a batch.
struct Left {
    coupons: usize,
    budget: usize,
}

impl Left {
    fn is_over(&self) -> bool {
        self.coupons == 0 || self.budget == 0
    }

    fn spend(&mut self, cost: usize) {
        self.budget = self.budget.saturating_sub(cost);
    }
}

/// Goes on with a template's walk as far as the batch allows.
fn go_on(
    tx: &mut Tx<'_>,
    purpose: Purpose,
    template: TemplateId,
    left: &mut Left,
) -> rusqlite::Result<()> {
    // After the clock was set back there may be entries of later times: before those, new ones are still to come.
    let (mut until, mut reason) = (micros(tx.now), None);
    if let Purpose::Discard = purpose {
        match tx.template(template)? {
            Some(found) if found.status == TemplateStatus::Discarded => {
                reason = found.discard_reason.clone();
                until = i64::MAX;
            }
            _ => return Ok(()),
        }
    }
    let before = walk::load(tx.connection, template)?;
    let mut walk = Walk {
        next_due_at: None,
        ..before.clone()
    };
    left.spend(COUPON_COST);
    'walk: while !left.is_over() {
        let entries = entries(tx.connection, template, walk.passed, until)?;
        if entries.is_empty() {
            walk.finished |= matches!(purpose, Purpose::Discard);
            break;
        }
        for (position, is_issue) in entries {
            if left.is_over() {
                break 'walk;
            }
            left.spend(if is_issue { COUPON_COST } else { 1 });
            // An ISSUE entry has its coupon's id. A coupon that is missing is damage, which the audit reports.
            let stored = match is_issue {
                true => tx
                    .memory
                    .states
                    .load(tx.connection, CouponId::from_bytes(position.id))?,
                false => None,
            };
            let step = match (&stored, purpose) {
                (None, _) => Step::Pass,
                (Some(stored), Purpose::Expire) => expire(tx, stored)?,
                (Some(stored), Purpose::Discard) => discard(tx, stored, reason.as_deref())?,
            };
            match step {
                Step::Pass => {}
                Step::Settled => left.coupons -= 1,
                Step::Wait(until) => {
                    walk.next_due_at = Some(until);
                    break 'walk;
                }
            }
            walk.passed = position;
        }
    }
    if walk != before {
        walk::store(tx.connection, template, &walk)?;
    }
    Ok(())
}

/// Goes on with the walks of templates, one after the other. Returns how many coupons were settled.
pub(crate) fn settle(
    tx: &mut Tx<'_>,
    purpose: Purpose,
    templates: &[TemplateId],
    limit: usize,
) -> rusqlite::Result<usize> {
    let mut left = Left {
        coupons: limit,
        budget: BUDGET,
    };
    for &template in templates {
        if left.is_over() {
            break;
        }
        go_on(tx, purpose, template, &mut left)?;
    }
    Ok(limit - left.coupons)
}

impl Store {
    /// Settles up to `limit` coupons and returns how many. Returns 1 where it only passed coupons but has more
    /// before it: 0 is the end.
    pub(crate) async fn settle_coupons(
        &self,
        purpose: Purpose,
        limit: usize,
    ) -> StoreResult<usize> {
        if limit == 0 {
            return Ok(0);
        }
        for _ in 0..MOST_IDLE_WRITES {
            let now = self.inner.clock.now();
            let templates = self
                .scan(move |connection| find(connection, purpose, now))
                .await?;
            if templates.is_empty() {
                return Ok(0);
            }
            let settled = self.write(move |tx| settle(tx, purpose, &templates, limit));
            match settled.await? {
                0 => {}
                settled => return Ok(settled),
            }
        }
        Ok(1)
    }
}

#[cfg(test)]
mod tests;
