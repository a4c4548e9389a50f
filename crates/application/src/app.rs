//! The context of use cases, and their failures.

use std::sync::Arc;

use goodpon_domain::{business_time::BusinessZone, quota::Quotas};

use crate::{
    credentials::cache::CredentialCache,
    ports::{AccessTokens, Clock, Passwords, Random, StoreError},
    stores::Stores,
    turns::Turns,
    verification_mail::VerificationMail,
};

/// Everything that use cases need from outside. The binary makes one and shares it behind an [`Arc`].
pub struct App {
    /// The store ports.
    pub stores: Stores,
    /// Password hashing.
    pub passwords: Arc<dyn Passwords>,
    /// Access tokens of the dashboard.
    pub tokens: Arc<dyn AccessTokens>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The source of random bytes.
    pub random: Arc<dyn Random>,
    /// The business time zone of dates and local times.
    pub zone: BusinessZone,
    /// The turns of tenants at wide reads.
    pub turns: Turns,
    /// The bounds on what tenants may create.
    pub quotas: Quotas,
    /// The writer of verification mails.
    pub verification_mail: VerificationMail,
    /// Shop credentials that the store returned lately.
    pub credentials: CredentialCache,
}

/// The failure of a use case.
#[derive(Debug)]
pub enum Failure<R> {
    /// It was refused for a reason that the contract names.
    Refused(R),
    /// A port failed.
    Store(StoreError),
}

impl<R> From<StoreError> for Failure<R> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl<R> Failure<R> {
    /// Converts the refusal, if it is one, into another type.
    pub fn map<S>(self, f: impl FnOnce(R) -> S) -> Failure<S> {
        match self {
            Self::Refused(refusal) => Failure::Refused(f(refusal)),
            Self::Store(error) => Failure::Store(error),
        }
    }
}
