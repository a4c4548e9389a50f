//! Recomputes everything derived in the store from coupons and their ledger, in one snapshot.
//!
//! Nothing derived is trusted: counters are counted anew, uniqueness is counted without the unique index, and each
//! coupon's state is replayed from its entries. Memory grows with the number of templates only.

use std::collections::HashMap;

use goodpon_application::{
    audit::{self},
    ports::Difference,
};
use goodpon_domain::{
    coupon::{Coupon, CouponStatus},
    id::{CouponId, MerchantId, TemplateId},
    ledger::{Amounts, HistoryAction},
    template::{Template, TemplateStatus},
};
use rusqlite::{CachedStatement, Connection, Row, params};

use crate::{
    codec::{self, coupon_id, history_action, history_id, micros},
    late::{
        coupon_state::{self, States},
        index::stored_mark,
    },
    replay::{self, Replays},
    schema::{self, Schema},
    template_row,
};

/// Returns every difference between the stored state and the ledger.
pub(crate) fn run(connection: &Connection) -> rusqlite::Result<Vec<Difference>> {
    let snapshot = connection.unchecked_transaction()?;
    differences(&snapshot)
}

fn differences(snapshot: &Connection) -> rusqlite::Result<Vec<Difference>> {
    let mut audit = Audit::default();
    audit.check_file(snapshot)?;
    let schema_is_whole = audit.check_schema(snapshot)?;
    audit.check_uniqueness(snapshot)?;
    // Without the schema's indexes the rest would take for ever.
    if !schema_is_whole {
        return Ok(audit.differences);
    }
    template_row::for_each(snapshot, |template| {
        audit
            .templates
            .insert(template.id, (template, Tally::default()));
        Ok(())
    })?;
    audit.amounts_lack_until =
        snapshot.query_row("SELECT lack_until FROM ledger_amounts", [], |row| {
            row.get(0)
        })?;
    audit.check_coupons(snapshot)?;
    audit.check_holders(snapshot)?;
    audit.check_keys(snapshot)?;
    audit.check_entries(snapshot)?;
    audit.check_activity(snapshot)?;
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
    /// Entries recorded up to this time were written by a program that kept no amounts.
    amounts_lack_until: i64,
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

    /// Checks pages, rows and indexes with SQLite's own means.
    fn check_file(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare("PRAGMA integrity_check")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let line: String = row.get(0)?;
            if line != "ok" {
                self.differ("database file", "no damage", line.replace('\n', " "));
            }
        }
        self.check_references(connection)
    }

    /// Finds rows that name a missing row, and roles that no member can have.
    fn check_references(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (table, id): (String, Option<i64>) = (row.get(0)?, row.get(1)?);
            let referred: String = row.get(2)?;
            let id = id.map_or_else(String::new, |id| format!(" {id}"));
            self.differ(
                format!("{table} row{id}"),
                format!("one of {referred} that it names"),
                "none",
            );
        }
        let mut statement =
            connection.prepare("SELECT merchant_id, account_id, role FROM merchant_members")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if codec::role::read(row, 2).is_err() {
                let (merchant, account): (i64, i64) = (row.get(0)?, row.get(1)?);
                let found: rusqlite::types::Value = row.get(2)?;
                self.differ(
                    format!("merchant {merchant} member {account} role"),
                    "one that there is",
                    format!("{found:?}"),
                );
            }
        }
        Ok(())
    }

    /// Compares tables and indexes with those of a new database, and returns whether all are there.
    fn check_schema(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        if Schema::read(connection).is_ok_and(|found| found.version > schema::VERSION) {
            // A newer program has added to the schema, and only that program knows its additions.
            return Ok(true);
        }
        let fresh = Connection::open_in_memory()?;
        schema::create(&fresh)?;
        let (expected, found) = (schema::objects(&fresh)?, schema::objects(connection)?);
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
        let mut coupons = connection.prepare(coupon_state::select_coupons!(
            ", lower(hex(id)), EXISTS (SELECT 1 FROM template_walks w WHERE w.template_id = coupons.template_id
                 AND (w.passed_at, w.passed_id) >= (coupons.issued_at, coupons.id))
             FROM coupons NOT INDEXED ORDER BY id"
        ))?;
        let mut issue = connection.prepare_cached(
            "SELECT count(*) FROM coupon_histories
             WHERE template_id = ?1 AND recorded_at = ?2 AND id = ?3 AND coupon_id = ?3 AND action = ?4 AND number = 0",
        )?;
        let entered_below = stored_mark::<States>(connection)?;
        let mut steps = connection.prepare(replay::STEPS)?;
        let mut replays = Replays::new(&mut steps, entered_below, self.amounts_lack_until)?;
        let mut rows = coupons.query([])?;
        while let Some(row) = rows.next()? {
            let stored = match coupon_state::read(row) {
                Ok(stored) => stored,
                Err(error) => {
                    let subject = format!("coupon {} row", row.get::<_, String>(11)?);
                    self.differ(subject, "one that can be read", error);
                    continue;
                }
            };
            let (status, faults) = replays.of(&stored)?;
            let coupon = Coupon {
                status,
                ..stored.coupon
            };
            for (what, expected, found) in faults {
                self.differ(format!("coupon {} {what}", coupon.id), expected, found);
            }
            self.count(&coupon);
            self.check_issue(&coupon, &mut issue)?;
            // No sweep would reach it any more.
            if row.get(12)? && coupon.status == CouponStatus::Issued {
                let subject = format!("coupon {} sweep", coupon.id);
                self.differ(subject, "still before it", "passed");
            }
        }
        for (id, error) in replays.unreadable() {
            self.differ(format!("history entry {id}"), "one that can be read", error);
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
            coupon.id.to_bytes(),
            history_action::code(HistoryAction::Issue)
        ];
        let found: i64 = entry.query_row(key, |row| row.get(0))?;
        if found != 1 {
            let subject = format!("coupon {} ISSUE entries at {}", coupon.id, coupon.issued_at);
            self.differ(subject, 1, found);
        }
        Ok(())
    }

    /// Compares the index of holders with the coupons, both ways.
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

    /// Checks that each record of an idempotency key, or a newer one, is found by its key.
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

    /// Checks that templates have rows for the seconds of their entries, without which no page would find these, and no
    /// others.
    fn check_activity(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut lacking = connection.prepare(
            "SELECT DISTINCT h.template_id, h.recorded_at / 1000000 FROM coupon_histories h NOT INDEXED
             LEFT JOIN template_activity a ON a.merchant_id = h.merchant_id AND a.second = h.recorded_at / 1000000
                 AND a.template_id = h.template_id
             WHERE a.second IS NULL",
        )?;
        let mut rows = lacking.query([])?;
        while let Some(row) = rows.next()? {
            let (template, second): (i64, i64) = (row.get(0)?, row.get(1)?);
            let subject = format!("template {template} activity at {second}");
            self.differ(subject, "a row", "none");
        }
        let mut stray = connection.prepare(
            "SELECT a.template_id, a.second FROM template_activity a WHERE NOT EXISTS (
                 SELECT 1 FROM coupon_histories h WHERE h.template_id = a.template_id
                     AND h.merchant_id = a.merchant_id
                     AND h.recorded_at >= a.second * 1000000 AND h.recorded_at < (a.second + 1) * 1000000)",
        )?;
        let mut rows = stray.query([])?;
        while let Some(row) = rows.next()? {
            let (template, second): (i64, i64) = (row.get(0)?, row.get(1)?);
            let subject = format!("template {template} activity at {second}");
            self.differ(subject, "an entry in that second", "none");
        }
        Ok(())
    }

    /// Checks each entry and its coupon.
    fn check_entries(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut entries = connection.prepare(
            "SELECT h.template_id, h.recorded_at, h.id, h.merchant_id, h.action, h.coupon_id,
                    h.order_id IS NOT NULL, h.reason IS NOT NULL,
                    c.id IS NOT NULL, c.template_id, c.merchant_id, c.issued_at, h.order_amount, h.discount_amount
             FROM coupon_histories h NOT INDEXED LEFT JOIN coupons c ON c.id = h.coupon_id",
        )?;
        let mut rows = entries.query([])?;
        while let Some(row) = rows.next()? {
            self.check_entry(row)?;
        }
        Ok(())
    }

    fn check_entry(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        // Formatted only for an entry with a difference: most have none.
        let subject = |what: &str| -> rusqlite::Result<String> {
            Ok(format!("history entry {} {what}", history_id(row, 2)?))
        };
        let action = history_action::read(row, 4)?;
        let fields: (bool, bool) = (row.get(6)?, row.get(7)?);
        if fields != action.carries() {
            let text = |(order, reason)| format!("order_id: {order}, reason: {reason}");
            self.differ(subject("fields")?, text(action.carries()), text(fields));
        }
        let amounts = Amounts {
            order: row.get(12)?,
            discount: row.get(13)?,
        };
        let template = self.templates.get(&TemplateId(row.get(0)?));
        let discount = template.map(|(template, _)| template.terms.discount);
        let may_lack = row.get::<_, i64>(1)? <= self.amounts_lack_until;
        if let Some((expected, found)) = audit::of_amounts(action, amounts, discount, may_lack) {
            self.differ(subject("amounts")?, expected, found);
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
        // There is room for one such entry only; the check of the coupon reports one that is missing.
        let in_place = row.get::<_, i64>(1)? == row.get(11)?
            && history_id(row, 2)?.to_bytes() == coupon.to_bytes();
        if is_issue && !in_place {
            let expected = "no second ISSUE of its coupon, nor one at another time";
            self.differ(subject("action")?, expected, format!("Issue of {coupon}"));
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
            let found = audit::of_template(&template, tally.issued, tally.redeemed);
            self.differences.extend(found);
        }
    }
}

#[cfg(test)]
mod tests;
