//! Recomputes what the store holds from coupons and their ledger, in one snapshot.
//!
//! Nothing derived is trusted: counters are counted anew, and each coupon's state is replayed from its entries. Coupons
//! and entries are read side by side in the order of the coupons' ids, page by page: memory grows with the number of
//! templates only.

use std::collections::{HashMap, VecDeque};

use goodpon_application::{
    audit::{self},
    ports::Difference,
};
use goodpon_domain::{
    coupon::{Coupon, CouponStatus},
    id::{CouponId, HistoryId, TemplateId},
    ledger::HistoryAction,
    template::{Limit, Template, TemplateStatus},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    codec::row_limit,
    columns::Columns,
    coupon_state::{self, Stored},
    fault::{Fault, Result},
    replay::{self, Line, Replay},
    session::Session,
    template_row,
};

/// So many rows are read at once.
const PAGE: usize = 2_000;

/// A row's key, and the row, if it can be read.
type Keyed<K, T> = (K, Result<T>);

/// Coupons in the order of their ids.
struct Coupons {
    page: VecDeque<Keyed<CouponId, Stored>>,
    after: CouponId,
}

pub(crate) fn coupons_sql() -> String {
    format!(
        "SELECT c.id, {} FROM coupons c FORCE INDEX (PRIMARY) WHERE c.id > ? ORDER BY c.id LIMIT ?",
        coupon_state::COLUMNS
    )
}

impl Coupons {
    async fn next(&mut self, session: &mut Session<'_>) -> Result<Option<Keyed<CouponId, Stored>>> {
        if self.page.is_empty() {
            let read = |row: &mut Columns| Ok((row.coupon_id()?, coupon_state::read(row)));
            let values = (self.after.to_bytes(), row_limit(PAGE));
            self.page = session.rows(&coupons_sql(), values, read).await?.into();
        }
        let next = self.page.pop_front();
        if let Some((id, _)) = &next {
            self.after = *id;
        }
        Ok(next)
    }
}

/// Where an entry stands among those of all coupons.
#[derive(Clone, Copy)]
struct EntryKey {
    coupon: CouponId,
    recorded_at: i64,
    id: HistoryId,
}

/// Entries in the order of their coupons' ids, then of their places.
struct Entries {
    page: VecDeque<Keyed<EntryKey, Line>>,
    after: EntryKey,
}

pub(crate) fn entries_sql() -> String {
    format!(
        "SELECT h.coupon_id, h.recorded_at, h.id, {}
         FROM coupon_histories h FORCE INDEX (coupon_histories_by_coupon)
         WHERE h.coupon_id > ? OR h.coupon_id = ? AND (h.recorded_at > ? OR h.recorded_at = ? AND h.id > ?)
         ORDER BY h.coupon_id, h.recorded_at, h.id LIMIT ?",
        replay::COLUMNS
    )
}

impl Entries {
    /// The next entry, if it is of a coupon up to `last`.
    async fn next(
        &mut self,
        session: &mut Session<'_>,
        last: CouponId,
    ) -> Result<Option<Keyed<EntryKey, Line>>> {
        if self.page.is_empty() {
            let EntryKey {
                coupon,
                recorded_at,
                id,
            } = self.after;
            let coupon = coupon.to_bytes();
            let values = (
                coupon,
                coupon,
                recorded_at,
                recorded_at,
                id.to_bytes(),
                row_limit(PAGE),
            );
            let read = |row: &mut Columns| {
                let key = EntryKey {
                    coupon: row.coupon_id()?,
                    recorded_at: row.read()?,
                    id: row.history_id()?,
                };
                Ok((key, replay::read(row)))
            };
            self.page = session.rows(&entries_sql(), values, read).await?.into();
        }
        let next = self.page.pop_front_if(|(key, _)| key.coupon <= last);
        if let Some((key, _)) = &next {
            self.after = *key;
        }
        Ok(next)
    }
}

#[derive(Default)]
struct Tally {
    issued: i64,
    redeemed: i64,
    /// Up to which user its coupons were discarded, if they are being.
    passed: Option<Passed>,
}

enum Passed {
    UpTo(String),
    All,
}

impl Passed {
    fn includes(&self, user: &str) -> bool {
        match self {
            Self::UpTo(last) => user <= last.as_str(),
            Self::All => true,
        }
    }
}

#[derive(Default)]
struct Audit {
    templates: HashMap<TemplateId, (Template, Tally)>,
    differences: Vec<Difference>,
    /// Entries recorded before may have been written by a program that kept no amounts.
    amounts_lack_before: Timestamp,
}

/// Tells every difference between what is stored and what the ledger says, as the session's snapshot shows it.
pub(crate) async fn run(session: &mut Session<'_>) -> Result<Vec<Difference>> {
    let mut audit = Audit::default();
    audit.check_uniqueness(session).await?;
    audit.read_templates(session).await?;
    audit.read_walks(session).await?;
    audit.check_slots(session).await?;
    audit.amounts_lack_before = amounts_lack_before(session).await?;
    audit.check_coupons(session).await?;
    audit.check_templates();
    Ok(audit.differences)
}

/// How long programs of the version before may go on beside this one.
const UPDATE_TAKES: SignedDuration = SignedDuration::from_hours(24);

/// Until when entries without amounts may have been recorded: a day after the step that added them was made. None are
/// in a schema that was made with them.
async fn amounts_lack_before(session: &mut Session<'_>) -> Result<Timestamp> {
    let sql =
        "SELECT two.reached_at FROM schema_steps two JOIN schema_version one ON one.version = 1
               WHERE two.version = 2 AND two.reached_at > one.reached_at";
    let found = session.first(sql, (), Columns::timestamp).await?;
    Ok(match found {
        None => Timestamp::MIN,
        Some(updated) => updated.checked_add(UPDATE_TAKES).unwrap_or(Timestamp::MAX),
    })
}

impl Audit {
    fn differ(
        &mut self,
        subject: impl Into<String>,
        expected: impl ToString,
        found: impl ToString,
    ) {
        self.differences.push(Difference {
            subject: subject.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }

    /// That the key is unique is the last word of the issue path; whether it is there at all is seen by counting.
    async fn check_uniqueness(&mut self, session: &mut Session<'_>) -> Result<()> {
        let sql = "SELECT template_id, user_id, COUNT(*) FROM coupons
                   GROUP BY template_id, user_id HAVING COUNT(*) > 1";
        let read = |row: &mut Columns| {
            Ok((
                row.read::<i64>()?,
                row.read::<String>()?,
                row.read::<i64>()?,
            ))
        };
        for (template, user, found) in session.rows(sql, (), read).await? {
            let subject = format!("template {template} coupons of user {user:?}");
            self.differ(subject, "at most 1", found);
        }
        Ok(())
    }

    async fn read_templates(&mut self, session: &mut Session<'_>) -> Result<()> {
        let sql = format!(
            "SELECT t.id, {} FROM coupon_templates t WHERE t.id > ? ORDER BY t.id LIMIT ?",
            template_row::COLUMNS
        );
        let read = |row: &mut Columns| Ok((TemplateId(row.read()?), template_row::read(row)));
        let mut after = TemplateId(i64::MIN);
        loop {
            let page = session.rows(&sql, (after.0, row_limit(PAGE)), read).await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = *last;
            for (id, template) in page {
                match template {
                    Ok(template) => {
                        self.templates.insert(id, (template, Tally::default()));
                    }
                    Err(fault) => self.unreadable(format!("template {id} row"), &fault),
                }
            }
        }
    }

    fn unreadable(&mut self, subject: String, fault: &Fault) {
        self.differ(subject, "one that can be read", fault);
    }

    async fn read_walks(&mut self, session: &mut Session<'_>) -> Result<()> {
        let sql = "SELECT template_id, passed_user_id, finished FROM discard_walks";
        let read = |row: &mut Columns| {
            let (template, passed) = (TemplateId(row.read()?), row.read()?);
            let is_finished = row.read::<bool>()?;
            Ok((template, passed, is_finished))
        };
        for (id, passed, is_finished) in session.rows(sql, (), read).await? {
            if let Some((_, tally)) = self.templates.get_mut(&id) {
                tally.passed = Some(match is_finished {
                    true => Passed::All,
                    false => Passed::UpTo(passed),
                });
            }
        }
        Ok(())
    }

    /// Each template's redemptions are counted either in its row or in slots.
    async fn check_slots(&mut self, session: &mut Session<'_>) -> Result<()> {
        let sql = "SELECT r.template_id, r.slot, r.redeem_count FROM template_redemptions r
                   WHERE r.redeem_count <> 0 ORDER BY r.template_id, r.slot";
        let read = |row: &mut Columns| {
            Ok((
                TemplateId(row.read()?),
                row.read::<u8>()?,
                row.read::<i64>()?,
            ))
        };
        for (id, slot, count) in session.rows(sql, (), read).await? {
            let subject = format!("template {id} redeem_count slot {slot}");
            match self.templates.get(&id) {
                None => self.differ(subject, "a template that exists", id),
                Some((template, _)) => match template.terms.limit {
                    Limit::RedeemCount(_) => self.differ(subject, "none with a limit", count),
                    _ if count < 0 => self.differ(subject, "at least 0", count),
                    _ => {}
                },
            }
        }
        let sql = "SELECT t.id, t.redeem_count FROM coupon_templates t
                   WHERE t.redeem_count <> 0 AND t.limit_type <> ?";
        let limited =
            crate::codec::limit_type::code(goodpon_domain::template::LimitType::RedeemCount);
        let read = |row: &mut Columns| Ok((TemplateId(row.read()?), row.read::<i64>()?));
        for (id, count) in session.rows(sql, (limited,), read).await? {
            self.differ(format!("template {id} redeem_count row"), 0, count);
        }
        Ok(())
    }

    async fn check_coupons(&mut self, session: &mut Session<'_>) -> Result<()> {
        let first = CouponId::from_bytes([0; 16]);
        let mut coupons = Coupons {
            page: VecDeque::new(),
            after: first,
        };
        let mut entries = Entries {
            page: VecDeque::new(),
            after: EntryKey {
                coupon: first,
                recorded_at: i64::MIN,
                id: HistoryId::from_bytes([0; 16]),
            },
        };
        while let Some((id, stored)) = coupons.next(session).await? {
            match stored {
                Ok(stored) => self.check_coupon(session, &stored, &mut entries).await?,
                Err(fault) => {
                    self.unreadable(format!("coupon {id} row"), &fault);
                    while let Some((key, line)) = entries.next(session, id).await? {
                        self.check_stray(key, line, id);
                    }
                }
            }
        }
        let last = CouponId::from_bytes([0xff; 16]);
        while let Some((key, line)) = entries.next(session, last).await? {
            self.check_stray(key, line, first);
        }
        Ok(())
    }

    /// An entry of no coupon, unless it is of `unread`, whose row cannot be read.
    fn check_stray(&mut self, key: EntryKey, line: Result<Line>, unread: CouponId) {
        match line {
            Err(fault) => self.unreadable(format!("history entry {}", key.id), &fault),
            Ok(_) if key.coupon == unread => {}
            Ok(line) => {
                self.check_bearing(&line);
                let subject = format!("history entry {} coupon", key.id);
                self.differ(subject, "one that exists", key.coupon);
            }
        }
    }

    async fn check_coupon(
        &mut self,
        session: &mut Session<'_>,
        stored: &Stored,
        entries: &mut Entries,
    ) -> Result<()> {
        let coupon = &stored.coupon;
        let mut replay = Replay::new(stored);
        while let Some((key, line)) = entries.next(session, coupon.id).await? {
            match line {
                Ok(line) if key.coupon == coupon.id => {
                    self.check_entry(&line, coupon, replay.is_its_issue(&line));
                    let may_lack = line.position.recorded_at < self.amounts_lack_before;
                    if let Some((expected, found)) = replay.take_amounts(&line, may_lack) {
                        let subject = format!("history entry {} amounts", line.position.id);
                        self.differ(subject, expected, found);
                    }
                    replay.take(&line);
                }
                line => self.check_stray(key, line, CouponId::from_bytes([0; 16])),
            }
        }
        if replay.issues != 1 {
            let subject = format!("coupon {} ISSUE entries at {}", coupon.id, coupon.issued_at);
            self.differ(subject, 1, replay.issues);
        }
        let (status, difference) = replay.end();
        if let Some((what, expected, found)) = difference {
            self.differ(format!("coupon {} {what}", coupon.id), expected, found);
        }
        self.count(coupon, status);
        Ok(())
    }

    /// Counts the coupon, in the state that its entries make, for its template.
    fn count(&mut self, coupon: &Coupon, status: CouponStatus) {
        let subject = format!("coupon {}", coupon.id);
        let Some((template, tally)) = self.templates.get_mut(&coupon.template_id) else {
            let expected = "one that exists";
            return self.differ(format!("{subject} template"), expected, coupon.template_id);
        };
        tally.issued += 1;
        tally.redeemed += i64::from(status == CouponStatus::Redeemed);
        let passed = tally.passed.as_ref();
        let is_passed = passed.is_some_and(|passed| passed.includes(&coupon.user_id));
        let (merchant, template_status) = (template.merchant_id, template.status);
        if merchant != coupon.merchant_id {
            self.differ(format!("{subject} merchant"), merchant, coupon.merchant_id);
        }
        if status == CouponStatus::Discarded && template_status != TemplateStatus::Discarded {
            self.differ(
                format!("{subject} status"),
                "not discarded, as its template is not",
                "Discarded",
            );
        }
        // No sweep would come to it any more.
        if status == CouponStatus::Issued && is_passed {
            self.differ(format!("{subject} sweep"), "still before it", "passed");
        }
    }

    /// Looks from an entry at its coupon, and at what the entry bears.
    fn check_entry(&mut self, line: &Line, coupon: &Coupon, is_its_issue: bool) {
        self.check_bearing(line);
        let id = line.position.id;
        if line.template != coupon.template_id {
            let subject = format!("history entry {id} template");
            self.differ(subject, coupon.template_id, line.template);
        }
        if line.merchant != coupon.merchant_id {
            let subject = format!("history entry {id} merchant");
            self.differ(subject, coupon.merchant_id, line.merchant);
        }
        if line.action == HistoryAction::Issue && !is_its_issue {
            let expected = "no second ISSUE of its coupon, nor one at another time";
            let found = format!("Issue of {}", coupon.id);
            self.differ(format!("history entry {id} action"), expected, found);
        }
    }

    fn check_bearing(&mut self, line: &Line) {
        let bears = (line.order_id.is_some(), line.reason.is_some());
        let expected = line.action.carries();
        if bears != expected {
            let text = |(order, reason)| format!("order_id: {order}, reason: {reason}");
            let subject = format!("history entry {} bears", line.position.id);
            self.differ(subject, text(expected), text(bears));
        }
        let template = self.templates.get(&line.template);
        let discount = template.map(|(template, _)| template.terms.discount);
        let may_lack = line.position.recorded_at < self.amounts_lack_before;
        let wrong = audit::of_amounts(line.action, line.amounts, discount, may_lack);
        if let Some((expected, found)) = wrong {
            let subject = format!("history entry {} amounts", line.position.id);
            self.differ(subject, expected, found);
        }
    }

    fn check_templates(&mut self) {
        let mut templates: Vec<_> = std::mem::take(&mut self.templates).into_values().collect();
        templates.sort_by_key(|(template, _)| template.id);
        for (template, tally) in templates {
            let told = audit::of_template(&template, tally.issued, tally.redeemed);
            self.differences.extend(told);
        }
    }
}
