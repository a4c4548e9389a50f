//! The rows of a benchmark, as a table and as JSON.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};

use super::work::Work;
use super::wrk::Figures;

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
    /// CPU time of the servers for one request, in microseconds: it depends less than the rate on what else the machine does.
    #[serde(serialize_with = "rounded_if_measured")]
    pub cpu_us: Option<f64>,
    /// `ok_per_s` over that of the floor at the same number of connections, just before and after the row.
    #[serde(serialize_with = "rounded")]
    pub ratio: f64,
}

impl Row {
    /// Makes a row, compared with its floor's requests a second.
    pub fn new(
        work: Work,
        connections: u32,
        figures: &Figures,
        unexpected: u64,
        floor: f64,
    ) -> Self {
        let ok_per_s = if unexpected == 0 { figures.rate() } else { 0.0 };
        Self {
            work,
            connections,
            ok_per_s,
            p50_ms: figures.p50_us as f64 / 1000.0,
            p99_ms: figures.p99_us as f64 / 1000.0,
            unexpected,
            cpu_us: figures
                .cpu_us
                .map(|cpu| cpu as f64 / figures.requests.max(1) as f64),
            ratio: if floor > 0.0 { ok_per_s / floor } else { 0.0 },
        }
    }

    /// Prints the row on stderr while the bench goes on.
    pub fn print_progress(&self) {
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

/// The findings of a benchmark. A figure that was not measured is null.
#[derive(Serialize, Default)]
pub struct Report {
    pub rows: Vec<Row>,
    /// The most memory that a server held under load.
    pub memory_mb: Option<f64>,
    /// The time from start to ready on a store of a million coupons.
    pub ready_ms: Option<u64>,
}

impl Report {
    /// Counts the rows that had unexpected answers.
    pub fn unexpected(&self) -> usize {
        spoilt(&self.rows)
    }

    /// Writes the table, as Markdown that reads well on a terminal too.
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

/// Counts the rows that had unexpected answers.
pub fn spoilt(rows: &[Row]) -> usize {
    rows.iter().filter(|row| row.unexpected > 0).count()
}

/// Writes the rows as a table in Markdown.
pub fn table_of(rows: &[Row]) -> String {
    let mut table = String::from(
        "| work             | connections |  ok/s | p50 ms | p99 ms | unexpected | CPU us | of the floor |\n\
         | ---------------- | ----------: | ----: | -----: | -----: | ---------: | -----: | -----------: |\n",
    );
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| {:<16} | {:>11} | {:>5.0} | {:>6.2} | {:>6.2} | {:>10} | {:>6} | {:>12.2} |",
            row.work.name(),
            row.connections,
            row.ok_per_s,
            row.p50_ms,
            row.p99_ms,
            row.unexpected,
            row.cpu_us
                .map(|cpu| format!("{cpu:.1}"))
                .unwrap_or_default(),
            row.ratio
        );
    }
    table
}

/// Writes a number with three digits behind the point.
pub fn rounded<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((number * 1000.0).round() / 1000.0)
}

fn rounded_if_measured<S: Serializer>(
    number: &Option<f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match number {
        Some(number) => rounded(number, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Report, Row};
    use crate::bench::work::Work;

    #[test]
    fn the_json_has_the_agreed_keys() {
        let row = Row {
            work: Work::IssueAt1m,
            connections: 64,
            ok_per_s: 1.23456,
            p50_ms: 1.0,
            p99_ms: 2.0,
            unexpected: 0,
            cpu_us: Some(17.1234),
            ratio: 0.5,
        };
        let report = Report {
            rows: vec![row],
            memory_mb: Some(1.0),
            ready_ms: Some(5),
        };
        let row = json!({"work": "issue_at_1m", "connections": 64, "ok_per_s": 1.235, "p50_ms": 1.0, "p99_ms": 2.0,
            "unexpected": 0, "cpu_us": 17.123, "ratio": 0.5});
        assert_eq!(
            json!(report),
            json!({"rows": [row], "memory_mb": 1.0, "ready_ms": 5})
        );
    }
}
