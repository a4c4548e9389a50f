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

/// A secret to be stored.
#[derive(Debug, Clone)]
pub struct NewSecret {
    /// SHA-256 of the full secret, `sk_` included.
    pub digest: [u8; 32],
    /// The first four hex digits.
    pub head: String,
    /// The last four hex digits.
    pub tail: String,
}

/// A merchant with everything that its members may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MerchantDetail {
    /// The merchant.
    pub merchant: Merchant,
    /// Its members, newest first.
    pub members: Vec<Member>,
    /// Its secrets, newest first, expired ones included.
    pub secrets: Vec<ClientSecret>,
}

/// The stored credentials of a client id, against which requests are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The merchant that has the client id.
    pub merchant_id: MerchantId,
    /// SHA-256 of each secret, and its end.
    pub secrets: Vec<([u8; 32], Option<Timestamp>)>,
}

/// Merchants, members and client secrets. A method with `by` first checks that this account may make the change, in the
/// transaction that makes it.
#[async_trait]
pub trait Merchants: Send + Sync {
    /// Stores a merchant with its first secret and `owner` as its OWNER, unless that account owns the most merchants
    /// that the quota allows.
    async fn create(
        &self,
        owner: AccountId,
        name: String,
        client_id: String,
        secret: NewSecret,
        quota: Quota,
    ) -> StoreResult<Result<MerchantDetail, MerchantLimitExceeded>>;
    /// Returns the merchants of which the account is a member, newest first.
    async fn list(&self, account: AccountId) -> StoreResult<Vec<Merchant>>;
    /// Returns the account's relation to the merchant.
    async fn standing(&self, merchant: MerchantId, account: AccountId) -> StoreResult<Standing>;
    /// Returns the merchant if the account is a member of it.
    async fn detail(
        &self,
        merchant: MerchantId,
        account: AccountId,
    ) -> StoreResult<Option<MerchantDetail>>;
    /// Adds a secret.
    async fn add_secret(
        &self,
        merchant: MerchantId,
        by: AccountId,
        secret: NewSecret,
    ) -> StoreResult<Result<ClientSecret, SecretRefusal>>;
    /// Sets a secret's end by the rules of [`goodpon_domain::merchant::expire_secret`].
    async fn expire_secret(
        &self,
        merchant: MerchantId,
        by: AccountId,
        secret: SecretId,
        at: Option<Timestamp>,
    ) -> StoreResult<Result<ClientSecret, SecretRefusal>>;
    /// Makes the verified account of that address a member with role STAFF, unless the quota is reached.
    async fn add_member(
        &self,
        merchant: MerchantId,
        by: AccountId,
        email: &EmailKey,
        quota: Quota,
    ) -> StoreResult<Result<Member, MemberRefusal>>;
    /// Removes a member, and returns it.
    async fn remove_member(
        &self,
        merchant: MerchantId,
        by: AccountId,
        member: MemberId,
    ) -> StoreResult<Result<Member, MemberRefusal>>;
    /// Returns the credentials of a client id.
    async fn credentials(&self, client_id: &str) -> StoreResult<Option<Credentials>>;
}
