//! Safe retries by `Idempotency-Key` (contract §3.1).
//!
//! What is remembered is the answer to the byte. Only the edge can write an answer and only the store can keep it
//! as one with the effect, so the edge hands its way of writing down through the use case.

use std::sync::Arc;

use bytes::Bytes;
use goodpon_domain::gate::Keyed;
use jiff::SignedDuration;
use sha2::{Digest, Sha256};

/// How long an answer is kept (contract §3.1).
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(24);

/// An answer as it went out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body to the byte.
    pub body: Bytes,
}

/// The idempotency of one request whose outcome is a `T`.
pub struct Idempotency<T> {
    /// Digest of client id, method, path and key. The path is the plain one of its resource, however the request spelt
    /// it: two spellings are one scope (contract §3.1).
    pub key: [u8; 16],
    /// Digest of the body.
    pub body: [u8; 16],
    /// Writes the answer to an outcome.
    pub render: Arc<dyn Fn(&T) -> Answer + Send + Sync>,
}

impl<T> Clone for Idempotency<T> {
    fn clone(&self) -> Self {
        Self {
            key: self.key,
            body: self.body,
            render: Arc::clone(&self.render),
        }
    }
}

impl<T> Idempotency<T> {
    /// The idempotency of a request of `client_id` with that method, path, key and body.
    pub fn new(
        client_id: &[u8],
        method: &str,
        path: &[u8],
        key: &[u8],
        body: &[u8],
        render: Arc<dyn Fn(&T) -> Answer + Send + Sync>,
    ) -> Self {
        Self {
            key: digest(&[client_id, method.as_bytes(), path, key]),
            body: digest(&[body]),
            render,
        }
    }
}

impl<T> Idempotency<T> {
    /// Returns the digests, as an accepted issue carries them.
    pub fn keyed(&self) -> Keyed {
        Keyed {
            key: self.key,
            body: self.body,
        }
    }
}

/// 128 bits of SHA-256 over the parts, each behind its length so that no two lists of parts run together.
fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize()[..16]);
    short
}

/// How a request that may bear a key ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It ran now.
    Ran(T),
    /// It ran before: this was the answer.
    Replayed(Answer),
    /// The key was used with another body.
    PayloadMismatch,
    /// The key's first request still runs.
    Processing,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peek {
    /// Nothing.
    Free,
    /// Its request ended with this answer, and the body is the same.
    Finished(Answer),
    /// It was used with another body.
    PayloadMismatch,
    /// Its request still runs.
    Processing,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored with every answer: another way to make it, and retries across an upgrade run twice.
    #[test]
    fn the_digest_of_a_key_is_what_it_always_was() {
        let render = Arc::new(|(): &()| Answer {
            status: 200,
            body: Bytes::new(),
        });
        let client = b"ck_0123456789abcdef0123456789abcdef";
        let path = b"/v1/coupon-templates/7/issue";
        let request = Idempotency::new(client, "POST", path, b"order-1", b"{}", render);
        let expected = 0xca0a2ce665292ffcdd3fc80322949f81_u128;
        assert_eq!(u128::from_be_bytes(request.key), expected);
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[b"ab"]), digest(&[b"ab", b""]));
        assert_eq!(digest(&[b"ab", b"c"]), digest(&[b"ab", b"c"]));
    }
}
