//! The rows of a benchmark and the forms they are told in.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde::{Serialize, Serializer};

use super::wrk::Figures;
use super::{Backend, rate};

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Work {
    Floor,
    Issue,
    IssueIdempotent,
    SoldOut,
    AlreadyIssued,
    Template,
    /// The template's detail for a user, while it is issued to others.
    TemplateInSale,
    List,
    Redeem,
    #[serde(rename = "issue_at_1m")]
    #[value(name = "issue_at_1m")]
    IssueAt1m,
    #[serde(rename = "issue_at_5m")]
    #[value(name = "issue_at_5m")]
    IssueAt5m,
    /// The gate's script alone, without HTTP.
    FloorScript,
    /// The script and an awaited publish, without HTTP.
    FloorPublish,
    /// Issues while one issuer writes.
    IssueWritten,
    /// Issues over two partner processes.
    #[serde(rename = "issue_2_partners")]
    #[value(name = "issue_2_partners")]
    Issue2Partners,
    /// Redemptions of a template with a limit of them.
    RedeemLimited,
    /// What an issuer writes: it has figures of its own.
    Issuer,
}

impl Work {
    /// The name in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Issue => "issue",
            Self::IssueIdempotent => "issue_idempotent",
            Self::SoldOut => "sold_out",
            Self::AlreadyIssued => "already_issued",
            Self::Template => "template",
            Self::TemplateInSale => "template_in_sale",
            Self::List => "list",
            Self::Redeem => "redeem",
            Self::IssueAt1m => "issue_at_1m",
            Self::IssueAt5m => "issue_at_5m",
            Self::FloorScript => "floor_script",
            Self::FloorPublish => "floor_publish",
            Self::IssueWritten => "issue_written",
            Self::Issue2Partners => "issue_2_partners",
            Self::RedeemLimited => "redeem_limited",
            Self::Issuer => "issuer",
        }
    }

    /// Whether it is measured on these back ends.
    pub fn is_of(self, backend: Backend) -> bool {
        match self {
            Self::IssueAt1m | Self::IssueAt5m => backend == Backend::Embedded,
            Self::FloorScript
            | Self::FloorPublish
            | Self::IssueWritten
            | Self::Issue2Partners
            | Self::RedeemLimited
            | Self::Issuer => backend == Backend::Scaled,
            _ => true,
        }
    }
}

/// One measured run.
#[derive(Clone, Serialize)]
pub struct Row {
    pub work: Work,
    pub connections: u32,
    /// Requests a second with the expected answer; 0 if any answer was unexpected.
    #[serde(serialize_with = "rounded")]
    pub ok_per_s: f64,
    #[serde(serialize_with = "rounded")]
    pub p50_ms: f64,
    #[serde(serialize_with = "rounded")]
    pub p99_ms: f64,
    pub unexpected: u64,
    /// `ok_per_s` over that of the floor at the same number of connections, just before and after the row.
    #[serde(serialize_with = "rounded")]
    pub ratio: f64,
}

impl Row {
    /// A row with its floor's requests a second.
    pub fn new(
        work: Work,
        connections: u32,
        figures: &Figures,
        unexpected: u64,
        floor: f64,
    ) -> Self {
        let ok_per_s = if unexpected == 0 { rate(figures) } else { 0.0 };
        Self {
            work,
            connections,
            ok_per_s,
            p50_ms: figures.p50_us as f64 / 1000.0,
            p99_ms: figures.p99_us as f64 / 1000.0,
            unexpected,
            ratio: if floor > 0.0 { ok_per_s / floor } else { 0.0 },
        }
    }

    /// Tells how the bench gets on.
    pub fn tell(&self) {
        eprintln!(
            "{:<16} {:>3} connections {:>7.0}/s  p50 {:.2} ms  p99 {:.2} ms  {:.2} of the floor",
            self.work.name(),
            self.connections,
            self.ok_per_s,
            self.p50_ms,
            self.p99_ms,
            self.ratio
        );
    }
}

/// All that a benchmark found. What was not measured is null.
#[derive(Serialize, Default)]
pub struct Report {
    pub rows: Vec<Row>,
    /// The most memory a server held under load.
    pub memory_mb: Option<f64>,
    /// From start to ready on a store of a million coupons.
    pub ready_ms: Option<u64>,
}

impl Report {
    /// How many rows had unexpected answers.
    pub fn unexpected(&self) -> usize {
        spoilt(&self.rows)
    }

    /// The table, as Markdown that reads well on a terminal too.
    pub fn table(&self) -> String {
        let mut table = table_of(&self.rows);
        table.push('\n');
        if let Some(memory) = self.memory_mb {
            let _ = writeln!(table, "Memory under load: {memory:.0} MB at most.");
        }
        if let Some(ready) = self.ready_ms {
            let _ = writeln!(table, "Ready on a store of 1 million coupons: {ready} ms.");
        }
        table
    }
}

/// How many rows had unexpected answers.
pub fn spoilt(rows: &[Row]) -> usize {
    rows.iter().filter(|row| row.unexpected > 0).count()
}

/// The rows, as a table in Markdown.
pub fn table_of(rows: &[Row]) -> String {
    let mut table = String::from(
        "| work             | connections |  ok/s | p50 ms | p99 ms | unexpected | of the floor |\n\
         | ---------------- | ----------: | ----: | -----: | -----: | ---------: | -----------: |\n",
    );
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| {:<16} | {:>11} | {:>5.0} | {:>6.2} | {:>6.2} | {:>10} | {:>12.2} |",
            row.work.name(),
            row.connections,
            row.ok_per_s,
            row.p50_ms,
            row.p99_ms,
            row.unexpected,
            row.ratio
        );
    }
    table
}

/// Three digits behind the point will do.
pub fn rounded<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((number * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use serde_json::json;

    use super::{Report, Row, Work};

    #[test]
    fn a_work_has_one_name_everywhere() {
        for work in Work::value_variants() {
            assert_eq!(json!(work), work.name());
            let value = work.to_possible_value();
            assert_eq!(
                value.map(|value| value.get_name().to_owned()),
                Some(work.name().to_owned())
            );
        }
    }

    #[test]
    fn the_json_has_the_agreed_keys() {
        let row = Row {
            work: Work::IssueAt1m,
            connections: 64,
            ok_per_s: 1.23456,
            p50_ms: 1.0,
            p99_ms: 2.0,
            unexpected: 0,
            ratio: 0.5,
        };
        let report = Report {
            rows: vec![row],
            memory_mb: Some(1.0),
            ready_ms: Some(5),
        };
        let row = json!({"work": "issue_at_1m", "connections": 64, "ok_per_s": 1.235, "p50_ms": 1.0, "p99_ms": 2.0,
            "unexpected": 0, "ratio": 0.5});
        assert_eq!(
            json!(report),
            json!({"rows": [row], "memory_mb": 1.0, "ready_ms": 5})
        );
    }
}
