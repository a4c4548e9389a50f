//! What Goodpon does for its callers: use cases as functions over [`App`], a context of ports.
//!
//! A use case decides nothing that the domain decides and touches nothing that a port stands for.

pub mod account;
pub mod audit;
pub mod coupon;
pub mod credentials;
pub mod history;
pub mod idempotency;
pub mod in_flight;
pub mod issue_log;
pub mod mail;
pub mod merchant;
pub mod network;
pub mod ports;
pub mod template;
pub mod turns;

use std::sync::Arc;

use goodpon_domain::{business_time::BusinessZone, quota::Quotas};
use ports::{
    AccessTokens, Accounts, Clock, Coupons, Health, Histories, IssueGate, Merchants, Outbox,
    Passwords, Random, StoreError, Templates, Upkeep,
};
use turns::Turns;

/// All that use cases need of the outside. Cheap to clone behind an [`Arc`]; made once, by the binary.
pub struct App {
    /// Accounts and verification tokens.
    pub accounts: Arc<dyn Accounts>,
    /// Merchants, members and secrets.
    pub merchants: Arc<dyn Merchants>,
    /// Coupon templates.
    pub templates: Arc<dyn Templates>,
    /// First come, first served.
    pub gate: Arc<dyn IssueGate>,
    /// Coupons once they are issued.
    pub coupons: Arc<dyn Coupons>,
    /// The ledger of what happened to coupons.
    pub histories: Arc<dyn Histories>,
    /// Mails that wait to be sent.
    pub outbox: Arc<dyn Outbox>,
    /// What is due by the clock.
    pub upkeep: Arc<dyn Upkeep>,
    /// Which dependencies answer.
    pub health: Arc<dyn Health>,
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
    pub verification_mail: mail::VerificationMail,
    /// Shop credentials seen lately.
    pub credentials: credentials::CredentialCache,
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
