//! The tables as a page in Markdown.

use std::fmt::Write;

use goodpon_metric::{Kind, Label, Values};

use super::{Processes, TABLES};

const INTRODUCTION: &str = "# Metrics

What `/metrics` on the admin port shows, in Prometheus' text format. Counters and histograms whose labels have known values stand there from the start. Histograms are in seconds unless the name says otherwise. No label has the name of a merchant, a template or a user.

`goodpon metrics` prints this page; `UPDATE_DOCS=1 cargo test -p goodpon metric` writes it anew.
";

fn processes(processes: Processes) -> &'static str {
    match processes {
        Processes::All => "every process",
        Processes::OfApis => "processes that serve the dashboard or the partner API",
        Processes::OfDashboards => "processes that serve the dashboard API",
        Processes::OfPartners => "processes that serve the partner API",
        Processes::OneMachine => "on one machine",
        Processes::ScaledOut => "scaled out, every process",
        Processes::PartnersScaledOut => "scaled out, processes that serve the partner API",
        Processes::IssuersScaledOut => "scaled out, issuers",
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

fn label(label: &Label) -> String {
    let values = match label.values {
        Values::Closed(values) => values
            .iter()
            .map(|value| format!("`{value}`"))
            .collect::<Vec<_>>()
            .join(", "),
        Values::Open(what) => what.to_owned(),
    };
    format!("`{}`: {values}", label.name)
}

/// Writes all tables.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for table in &TABLES {
        let of = processes(table.processes);
        // Writing into a String does not fail.
        let _ = write!(
            page,
            "\n## {}\n\nOf {of}.\n\n| metric | kind | meaning | labels |\n| --- | --- | --- | --- |\n",
            table.title
        );
        for metric in table.metrics {
            let labels: Vec<_> = metric.labels.iter().map(label).collect();
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} |",
                metric.name,
                kind(metric.kind),
                metric.meaning,
                labels.join("; ")
            );
        }
    }
    page
}
