//! For tests of routers: an [`App`] whose stores are unavailable, except for two accounts with the tokens `owner` and
//! `unverified`, and one merchant with the client id [`KNOWN_ID`] and the secret [`KNOWN_SECRET`]. The token `lost` is good,
//! but its account cannot be read. An issue to the user `slow` never ends, one to `panic` panics, all others fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use goodpon_application::credentials::CredentialCache;
use goodpon_application::idempotency::{Idempotency, Outcome, Peek};
use goodpon_application::ports::*;
use goodpon_application::turns::Turns;
use goodpon_application::verification_mail::VerificationMail;
use goodpon_application::{App, Stores};
use goodpon_domain::account::{
    Account, AddressRefusal, EmailKey, ResendRefusal, TryRefusal, VerifyRefusal,
};
use goodpon_domain::business_time::BusinessZone;
use goodpon_domain::history::{HistoryEntry, HistoryPosition};
use goodpon_domain::id::{AccountId, MemberId, MerchantId, SecretId, TemplateId};
use goodpon_domain::merchant::{
    ClientSecret, Member, MemberRefusal, Merchant, MerchantLimitExceeded, SecretRefusal, Standing,
};
use goodpon_domain::quota::{Quota, Quotas};
use goodpon_domain::template::{
    DiscardRefusal, DraftRefusal, Owned, PublishRefusal, Template, Terms,
};
use goodpon_domain::wallet::HeldCoupon;
use goodpon_domain::{generation::Generation, session::Claims};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The merchant's client id and secret.
pub const KNOWN_ID: &str = "ck_11111111111111111111111111111111";
pub const KNOWN_SECRET: &str = "sk_55555555555555555555555555555555";

const SHA_256_OF_KNOWN_SECRET: [u8; 32] = [
    0x75, 0xcd, 0x23, 0xab, 0x09, 0x5d, 0x76, 0xdf, 0x1b, 0x14, 0xfc, 0x8d, 0xe7, 0x7c, 0x5c, 0xb0,
    0x3b, 0x41, 0x23, 0x12, 0x70, 0xc7, 0xf0, 0x77, 0xaf, 0xe0, 0xea, 0x33, 0xe7, 0x50, 0x15, 0x08,
];

#[derive(Default)]
struct Away {
    /// The number of look-ups of credentials.
    lookups: Arc<AtomicUsize>,
}

fn away<T>() -> StoreResult<T> {
    Err(StoreError::Unavailable {
        reason: "away on purpose".to_owned(),
        may_have_happened: false,
    })
}

impl Clock for Away {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
}

impl Random for Away {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

#[async_trait]
impl Passwords for Away {
    async fn hash(
        &self,
        _: String,
        _: Vec<String>,
        _: HashTurn,
    ) -> StoreResult<Result<String, PasswordTooWeak>> {
        away()
    }
    async fn verify(&self, _: String, _: String, _: HashTurn) -> StoreResult<bool> {
        away()
    }
}

impl AccessTokens for Away {
    fn issue(&self, _: AccountId, _: Generation, _: Timestamp) -> StoreResult<String> {
        away()
    }
    fn read(&self, token: &str, _: Timestamp) -> Option<Claims> {
        let id = match token {
            "owner" => 1,
            "unverified" => 2,
            "lost" => 3,
            _ => return None,
        };
        Some(Claims {
            account_id: AccountId(id),
            issued_at: Timestamp::UNIX_EPOCH,
            generation: None,
        })
    }
}

#[async_trait]
impl Accounts for Away {
    async fn is_email_taken(&self, _: &EmailKey) -> StoreResult<bool> {
        away()
    }
    async fn sign_up(
        &self,
        _: NewAccount,
        _: NewVerification,
    ) -> StoreResult<Result<Account, AddressRefusal>> {
        away()
    }
    async fn find(&self, id: AccountId) -> StoreResult<Option<Account>> {
        match id.0 {
            1 | 2 => Ok(Some(Account {
                id,
                email: "kim@goodpon.site".to_owned(),
                name: "김".to_owned(),
                verified: id.0 == 1,
                created_at: Timestamp::UNIX_EPOCH,
                generation: None,
                is_first_generation: true,
            })),
            _ => away(),
        }
    }
    async fn find_by_email(&self, email: &EmailKey) -> StoreResult<Option<(Account, String)>> {
        match email.as_str().starts_with("nobody") {
            true => Ok(None),
            false => away(),
        }
    }
    async fn draw_generation(&self, _: AccountId, _: Generation) -> StoreResult<()> {
        away()
    }
    async fn verifiable(&self, _: [u8; 32]) -> StoreResult<Result<Account, VerifyRefusal>> {
        let found = Accounts::find(self, AccountId(2)).await?;
        Ok(found.ok_or(VerifyRefusal::InvalidToken))
    }
    async fn try_password(
        &self,
        _: [u8; 32],
    ) -> StoreResult<Result<(Account, String), TryRefusal>> {
        Ok(Err(TryRefusal::Verify(VerifyRefusal::AlreadyVerified)))
    }
    async fn verify(
        &self,
        _: [u8; 32],
        _: Option<NewPassword>,
    ) -> StoreResult<Result<Account, VerifyRefusal>> {
        Ok(Err(VerifyRefusal::AlreadyVerified))
    }
    async fn renew_verification(
        &self,
        _: &EmailKey,
        _: NewVerification,
    ) -> StoreResult<Result<(), ResendRefusal>> {
        away()
    }
}

#[async_trait]
impl Merchants for Away {
    async fn create(
        &self,
        _: AccountId,
        _: String,
        _: String,
        _: NewSecret,
        _: Quota,
    ) -> StoreResult<Result<MerchantDetail, MerchantLimitExceeded>> {
        away()
    }
    async fn list(&self, _: AccountId) -> StoreResult<Vec<Merchant>> {
        away()
    }
    async fn standing(&self, _: MerchantId, _: AccountId) -> StoreResult<Standing> {
        away()
    }
    async fn detail(&self, _: MerchantId, _: AccountId) -> StoreResult<Option<MerchantDetail>> {
        away()
    }
    async fn add_secret(
        &self,
        _: MerchantId,
        _: AccountId,
        _: NewSecret,
    ) -> StoreResult<Result<ClientSecret, SecretRefusal>> {
        away()
    }
    async fn expire_secret(
        &self,
        _: MerchantId,
        _: AccountId,
        _: SecretId,
        _: Option<Timestamp>,
    ) -> StoreResult<Result<ClientSecret, SecretRefusal>> {
        away()
    }
    async fn add_member(
        &self,
        _: MerchantId,
        _: AccountId,
        _: &EmailKey,
        _: Quota,
    ) -> StoreResult<Result<Member, MemberRefusal>> {
        away()
    }
    async fn remove_member(
        &self,
        _: MerchantId,
        _: AccountId,
        _: MemberId,
    ) -> StoreResult<Result<Member, MemberRefusal>> {
        away()
    }
    async fn credentials(&self, client_id: &str) -> StoreResult<Option<Credentials>> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        if client_id.starts_with("ck_0") {
            return Ok(None);
        }
        if client_id != KNOWN_ID {
            return away();
        }
        Ok(Some(Credentials {
            merchant_id: MerchantId(7),
            secrets: vec![(SHA_256_OF_KNOWN_SECRET, None)],
        }))
    }
}

#[async_trait]
impl Templates for Away {
    async fn create(
        &self,
        _: MerchantId,
        _: AccountId,
        _: Terms,
        _: Quota,
    ) -> StoreResult<Result<Arc<Template>, DraftRefusal>> {
        away()
    }
    async fn list(&self, _: MerchantId) -> StoreResult<Vec<Arc<Template>>> {
        away()
    }
    async fn find(&self, _: MerchantId, _: TemplateId) -> StoreResult<Owned<Arc<Template>>> {
        away()
    }
    async fn publish(
        &self,
        _: MerchantId,
        _: AccountId,
        _: TemplateId,
    ) -> StoreResult<Result<Arc<Template>, PublishRefusal>> {
        away()
    }
    async fn discard(
        &self,
        _: MerchantId,
        _: AccountId,
        _: TemplateId,
        _: String,
    ) -> StoreResult<Result<Arc<Template>, DiscardRefusal>> {
        away()
    }
}

#[async_trait]
impl IssueGate for Away {
    async fn issue(
        &self,
        request: IssueRequest,
        _: Option<Idempotency<IssueOutcome>>,
    ) -> StoreResult<Outcome<IssueOutcome>> {
        match request.user_id.as_str() {
            "slow" => std::future::pending().await,
            "panic" => panic!("on purpose"),
            _ => away(),
        }
    }
    async fn standing(&self, _: &Arc<Template>, _: Option<&str>) -> StoreResult<IssueStanding> {
        away()
    }
    async fn issue_counts(&self, _: &[Arc<Template>]) -> StoreResult<Vec<i64>> {
        away()
    }
    async fn peek(&self, _: TemplateId, _: &Idempotency<IssueOutcome>) -> StoreResult<Peek> {
        away()
    }
}

#[async_trait]
impl Coupons for Away {
    async fn held(&self, _: MerchantId, _: &str, _: usize) -> StoreResult<Option<Vec<HeldCoupon>>> {
        away()
    }
    async fn redeem(
        &self,
        _: RedeemRequest,
        _: Option<Idempotency<RedeemOutcome>>,
    ) -> StoreResult<Outcome<RedeemOutcome>> {
        away()
    }
    async fn cancel(
        &self,
        _: CancelRequest,
        _: Option<Idempotency<CancelOutcome>>,
    ) -> StoreResult<Outcome<CancelOutcome>> {
        away()
    }
    async fn peek(&self, _: [u8; 16], _: [u8; 16]) -> StoreResult<Peek> {
        away()
    }
}

#[async_trait]
impl Histories for Away {
    async fn page(
        &self,
        _: MerchantId,
        _: &HistoryFilter,
        _: Direction,
        _: Option<HistoryPosition>,
        _: usize,
    ) -> StoreResult<Vec<HistoryEntry>> {
        away()
    }
}

#[async_trait]
impl Mails for Away {
    async fn due(&self, _: usize) -> StoreResult<Vec<QueuedMail>> {
        away()
    }
    async fn backlog(&self) -> StoreResult<Backlog> {
        away()
    }
    async fn mark_sent(&self, _: i64) -> StoreResult<()> {
        away()
    }
    async fn mark_failed(&self, _: i64, _: Option<Timestamp>, _: String) -> StoreResult<()> {
        away()
    }
    async fn list(&self, _: Option<&str>, _: usize) -> StoreResult<Vec<StoredMail>> {
        away()
    }
}

#[async_trait]
impl Upkeep for Away {
    async fn expire_templates(&self, _: usize) -> StoreResult<usize> {
        away()
    }
    async fn expire_coupons(&self, _: usize) -> StoreResult<usize> {
        away()
    }
    async fn discard_coupons(&self, _: usize) -> StoreResult<usize> {
        away()
    }
    async fn clean_up(&self, _: usize) -> StoreResult<usize> {
        away()
    }
}

#[async_trait]
impl Health for Away {
    async fn check(&self) -> Vec<DependencyHealth> {
        Vec::new()
    }
}

#[async_trait]
impl Audit for Away {
    async fn audit(&self) -> StoreResult<Vec<Difference>> {
        away()
    }
}

pub(crate) fn app() -> Arc<App> {
    app_that_counts(Arc::default())
}

/// As [`app`], counting in `lookups` how often the store is asked for credentials.
pub(crate) fn app_that_counts(lookups: Arc<AtomicUsize>) -> Arc<App> {
    let away = Arc::new(Away { lookups });
    Arc::new(App {
        stores: Stores::over(away.clone(), away.clone()),
        passwords: away.clone(),
        tokens: away.clone(),
        clock: away.clone(),
        random: away,
        zone: BusinessZone::new(TimeZone::UTC),
        turns: Turns::on(2),
        quotas: Quotas::UNLIMITED,
        verification_mail: VerificationMail {
            link_base: String::new(),
            compose: |_, _, link| MailContent {
                subject: String::new(),
                text: link.to_owned(),
                html: String::new(),
            },
        },
        credentials: CredentialCache::default(),
    })
}
