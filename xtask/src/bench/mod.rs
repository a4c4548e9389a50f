//! `cargo xtask bench`: the product against the floor, in one run, each run on a server of its own process.
//!
//! wrk has two threads and shares the machine with the server. Measured runs read no answer in Lua, because that costs a good part of the rate; what was
//! answered is known from wrk's count of refusals, from the server's own count by status, from the template's counters and from a sampled body.

mod embedded;
mod options;
mod report;
mod scaled;
mod server;
mod shop;
mod stage;
mod work;
mod wrk;

use std::fs;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use self::options::FLOOR_SECONDS;
pub use self::options::Options;
use self::work::Backend;

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
            publish(options, &report.table(), &report)?;
            fail_if_spoilt(report.unexpected())
        }
        Backend::Scaled => {
            let report = scaled::run(options)?;
            publish(options, &report.table(), &report)?;
            fail_if_spoilt(report.unexpected())
        }
    }
}

/// Prints the table and writes the files asked for.
fn publish(options: &Options, table: &str, report: &impl Serialize) -> Result<()> {
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

/// Describes the machine and the settings behind the figures.
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
