//! A place in a trace, and its form on the wire.

use std::fmt;

use crate::id::{SpanId, TraceId, is_hex};

/// The bit of the flags that says that a trace is sampled.
const SAMPLED: u8 = 1;

/// A place in a trace: what is caused from here on belongs to it. Its `Display` is the value of a W3C `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that is the parent of whatever is caused from here on.
    pub parent: SpanId,
    /// True if the spans of this trace are to be recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads the value of a `traceparent`. `None` if it is malformed.
    #[must_use]
    pub fn parse(traceparent: &[u8]) -> Option<Self> {
        let (head, later) = traceparent.split_at_checked(55)?;
        let (version, flags) = (head.get(..2)?, head.get(53..)?);
        let is_well_formed = version.iter().chain(flags).all(is_hex)
            && [2, 35, 52].into_iter().all(|dash| head[dash] == b'-')
            && match version {
                b"00" => later.is_empty(),
                b"ff" => false,
                // A later version may append more, behind another hyphen.
                _ => matches!(later, [] | [b'-', ..]),
            };
        if !is_well_formed {
            return None;
        }
        let flags = u8::from_str_radix(std::str::from_utf8(flags).ok()?, 16).ok()?;
        Some(Self {
            trace_id: TraceId::parse(head.get(3..35)?)?,
            parent: SpanId::parse(head.get(36..52)?)?,
            sampled: flags & SAMPLED != 0,
        })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.sampled) * SAMPLED;
        write!(f, "00-{}-{}-{flags:02x}", self.trace_id, self.parent)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_valid_traceparent_is_read() {
        for (value, sampled) in [
            (format!("00-{ID}-00f067aa0ba902b7-01"), true),
            (format!("00-{ID}-00f067aa0ba902b7-00"), false),
            (format!("00-{ID}-00f067aa0ba902b7-02"), false),
            (format!("00-{ID}-00f067aa0ba902b7-ff"), true),
            (format!("cc-{ID}-00f067aa0ba902b7-0a"), false),
            (format!("01-{ID}-00f067aa0ba902b7-01-more"), true),
        ] {
            let context = TraceContext::parse(value.as_bytes()).unwrap();
            assert_eq!(context.trace_id.as_str(), ID, "{value}");
            assert_eq!(context.parent.as_str(), "00f067aa0ba902b7", "{value}");
            assert_eq!(context.sampled, sampled, "{value}");
        }
    }

    #[test]
    fn anything_else_is_not() {
        let zeros = "0".repeat(32);
        let upper = ID.to_uppercase();
        for value in [
            String::new(),
            ID.to_owned(),
            format!("ff-{ID}-00f067aa0ba902b7-01"),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{ID}-0000000000000000-01"),
            format!("00-{upper}-00f067aa0ba902b7-01"),
            format!("00-{ID}-00f067aa0ba902b7-01-more"),
            format!("01-{ID}-00f067aa0ba902b7-01more"),
            format!("00_{ID}-00f067aa0ba902b7-01"),
            format!("00-{ID}-00f067aa0ba902b7-0"),
            format!("00-{ID}-00f067aa0ba902b7-0g"),
            format!("00-{ID}-00f067aa0ba902b7-+1"),
        ] {
            assert_eq!(TraceContext::parse(value.as_bytes()), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace in "[0-9a-f]{31}[1-9a-f]", parent in "[1-9a-f][0-9a-f]{15}", sampled: bool) {
            let context = TraceContext {
                trace_id: TraceId::parse(trace.as_bytes()).unwrap(),
                parent: SpanId::parse(parent.as_bytes()).unwrap(),
                sampled,
            };
            let written = context.to_string();
            prop_assert_eq!(written.len(), 55);
            prop_assert_eq!(TraceContext::parse(written.as_bytes()), Some(context));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, hex in "[0-9a-f-]{50,60}") {
            let _ = TraceContext::parse(&bytes);
            if let Some(context) = TraceContext::parse(hex.as_bytes()) {
                prop_assert!(hex.contains(context.trace_id.as_str()));
            }
        }
    }
}
