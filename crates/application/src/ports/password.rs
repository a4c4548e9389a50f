//! Password hashing, and access tokens of the dashboard.

use async_trait::async_trait;
use goodpon_domain::{generation::Generation, id::AccountId, session::Claims};
use jiff::Timestamp;

#[cfg(doc)]
use super::StoreError;
use super::StoreResult;
use crate::network::Network;

/// The purpose for which a password is hashed. Each purpose has its own queue, so that a flood of one does not delay the
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashPurpose {
    /// A login.
    Login,
    /// A login from a network from which that account has logged in before.
    KnownLogin,
    /// A sign-up.
    SignUp,
    /// A password typed on the verification page.
    Verification,
}

/// The position in which a password waits to be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashTurn {
    /// The purpose, which selects the queue.
    pub purpose: HashPurpose,
    /// The network of the request. Networks take turns within a queue, one password each.
    pub network: Network,
}

impl HashTurn {
    /// Makes a turn of `network` in the queue of `purpose`.
    #[must_use]
    pub fn new(purpose: HashPurpose, network: Network) -> Self {
        Self { purpose, network }
    }
}

/// Password hashing. It is slow on purpose, so only a few passwords are hashed at a time and the others wait in queues;
/// both methods fail with [`StoreError::Unavailable`] if a queue is full.
#[async_trait]
pub trait Passwords: Send + Sync {
    /// Returns the hash to store for a new password, unless an attacker who knows the texts `known_to_attackers` would
    /// guess it among the first (contract §2: zxcvbn score 0).
    async fn hash(
        &self,
        password: String,
        known_to_attackers: Vec<String>,
        turn: HashTurn,
    ) -> StoreResult<Result<String, PasswordTooWeak>>;
    /// Returns whether `password` is the one from which `hash` was made.
    async fn verify(&self, password: String, hash: String, turn: HashTurn) -> StoreResult<bool>;
}

/// The password is too easily guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordTooWeak;

/// Access tokens of the dashboard (contract §2): signed, valid for 24 hours.
pub trait AccessTokens: Send + Sync {
    /// Makes a token for that account, valid from `now`.
    fn issue(
        &self,
        account: AccountId,
        generation: Generation,
        now: Timestamp,
    ) -> StoreResult<String>;
    /// Returns the claims of a token whose signature is ours and that is not expired at `now`. Whether it was ended
    /// since is decided by [`Claims::is_valid_for`].
    fn read(&self, token: &str, now: Timestamp) -> Option<Claims>;
}
