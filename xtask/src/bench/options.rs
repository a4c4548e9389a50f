//! The options of the benchmark, and the numbers that hold for each of its rows.

use std::path::PathBuf;

use clap::Args;

use super::work::{Backend, Work};

/// Connections that each row is measured with, one after the other.
pub const CONNECTIONS: [u32; 3] = [1, 64, 256];

/// The time for which the floor is measured before and after each row.
pub const FLOOR_SECONDS: u64 = 2;

/// The works to measure, and the files for the report.
#[derive(Args)]
pub struct Options {
    /// The product's back ends.
    #[arg(long, value_enum, default_value_t = Backend::Embedded)]
    pub backend: Backend,
    /// Writes the table as Markdown.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Writes the rows as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The seconds for which each row is measured.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=120))]
    pub seconds: u64,
    /// Measures only these works, beside the floor.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Work>,
    /// Leaves out the stores of 1 and 5 million coupons.
    #[arg(long)]
    pub skip_large: bool,
}

impl Options {
    /// Says that a work is to be measured.
    pub fn wants(&self, work: Work) -> bool {
        let large = matches!(work, Work::IssueAt1m | Work::IssueAt5m);
        if large && self.skip_large {
            return false;
        }
        self.only.is_empty() || self.only.contains(&work)
    }
}
