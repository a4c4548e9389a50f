//! The metrics of the process itself, which the system keeps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use goodpon_metric::{Label, Metric};
use metrics::{Counter, Gauge};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

use crate::logs::DroppedLines;

/// All of them.
pub const METRICS: [Metric; 7] = [
    Metric::gauge("goodpon_build_info", "Always 1; the version is a label")
        .by(&[Label::any("version", "the version of the program")]),
    Metric::gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970",
    ),
    Metric::gauge(
        "process_resident_memory_bytes",
        "Memory of the process that is in RAM",
    ),
    Metric::counter(
        "process_cpu_seconds_total",
        "CPU time of the process, in whole seconds",
    ),
    Metric::gauge("process_open_fds", "Open file descriptors"),
    Metric::gauge(
        "process_max_fds",
        "File descriptors that the process may have open",
    ),
    Metric::counter(
        "goodpon_log_lines_dropped_total",
        "Log lines lost because stderr was not read fast enough",
    ),
];

/// Figures of the process that the system keeps, read when metrics are rendered.
#[derive(Clone)]
pub(crate) struct Process {
    resident: Gauge,
    cpu: Counter,
    open_fds: Gauge,
    max_fds: Gauge,
    dropped: Counter,
    dropped_lines: DroppedLines,
}

impl Process {
    pub(crate) fn new(
        version: &'static str,
        started: SystemTime,
        dropped_lines: DroppedLines,
    ) -> Self {
        metrics::gauge!("goodpon_build_info", "version" => version).set(1.0);

        let start = started.duration_since(UNIX_EPOCH);
        metrics::gauge!("process_start_time_seconds").set(start.unwrap_or_default().as_secs_f64());

        Self {
            resident: metrics::gauge!("process_resident_memory_bytes"),
            cpu: metrics::counter!("process_cpu_seconds_total"),
            open_fds: metrics::gauge!("process_open_fds"),
            max_fds: metrics::gauge!("process_max_fds"),
            dropped: metrics::counter!("goodpon_log_lines_dropped_total"),
            dropped_lines,
        }
    }

    pub(crate) fn observe(&self) {
        if let Some(bytes) = resident_bytes() {
            self.resident.set(bytes as f64);
        }
        self.cpu.absolute(cpu_time().as_secs());
        if let Some(most) = getrlimit(Resource::Nofile).current {
            self.max_fds.set(most as f64);
        }
        if let Ok(fds) = std::fs::read_dir("/proc/self/fd") {
            // One of them is the listing itself.
            self.open_fds.set(fds.count().saturating_sub(1) as f64);
        }
        self.dropped.absolute(self.dropped_lines.count());
    }
}

/// Reads the CPU time that all threads have used so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Reads the resident memory from `/proc`, where there is one.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}
