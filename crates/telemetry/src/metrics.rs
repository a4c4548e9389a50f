//! Prometheus metrics: a recorder for the `metrics` facade, rendered on demand.

use std::time::{Duration, SystemTime};

use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::logs::DroppedLines;
use crate::process::Process;

/// Upper bounds of the histograms, in seconds unless the name says otherwise.
const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The histogram of the writes that share one commit.
const BATCH_SIZE: &str = "goodpon_writer_batch_size";
const WRITES: [f64; 11] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
];

/// Samples of histograms pile up between two upkeeps, at 8 bytes each.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A reason for which metrics could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The recorder could not be built or the process has one already.
    #[error("metrics could not be installed: {0}")]
    Install(String),
}

/// The metrics of this process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    process: Process,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Installs the recorder for the whole process. To be called before anything keeps a handle of a metric: a handle made
/// earlier counts nothing. [`Metrics::upkeep_forever`] must run from then on.
///
/// `version` becomes the label of `goodpon_build_info`; `started` is the time when the process started; `dropped_lines`
/// is [`crate::logs::Logs::dropped_lines`].
///
/// # Errors
///
/// When the process has a recorder already.
pub fn install(
    version: &'static str,
    started: SystemTime,
    dropped_lines: DroppedLines,
) -> Result<Metrics, Error> {
    let (recorder, metrics) = build(version, started, dropped_lines)?;
    metrics::set_global_recorder(recorder).map_err(|error| Error::Install(error.to_string()))?;
    Ok(metrics)
}

fn build(
    version: &'static str,
    started: SystemTime,
    dropped_lines: DroppedLines,
) -> Result<(PrometheusRecorder, Metrics), Error> {
    let recorder = PrometheusBuilder::new()
        .set_buckets(&SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full(BATCH_SIZE.to_owned()), &WRITES)
        })
        .map_err(|error| Error::Install(error.to_string()))?
        .build_recorder();
    let process =
        metrics::with_local_recorder(&recorder, || Process::new(version, started, dropped_lines));
    let handle = recorder.handle();
    Ok((recorder, Metrics { handle, process }))
}

impl Metrics {
    /// Renders all metrics in Prometheus' text format (`text/plain; version=0.0.4`).
    #[must_use]
    pub fn render(&self) -> String {
        self.process.observe();
        self.handle.render()
    }

    /// Folds the samples that histograms have gathered into their buckets. Without it they pile
    /// up until the next [`Metrics::render`].
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Calls [`Metrics::upkeep`] every second until the future is dropped; to be spawned as a
    /// task of its own.
    pub async fn upkeep_forever(self) {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.upkeep();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::logs::{Logs, queue};

    fn built() -> (PrometheusRecorder, Metrics, Logs) {
        let (_, logs) = queue(std::io::sink(), 8);
        let (recorder, metrics) = build(
            "1.2.3",
            UNIX_EPOCH + Duration::from_secs(5),
            logs.dropped_lines(),
        )
        .unwrap();
        (recorder, metrics, logs)
    }

    #[test]
    fn what_was_counted_is_rendered() {
        let (recorder, metrics, _logs) = built();
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("goodpon_issues_total", "outcome" => "issued").increment(3);
            let durations = metrics::histogram!("goodpon_http_request_seconds", "route" => "/v1/x");
            for seconds in [0.0004, 0.02, 60.0] {
                durations.record(seconds);
            }
            metrics::histogram!(BATCH_SIZE).record(100.0);
        });
        metrics.upkeep();
        let text = metrics.render();
        for line in [
            "goodpon_issues_total{outcome=\"issued\"} 3",
            "# TYPE goodpon_http_request_seconds histogram",
            "goodpon_http_request_seconds_bucket{route=\"/v1/x\",le=\"0.0005\"} 1",
            "goodpon_http_request_seconds_bucket{route=\"/v1/x\",le=\"0.025\"} 2",
            "goodpon_http_request_seconds_bucket{route=\"/v1/x\",le=\"10\"} 2",
            "goodpon_http_request_seconds_bucket{route=\"/v1/x\",le=\"+Inf\"} 3",
            "goodpon_http_request_seconds_count{route=\"/v1/x\"} 3",
            "goodpon_writer_batch_size_bucket{le=\"64\"} 0",
            "goodpon_writer_batch_size_bucket{le=\"128\"} 1",
            "goodpon_build_info{version=\"1.2.3\"} 1",
            "goodpon_log_lines_dropped_total 0",
            "process_start_time_seconds 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_is_seen() {
        let (_recorder, metrics, _logs) = built();
        let text = metrics.render();
        for name in ["process_resident_memory_bytes", "process_open_fds"] {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let value: f64 = line.expect(name).trim().parse().unwrap();
            assert!(value >= 1.0, "{name} {value}");
        }
    }
}
