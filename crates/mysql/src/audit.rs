//! Recomputes every stored counter and state from coupons and their ledger, in one snapshot.
//!
//! Counters are counted again, and each coupon's state is replayed from its entries. Coupons and entries are read side by
//! side in the order of the coupons' ids, page by page, so that memory grows with the number of templates only.

use std::collections::{HashMap, VecDeque};

use goodpon_application::{audit, ports::Difference};
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
    coupon_state::{self, StoredCoupon},
    fault::{Fault, Result},
    replay::{self, EntryRow, Replay},
    session::Session,
    template_row,
};

/// The number of rows that one statement reads.
const PAGE_ROWS: usize = 2_000;

/// A row's key, and the row if it can be read.
type Keyed<K, T> = (K, Result<T>);

/// Reads coupons in the order of their ids.
struct CouponReader {
    page: VecDeque<Keyed<CouponId, StoredCoupon>>,
    after: CouponId,
}

pub(crate) fn coupons_sql() -> String {
    format!(
        "SELECT c.id, {} FROM coupons c FORCE INDEX (PRIMARY) WHERE c.id > ? ORDER BY c.id LIMIT ?",
        coupon_state::COLUMNS
    )
}

impl CouponReader {
    async fn next(
        &mut self,
        session: &mut Session<'_>,
    ) -> Result<Option<Keyed<CouponId, StoredCoupon>>> {
        if self.page.is_empty() {
            let read = |row: &mut Columns| Ok((row.coupon_id()?, coupon_state::read(row)));
            let values = (self.after.to_bytes(), row_limit(PAGE_ROWS));
            self.page = session.rows(&coupons_sql(), values, read).await?.into();
        }
        let next = self.page.pop_front();
        if let Some((id, _)) = &next {
            self.after = *id;
        }
        Ok(next)
    }
}

/// The key by which entries of all coupons are ordered.
#[derive(Clone, Copy)]
struct EntryKey {
    coupon: CouponId,
    recorded_at: i64,
    id: HistoryId,
}

/// Reads entries in the order of their coupons' ids, then of their times and ids.
struct EntryReader {
    page: VecDeque<Keyed<EntryKey, EntryRow>>,
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

impl EntryReader {
    /// Returns the next entry if its coupon's id is at most `last`.
    async fn next(
        &mut self,
        session: &mut Session<'_>,
        last: CouponId,
    ) -> Result<Option<Keyed<EntryKey, EntryRow>>> {
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
                row_limit(PAGE_ROWS),
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

/// The counts of a template's coupons.
#[derive(Default)]
struct CouponCounts {
    issued: i64,
    redeemed: i64,
    /// The progress of the walk that discards its coupons; `None` if no walk began.
    walk: Option<WalkProgress>,
}

enum WalkProgress {
    /// The walk has passed all users up to this one, inclusive.
    UpTo(String),
    All,
}

impl WalkProgress {
    fn includes(&self, user: &str) -> bool {
        match self {
            Self::UpTo(last) => user <= last.as_str(),
            Self::All => true,
        }
    }
}

#[derive(Default)]
struct Auditor {
    templates: HashMap<TemplateId, (Template, CouponCounts)>,
    differences: Vec<Difference>,
    /// Entries recorded before this time may lack amounts, because a release that recorded none may have written them.
    amounts_lack_before: Timestamp,
}

/// Returns every difference between stored values and the ledger, by the session's snapshot.
pub(crate) async fn run(session: &mut Session<'_>) -> Result<Vec<Difference>> {
    let mut auditor = Auditor::default();
    auditor.check_uniqueness(session).await?;
    auditor.read_templates(session).await?;
    auditor.read_walks(session).await?;
    auditor.check_slots(session).await?;
    auditor.amounts_lack_before = amounts_lack_before(session).await?;
    auditor.check_coupons(session).await?;
    auditor.check_templates();
    Ok(auditor.differences)
}

/// The longest time for which processes of the release before may run beside this one.
const MAX_UPGRADE_TIME: SignedDuration = SignedDuration::from_hours(24);

/// Returns the time until which entries without amounts may have been recorded: a day after the schema step that added
/// amounts. A schema that was created with that step has no such entries.
async fn amounts_lack_before(session: &mut Session<'_>) -> Result<Timestamp> {
    let sql =
        "SELECT two.reached_at FROM schema_steps two JOIN schema_version one ON one.version = 1
               WHERE two.version = 2 AND two.reached_at > one.reached_at";
    let found = session.first(sql, (), Columns::timestamp).await?;
    Ok(match found {
        None => Timestamp::MIN,
        Some(updated) => updated
            .checked_add(MAX_UPGRADE_TIME)
            .unwrap_or(Timestamp::MAX),
    })
}

impl Auditor {
    fn differ(
        &mut self,
        subject: impl Into<String>,
        expected: impl ToString,
        found: impl ToString,
    ) {
        self.differences
            .push(Difference::new(subject, expected, found));
    }

    /// Counts coupons per user. The issue path relies on a unique index, and this finds out if that is missing.
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
            let page = session
                .rows(&sql, (after.0, row_limit(PAGE_ROWS)), read)
                .await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = *last;
            for (id, template) in page {
                match template {
                    Ok(template) => {
                        self.templates
                            .insert(id, (template, CouponCounts::default()));
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
            let (template, user) = (TemplateId(row.read()?), row.read()?);
            let is_finished = row.read::<bool>()?;
            Ok((template, user, is_finished))
        };
        for (id, user, is_finished) in session.rows(sql, (), read).await? {
            if let Some((_, counts)) = self.templates.get_mut(&id) {
                counts.walk = Some(match is_finished {
                    true => WalkProgress::All,
                    false => WalkProgress::UpTo(user),
                });
            }
        }
        Ok(())
    }

    /// Checks that each template's redemptions are counted in one way: in its row if they are limited, else in slots.
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
        let mut coupons = CouponReader {
            page: VecDeque::new(),
            after: first,
        };
        let mut entries = EntryReader {
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
                    while let Some((key, entry)) = entries.next(session, id).await? {
                        self.check_stray(key, entry, id);
                    }
                }
            }
        }
        let last = CouponId::from_bytes([0xff; 16]);
        while let Some((key, entry)) = entries.next(session, last).await? {
            self.check_stray(key, entry, first);
        }
        Ok(())
    }

    /// Reports an entry whose coupon does not exist, unless it is `unread`, a coupon whose row cannot be read.
    fn check_stray(&mut self, key: EntryKey, entry: Result<EntryRow>, unread: CouponId) {
        match entry {
            Err(fault) => self.unreadable(format!("history entry {}", key.id), &fault),
            Ok(_) if key.coupon == unread => {}
            Ok(entry) => {
                self.check_fields(&entry);
                let subject = format!("history entry {} coupon", key.id);
                self.differ(subject, "one that exists", key.coupon);
            }
        }
    }

    async fn check_coupon(
        &mut self,
        session: &mut Session<'_>,
        stored: &StoredCoupon,
        entries: &mut EntryReader,
    ) -> Result<()> {
        let coupon = &stored.coupon;
        let mut replay = Replay::new(stored);
        while let Some((key, entry)) = entries.next(session, coupon.id).await? {
            match entry {
                Ok(entry) if key.coupon == coupon.id => {
                    self.check_entry(&entry, coupon, replay.is_its_issue(&entry));
                    let may_lack = entry.position.recorded_at < self.amounts_lack_before;
                    if let Some((expected, found)) = replay.take_amounts(&entry, may_lack) {
                        let subject = format!("history entry {} amounts", entry.position.id);
                        self.differ(subject, expected, found);
                    }
                    replay.take(&entry);
                }
                entry => self.check_stray(key, entry, CouponId::from_bytes([0; 16])),
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

    /// Counts the coupon for its template, in the state that its entries lead to.
    fn count(&mut self, coupon: &Coupon, status: CouponStatus) {
        let subject = format!("coupon {}", coupon.id);
        let Some((template, counts)) = self.templates.get_mut(&coupon.template_id) else {
            let expected = "one that exists";
            return self.differ(format!("{subject} template"), expected, coupon.template_id);
        };
        counts.issued += 1;
        counts.redeemed += i64::from(status == CouponStatus::Redeemed);
        let walk = counts.walk.as_ref();
        let is_passed = walk.is_some_and(|walk| walk.includes(&coupon.user_id));
        let (merchant, template_status) = (template.merchant_id, template.status);
        if merchant != coupon.merchant_id {
            self.differ(format!("{subject} merchant"), merchant, coupon.merchant_id);
        }
        if status == CouponStatus::Discarded && template_status != TemplateStatus::Discarded {
            self.differ(
                format!("{subject} status"),
                "not discarded, because its template is not",
                "Discarded",
            );
        }
        // The walk that should have discarded it has passed its user, and never returns.
        if status == CouponStatus::Issued && is_passed {
            self.differ(format!("{subject} sweep"), "still before it", "passed");
        }
    }

    /// Compares an entry with its coupon, and checks the entry's fields.
    fn check_entry(&mut self, entry: &EntryRow, coupon: &Coupon, is_its_issue: bool) {
        self.check_fields(entry);
        let id = entry.position.id;
        if entry.template != coupon.template_id {
            let subject = format!("history entry {id} template");
            self.differ(subject, coupon.template_id, entry.template);
        }
        if entry.merchant != coupon.merchant_id {
            let subject = format!("history entry {id} merchant");
            self.differ(subject, coupon.merchant_id, entry.merchant);
        }
        if entry.action == HistoryAction::Issue && !is_its_issue {
            let expected = "one ISSUE of its coupon, at the time of the coupon's issue";
            let found = format!("Issue of {}", coupon.id);
            self.differ(format!("history entry {id} action"), expected, found);
        }
    }

    /// Checks that an entry has exactly the fields of its action, and amounts that fit its template's discount.
    fn check_fields(&mut self, entry: &EntryRow) {
        let found = (entry.order_id.is_some(), entry.reason.is_some());
        let expected = entry.action.carries();
        if found != expected {
            let text = |(order, reason)| format!("order_id: {order}, reason: {reason}");
            let subject = format!("history entry {} fields", entry.position.id);
            self.differ(subject, text(expected), text(found));
        }
        let template = self.templates.get(&entry.template);
        let discount = template.map(|(template, _)| template.terms.discount);
        let may_lack = entry.position.recorded_at < self.amounts_lack_before;
        let wrong = audit::of_amounts(entry.action, entry.amounts, discount, may_lack);
        if let Some((expected, found)) = wrong {
            let subject = format!("history entry {} amounts", entry.position.id);
            self.differ(subject, expected, found);
        }
    }

    fn check_templates(&mut self) {
        let mut templates: Vec<_> = std::mem::take(&mut self.templates).into_values().collect();
        templates.sort_by_key(|(template, _)| template.id);
        for (template, counts) in templates {
            let differences = audit::of_template(&template, counts.issued, counts.redeemed);
            self.differences.extend(differences);
        }
    }
}
