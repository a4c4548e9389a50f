//! Merchants, their secrets and their members (contract §2, §5).

use goodpon_domain::{
    account::EmailKey,
    id::{AccountId, MemberId, MerchantId, SecretId},
    merchant::{
        AccessRefusal, ClientSecret, Member, MemberRefusal, Merchant, MerchantLimitExceeded, Role,
        SecretRefusal,
    },
};
use jiff::Timestamp;

use crate::{
    App, Failure,
    credentials::{new_secret, random_hex},
    ports::{MerchantDetail, StoreResult},
    turns::{Tenant, WideRead},
};

/// A merchant that was just created, with its first secret in full.
#[derive(Debug, Clone)]
pub struct CreatedMerchant {
    /// The merchant.
    pub detail: MerchantDetail,
    /// Its first secret, which no later call can return.
    pub full_secret: String,
}

/// Creates a merchant with that (trimmed) name, owned by `owner`.
pub async fn create(
    app: &App,
    owner: AccountId,
    name: String,
) -> Result<CreatedMerchant, Failure<MerchantLimitExceeded>> {
    let client_id = format!("ck_{}", random_hex(app));
    let (full_secret, secret) = new_secret(app);
    let quota = app.quotas.merchants_per_account;
    let detail = app
        .stores
        .merchants
        .create(owner, name, client_id, secret, quota)
        .await?
        .map_err(Failure::Refused)?;
    Ok(CreatedMerchant {
        detail,
        full_secret,
    })
}

/// Lists the merchants of which the account is a member, newest first.
pub async fn list(app: &App, account: AccountId) -> StoreResult<WideRead<Merchant>> {
    let turn = app.turns.take(Tenant::Account(account)).await?;
    let merchants = app.stores.merchants.list(account).await?;
    Ok(WideRead::in_turn(merchants, turn))
}

/// There is no such merchant, or the account is not a member of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MerchantNotFound;

/// Returns a merchant with its members and secrets, to members only.
pub async fn detail(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
) -> Result<MerchantDetail, Failure<MerchantNotFound>> {
    // A turn of the account, not of the merchant: an outsider must not use up another merchant's turns.
    let _turn = app.turns.take(Tenant::Account(account)).await?;
    let detail = app.stores.merchants.detail(merchant, account).await?;
    detail.ok_or(Failure::Refused(MerchantNotFound))
}

/// Returns the account's role if it is a member of the merchant.
pub(crate) async fn require_member(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
) -> Result<Role, Failure<AccessRefusal>> {
    let standing = app.stores.merchants.standing(merchant, account).await?;
    standing.require_member().map_err(Failure::Refused)
}

/// Adds a client secret, and returns it also in full, which no later call can.
pub async fn add_secret(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
) -> Result<(ClientSecret, String), Failure<SecretRefusal>> {
    let (full, secret) = new_secret(app);
    let added = app
        .stores
        .merchants
        .add_secret(merchant, account, secret)
        .await?;
    let added = added.map_err(Failure::Refused)?;
    forget_credentials(app, account, merchant).await?;
    Ok((added, full))
}

/// Sets the end of a client secret to `at`, or to now.
pub async fn expire_secret(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
    secret: SecretId,
    at: Option<Timestamp>,
) -> Result<ClientSecret, Failure<SecretRefusal>> {
    let expired = app
        .stores
        .merchants
        .expire_secret(merchant, account, secret, at)
        .await?
        .map_err(Failure::Refused)?;
    forget_credentials(app, account, merchant).await?;
    Ok(expired)
}

/// Removes the merchant's credentials from this process's cache. Other processes read them again within the cache's
/// maximum age.
async fn forget_credentials(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
) -> StoreResult<()> {
    if let Some(detail) = app.stores.merchants.detail(merchant, account).await? {
        app.credentials.forget(&detail.merchant.client_id);
    }
    Ok(())
}

/// Makes the verified account of that address a STAFF member.
pub async fn add_member(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
    email: &str,
) -> Result<Member, Failure<MemberRefusal>> {
    let email = EmailKey::of(email);
    let quota = app.quotas.members_per_merchant;
    let added = app
        .stores
        .merchants
        .add_member(merchant, account, &email, quota)
        .await?;
    added.map_err(Failure::Refused)
}

/// Removes a member, and returns it.
pub async fn remove_member(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
    member: MemberId,
) -> Result<Member, Failure<MemberRefusal>> {
    let removed = app
        .stores
        .merchants
        .remove_member(merchant, account, member)
        .await?;
    removed.map_err(Failure::Refused)
}
