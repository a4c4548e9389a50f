//! One JSON object a line for each event, written straight into a byte buffer.

use std::cell::Cell;
use std::fmt::{self, Debug, Write as _};
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer};

/// Bytes of a line's buffer: one that a huge line has made bigger is not kept.
const MAX_KEPT_CAPACITY: usize = 16 * 1024;

/// The field with the id of a trace.
pub(crate) const TRACE_ID: &str = "trace_id";

thread_local! {
    /// The line under construction and the date-time prefix of the last line, kept per thread.
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// Writes `{"timestamp":…,"level":…,"target":…,"message":…,<the event's fields>}` and a newline,
/// in one call to the writer. In the context of a trace ([`goodpon_trace::current`]) the line also has its `trace_id`. The
/// fields of enclosing spans are not written.
pub(crate) struct JsonLines<W> {
    writer: W,
    now: fn() -> SystemTime,
}

impl<W> JsonLines<W> {
    pub(crate) fn new(writer: W, now: fn() -> SystemTime) -> Self {
        Self { writer, now }
    }
}

impl<S, W> Layer<S> for JsonLines<W>
where
    S: Subscriber,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Taken out, not borrowed: a field whose Debug logs in its turn gets a scratch of its own.
        let mut scratch = SCRATCH.try_with(Cell::take).unwrap_or_default();
        scratch.line.clear();
        write_event(&mut scratch, (self.now)(), event);
        // A log line that cannot be written has nowhere else to be reported.
        let _ = self.writer.make_writer().write_all(&scratch.line);
        if scratch.line.capacity() <= MAX_KEPT_CAPACITY {
            let _ = SCRATCH.try_with(|cell| cell.set(scratch));
        }
    }
}

#[derive(Default)]
struct Scratch {
    line: Vec<u8>,
    clock: Clock,
}

fn write_event(scratch: &mut Scratch, now: SystemTime, event: &Event<'_>) {
    let Scratch { line, clock } = scratch;
    let metadata = event.metadata();
    line.extend_from_slice(b"{\"timestamp\":\"");
    clock.write(line, now);
    line.extend_from_slice(b"\",\"level\":\"");
    line.extend_from_slice(metadata.level().as_str().as_bytes());
    line.extend_from_slice(b"\",\"target\":");
    write_string(line, metadata.target());
    event.record(&mut Fields { line });
    if let Some(context) = goodpon_trace::current()
        && metadata.fields().field(TRACE_ID).is_none()
    {
        line.extend_from_slice(b",\"");
        line.extend_from_slice(TRACE_ID.as_bytes());
        line.extend_from_slice(b"\":\"");
        line.extend_from_slice(context.trace_id.as_bytes());
        line.push(b'"');
    }
    line.extend_from_slice(b"}\n");
}

/// Writes times as RFC 3339 in UTC with microseconds. Calendar arithmetic is done once a second, not once a line.
#[derive(Default)]
struct Clock {
    second: Option<u64>,
    prefix: String,
}

impl Clock {
    fn write(&mut self, line: &mut Vec<u8>, now: SystemTime) {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = since_epoch.as_secs();
        if self.second != Some(second) {
            let timestamp = i64::try_from(second)
                .ok()
                .and_then(|second| jiff::Timestamp::from_second(second).ok())
                .unwrap_or(jiff::Timestamp::MAX);
            self.prefix.clear();
            let _ = write!(self.prefix, "{}", timestamp.strftime("%Y-%m-%dT%H:%M:%S."));
            self.second = Some(second);
        }
        line.extend_from_slice(self.prefix.as_bytes());
        let mut micros = since_epoch.subsec_micros();
        let mut digits = *b"000000Z";
        for digit in digits[..6].iter_mut().rev() {
            *digit += (micros % 10) as u8;
            micros /= 10;
        }
        line.extend_from_slice(&digits);
    }
}

struct Fields<'a> {
    line: &'a mut Vec<u8>,
}

impl Fields<'_> {
    fn key(&mut self, field: &Field) {
        self.line.push(b',');
        let name = field.name();
        write_string(self.line, name.strip_prefix("r#").unwrap_or(name));
        self.line.push(b':');
    }

    fn integer(&mut self, field: &Field, value: impl itoa::Integer) {
        self.key(field);
        let mut digits = itoa::Buffer::new();
        self.line.extend_from_slice(digits.format(value).as_bytes());
    }
}

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.key(field);
        write_string(self.line, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.integer(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.integer(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.integer(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.integer(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.key(field);
        self.line
            .extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.key(field);
        if value.is_finite() {
            let _ = write!(Escaped(self.line), "{value:?}");
        } else {
            // JSON has no word for NaN or infinity.
            self.line.extend_from_slice(b"null");
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.key(field);
        self.line.push(b'"');
        let _ = write!(Escaped(self.line), "{value:?}");
        self.line.push(b'"');
    }
}

/// Escapes text that is formatted through it, so that it may stand within a JSON string.
struct Escaped<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

fn write_string(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    escape(line, text);
    line.push(b'"');
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Escapes a text. Bytes that need no escape are copied in runs, which is nearly always the whole text.
fn escape(line: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    // Looks at every byte, however early one needs it: without a way out the compiler looks at 16 at once.
    if !bytes
        .iter()
        .fold(false, |any, &byte| any | needs_escape(byte))
    {
        return line.extend_from_slice(bytes);
    }
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if !needs_escape(byte) {
            continue;
        }
        line.extend_from_slice(&bytes[copied..at]);
        copied = at + 1;
        match byte {
            b'"' => line.extend_from_slice(b"\\\""),
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            _ => {
                let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
                line.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            }
        }
    }
    line.extend_from_slice(&bytes[copied..]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use serde_json::{Value, json};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn leap_day() -> SystemTime {
        UNIX_EPOCH + Duration::new(1_709_251_199, 999_999_999)
    }

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lines_of(logging: impl FnOnce()) -> Vec<Value> {
        let kept = Kept::default();
        let writer = kept.clone();
        let layer = JsonLines::new(move || writer.clone(), leap_day);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, logging);
        let bytes = kept.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect()
    }

    #[test]
    fn an_event_is_one_flat_object() {
        let lines = lines_of(|| {
            tracing::info!(
                target: "access",
                status = 200_u16,
                balance = i64::MIN,
                big = u128::MAX,
                ratio = 0.5,
                odd = f64::NAN,
                ok = true,
                route = "/v1/쿠폰",
                r#type = ?Some(1),
                "answered {}",
                1
            );
        });
        assert_eq!(lines.len(), 1);
        let mut line = lines[0].clone();
        // A JSON number of 128 bits is beyond what serde_json holds exactly.
        line["big"].take();
        assert_eq!(
            line,
            json!({
                "timestamp": "2024-02-29T23:59:59.999999Z", "level": "INFO", "target": "access", "message": "answered 1",
                "status": 200, "balance": i64::MIN, "big": null, "ratio": 0.5, "odd": null, "ok": true,
                "route": "/v1/쿠폰", "type": "Some(1)",
            })
        );
    }

    #[test]
    fn a_line_in_the_context_of_a_trace_names_it_once() {
        let context = goodpon_trace::TraceContext {
            trace_id: goodpon_trace::TraceId::fresh(),
            parent: goodpon_trace::SpanId::fresh(),
            sampled: true,
        };
        let lines = lines_of(|| {
            goodpon_trace::enter(Some(context), || {
                tracing::warn!(mail_id = 1, "within");
                tracing::warn!(trace_id = "its own", "within");
            });
            tracing::warn!("outside");
        });
        assert_eq!(lines[0]["trace_id"], context.trace_id.as_str());
        assert_eq!(lines[1]["trace_id"], "its own");
        assert_eq!(lines[2].get("trace_id"), None);
    }

    #[test]
    fn whatever_the_text_it_stays_one_valid_line() {
        let mut nasty: String = (0..=0x2100).filter_map(char::from_u32).collect();
        nasty.push_str("\u{2028}\u{2029}\u{feff}😀\"\\\r\n{\"level\":\"forged\"}");
        let lines = lines_of(|| {
            tracing::warn!(text = %nasty, same = nasty.as_str(), "{nasty}");
        });
        assert_eq!(lines.len(), 1);
        for key in ["text", "same", "message"] {
            assert_eq!(lines[0][key], nasty, "{key}");
        }
    }

    #[test]
    fn a_field_that_logs_while_it_is_formatted_breaks_neither_line() {
        struct Chatty;
        impl Debug for Chatty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                tracing::info!("inner");
                f.write_str("chatty")
            }
        }
        // A subscriber is not entered twice on a thread, so the inner event is dropped, not mixed in.
        let lines = lines_of(|| tracing::info!(value = ?Chatty, "outer"));
        let outer = lines.last().unwrap();
        assert_eq!(outer["message"], "outer");
        assert_eq!(outer["value"], "chatty");
    }

    #[test]
    fn the_clock_writes_utc_microseconds() {
        let mut clock = Clock::default();
        let mut line = Vec::new();
        clock.write(&mut line, leap_day());
        line.push(b' ');
        clock.write(&mut line, leap_day() + Duration::from_nanos(1));
        line.push(b' ');
        clock.write(&mut line, UNIX_EPOCH - Duration::from_secs(1));
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "2024-02-29T23:59:59.999999Z 2024-03-01T00:00:00.000000Z 1970-01-01T00:00:00.000000Z"
        );
    }
}
