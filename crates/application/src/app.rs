//! The context of use cases, and how they fail.

use std::sync::Arc;

use goodpon_domain::{business_time::BusinessZone, quota::Quotas};

use crate::{
    credentials::cache::CredentialCache,
    ports::{AccessTokens, Clock, Passwords, Random, StoreError},
    stores::Stores,
    turns::Turns,
    verification_mail::VerificationMail,
};

/// All that use cases need of the outside. Cheap to clone behind an [`Arc`]; made once, by the binary.
pub struct App {
    /// The store ports.
    pub stores: Stores,
    /// Password hashing.
    pub passwords: Arc<dyn Passwords>,
    /// Access tokens of the dashboard.
    pub tokens: Arc<dyn AccessTokens>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Unpredictable bytes.
    pub random: Arc<dyn Random>,
    /// The zone in which days are meant.
    pub zone: BusinessZone,
    /// Reads that go through much.
    pub turns: Turns,
    /// How much tenants may make.
    pub quotas: Quotas,
    /// How the verification mail is written.
    pub verification_mail: VerificationMail,
    /// Shop credentials seen lately.
    pub credentials: CredentialCache,
}

/// How a use case ends when it does not succeed.
#[derive(Debug)]
pub enum Failure<R> {
    /// A refusal that the contract names.
    Refused(R),
    /// Something that it does not name went wrong.
    Store(StoreError),
}

impl<R> From<StoreError> for Failure<R> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<R> Failure<R> {
    /// The same failure, a refusal being told in another type.
    pub fn map<S>(self, f: impl FnOnce(R) -> S) -> Failure<S> {
        match self {
            Self::Refused(refusal) => Failure::Refused(f(refusal)),
            Self::Store(error) => Failure::Store(error),
        }
    }
}
