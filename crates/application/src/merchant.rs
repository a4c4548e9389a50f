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
    turns::{Tenant, Wide},
};

/// A merchant just made, with its first secret in full.
#[derive(Debug, Clone)]
pub struct CreatedMerchant {
    /// The merchant.
    pub detail: MerchantDetail,
    /// Shown this once.
    pub full_secret: String,
}

/// Makes a merchant of that (trimmed) name, owned by `owner`.
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

/// The merchants of which the account is a member, newest first.
pub async fn list(app: &App, account: AccountId) -> StoreResult<Wide<Merchant>> {
    let turn = app.turns.take(Tenant::Account(account)).await?;
    let merchants = app.stores.merchants.list(account).await?;
    Ok(Wide::of(merchants, turn))
}

/// There is no such merchant, or it is not the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MerchantNotFound;

/// A merchant with its members and secrets; not found for outsiders.
pub async fn detail(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
) -> Result<MerchantDetail, Failure<MerchantNotFound>> {
    // Of the account and not of the merchant: only the former is known to be the caller's.
    let _turn = app.turns.take(Tenant::Account(account)).await?;
    let detail = app.stores.merchants.detail(merchant, account).await?;
    detail.ok_or(Failure::Refused(MerchantNotFound))
}

/// Lets members of the merchant pass.
pub(crate) async fn require_member(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
) -> Result<Role, Failure<AccessRefusal>> {
    let standing = app.stores.merchants.standing(merchant, account).await?;
    standing.require_member().map_err(Failure::Refused)
}

/// Adds a client secret and gives it in full, this once.
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

/// Ends a client secret at `at`, or now.
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

/// Makes this process forget at once; others do within the time that credentials are believed.
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

/// Removes a member and tells whom.
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
