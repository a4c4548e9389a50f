//! Merchants, members and client secrets.

use async_trait::async_trait;
use goodpon_domain::{
    account::EmailKey,
    id::{AccountId, MemberId, MerchantId, SecretId},
    merchant::{
        ClientSecret, Member, MemberRefusal, Merchant, MerchantLimitExceeded, SecretRefusal,
        Standing,
    },
    quota::Quota,
};
use jiff::Timestamp;

use super::StoreResult;

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
