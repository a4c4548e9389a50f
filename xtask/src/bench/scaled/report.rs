//! The findings of a run on the scaled-out set, and the aims.

use std::fmt::Write as _;

use serde::Serialize;

use crate::bench::report::{Row, rounded, spoilt, table_of};
use crate::bench::work::Work;

/// The findings. A figure that was not measured is null, or absent.
#[derive(Serialize, Default)]
pub struct Report {
    pub rows: Vec<Row>,
    /// The most memory that a process of goodpon held under load.
    pub memory_mb: Option<f64>,
    /// A sale that was accepted while no issuer ran.
    pub sale: Option<Sale>,
    /// The coupons that an issuer wrote beside the rows of `issue_written`.
    pub beside: Vec<Beside>,
    /// A sale with which an issuer can keep pace.
    pub paced: Option<Paced>,
    pub aims: Vec<Aim>,
}

/// Coupons written by one issuer, which started when all were accepted.
#[derive(Serialize)]
pub struct Sale {
    pub coupons: u64,
    /// The time from the first coupon that was seen to be written to the last.
    #[serde(serialize_with = "rounded")]
    pub per_s: f64,
    /// The time from the issuer's start to the last coupon.
    #[serde(serialize_with = "rounded")]
    pub all_s: f64,
}

/// Coupons written while others were issued.
#[derive(Serialize)]
pub struct Beside {
    pub connections: u32,
    #[serde(serialize_with = "rounded")]
    pub per_s: f64,
}

/// A sale at a pace that one issuer can keep.
#[derive(Serialize)]
pub struct Paced {
    /// The pace, in issues a second.
    #[serde(serialize_with = "rounded")]
    pub issues_per_s: f64,
    /// The time from the last answered success until the partner API lists its coupon.
    #[serde(serialize_with = "rounded")]
    pub listed_ms: f64,
    /// The time from there until all coupons are written.
    #[serde(serialize_with = "rounded")]
    pub written_ms: f64,
    /// Answers that were not expected.
    pub unexpected: u64,
}

/// An aim, and whether it was reached.
#[derive(Serialize)]
pub struct Aim {
    pub aim: &'static str,
    pub measured: String,
    pub met: bool,
}

impl Report {
    /// Puts the rows in order, works one after the other, and compares the findings with the aims.
    pub fn finish(&mut self) {
        let mut order: Vec<Work> = vec![Work::Floor, Work::FloorPublish, Work::FloorScript];
        for row in &self.rows {
            if !order.contains(&row.work) {
                order.push(row.work);
            }
        }
        let place = |row: &Row| order.iter().position(|work| *work == row.work);
        self.rows.sort_by_key(place);
        self.aims = self.judged();
    }

    /// Counts the rows that had unexpected answers.
    pub fn unexpected(&self) -> usize {
        let paced = self
            .paced
            .as_ref()
            .is_some_and(|paced| paced.unexpected > 0);
        spoilt(&self.rows) + usize::from(paced)
    }

    fn row(&self, work: Work, connections: u32) -> Option<&Row> {
        let mut rows = self.rows.iter();
        rows.find(|row| row.work == work && row.connections == connections)
    }

    fn judged(&self) -> Vec<Aim> {
        let mut aims = Vec::new();
        let mut judge = |aim, measured, met| aims.push(Aim { aim, measured, met });
        let stopped = self.row(Work::Issue, 256);
        let written = self.row(Work::IssueWritten, 256);
        if let Some(row) = stopped {
            let aim = "issue at 256 connections with the issuers stopped ≥ 0.60 of the floor";
            judge(aim, format!("{:.2}", row.ratio), row.ratio >= 0.60);
        }
        if let Some(row) = written {
            let aim = "issue at 256 connections while an issuer writes ≥ 0.35 of the floor";
            judge(aim, format!("{:.2}", row.ratio), row.ratio >= 0.35);
        }
        for (aim, row) in [
            ("its p99 with the issuers stopped ≤ 60 ms", stopped),
            ("its p99 while an issuer writes ≤ 60 ms", written),
        ] {
            if let Some(row) = row {
                let met = row.p99_ms <= 60.0 && row.unexpected == 0;
                judge(aim, format!("{:.0} ms", row.p99_ms), met);
            }
        }
        if let (Some(template), Some(sold_out)) =
            (self.row(Work::Template, 64), self.row(Work::SoldOut, 64))
            && sold_out.ratio > 0.0
        {
            let aim = "template detail at 64 connections ≥ 0.80 of sold out";
            let share = template.ratio / sold_out.ratio;
            judge(aim, format!("{share:.2}"), share >= 0.80);
        }
        if let Some(sale) = &self.sale {
            let aim = "an issuer writes ≥ 5,000 coupons/s";
            judge(aim, format!("{:.0}/s", sale.per_s), sale.per_s >= 5000.0);
        }
        if let Some(paced) = &self.paced {
            let aim = "all of a sale is written within 10 s of one that an issuer kept pace with";
            let met = paced.written_ms <= 10_000.0 && paced.unexpected == 0;
            judge(aim, format!("{:.2} s", paced.written_ms / 1000.0), met);
        }
        let redeem = self.rows.iter().filter(|row| row.work == Work::Redeem);
        if let Some(row) = redeem.max_by(|a, b| a.ok_per_s.total_cmp(&b.ok_per_s)) {
            let aim = "redeem on a template without a limit ≥ 3,000/s";
            let measured = format!("{:.0}/s at {} connections", row.ok_per_s, row.connections);
            judge(aim, measured, row.ok_per_s >= 3000.0);
        }
        aims
    }

    /// Writes all of it, as Markdown that reads well on a terminal too.
    pub fn table(&self) -> String {
        let mut text = table_of(&self.rows);
        text.push('\n');
        self.add_issuer(&mut text);
        // Writing to a String cannot fail.
        if let (Some(one), Some(two)) = (
            self.row(Work::Issue, 256),
            self.row(Work::Issue2Partners, 256),
        ) && one.ratio > 0.0
        {
            let share = two.ratio / one.ratio;
            let _ = writeln!(
                text,
                "Two partner processes at 256 connections: {share:.2} of what one does, each by its floor."
            );
        }
        if let Some(memory) = self.memory_mb {
            let _ = writeln!(
                text,
                "Memory of a process of goodpon under load: {memory:.0} MB at most."
            );
        }
        if !self.aims.is_empty() {
            text.push_str("\n| aim | measured |\n| --- | --- |\n");
        }
        for Aim { aim, measured, met } in &self.aims {
            let word = if *met { "met" } else { "not met" };
            let _ = writeln!(text, "| {aim} | {measured}, {word} |");
        }
        text
    }

    fn add_issuer(&self, text: &mut String) {
        if let Some(sale) = &self.sale {
            let _ = writeln!(
                text,
                "One issuer, started after a sale of {}: {:.0} coupons/s, all of them {:.1} s after its start.",
                sale.coupons, sale.per_s, sale.all_s
            );
        }
        for beside in &self.beside {
            let _ = writeln!(
                text,
                "One issuer beside issues at {} connections: {:.0} coupons/s.",
                beside.connections, beside.per_s
            );
        }
        if let Some(paced) = &self.paced {
            let _ = writeln!(
                text,
                "One issuer beside {:.0} issues/s: the last answered coupon is listed after {:.0} ms, all are written after {:.0} ms.{}",
                paced.issues_per_s,
                paced.listed_ms,
                paced.written_ms,
                match paced.unexpected {
                    0 => String::new(),
                    count => format!(" It had {count} unexpected answers and counts for nothing."),
                }
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Paced, Report, Sale};
    use crate::bench::report::Row;
    use crate::bench::work::Work;

    fn row(work: Work, connections: u32, ok_per_s: f64, ratio: f64) -> Row {
        Row {
            work,
            connections,
            ok_per_s,
            p50_ms: 10.0,
            p99_ms: 60.0,
            unexpected: 0,
            cpu_us: None,
            ratio,
        }
    }

    #[test]
    fn aims_are_judged_by_their_rows() {
        let mut report = Report {
            rows: vec![
                row(Work::Issue, 64, 9000.0, 0.9),
                row(Work::Issue, 256, 9000.0, 0.6),
                row(Work::IssueWritten, 256, 4000.0, 0.34),
                row(Work::Redeem, 64, 3000.0, 0.2),
                row(Work::Redeem, 256, 2900.0, 0.2),
            ],
            sale: Some(Sale {
                coupons: 1,
                per_s: 4999.0,
                all_s: 1.0,
            }),
            paced: Some(Paced {
                issues_per_s: 1.0,
                listed_ms: 1.0,
                written_ms: 10_000.0,
                unexpected: 1,
            }),
            ..Report::default()
        };
        report.finish();
        let met: Vec<bool> = report.aims.iter().map(|aim| aim.met).collect();
        assert_eq!(met, [true, false, true, true, false, false, true]);
        assert_eq!(report.unexpected(), 1);
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let mut report = Report::default();
        report.rows.push(row(Work::List, 256, 1.0, 1.0));
        report.rows.push(row(Work::Floor, 1, 1.0, 1.0));
        report.finish();
        assert!(report.aims.is_empty());
        assert!(!report.table().contains("aim"));
        let works: Vec<Work> = report.rows.iter().map(|row| row.work).collect();
        assert_eq!(works, [Work::Floor, Work::List]);
    }
}
