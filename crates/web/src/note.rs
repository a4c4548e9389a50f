//! Notes for the log: extensions of a response, which are taken from it before it is sent.

use bytes::Bytes;

/// Why a request failed. Logged beside its trace id, at WARN with status 503 and at ERROR with any other.
#[derive(Debug, Clone)]
pub struct Cause(pub String);

/// The code of a failure, for access and security log: usually a slice of the body, so that it costs no copy.
#[derive(Debug, Clone)]
pub struct Code(Bytes);

impl Code {
    /// A code of these bytes, which are UTF-8.
    pub fn new(code: Bytes) -> Self {
        Self(code)
    }

    /// The code; empty where its bytes are no UTF-8.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}
