//! Log lines on stderr: JSON for machines, coloured text for people.
//!
//! Lines are handed to a thread of their own that writes them in batches, so that a request pays
//! for making its line only. When stderr is not read (a full pipe), lines beyond a bounded queue
//! are dropped and counted: the service is worth more than its log.

use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;

use crate::json::{JsonLines, TRACE_ID};

/// Lines that may wait for the writing thread: some 12 MB of access log at most.
const QUEUED_LINES: usize = 32_768;

/// The rest of the writing thread after a batch. Without it the thread would be woken, and make a system call, for every
/// single line; with it a line waits this long at most.
const REST: Duration = Duration::from_millis(5);

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text when stderr is a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One flat JSON object a line: `timestamp` (RFC 3339, UTC, microseconds), `level`, `target`,
    /// `message`, then the event's own fields, which must not use those four names. A line that is written in the context
    /// of a trace has its `trace_id`, in text as well.
    Json,
    /// Text for people; coloured when stderr is a terminal and `NO_COLOR` is not set.
    Text,
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "auto" => Ok(Self::Auto),
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(Error::Format(text.to_owned())),
        }
    }
}

/// A reason for which logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name of a format that does not exist.
    #[error("log format \"{0}\" is none of auto, json, text")]
    Format(String),
    /// A filter that cannot be read.
    #[error("log level \"{filter}\" is not valid: {reason}")]
    Filter {
        /// The filter as it was given.
        filter: String,
        /// The fault in it.
        reason: String,
    },
    /// This process has a `tracing` subscriber already.
    #[error("logging is installed already")]
    Installed,
}

/// The levels that are logged: one level (`info`), or directives of [`EnvFilter`] such as `info,goodpon_web=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

impl FromStr for Filter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| Error::Filter {
            filter: text.to_owned(),
            reason,
        };
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        for directive in text.split(',') {
            // EnvFilter would take a misspelt level for a target, and log nothing else.
            let plain = !directive.contains(['=', '[', ']', '{', '}']);
            if plain
                && !LEVELS
                    .iter()
                    .any(|level| level.eq_ignore_ascii_case(directive))
            {
                return Err(wrong(format!(
                    "\"{directive}\" is neither a level ({}) nor target=level",
                    LEVELS.join(", ")
                )));
            }
        }
        EnvFilter::try_new(text).map_err(|error| wrong(error.to_string()))?;
        Ok(Self(text.to_owned()))
    }
}

impl Filter {
    fn to_env_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.0)
    }
}

/// Keeps logging alive. Dropping it writes the queued lines out (for a second at most, should stderr be blocked); later
/// lines are lost. Hold it in `main` to the very end, and leave `main` by returning: `std::process::exit` runs no drop.
#[must_use = "dropping it ends logging"]
#[derive(Debug)]
pub struct Logs {
    _guard: WorkerGuard,
    dropped: DroppedLines,
}

impl Logs {
    /// The count of lost lines, for [`crate::metrics::install`].
    #[must_use]
    pub fn dropped_lines(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

/// Counts the lines that were dropped because stderr was not read fast enough.
#[derive(Clone, Debug)]
pub struct DroppedLines(ErrorCounter);

impl DroppedLines {
    /// The count since the start.
    #[must_use]
    pub fn count(&self) -> u64 {
        u64::try_from(self.0.dropped_lines()).unwrap_or(u64::MAX)
    }
}

/// Installs logging to stderr for the whole process, and a panic hook that logs panics as events
/// of the target `panic` rather than as bare text.
///
/// # Errors
///
/// [`Error::Installed`] when the process has a subscriber already.
pub fn install(format: Format, filter: &Filter, now: fn() -> SystemTime) -> Result<Logs, Error> {
    let terminal = io::stderr().is_terminal();
    let (writer, logs) = queue(io::stderr(), QUEUED_LINES);
    let registry = tracing_subscriber::registry().with(filter.to_env_filter());
    let installed = match format {
        Format::Json => set(registry.with(JsonLines::new(writer, now))),
        Format::Auto if !terminal => set(registry.with(JsonLines::new(writer, now))),
        Format::Auto | Format::Text => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let text = tracing_subscriber::fmt::layer()
                .with_ansi(terminal && !plain)
                .with_timer(Stamp(now))
                .fmt_fields(TextFields(DefaultFields::new()))
                .with_writer(writer);
            set(registry.with(text))
        }
    };
    installed?;
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!(target: "panic", "{panic}");
    }));
    Ok(logs)
}

fn set(subscriber: impl tracing::Subscriber + Send + Sync) -> Result<(), Error> {
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::Installed)
}

/// The time of a line of text, as in JSON.
struct Stamp(fn() -> SystemTime);

impl FormatTime for Stamp {
    fn format_time(&self, line: &mut Writer<'_>) -> fmt::Result {
        let now = jiff::Timestamp::try_from((self.0)()).map_err(|_| fmt::Error)?;
        write!(line, "{now:.6}")
    }
}

/// The fields of a line of text, with the trace in whose context it is written.
struct TextFields(DefaultFields);

impl<'writer> FormatFields<'writer> for TextFields {
    fn format_fields<R: RecordFields>(&self, mut line: Writer<'writer>, fields: R) -> fmt::Result {
        self.0.format_fields(line.by_ref(), fields)?;
        match goodpon_trace::current() {
            Some(context) => write!(line, " {TRACE_ID}={}", context.trace_id),
            None => Ok(()),
        }
    }
}

/// Makes a bounded, lossy queue in front of `sink`, and the thread that empties it.
pub(crate) fn queue(sink: impl Write + Send + 'static, lines: usize) -> (NonBlocking, Logs) {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(lines)
        .thread_name("log-writer")
        .finish(Batched::new(sink));
    let dropped = DroppedLines(writer.error_counter());
    let logs = Logs {
        _guard: guard,
        dropped,
    };
    (writer, logs)
}

/// Buffers the lines of a batch; a flush that wrote something is followed by [`REST`].
struct Batched<W: Write> {
    buffer: BufWriter<W>,
    written: bool,
}

impl<W: Write> Batched<W> {
    fn new(sink: W) -> Self {
        Self {
            buffer: BufWriter::with_capacity(64 * 1024, sink),
            written: false,
        }
    }
}

impl<W: Write> Write for Batched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written = true;
        self.buffer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.buffer.flush();
        if std::mem::take(&mut self.written) {
            std::thread::sleep(REST);
        }
        flushed
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::sync::{Arc, Mutex, mpsc};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Blocks in its first write until the other end of the channel is dropped, as a full pipe does.
    struct FullPipe(mpsc::Receiver<()>);

    impl Write for FullPipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn dropping_the_guard_loses_no_line() {
        let kept = Kept::default();
        let (writer, logs) = queue(kept.clone(), QUEUED_LINES);
        let dropped = logs.dropped_lines();
        let registry = tracing_subscriber::registry()
            .with("info".parse::<Filter>().unwrap().to_env_filter())
            .with(JsonLines::new(writer, || SystemTime::UNIX_EPOCH));
        tracing::subscriber::with_default(registry, || {
            for number in 0..10_000 {
                tracing::info!(number, "line");
                tracing::debug!(number, "not asked for");
            }
        });
        drop(logs);
        let bytes = kept.0.lock().unwrap().clone();
        let numbers: Vec<u64> = String::from_utf8(bytes)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .map(|line| line["number"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (0..10_000).collect::<Vec<_>>());
        assert_eq!(dropped.count(), 0);
    }

    #[test]
    fn a_stderr_nobody_reads_costs_lines_and_not_the_service() {
        let (unblock, blocked) = mpsc::channel();
        let (mut writer, logs) = queue(FullPipe(blocked), 8);
        // More than queue and buffer hold together: were it not lossy, this would never end.
        let line = vec![b'x'; 32 * 1024];
        for _ in 0..64 {
            writer.write_all(&line).unwrap();
        }
        assert!(logs.dropped_lines().count() >= 64 - 8 - 4);
        drop(unblock);
    }

    #[test]
    fn a_line_of_text_names_the_trace_in_whose_context_it_is_written() {
        let kept = Kept::default();
        let writer = kept.clone();
        let text = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .fmt_fields(TextFields(DefaultFields::new()))
            .with_writer(move || writer.clone());
        let context = goodpon_trace::TraceContext {
            trace_id: goodpon_trace::TraceId::fresh(),
            parent: goodpon_trace::SpanId::fresh(),
            sampled: true,
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(text), || {
            goodpon_trace::enter(Some(context), || tracing::warn!(mail_id = 1, "within"));
            tracing::warn!(mail_id = 2, "outside");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let named = format!("within mail_id=1 trace_id={}", context.trace_id);
        assert!(lines[0].ends_with(&named), "{text}");
        assert!(lines[1].ends_with("outside mail_id=2"), "{text}");
    }

    #[test]
    fn a_filter_is_a_level_or_directives() {
        for good in [
            "info",
            "WARN",
            "off",
            "info,goodpon_web=debug",
            "warn,access=info",
        ] {
            assert!(good.parse::<Filter>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "inof",
            "info,",
            "goodpon_http=loud",
            "info;debug",
            "warn, info",
        ] {
            let error = bad.parse::<Filter>().unwrap_err().to_string();
            assert!(error.contains(&format!("log level \"{bad}\"")), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_format_has_one_of_three_names() {
        assert_eq!("json".parse::<Format>().unwrap(), Format::Json);
        assert!("yaml".parse::<Format>().is_err());
    }
}
