//! The issuer's transaction: a batch of one partition of the log becomes coupons, as one with how far the partition
//! was worked through (steps I2 to I4 of the issue path).

use std::collections::{BTreeMap, HashMap, HashSet};

use goodpon_application::{
    issue_log::{Content, Record},
    ports::StoreResult,
};
use goodpon_domain::{
    coupon::{Coupon, CouponStatus},
    gate::{ACCEPTED_WITHIN, IssueEvent, Verdict, counts, judge},
    id::{HistoryId, TemplateId},
    ledger::HistoryAction,
    template::Template,
};
use jiff::{SignedDuration, Timestamp};
use mysql_async::Value;

use crate::{
    Store,
    codec::{coupon_status, history_action, micros},
    fault::{Fault, Result},
    gate,
    lock::Lock,
    parked::{self, Settled},
    session::Session,
    sizes::{in_lists, in_sizes},
    template_row,
};

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is written.
    Done(Tally),
    /// Nothing was done: the partition was worked through up to there. The reader is to go on from there.
    Elsewhere {
        /// The next offset to be worked through.
        next_offset: i64,
    },
}

/// What a batch came to, in records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Became coupons.
    pub written: usize,
    /// Came too late to count.
    pub void: usize,
    /// Of users who had a coupon already: copies, above all.
    pub held: usize,
    /// Kept for an operator: unreadable, of a template that is gone, or what the database does not take.
    pub parked: usize,
    /// Of those, beyond the limit: this cannot happen while the rules hold.
    pub over_limit: usize,
}

/// A coupon that is about to be written, with its template's reason where it is discarded at once.
struct NewCoupon<'a> {
    coupon: Coupon,
    record: &'a Record,
    event: &'a IssueEvent,
    discard_reason: Option<&'a str>,
}

impl Store {
    /// Sees to it that the partitions 0 to `partitions` - 1 have their progress. Partners use only these.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn set_up_partitions(&self, partitions: i32) -> StoreResult<()> {
        let sql =
            "INSERT INTO issue_progress (partition_id, next_offset, log_time) VALUES (?, 0, 0)
                   ON DUPLICATE KEY UPDATE partition_id = VALUES(partition_id)";
        self.transact(|session| {
            Box::pin(async move {
                for partition in 0..partitions {
                    session.run(sql, (partition,)).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The next offset of each partition, in the order of the partitions.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn progress(&self) -> StoreResult<BTreeMap<i32, i64>> {
        let sql = "SELECT partition_id, next_offset FROM issue_progress";
        let rows = self
            .read(|session| {
                Box::pin(async move {
                    session
                        .rows(sql, (), |row| Ok((row.read()?, row.read()?)))
                        .await
                })
            })
            .await?;
        Ok(rows.into_iter().collect())
    }

    /// Goes on with a partition elsewhere than after what was worked through: the log does not have what is between.
    /// All gates are given up, for they count on it. Whether it was still to go on with `from`.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn skip_lost(&self, partition: i32, from: i64, to: i64) -> StoreResult<bool> {
        self.transact(|session| {
            Box::pin(async move {
                let sql = "UPDATE issue_progress SET next_offset = ? WHERE partition_id = ? AND next_offset = ?";
                if session.run(sql, (to, partition, from)).await? == 0 {
                    return Ok(false);
                }
                // Other events come to the places of those that were parked before.
                let sql = "UPDATE parked_events SET log_offset = -1 - log_offset
                           WHERE partition_id = ? AND log_offset >= ?";
                session.run(sql, (partition, to)).await?;
                gate::bump_all(session).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Writes a batch of one partition: `records` follow each other without a gap. `keep` writes an event that is to be
    /// parked, in the form that a record has which is parked because nobody could read it.
    ///
    /// # Errors
    /// The database cannot be written; it may have happened all the same, which the next try finds out.
    pub async fn write_issues(
        &self,
        partition: i32,
        records: &[Record],
        keep: fn(&IssueEvent) -> Vec<u8>,
    ) -> StoreResult<Written> {
        let Some(first) = records.first() else {
            return Ok(Written::Done(Tally::default()));
        };
        self.transact(|session| {
            Box::pin(async move {
                if let Some(elsewhere) = lock_progress(session, partition, first.offset).await? {
                    return Ok(elsewhere);
                }
                let tally = write(session, partition, records, self, keep).await?;
                advance(session, partition, records).await?;
                Ok(Written::Done(tally))
            })
        })
        .await
    }
}

impl Store {
    /// Parks a record of a partition whatever it says, for it cannot be worked on.
    ///
    /// # Errors
    /// The database cannot be written; it may have happened all the same, which the next try finds out.
    pub async fn park_unread(
        &self,
        partition: i32,
        record: &Record,
        reason: &'static str,
        keep: fn(&IssueEvent) -> Vec<u8>,
    ) -> StoreResult<Written> {
        self.transact(|session| {
            Box::pin(async move {
                if let Some(elsewhere) = lock_progress(session, partition, record.offset).await? {
                    return Ok(elsewhere);
                }
                let mut tally = Tally::default();
                match &record.content {
                    Content::Tick => {}
                    Content::Unreadable(unreadable) => {
                        parked::park_unreadable(session, partition, record, unreadable).await?;
                        tally.parked = 1;
                    }
                    Content::Event(event) => {
                        let raw = keep(event);
                        parked::park_event(session, partition, record, event, reason, &raw).await?;
                        tally.parked = 1;
                    }
                }
                advance(session, partition, std::slice::from_ref(record)).await?;
                Ok(Written::Done(tally))
            })
        })
        .await
    }

    fn is_dated_well(&self, event: &IssueEvent, record: &Record) -> bool {
        self.is_near(event.accepted_at, record.appended_at, ACCEPTED_WITHIN)
    }
}

/// Locks how far a partition was worked through. Tells where, if that is not up to `offset`.
async fn lock_progress(
    session: &mut Session<'_>,
    partition: i32,
    offset: i64,
) -> Result<Option<Written>> {
    let sql = "SELECT next_offset FROM issue_progress WHERE partition_id = ? FOR UPDATE";
    let next_offset: Option<i64> = session.first(sql, (partition,), |row| row.read()).await?;
    let next_offset = next_offset.ok_or(Fault::Corrupt("a partition without progress"))?;
    Ok((next_offset != offset).then_some(Written::Elsewhere { next_offset }))
}

async fn advance(session: &mut Session<'_>, partition: i32, records: &[Record]) -> Result<u64> {
    let next_offset = records
        .last()
        .map_or(0, |last| last.offset.saturating_add(1));
    let log_time = records
        .iter()
        .map(|record| micros(record.appended_at))
        .max();
    let sql = "UPDATE issue_progress SET next_offset = ?, log_time = GREATEST(log_time, ?) WHERE partition_id = ?";
    session.run(sql, (next_offset, log_time, partition)).await
}

async fn write(
    session: &mut Session<'_>,
    partition: i32,
    records: &[Record],
    store: &Store,
    keep: fn(&IssueEvent) -> Vec<u8>,
) -> Result<Tally> {
    let templates = lock_templates(session, records).await?;
    let mut holders = holders(session, records).await?;
    let mut tally = Tally::default();
    let (mut coupons, mut issued) = (Vec::new(), BTreeMap::<TemplateId, i64>::new());
    for record in records {
        let event = match &record.content {
            Content::Tick => continue,
            Content::Unreadable(unreadable) => {
                let is_void = |until: Timestamp| !counts(record.appended_at, until);
                if unreadable.valid_until.is_some_and(is_void) {
                    tally.void += 1;
                } else {
                    parked::park_unreadable(session, partition, record, unreadable).await?;
                    tally.parked += 1;
                }
                continue;
            }
            Content::Event(event) => event,
        };
        let template = templates.get(&event.template_id);
        let new = issued.entry(event.template_id).or_default();
        let before = template.map_or(0, |template| template.issue_count);
        let holder = (event.template_id, event.user_id.as_str());
        let has_one = holders.contains(&holder);
        match judge(event, record.appended_at, template, has_one, before + *new) {
            Verdict::Void => tally.void += 1,
            Verdict::Held => tally.held += 1,
            Verdict::Write(status) if store.is_dated_well(event, record) => {
                // A template that is gone was judged above.
                let Some(template) = template else { continue };
                holders.insert(holder);
                *new += 1;
                coupons.push(new_coupon(record, event, template, status, store));
            }
            verdict => {
                let (reason, raw) = (why_parked(verdict), keep(event));
                parked::park_event(session, partition, record, event, reason, &raw).await?;
                tally.parked += 1;
                tally.over_limit += usize::from(verdict == Verdict::OverLimit);
            }
        }
    }
    let refused = write_coupons(session, &coupons).await?;
    for (one, reason) in &refused {
        let raw = keep(one.event);
        parked::park_event(session, partition, one.record, one.event, reason, &raw).await?;
    }
    tally.written = coupons.len() - refused.len();
    tally.parked += refused.len();
    Ok(tally)
}

/// Why an event is kept for an operator that neither is void nor of a user who has a coupon.
fn why_parked(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::OverLimit => "beyond the issue limit",
        Verdict::Write(_) => "the time of acceptance that it states is more than a day off",
        _ => "its template is gone",
    }
}

/// A coupon that the database does not take, and why.
type Refused<'c, 'a> = (&'c NewCoupon<'a>, &'static str);

/// Writes coupons with their entries, and counts them. Answers which of them cannot be written.
async fn write_coupons<'c, 'a>(
    session: &mut Session<'_>,
    coupons: &'c [NewCoupon<'a>],
) -> Result<Vec<Refused<'c, 'a>>> {
    let (inserted, refused) = insert_coupons(session, coupons).await?;
    insert_entries(session, &inserted).await?;
    let mut new = BTreeMap::<TemplateId, i64>::new();
    for one in inserted {
        *new.entry(one.coupon.template_id).or_default() += 1;
    }
    for (template, new) in new {
        let sql = "UPDATE coupon_templates SET issue_count = issue_count + ? WHERE id = ?";
        session.run(sql, (new, template.0)).await?;
    }
    Ok(refused)
}

/// Writes a parked event, or tells how it stands: its user has a coupon, or it cannot be written either.
pub(crate) async fn write_parked(
    session: &mut Session<'_>,
    record: &Record,
    store: &Store,
) -> Result<std::result::Result<Settled, &'static str>> {
    let Content::Event(event) = &record.content else {
        return Ok(Err("this goodpon cannot read it"));
    };
    let templates = lock_templates(session, std::slice::from_ref(record)).await?;
    let template = templates.get(&event.template_id);
    let holders = holders(session, std::slice::from_ref(record)).await?;
    let issued = template.map_or(0, |template| template.issue_count);
    let verdict = judge(
        event,
        record.appended_at,
        template,
        !holders.is_empty(),
        issued,
    );
    let (Verdict::Write(status), Some(template), true) =
        (verdict, template, store.is_dated_well(event, record))
    else {
        return Ok(match verdict {
            Verdict::Held => Ok(Settled::Held),
            verdict => Err(why_parked(verdict)),
        });
    };
    let coupons = [new_coupon(record, event, template, status, store)];
    let refused = write_coupons(session, &coupons).await?;
    Ok(match refused.first() {
        Some((_, reason)) => Err(*reason),
        None => Ok(Settled::Written),
    })
}

/// The templates of all events that count, locked in the order of their ids: so issuers do not block each other for
/// good, and each sees what the one before it wrote.
async fn lock_templates(
    session: &mut Session<'_>,
    records: &[Record],
) -> Result<HashMap<TemplateId, Template>> {
    let mut ids: Vec<TemplateId> = counting(records).map(|event| event.template_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut templates = HashMap::new();
    for id in ids {
        let found = template_row::load(session, id, Lock::Exclusive).await?;
        templates.extend(found.map(|template| (id, template)));
    }
    Ok(templates)
}

/// The events that count.
fn counting(records: &[Record]) -> impl Iterator<Item = &IssueEvent> {
    records.iter().filter_map(|record| match &record.content {
        Content::Event(event) if counts(record.appended_at, event.valid_until) => Some(event),
        _ => None,
    })
}

/// Who of the users of these events has a coupon already.
async fn holders<'a>(
    session: &mut Session<'_>,
    records: &'a [Record],
) -> Result<HashSet<(TemplateId, &'a str)>> {
    let mut asked: BTreeMap<TemplateId, HashSet<&'a str>> = BTreeMap::new();
    for event in counting(records) {
        let users = asked.entry(event.template_id).or_default();
        users.insert(&event.user_id);
    }
    let mut holders = HashSet::new();
    for (template, users) in asked {
        let users: Vec<&str> = users.into_iter().collect();
        for (marks, some) in in_lists(&users) {
            let sql = format!(
                "SELECT user_id FROM coupons WHERE template_id = ? AND user_id IN ({marks})"
            );
            let mut values: Vec<Value> = vec![template.0.into()];
            values.extend(some.iter().map(|user| Value::from(*user)));
            let found: HashSet<String> = session
                .rows(&sql, values, |row| row.read())
                .await?
                .into_iter()
                .collect();
            let had = some.into_iter().filter(|user| found.contains(*user));
            holders.extend(had.map(|user| (template, user)));
        }
    }
    Ok(holders)
}

fn new_coupon<'a>(
    record: &'a Record,
    event: &'a IssueEvent,
    template: &'a Template,
    status: CouponStatus,
    store: &Store,
) -> NewCoupon<'a> {
    let is_discarded = status == CouponStatus::Discarded;
    NewCoupon {
        coupon: Coupon {
            id: event.coupon_id,
            merchant_id: template.merchant_id,
            template_id: event.template_id,
            user_id: event.user_id.clone(),
            status,
            issued_at: event.accepted_at,
            expires_at: template
                .terms
                .period
                .expiry(event.accepted_at, &store.inner.zone),
            order_id: None,
        },
        record,
        event,
        discard_reason: is_discarded
            .then(|| template.discard_reason.as_deref().unwrap_or_default()),
    }
}

impl NewCoupon<'_> {
    /// When the DISCARD entry is recorded, right behind the ISSUE, if there is one.
    fn discarded_at(&self, now: Timestamp) -> Option<Timestamp> {
        let behind = self
            .coupon
            .issued_at
            .checked_add(SignedDuration::from_micros(1));
        self.discard_reason
            .map(|_| behind.unwrap_or(Timestamp::MAX).max(now))
    }
}

/// A coupon's mark in a statement.
const COUPON: &str = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Inserts coupons, and answers which of them are there then and which the database does not take: one that is at
/// fault must not keep those beside it back.
async fn insert_coupons<'c, 'a>(
    session: &mut Session<'_>,
    coupons: &'c [NewCoupon<'a>],
) -> Result<(Vec<&'c NewCoupon<'a>>, Vec<Refused<'c, 'a>>)> {
    let (mut inserted, mut refused) = (Vec::with_capacity(coupons.len()), Vec::new());
    for (marks, some) in in_sizes(coupons, COUPON) {
        match insert_together(session, &marks, some).await {
            Ok(()) => inserted.extend(some),
            // What failed is undone, and the transaction goes on.
            Err(fault) if fault.is_about_a_row() => {
                for one in some {
                    match insert_together(session, COUPON, std::slice::from_ref(one)).await {
                        Ok(()) => inserted.push(one),
                        Err(fault) => refused.push((one, why_refused(session, one, fault).await?)),
                    }
                }
            }
            Err(fault) => return Err(fault),
        }
    }
    Ok((inserted, refused))
}

async fn insert_together(
    session: &mut Session<'_>,
    marks: &str,
    coupons: &[NewCoupon<'_>],
) -> Result<()> {
    let sql = format!(
        "INSERT INTO coupons (id, merchant_id, template_id, user_id, status, issued_at, expires_at, changed_at,
                              issue_key, issue_body)
         VALUES {marks}"
    );
    let mut values: Vec<Value> = Vec::with_capacity(coupons.len() * 10);
    for new in coupons {
        let coupon = &new.coupon;
        let changed_at = new.discarded_at(session.now).unwrap_or(coupon.issued_at);
        values.extend([
            Value::from(coupon.id.to_bytes()),
            coupon.merchant_id.0.into(),
            coupon.template_id.0.into(),
            coupon.user_id.as_str().into(),
            coupon_status::code(coupon.status).into(),
            micros(coupon.issued_at).into(),
            coupon.expires_at.map(micros).into(),
            micros(changed_at).into(),
            new.event.keyed.map(|keyed| keyed.key).into(),
            new.event.keyed.map(|keyed| keyed.body).into(),
        ]);
    }
    session.run(&sql, values).await?;
    Ok(())
}

/// Why a coupon can never be inserted, if it was refused for what it is.
async fn why_refused(
    session: &mut Session<'_>,
    new: &NewCoupon<'_>,
    fault: Fault,
) -> Result<&'static str> {
    if !fault.is_about_a_row() {
        return Err(fault);
    }
    if !fault.is_duplicate() {
        return Ok("the database does not take what it says");
    }
    let coupon = &new.coupon;
    let sql = "SELECT 1 FROM coupons WHERE id = ? AND NOT (template_id = ? AND user_id = ?)";
    let values = (coupon.id.to_bytes(), coupon.template_id.0, &coupon.user_id);
    let other: Option<i64> = session.first(sql, values, |row| row.read()).await?;
    match other {
        Some(_) => Ok("its coupon's id is that of another coupon"),
        // Its user has a coupon, then. Run anew, the look at the holders finds it.
        None => Err(Fault::Overtaken),
    }
}

async fn insert_entries(session: &mut Session<'_>, coupons: &[&NewCoupon<'_>]) -> Result<()> {
    // The coupon's id serves as the ISSUE entry's too.
    let issues = coupons.iter().map(|new| {
        let id = HistoryId::from_bytes(new.coupon.id.to_bytes());
        (new, new.coupon.issued_at, id, HistoryAction::Issue, None)
    });
    let discards = coupons.iter().filter_map(|new| {
        let at = new.discarded_at(session.now)?;
        let id = session.history_id(at);
        Some((new, at, id, HistoryAction::Discard, new.discard_reason))
    });
    let entries: Vec<_> = issues.chain(discards).collect();
    for (marks, some) in in_sizes(&entries, "(?, ?, ?, ?, ?, ?, ?)") {
        let sql = format!(
            "INSERT INTO coupon_histories (merchant_id, recorded_at, id, template_id, action, coupon_id, reason)
             VALUES {marks}"
        );
        let mut values: Vec<Value> = Vec::with_capacity(some.len() * 7);
        for (new, at, id, action, reason) in some {
            values.extend([
                Value::from(new.coupon.merchant_id.0),
                micros(*at).into(),
                id.to_bytes().into(),
                new.coupon.template_id.0.into(),
                history_action::code(*action).into(),
                new.coupon.id.to_bytes().into(),
                (*reason).into(),
            ]);
        }
        session.run(&sql, values).await?;
    }
    Ok(())
}
