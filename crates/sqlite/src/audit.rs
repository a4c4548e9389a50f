//! Recomputes what the store holds from coupons and their ledger, in one snapshot.
//!
//! Nothing derived is trusted: counters are counted anew, uniqueness is counted without the unique index, and each
//! coupon's state is replayed from its entries. Memory grows with the number of templates only.

use std::collections::{BTreeMap, HashMap};

use goodpon_application::audit::Difference;
use goodpon_domain::{
    coupon::{Coupon, CouponStatus},
    history::HistoryAction,
    id::{CouponId, MerchantId, TemplateId},
    template::{Template, TemplateStatus},
};
use jiff::Timestamp;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use crate::{
    codec::{coupon_id, history_action, history_id, micros, timestamp},
    coupon, schema, template, trail,
};

/// Tells every difference between what is stored and what the ledger says.
pub(crate) fn run(connection: &Connection) -> rusqlite::Result<Vec<Difference>> {
    let snapshot = connection.unchecked_transaction()?;
    differences(&snapshot)
}

fn differences(snapshot: &Connection) -> rusqlite::Result<Vec<Difference>> {
    let mut audit = Audit::default();
    audit.check_file(snapshot)?;
    let schema_is_whole = audit.check_schema(snapshot)?;
    audit.check_uniqueness(snapshot)?;
    // Without its indexes the rest would take for ever.
    if !schema_is_whole {
        return Ok(audit.differences);
    }
    template::for_each(snapshot, |template| {
        audit
            .templates
            .insert(template.id, (template, Tally::default()));
        Ok(())
    })?;
    audit.check_coupons(snapshot)?;
    audit.check_holders(snapshot)?;
    audit.check_keys(snapshot)?;
    audit.check_entries(snapshot)?;
    audit.check_templates();
    Ok(audit.differences)
}

#[derive(Default)]
struct Tally {
    issued: i64,
    redeemed: i64,
}

#[derive(Default)]
struct Audit {
    templates: HashMap<TemplateId, (Template, Tally)>,
    differences: Vec<Difference>,
}

/// An entry as far as the audit looks at it.
struct Step {
    action: HistoryAction,
    recorded_at: Timestamp,
    order_id: Option<String>,
}

fn read_step(row: &Row<'_>) -> rusqlite::Result<Step> {
    Ok(Step {
        action: history_action::read(row, 0)?,
        recorded_at: timestamp(row, 1)?,
        order_id: row.get(2)?,
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

    /// Pages, rows and indexes by SQLite's own means.
    fn check_file(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare("PRAGMA integrity_check")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let line: String = row.get(0)?;
            if line != "ok" {
                self.differ("database file", "no damage", line.replace('\n', " "));
            }
        }
        Ok(())
    }

    /// Compares tables and indexes with those of a new database, and tells whether they are all there.
    fn check_schema(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let fresh = Connection::open_in_memory()?;
        schema::create(&fresh)?;
        let (expected, found) = (schema_objects(&fresh)?, schema_objects(connection)?);
        for name in expected
            .keys()
            .chain(found.keys().filter(|name| !expected.contains_key(*name)))
        {
            let (expected, found) = (expected.get(name), found.get(name));
            if expected != found {
                let text = |sql: Option<&String>| sql.map_or("nothing", String::as_str).to_owned();
                self.differ(format!("schema {name}"), text(expected), text(found));
            }
        }
        Ok(expected == found)
    }

    fn check_coupons(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut coupons = connection.prepare(coupon::select_coupons!(
            ", trail, EXISTS (SELECT 1 FROM template_walks w WHERE w.template_id = coupons.template_id
                 AND (w.passed_at, w.passed_id) >= (coupons.issued_at, coupons.id))
             FROM coupons NOT INDEXED ORDER BY id"
        ))?;
        let mut issue = connection.prepare_cached(
            "SELECT count(*) FROM coupon_histories
             WHERE template_id = ?1 AND recorded_at = ?2 AND id = ?3 AND coupon_id = ?3 AND action = 0",
        )?;
        let mut entry = connection.prepare_cached(
            "SELECT action, recorded_at, order_id FROM coupon_histories
             WHERE template_id = ?1 AND recorded_at = ?2 AND id = ?3 AND coupon_id = ?4 AND action <> 0",
        )?;
        let mut rows = coupons.query([])?;
        while let Some(row) = rows.next()? {
            let coupon = coupon::read(row)?;
            let trail: Option<Vec<u8>> = row.get(8)?;
            self.count(&coupon);
            self.check_issue(&coupon, &mut issue)?;
            self.check_path(&coupon, &trail.unwrap_or_default(), &mut entry)?;
            // No sweep would come to it any more.
            if row.get(9)? && coupon.status == CouponStatus::Issued {
                let subject = format!("coupon {} sweep", coupon.id);
                self.differ(subject, "still before it", "passed");
            }
        }
        Ok(())
    }

    /// Counts the coupon for its template.
    fn count(&mut self, coupon: &Coupon) {
        let subject = format!("coupon {}", coupon.id);
        let Some((template, tally)) = self.templates.get_mut(&coupon.template_id) else {
            return self.differ(
                format!("{subject} template"),
                "one that exists",
                coupon.template_id,
            );
        };
        tally.issued += 1;
        tally.redeemed += i64::from(coupon.status == CouponStatus::Redeemed);
        let (merchant, status) = (template.merchant_id, template.status);
        if merchant != coupon.merchant_id {
            self.differ(format!("{subject} merchant"), merchant, coupon.merchant_id);
        }
        if coupon.status == CouponStatus::Discarded && status != TemplateStatus::Discarded {
            self.differ(
                format!("{subject} status"),
                "not discarded, as its template is not",
                "Discarded",
            );
        }
    }

    fn check_issue(
        &mut self,
        coupon: &Coupon,
        entry: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<()> {
        let key = params![
            coupon.template_id.0,
            micros(coupon.issued_at),
            coupon.id.to_bytes()
        ];
        let found: i64 = entry.query_row(key, |row| row.get(0))?;
        if found != 1 {
            let subject = format!("coupon {} ISSUE entries at {}", coupon.id, coupon.issued_at);
            self.differ(subject, 1, found);
        }
        Ok(())
    }

    /// Replays the coupon's entries after its issue, as its trail tells them. That the trail leaves out none is
    /// seen from the entries.
    fn check_path(
        &mut self,
        coupon: &Coupon,
        trail: &[u8],
        entry: &mut CachedStatement<'_>,
    ) -> rusqlite::Result<()> {
        if !trail::is_whole(trail) {
            let subject = format!("coupon {} trail", coupon.id);
            self.differ(subject, "whole places", format!("{} bytes", trail.len()));
        }
        let mut replay = Replay::new(coupon);
        let mut last = (micros(coupon.issued_at), coupon.id.to_bytes());
        for (at, id) in trail::places(trail) {
            let key = params![coupon.template_id.0, at, id, coupon.id.to_bytes()];
            let step = entry.query_row(key, read_step).optional()?;
            let found = match &step {
                Some(step) => format!("{:?} at {}", step.action, step.recorded_at),
                None => "nothing".into(),
            };
            let followed = match step {
                None => Err("one where the trail says"),
                Some(_) if (at, id) <= last => Err("one behind the one before it"),
                Some(step) => replay.step(step),
            };
            last = (at, id);
            if let Err(expected) = followed {
                self.differ(format!("coupon {} entries", coupon.id), expected, found);
                return Ok(());
            }
        }
        if replay.status != coupon.status {
            let subject = format!("coupon {} status", coupon.id);
            self.differ(
                subject,
                format!("{:?}", replay.status),
                format!("{:?}", coupon.status),
            );
        }
        if replay.order_id != coupon.order_id {
            let subject = format!("coupon {} order_id", coupon.id);
            let text = |order: &Option<String>| format!("{order:?}");
            self.differ(subject, text(&replay.order_id), text(&coupon.order_id));
        }
        Ok(())
    }

    /// Holds the index of holders against the coupons, both ways.
    fn check_holders(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut lacking = connection.prepare(
            "SELECT c.id FROM coupons c NOT INDEXED LEFT JOIN coupon_holders h
                 ON h.merchant_id = c.merchant_id AND h.user_id = c.user_id AND h.template_id = c.template_id
             WHERE h.coupon_id IS NOT c.id
                 AND c.id < (SELECT entered_below FROM late_indexes WHERE name = 'coupon_holders')",
        )?;
        let mut rows = lacking.query([])?;
        while let Some(row) = rows.next()? {
            let subject = format!("coupon {} holder", coupon_id(row, 0)?);
            self.differ(subject, "an entry that leads to it", "none");
        }
        let mut stray = connection.prepare(
            "SELECT h.coupon_id, h.template_id, h.user_id FROM coupon_holders h LEFT JOIN coupons c ON c.id = h.coupon_id
             WHERE (h.merchant_id, h.user_id, h.template_id) IS NOT (c.merchant_id, c.user_id, c.template_id)",
        )?;
        let mut rows = stray.query([])?;
        while let Some(row) = rows.next()? {
            let (template, user): (i64, String) = (row.get(1)?, row.get(2)?);
            let subject = format!("template {template} holder {user:?}");
            let found = coupon_id(row, 0)?;
            self.differ(subject, "their coupon", format!("coupon {found}"));
        }
        Ok(())
    }

    /// Each record of an idempotency key is found by its key, or a newer one is.
    fn check_keys(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut lost = connection.prepare(
            "SELECT r.seq FROM idempotency_records r LEFT JOIN idempotency_keys k ON k.key = r.key
             WHERE r.seq < (SELECT entered_below FROM late_indexes WHERE name = 'idempotency_keys')
                 AND coalesce(k.seq, -1) < r.seq",
        )?;
        let mut rows = lost.query([])?;
        while let Some(row) = rows.next()? {
            let subject = format!("idempotency record {} key", row.get::<_, i64>(0)?);
            self.differ(subject, "an entry that leads to it", "none");
        }
        Ok(())
    }

    /// Looks from each entry at its coupon, and at what the entry bears.
    fn check_entries(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut entries = connection.prepare(
            "SELECT h.template_id, h.recorded_at, h.id, h.merchant_id, h.action, h.coupon_id,
                    h.order_id IS NOT NULL, h.reason IS NOT NULL,
                    c.id IS NOT NULL, c.template_id, c.merchant_id, c.issued_at, c.trail
             FROM coupon_histories h NOT INDEXED LEFT JOIN coupons c ON c.id = h.coupon_id",
        )?;
        let mut rows = entries.query([])?;
        while let Some(row) = rows.next()? {
            self.check_entry(row)?;
        }
        Ok(())
    }

    fn check_entry(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        // Written out only for an entry with a difference: most have none.
        let subject = |what: &str| -> rusqlite::Result<String> {
            Ok(format!("history entry {} {what}", history_id(row, 2)?))
        };
        let action = history_action::read(row, 4)?;
        let bears: (bool, bool) = (row.get(6)?, row.get(7)?);
        if bears != bearing(action) {
            let text = |(order, reason)| format!("order_id: {order}, reason: {reason}");
            self.differ(subject("bears")?, text(bearing(action)), text(bears));
        }
        let coupon: CouponId = coupon_id(row, 5)?;
        if !row.get::<_, bool>(8)? {
            self.differ(subject("coupon")?, "one that exists", coupon);
            return Ok(());
        }
        let (template, of): (i64, i64) = (row.get(0)?, row.get(9)?);
        if template != of {
            self.differ(subject("template")?, of, template);
        }
        let (merchant, of) = (MerchantId(row.get(3)?), MerchantId(row.get(10)?));
        if merchant != of {
            self.differ(subject("merchant")?, of, merchant);
        }
        let is_issue = action == HistoryAction::Issue;
        // There is room for one such entry only; the coupon's own check tells when it is missing.
        let in_place = row.get::<_, i64>(1)? == row.get(11)?
            && history_id(row, 2)?.to_bytes() == coupon.to_bytes();
        if is_issue && !in_place {
            let expected = "no second ISSUE of its coupon, nor one at another time";
            self.differ(subject("action")?, expected, format!("Issue of {coupon}"));
        }
        if !is_issue {
            let place = (row.get(1)?, history_id(row, 2)?.to_bytes());
            let trail: Option<Vec<u8>> = row.get(12)?;
            let is_told = trail::places(&trail.unwrap_or_default()).any(|told| told == place);
            if !is_told {
                self.differ(subject("trail")?, "a place in its coupon's", "none");
            }
        }
        Ok(())
    }

    /// Counts coupons of a template and user by sorting them, so that a lost index is noticed.
    fn check_uniqueness(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(
            "SELECT template_id, user_id, count(*) FROM coupons NOT INDEXED
             GROUP BY template_id, user_id HAVING count(*) > 1",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (template, user): (i64, String) = (row.get(0)?, row.get(1)?);
            let found: i64 = row.get(2)?;
            let subject = format!("template {template} coupons of user {user:?}");
            self.differ(subject, "at most 1", found);
        }
        Ok(())
    }

    fn check_templates(&mut self) {
        let mut templates: Vec<_> = std::mem::take(&mut self.templates).into_values().collect();
        templates.sort_by_key(|(template, _)| template.id);
        for (template, tally) in templates {
            let subject = |what: &str| format!("template {} {what}", template.id);
            if template.issue_count != tally.issued {
                self.differ(subject("issue_count"), tally.issued, template.issue_count);
            }
            if template.redeem_count != tally.redeemed {
                self.differ(
                    subject("redeem_count"),
                    tally.redeemed,
                    template.redeem_count,
                );
            }
            let limit = template.terms.limit;
            if let Some(max) = limit.max_issue_count().filter(|&max| tally.issued > max) {
                self.differ(subject("coupons"), format!("at most {max}"), tally.issued);
            }
            if let Some(max) = limit.max_redeem_count().filter(|&max| tally.redeemed > max) {
                let most = format!("at most {max}");
                self.differ(subject("redeemed coupons"), most, tally.redeemed);
            }
        }
    }
}

/// The statement that made each table and index, by name.
fn schema_objects(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Whether entries of that action bear an order id and a reason (contract §2.2).
fn bearing(action: HistoryAction) -> (bool, bool) {
    match action {
        HistoryAction::Issue | HistoryAction::Expire => (false, false),
        HistoryAction::Redeem => (true, false),
        HistoryAction::CancelRedemption => (true, true),
        HistoryAction::Discard => (false, true),
    }
}

/// A coupon's state as its entries make it.
struct Replay<'a> {
    coupon: &'a Coupon,
    status: CouponStatus,
    order_id: Option<String>,
}

impl<'a> Replay<'a> {
    fn new(coupon: &'a Coupon) -> Self {
        Self {
            coupon,
            status: CouponStatus::Issued,
            order_id: None,
        }
    }

    /// Takes one more entry, or tells what should have stood there instead.
    fn step(&mut self, step: Step) -> Result<(), &'static str> {
        let expired = self.coupon.is_past_expiry(step.recorded_at);
        self.status = match (self.status, step.action) {
            (CouponStatus::Issued, HistoryAction::Redeem) if expired => {
                return Err("no redemption past the expiry");
            }
            (CouponStatus::Issued, HistoryAction::Redeem) => {
                self.order_id = step.order_id;
                CouponStatus::Redeemed
            }
            (CouponStatus::Redeemed, HistoryAction::CancelRedemption)
                if step.order_id == self.order_id =>
            {
                CouponStatus::Issued
            }
            (CouponStatus::Redeemed, HistoryAction::CancelRedemption) => {
                return Err("a cancellation of the order that redeemed it");
            }
            (CouponStatus::Issued, HistoryAction::Expire) if expired => CouponStatus::Expired,
            (CouponStatus::Issued, HistoryAction::Expire) => {
                return Err("no EXPIRE before the expiry");
            }
            (CouponStatus::Issued, HistoryAction::Discard) => CouponStatus::Discarded,
            (CouponStatus::Issued, _) => return Err("REDEEM, EXPIRE, DISCARD or nothing"),
            (CouponStatus::Redeemed, _) => return Err("CANCEL_REDEMPTION or nothing"),
            (CouponStatus::Expired | CouponStatus::Discarded, _) => return Err("no further entry"),
        };
        Ok(())
    }
}

#[cfg(test)]
#[path = "tests/audit.rs"]
mod tests;
