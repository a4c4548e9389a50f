//! The context of a trace: a value where it crosses a border ([`TraceContext`]), and ambient within the process
//! ([`enter`], [`scope`], [`current`]).
//!
//! An id is 16 or 8 bytes in lower-case hex and never zero, and what is written as a `traceparent` is read back the same.
//! Nothing here samples, records, exports or logs; nothing allocates but the writing of a `traceparent`; and nothing
//! needs a runtime.

mod ambient;
mod context;
mod id;

pub use ambient::{current, enter, scope};
pub use context::TraceContext;
pub use id::{SpanId, TraceId};
