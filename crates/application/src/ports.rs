//! What the use cases need of the outside. An adapter is right if it keeps the laws in `port-laws`.
//!
//! A store owns its transactions and its clock: every write is stamped by the store, so that one order of time
//! runs through all it records. Decisions are the domain's; a store calls them between reading and writing,
//! and may call them again where it has to repeat a transaction.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_domain::{
    account::{Account, AddressRefusal, EmailKey, ResendRefusal, TryRefusal, VerifyRefusal},
    coupon::{CancelRefusal, Cancellation, IssueRefusal, Order, RedeemRefusal, Redemption},
    history::{HistoryEntry, HistoryPosition},
    id::{AccountId, CouponId, MemberId, MerchantId, SecretId, TemplateId},
    merchant::{
        ClientSecret, Member, MemberRefusal, Merchant, MerchantLimitExceeded, SecretRefusal,
        Standing,
    },
    quota::Quota,
    session::{Claims, Generation},
    template::{DiscardRefusal, DraftRefusal, Owned, PublishRefusal, Template, Terms},
    wallet::HeldCoupon,
};
use jiff::Timestamp;

use crate::{
    audit::Difference,
    history::{Direction, HistoryFilter},
    idempotency::{Idempotency, Outcome, Peek},
    mail::{Backlog, MailContent, QueuedMail, StoredMail},
    network::Network,
};

/// What goes wrong in a store beyond the refusals that the contract names.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is full, or does not answer in time: 503.
    #[error("unavailable: {reason}")]
    Unavailable {
        /// For the log.
        reason: String,
        /// Whether the effect may come, or have come, all the same.
        may_have_happened: bool,
    },
    /// Anything unforeseen: 500.
    #[error("unexpected: {0}")]
    Unexpected(String),
}

/// The result of every store call.
pub type StoreResult<T> = Result<T, StoreError>;

/// The time. Never read otherwise.
pub trait Clock: Send + Sync {
    /// The present instant, to the microsecond.
    fn now(&self) -> Timestamp;
}

/// Unpredictable bytes, fit for secrets. Never drawn otherwise.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

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

/// An account that is about to sign up.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// As typed.
    pub email: String,
    /// As typed.
    pub name: String,
    /// The argon2id hash.
    pub password_hash: String,
    /// What its access tokens will carry.
    pub generation: Generation,
}

/// A password that takes the place of another, and ends all access tokens given before.
#[derive(Debug, Clone)]
pub struct NewPassword {
    /// The argon2id hash.
    pub hash: String,
    /// What access tokens carry from then on.
    pub generation: Generation,
}

/// A verification to send: the token's digest, and the mail that carries the token.
#[derive(Debug, Clone)]
pub struct NewVerification {
    /// SHA-256 of the token; the token itself does not rest here.
    pub token_digest: [u8; 32],
    /// What the mail says.
    pub mail: MailContent,
    /// The network whose request wrote the mail, as text; `None` where nobody asked from outside.
    pub origin: Option<String>,
}

/// Accounts and their verification tokens. An account that was not verified in time counts as gone in
/// [`Account::is_gone`], and is deleted by [`Upkeep::clean_up`] with its tokens.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Whether a verified account has that address.
    async fn is_email_taken(&self, email: &EmailKey) -> StoreResult<bool>;
    /// Stores the account, its token and its mail as one. Where an unverified account has the address, the new one
    /// takes its place under the same id, and its tokens are void.
    async fn sign_up(
        &self,
        account: NewAccount,
        verification: NewVerification,
    ) -> StoreResult<Result<Account, AddressRefusal>>;
    /// The account of that id.
    async fn find(&self, id: AccountId) -> StoreResult<Option<Account>>;
    /// The account of that address and its password hash.
    async fn find_by_email(&self, email: &EmailKey) -> StoreResult<Option<(Account, String)>>;
    /// Gives an account that has no generation yet this one.
    async fn draw_generation(&self, id: AccountId, generation: Generation) -> StoreResult<()>;
    /// The account that the token of that digest would verify now.
    async fn verifiable(
        &self,
        token_digest: [u8; 32],
    ) -> StoreResult<Result<Account, VerifyRefusal>>;
    /// The same with its password hash, counting one password more that is tried with the token.
    async fn try_password(
        &self,
        token_digest: [u8; 32],
    ) -> StoreResult<Result<(Account, String), TryRefusal>>;
    /// Verifies by a token's digest, spending the token, and sets a new password where there is one.
    async fn verify(
        &self,
        token_digest: [u8; 32],
        password: Option<NewPassword>,
    ) -> StoreResult<Result<Account, VerifyRefusal>>;
    /// Voids the tokens that the account had, and stores a new one with its mail, as one.
    async fn renew_verification(
        &self,
        email: &EmailKey,
        verification: NewVerification,
    ) -> StoreResult<Result<(), ResendRefusal>>;
}

/// A secret that is about to be stored.
#[derive(Debug, Clone)]
pub struct NewSecret {
    /// SHA-256 of the whole text.
    pub digest: [u8; 32],
    /// The first four hex digits.
    pub head: String,
    /// The last four hex digits.
    pub tail: String,
}

/// A merchant with all that its members may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MerchantDetail {
    /// The merchant.
    pub merchant: Merchant,
    /// Newest first.
    pub members: Vec<Member>,
    /// Newest first, expired ones included.
    pub secrets: Vec<ClientSecret>,
}

/// What a shop's credentials are checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Whose they are.
    pub merchant_id: MerchantId,
    /// SHA-256 of each secret, and its end.
    pub secrets: Vec<([u8; 32], Option<Timestamp>)>,
}

/// Merchants, members and client secrets.
#[async_trait]
pub trait Merchants: Send + Sync {
    /// Stores a merchant with its first secret and `owner` as its OWNER, who owns no more of them than the quota says.
    async fn create(
        &self,
        owner: AccountId,
        name: String,
        client_id: String,
        secret: NewSecret,
        quota: Quota,
    ) -> StoreResult<Result<MerchantDetail, MerchantLimitExceeded>>;
    /// The merchants of which the account is a member, newest first.
    async fn list(&self, account: AccountId) -> StoreResult<Vec<Merchant>>;
    /// What the account is to the merchant.
    async fn standing(&self, merchant: MerchantId, account: AccountId) -> StoreResult<Standing>;
    /// The merchant, if the account is a member of it.
    async fn detail(
        &self,
        merchant: MerchantId,
        account: AccountId,
    ) -> StoreResult<Option<MerchantDetail>>;
    /// Adds a secret, if `by` may.
    async fn add_secret(
        &self,
        merchant: MerchantId,
        by: AccountId,
        secret: NewSecret,
    ) -> StoreResult<Result<ClientSecret, SecretRefusal>>;
    /// Sets a secret's end, if `by` may; see [`goodpon_domain::merchant::expire_secret`].
    async fn expire_secret(
        &self,
        merchant: MerchantId,
        by: AccountId,
        secret: SecretId,
        at: Option<Timestamp>,
    ) -> StoreResult<Result<ClientSecret, SecretRefusal>>;
    /// Makes the verified account of that address STAFF, if `by` may and the quota has room for another member.
    async fn add_member(
        &self,
        merchant: MerchantId,
        by: AccountId,
        email: &EmailKey,
        quota: Quota,
    ) -> StoreResult<Result<Member, MemberRefusal>>;
    /// Removes a member, if `by` may, and tells whom.
    async fn remove_member(
        &self,
        merchant: MerchantId,
        by: AccountId,
        member: MemberId,
    ) -> StoreResult<Result<Member, MemberRefusal>>;
    /// The credentials under a client id.
    async fn credentials(&self, client_id: &str) -> StoreResult<Option<Credentials>>;
}

/// Coupon templates. What changes them is allowed to members only, as of the change itself.
#[async_trait]
pub trait Templates: Send + Sync {
    /// Stores a draft, if `by` may and the quota has room for another template.
    async fn create(
        &self,
        merchant: MerchantId,
        by: AccountId,
        terms: Terms,
        quota: Quota,
    ) -> StoreResult<Result<Arc<Template>, DraftRefusal>>;
    /// All of the merchant, newest first.
    async fn list(&self, merchant: MerchantId) -> StoreResult<Vec<Arc<Template>>>;
    /// One, as far as it is the merchant's.
    async fn find(&self, merchant: MerchantId, id: TemplateId)
    -> StoreResult<Owned<Arc<Template>>>;
    /// Publishes a draft, if `by` may.
    async fn publish(
        &self,
        merchant: MerchantId,
        by: AccountId,
        id: TemplateId,
    ) -> StoreResult<Result<Arc<Template>, PublishRefusal>>;
    /// Discards a template, if `by` may. Its issued coupons follow by [`Upkeep::discard_coupons`].
    async fn discard(
        &self,
        merchant: MerchantId,
        by: AccountId,
        id: TemplateId,
        reason: String,
    ) -> StoreResult<Result<Arc<Template>, DiscardRefusal>>;
}

/// A wish for a coupon.
#[derive(Debug, Clone)]
pub struct IssueRequest {
    /// Whose shop asks.
    pub merchant_id: MerchantId,
    /// Of which template.
    pub template_id: TemplateId,
    /// For whom.
    pub user_id: String,
}

/// How an issue ends.
pub type IssueOutcome = Result<(), IssueRefusal>;

/// How a template's issue stands for one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IssueStanding {
    /// All ever accepted.
    pub issue_count: i64,
    /// Whether this user is among them.
    pub user_has_one: bool,
}

/// First come, first served: exact under any concurrency and across any crash.
#[async_trait]
pub trait IssueGate: Send + Sync {
    /// Issues a coupon. A success is durable when it is answered. With an idempotency key, the answer
    /// is remembered as one with the effect.
    async fn issue(
        &self,
        request: IssueRequest,
        idempotency: Option<Idempotency<IssueOutcome>>,
    ) -> StoreResult<Outcome<IssueOutcome>>;
    /// How the issue of `template` stands, for `user_id` if there is one.
    async fn standing(
        &self,
        template: &Arc<Template>,
        user_id: Option<&str>,
    ) -> StoreResult<IssueStanding>;
    /// How many coupons were ever accepted of each of these templates, in their order.
    async fn issue_counts(&self, templates: &[Arc<Template>]) -> StoreResult<Vec<i64>>;
    /// What is known of the idempotency key of an issue of `template`, changing nothing.
    async fn peek(
        &self,
        template: TemplateId,
        idempotency: &Idempotency<IssueOutcome>,
    ) -> StoreResult<Peek>;
}

/// A wish to redeem.
#[derive(Debug, Clone)]
pub struct RedeemRequest {
    /// Whose shop asks.
    pub merchant_id: MerchantId,
    /// Which coupon.
    pub coupon_id: CouponId,
    /// For which order.
    pub order: Order,
}

/// How a redemption ends.
pub type RedeemOutcome = Result<Redemption, RedeemRefusal>;

/// A wish to cancel a redemption.
#[derive(Debug, Clone)]
pub struct CancelRequest {
    /// Whose shop asks.
    pub merchant_id: MerchantId,
    /// Which coupon.
    pub coupon_id: CouponId,
    /// Of which order.
    pub order_id: String,
    /// Why.
    pub reason: String,
}

/// How a cancellation ends.
pub type CancelOutcome = Result<Cancellation, CancelRefusal>;

/// Coupons once they are issued.
#[async_trait]
pub trait Coupons: Send + Sync {
    /// The user's coupons of this merchant with their templates: at least those in state ISSUED. None at all are listed
    /// of a user who ever got more than `most`.
    async fn held(
        &self,
        merchant: MerchantId,
        user_id: &str,
        most: usize,
    ) -> StoreResult<Option<Vec<HeldCoupon>>>;
    /// Redeems a coupon, with its history entry, counters and remembered answer as one.
    async fn redeem(
        &self,
        request: RedeemRequest,
        idempotency: Option<Idempotency<RedeemOutcome>>,
    ) -> StoreResult<Outcome<RedeemOutcome>>;
    /// Cancels a redemption, likewise as one.
    async fn cancel(
        &self,
        request: CancelRequest,
        idempotency: Option<Idempotency<CancelOutcome>>,
    ) -> StoreResult<Outcome<CancelOutcome>>;
    /// What is known of a redemption's or cancellation's idempotency key (by its digests), changing nothing.
    async fn peek(&self, key: [u8; 16], body: [u8; 16]) -> StoreResult<Peek>;
}

/// The ledger of what happened to coupons.
#[async_trait]
pub trait Histories: Send + Sync {
    /// Up to `limit` entries of this merchant that pass the filter, in order of position,
    /// beginning behind `after`.
    async fn page(
        &self,
        merchant: MerchantId,
        filter: &HistoryFilter,
        direction: Direction,
        after: Option<HistoryPosition>,
        limit: usize,
    ) -> StoreResult<Vec<HistoryEntry>>;
}

/// Mails that wait to be sent, and those that were or never will be. A new verification mail supersedes the one
/// to the same address that still waits, as does a verification: its token is void. The token in a mail is blanked once
/// it is void or spent, and by [`Upkeep::clean_up`] once its time is over and the mail does not wait any more.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Up to `limit` mails whose next try is due, oldest first.
    async fn due(&self, limit: usize) -> StoreResult<Vec<QueuedMail>>;
    /// How much is due.
    async fn backlog(&self) -> StoreResult<Backlog>;
    /// Notes that it left.
    async fn mark_sent(&self, id: i64) -> StoreResult<()>;
    /// Notes a failed try of a mail that still waits; `retry_at` is `None` where another would be useless:
    /// it stays listed.
    async fn mark_failed(
        &self,
        id: i64,
        retry_at: Option<Timestamp>,
        error: String,
    ) -> StoreResult<()>;
    /// The mails to an address, or all, newest first.
    async fn list(&self, to: Option<&str>, limit: usize) -> StoreResult<Vec<StoredMail>>;
}

/// What is due by the clock. Every call does at most one small batch, may be repeated and may be cut short;
/// it returns how much it did, or 1 where it only found nothing to do in what it looked at and has more to look at:
/// 0 alone means that nothing more is due.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// ISSUABLE templates past their end become EXPIRED.
    async fn expire_templates(&self, limit: usize) -> StoreResult<usize>;
    /// ISSUED coupons past their end become EXPIRED, with an EXPIRE entry each.
    async fn expire_coupons(&self, limit: usize) -> StoreResult<usize>;
    /// ISSUED coupons of discarded templates become DISCARDED, with a DISCARD entry each.
    async fn discard_coupons(&self, limit: usize) -> StoreResult<usize>;
    /// Old idempotency records, tokens, mails and accounts that nobody verified are deleted, and tokens in mails whose
    /// time is over are blanked.
    async fn clean_up(&self, limit: usize) -> StoreResult<usize>;
}

/// One dependency and whether it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyHealth {
    /// Its name, for operators.
    pub name: &'static str,
    /// What is wrong, if anything is.
    pub problem: Option<String>,
    /// Whether nothing at all works without it.
    pub is_vital: bool,
}

/// Which dependencies answer, and whether what they hold is right.
#[async_trait]
pub trait Health: Send + Sync {
    /// Asks each dependency.
    async fn check(&self) -> Vec<DependencyHealth>;
    /// Recomputes every counter, limit and state from coupons and histories, and tells each difference.
    async fn audit(&self) -> StoreResult<Vec<Difference>>;
}
