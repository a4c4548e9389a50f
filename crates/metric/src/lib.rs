//! Metrics as tables: each crate that records some lists them in a table of its own, in the file `metric.rs`.
//!
//! From the tables come the descriptions on `/metrics`, the counters and histograms that stand there from the start, and
//! the page `docs/metrics.md`. This crate records nothing: that is done by the macros of the crate `metrics`, at the place
//! where the thing happens. It knows nothing of coupons and no exporter.

use metrics::{Key, KeyName, Level, Metadata, Recorder, SharedString};

/// The metadata of every series that is made at the start; no recorder of ours looks at it.
static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name: `goodpon_…`, or one that OpenTelemetry or Prometheus have given.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its meaning for those who watch it, without a full stop.
    pub meaning: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
}

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A count that only grows while the process runs.
    Counter,
    /// A value of the moment.
    Gauge,
    /// Values sorted into buckets.
    Histogram,
}

/// A label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// The values that it may have.
    pub values: Values,
}

/// The values of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// All of them are known.
    Closed(&'static [&'static str]),
    /// They are known only once they are recorded. The text says what they are: `the number of the partition`.
    Open(&'static str),
}

impl Metric {
    /// A count of things that happened.
    #[must_use]
    pub const fn counter(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Kind::Counter, meaning)
    }

    /// A value of the moment.
    #[must_use]
    pub const fn gauge(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Kind::Gauge, meaning)
    }

    /// Values sorted into buckets, in seconds unless the name says otherwise.
    #[must_use]
    pub const fn histogram(name: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Kind::Histogram, meaning)
    }

    const fn new(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self {
            name,
            kind,
            meaning,
            labels: &[],
        }
    }

    /// The same metric with these labels.
    #[must_use]
    pub const fn by(self, labels: &'static [Label]) -> Self {
        Self { labels, ..self }
    }

    /// Describes the metric to a recorder. Makes its series too, if all values of its labels are known: an alert on the
    /// rate of a counter sees its first event only if the counter stood at 0 before. A gauge is not made, for a value that
    /// nobody has set would be wrong.
    fn introduce_to(&self, recorder: &dyn Recorder) {
        let name = || KeyName::from_const_str(self.name);
        let meaning = || SharedString::const_str(self.meaning);
        match self.kind {
            Kind::Counter => recorder.describe_counter(name(), None, meaning()),
            Kind::Gauge => recorder.describe_gauge(name(), None, meaning()),
            Kind::Histogram => recorder.describe_histogram(name(), None, meaning()),
        }
        for labels in self.series() {
            let key = Key::from_parts(name(), labels);
            match self.kind {
                // A handle that is dropped leaves its series behind.
                Kind::Counter => drop(recorder.register_counter(&key, &METADATA)),
                Kind::Histogram => drop(recorder.register_histogram(&key, &METADATA)),
                Kind::Gauge => {}
            }
        }
    }

    /// The labels of each series that the metric can have, or nothing if they are not known.
    fn series(&self) -> Vec<Vec<metrics::Label>> {
        let mut all = vec![Vec::new()];
        for label in self.labels {
            let Values::Closed(values) = label.values else {
                return Vec::new();
            };
            all = all
                .iter()
                .flat_map(|series| {
                    values.iter().map(|value| {
                        let mut longer = series.clone();
                        longer.push(metrics::Label::from_static_parts(label.name, value));
                        longer
                    })
                })
                .collect();
        }
        all
    }
}

impl Label {
    /// A label with one of these values.
    #[must_use]
    pub const fn one_of(name: &'static str, values: &'static [&'static str]) -> Self {
        Self {
            name,
            values: Values::Closed(values),
        }
    }

    /// A label whose values are known only once they are recorded; `what` says what they are.
    #[must_use]
    pub const fn any(name: &'static str, what: &'static str) -> Self {
        Self {
            name,
            values: Values::Open(what),
        }
    }
}

/// Introduces the metrics of a table to the recorder of this process. To be called once the recorder is installed, and
/// for the tables only of what the process does.
pub fn introduce(table: &[Metric]) {
    metrics::with_recorder(|recorder| {
        for metric in table {
            metric.introduce_to(recorder);
        }
    });
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    const TABLE: [Metric; 5] = [
        Metric::counter("a_total", "Counts a").by(&[
            Label::one_of("x", &["1", "2"]),
            Label::one_of("y", &["3", "4"]),
        ]),
        Metric::counter("b_total", "Counts b").by(&[
            Label::one_of("x", &["1", "2"]),
            Label::any("task", "the name of the task"),
        ]),
        Metric::counter("c_total", "Counts c"),
        Metric::gauge("d", "Shows d"),
        Metric::histogram("e_seconds", "Measures e").by(&[Label::one_of("x", &["1"])]),
    ];

    #[test]
    fn counters_and_histograms_of_known_labels_stand_there_from_the_start() {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&[1.0])
            .map(PrometheusBuilder::build_recorder);
        let Ok(recorder) = recorder else {
            panic!("no recorder");
        };
        metrics::with_local_recorder(&recorder, || {
            introduce(&TABLE);
            metrics::counter!("b_total", "x" => "1", "task" => "sweep").increment(1);
        });
        let text = recorder.handle().render();
        let has = |line: &str| text.lines().any(|one| one == line);
        for line in [
            "# HELP a_total Counts a",
            r#"a_total{x="1",y="3"} 0"#,
            r#"a_total{x="2",y="4"} 0"#,
            "# HELP b_total Counts b",
            r#"b_total{x="1",task="sweep"} 1"#,
            "c_total 0",
            r#"e_seconds_bucket{x="1",le="1"} 0"#,
            r#"e_seconds_count{x="1"} 0"#,
        ] {
            assert!(has(line), "{line}:\n{text}");
        }
        assert!(!text.contains("\nd "), "nobody has set it:\n{text}");
    }
}
