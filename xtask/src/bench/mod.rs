//! `cargo xtask bench`: the product against the floor, in one run, each run on a server of its own process.
//!
//! wrk has two threads and shares the machine with the server. Measured runs read no answer in Lua, because that costs a good part of the rate; what was
//! answered is known from wrk's count of refusals, from the server's own count by status, from the template's counters and from a sampled body.

mod embedded;
mod report;
mod scaled;
mod server;
mod shop;
mod stage;
mod wrk;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use self::report::Work;
use self::wrk::Figures;

const CONNECTIONS: [u32; 3] = [1, 64, 256];
/// How long the floor is measured before and after each row.
const FLOOR_SECONDS: u64 = 2;

/// What stands behind the product's ports.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// The embedded store.
    Embedded,
    /// MySQL, Valkey and Kafka, brought up as by `cargo xtask services up`.
    Scaled,
}

/// What to measure and where to tell it.
#[derive(Args)]
pub struct Options {
    /// What stands behind the product's ports.
    #[arg(long, value_enum, default_value_t = Backend::Embedded)]
    backend: Backend,
    /// Writes the table as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Writes the rows as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How long each row is measured.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=120))]
    seconds: u64,
    /// Measures only these works, beside the floor.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Work>,
    /// Leaves out the stores of 1 and 5 million coupons.
    #[arg(long)]
    skip_large: bool,
}

impl Options {
    fn wants(&self, work: Work) -> bool {
        let large = matches!(work, Work::IssueAt1m | Work::IssueAt5m);
        if large && self.skip_large {
            return false;
        }
        self.only.is_empty() || self.only.contains(&work)
    }
}

/// Measures, prints the table and writes the files asked for. Fails if an answer was unexpected.
pub fn run(options: &Options) -> Result<()> {
    if let Some(work) = options
        .only
        .iter()
        .find(|work| !work.is_of(options.backend))
    {
        bail!("{} is not measured on these back ends", work.name());
    }
    match options.backend {
        Backend::Embedded => {
            let report = embedded::run(options)?;
            tell(options, &report.table(), &report)?;
            fail_if_spoilt(report.unexpected())
        }
        Backend::Scaled => {
            let report = scaled::run(options)?;
            tell(options, &report.table(), &report)?;
            fail_if_spoilt(report.unexpected())
        }
    }
}

/// Prints the table and writes the files asked for.
fn tell(options: &Options, table: &str, report: &impl Serialize) -> Result<()> {
    let table = format!("{table}\n{}\n", conditions(options));
    println!("{table}");
    if let Some(file) = &options.markdown {
        fs::write(file, &table).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &options.json {
        let json = serde_json::to_string_pretty(report)?;
        fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn fail_if_spoilt(rows: usize) -> Result<()> {
    match rows {
        0 => Ok(()),
        _ => bail!("{rows} row(s) had unexpected answers and count for nothing"),
    }
}

/// Under what the figures were had.
fn conditions(options: &Options) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = cpu.matches("model name").count();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let seconds = options.seconds;
    let all = match options.backend {
        Backend::Embedded => "",
        Backend::Scaled => {
            ", and with MariaDB or MySQL, Valkey and Kafka, one of each; every part of goodpon a process of its own"
        }
    };
    format!(
        "{cores} cores ({model}); the load generator, wrk with {} threads, on the same machine over loopback{all}; {seconds} s a row after {} s of warm-up; \
         of the floor as measured for {FLOOR_SECONDS} s before and after the row; release build, default settings with rate limits off, access log on, every commit synced.",
        wrk::THREADS,
        stage::warm_up(seconds)
    )
}

/// Requests a second.
fn rate(figures: &Figures) -> f64 {
    figures.requests as f64 * 1e6 / figures.duration_us.max(1) as f64
}
