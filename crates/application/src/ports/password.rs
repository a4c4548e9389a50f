//! Password hashing, and access tokens of the dashboard.

use async_trait::async_trait;
use goodpon_domain::{generation::Generation, id::AccountId, session::Claims};
use jiff::Timestamp;

use super::StoreResult;
use crate::network::Network;

/// Why a password is hashed. Each purpose has a queue of its own, so that none keeps another waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashPurpose {
    /// A login.
    Login,
    /// A login from a network from which that account logged in before.
    KnownLogin,
    /// A sign-up.
    SignUp,
    /// The page behind the verification link.
    Verification,
}

/// Where a password stands in line to be hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashTurn {
    /// Names the queue.
    pub purpose: HashPurpose,
    /// Who asks: in each queue a network has one place, and its further passwords wait for that.
    pub network: Network,
}

impl HashTurn {
    /// A turn in the queue of `purpose`, in the place of `network`.
    #[must_use]
    pub fn new(purpose: HashPurpose, network: Network) -> Self {
        Self { purpose, network }
    }
}

/// Password hashing, so slow on purpose that only a few run at once.
#[async_trait]
pub trait Passwords: Send + Sync {
    /// The hash to store of a password that is set, unless it is one of the first that are guessed of a person of whom
    /// `about` is known. Unavailable where too many wait already.
    async fn hash(
        &self,
        password: String,
        about: Vec<String>,
        turn: HashTurn,
    ) -> StoreResult<Result<String, GuessedFirst>>;
    /// Whether `password` is the one that `hash` was made of. Unavailable where too many wait already.
    async fn verify(&self, password: String, hash: String, turn: HashTurn) -> StoreResult<bool>;
}

/// A password is too easily guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuessedFirst;

/// Access tokens of the dashboard (contract §2): signed, valid for 24 hours.
pub trait AccessTokens: Send + Sync {
    /// A token for that account, given out at `now`.
    fn issue(
        &self,
        account: AccountId,
        generation: Generation,
        now: Timestamp,
    ) -> StoreResult<String>;
    /// What the token says, if it is ours and good at `now`. Whether it counts is for [`Claims::count_for`] to say.
    fn read(&self, token: &str, now: Timestamp) -> Option<Claims>;
}
