//! Writes coupons that are made from events of the log: reads what their batch must know, and inserts their rows and
//! entries.

use std::collections::{BTreeMap, HashMap, HashSet};

use goodpon_domain::{
    gate::{IssueEvent, Known, LogContent, LogRecord, MAX_ACCEPTANCE_DISTANCE, NewCoupon, counts},
    id::{HistoryId, TemplateId},
    template::Template,
};
use jiff::SignedDuration;
use mysql_async::Value;

use crate::{
    Store,
    codec::{coupon_status, history_action, micros},
    fault::{Fault, Result},
    lock::Lock,
    session::Session,
    sizes::{in_lists, in_sizes},
    template_row,
};

/// Reads the templates and holders that the decisions over these records need, and locks the templates.
pub(crate) async fn known<'a>(
    session: &mut Session<'_>,
    store: &Store,
    records: &'a [LogRecord],
) -> Result<Known<'a>> {
    Ok(Known {
        templates: lock_templates(session, records).await?,
        holders: holders(session, records).await?,
        max_acceptance_distance: match store.inner.skips_clock_checks {
            true => SignedDuration::MAX,
            false => MAX_ACCEPTANCE_DISTANCE,
        },
    })
}

/// A coupon that the database refuses, with the reason.
pub(crate) type Refused<'c, 'a> = (&'c NewCoupon<'a>, &'static str);

/// Writes coupons with their entries, and adds them to their templates' counts. Returns those that the database refuses.
pub(crate) async fn write_coupons<'c, 'a>(
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

/// Locks and reads the templates of all events that count. The order by id keeps issuers from deadlocks, and the locks make
/// each see the coupons that the one before it wrote.
async fn lock_templates(
    session: &mut Session<'_>,
    records: &[LogRecord],
) -> Result<HashMap<TemplateId, Template>> {
    let events = events_that_count(records);
    let mut ids: Vec<TemplateId> = events.map(|event| event.template_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut templates = HashMap::new();
    for id in ids {
        let found = template_row::load(session, id, Lock::Exclusive).await?;
        templates.extend(found.map(|template| (id, template)));
    }
    Ok(templates)
}

/// Returns the events that the log appended in time to count.
fn events_that_count(records: &[LogRecord]) -> impl Iterator<Item = &IssueEvent> {
    records.iter().filter_map(|record| match &record.content {
        LogContent::Event(event) if counts(record.appended_at, event.valid_until) => Some(event),
        _ => None,
    })
}

/// Finds those of the users of these events who have a coupon already.
async fn holders<'a>(
    session: &mut Session<'_>,
    records: &'a [LogRecord],
) -> Result<HashSet<(TemplateId, &'a str)>> {
    let mut asked: BTreeMap<TemplateId, HashSet<&'a str>> = BTreeMap::new();
    for event in events_that_count(records) {
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

/// The placeholders of one coupon in a statement.
const COUPON_MARKS: &str = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Inserts coupons. Returns those that were inserted and those that the database refuses: one bad coupon must not keep the
/// others from being written.
async fn insert_coupons<'c, 'a>(
    session: &mut Session<'_>,
    coupons: &'c [NewCoupon<'a>],
) -> Result<(Vec<&'c NewCoupon<'a>>, Vec<Refused<'c, 'a>>)> {
    let (mut inserted, mut refused) = (Vec::with_capacity(coupons.len()), Vec::new());
    for (marks, some) in in_sizes(coupons, COUPON_MARKS) {
        match insert_together(session, &marks, some).await {
            Ok(()) => inserted.extend(some),
            // The database has undone the failed statement, and the transaction goes on.
            Err(fault) if fault.is_about_a_row() => {
                for one in some {
                    match insert_together(session, COUPON_MARKS, std::slice::from_ref(one)).await {
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
        let changed_at = new.changed_at(session.now);
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

/// Returns the reason why a coupon can never be inserted; the fault itself if that is not about the coupon's row.
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
        // Its user got a coupon meanwhile. The transaction is run again, and then finds the user among the holders.
        None => Err(Fault::Overtaken),
    }
}

async fn insert_entries(session: &mut Session<'_>, coupons: &[&NewCoupon<'_>]) -> Result<()> {
    let mut entries = Vec::with_capacity(coupons.len());
    for new in coupons {
        for (number, (at, transition)) in new.entries(session.now).into_iter().enumerate() {
            // The first entry has the id of its coupon.
            let id = match number {
                0 => HistoryId::from_bytes(new.coupon.id.to_bytes()),
                _ => session.history_id(at),
            };
            entries.push((&new.coupon, at, id, transition));
        }
    }
    for (marks, some) in in_sizes(&entries, "(?, ?, ?, ?, ?, ?, ?)") {
        let sql = format!(
            "INSERT INTO coupon_histories (merchant_id, recorded_at, id, template_id, action, coupon_id, reason)
             VALUES {marks}"
        );
        let mut values: Vec<Value> = Vec::with_capacity(some.len() * 7);
        for (coupon, at, id, transition) in some {
            values.extend([
                Value::from(coupon.merchant_id.0),
                micros(*at).into(),
                id.to_bytes().into(),
                coupon.template_id.0.into(),
                history_action::code(transition.action).into(),
                coupon.id.to_bytes().into(),
                transition.reason.as_deref().into(),
            ]);
        }
        session.run(&sql, values).await?;
    }
    Ok(())
}
