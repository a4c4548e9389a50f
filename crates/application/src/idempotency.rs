//! Safe retries by `Idempotency-Key` (contract §3.1).
//!
//! The store keeps the answer, byte for byte, in the transaction that writes the effect. Only the HTTP layer can write
//! an answer, so it passes its way of writing through the use case to the store.

use std::sync::Arc;

use bytes::Bytes;
use goodpon_domain::gate::KeyDigests;
use jiff::SignedDuration;
use sha2::{Digest, Sha256};

/// The time for which an answer is kept (contract §3.1).
pub const ANSWER_RETENTION: SignedDuration = SignedDuration::from_hours(24);

/// An answer as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, byte for byte.
    pub body: Bytes,
}

/// The idempotency key of one request whose outcome is a `T`, with the way its answer is written.
pub struct Idempotency<T> {
    /// The digest of client id, method, path and key. The path is the canonical one of the resource, so that two
    /// spellings of it are one scope (contract §3.1).
    pub key: [u8; 16],
    /// The digest of the body.
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
    /// Makes the idempotency of a request of `client_id`; `path` is the canonical path of the resource.
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
    pub fn keyed(&self) -> KeyDigests {
        KeyDigests {
            key: self.key,
            body: self.body,
        }
    }
}

/// Returns 128 bits of SHA-256 over the parts, each preceded by its length so that different lists of parts never hash
/// the same bytes.
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

/// The outcome of a request that may have a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It ran now.
    Ran(T),
    /// It ran before, and this was its answer.
    Replayed(Answer),
    /// The key was used with another body.
    PayloadMismatch,
    /// The first request with the key is still running.
    Processing,
}

/// The state of a key, looked up without running a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peek {
    /// The key was not used.
    Free,
    /// It was used with the same body, and this was the answer.
    Finished(Answer),
    /// It was used with another body.
    PayloadMismatch,
    /// The request with the key is still running.
    Processing,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The digest is stored with every answer. If it were computed in another way, a retry across an upgrade would run
    /// twice.
    #[test]
    fn the_digest_of_a_key_never_changes() {
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
    fn different_lists_of_parts_have_different_digests() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_ne!(digest(&[b"ab"]), digest(&[b"ab", b""]));
        assert_eq!(digest(&[b"ab", b"c"]), digest(&[b"ab", b"c"]));
    }
}
