//! Merchants, their members and their client secrets.
//!
//! Members and secrets change only while their merchant's row is locked, so that a decision about them holds until the
//! commit.

use async_trait::async_trait;
use goodpon_application::ports::{Credentials, MerchantDetail, Merchants, NewSecret, StoreResult};
use goodpon_domain::{
    account::EmailKey,
    id::{AccountId, MemberId, MerchantId, SecretId},
    merchant::{
        self, ClientSecret, Member, MemberRefusal, Merchant, MerchantLimitExceeded, Role,
        SecretRefusal, Standing,
    },
    quota::Quota,
};
use jiff::Timestamp;

use crate::{
    Store,
    account::load_by_email,
    codec::{micros, role},
    columns::Columns,
    fault::{Fault, Result},
    lock::Lock,
    session::Session,
};

fn read_merchant(row: &mut Columns) -> Result<Merchant> {
    Ok(Merchant {
        id: MerchantId(row.read()?),
        name: row.read()?,
        client_id: row.read()?,
        created_at: row.timestamp()?,
        updated_at: row.timestamp()?,
    })
}

async fn list(session: &mut Session<'_>, account: AccountId) -> Result<Vec<Merchant>> {
    session
        .rows(
            "SELECT m.id, m.name, m.client_id, m.created_at, m.updated_at
             FROM merchant_members s JOIN merchants m ON m.id = s.merchant_id
             WHERE s.account_id = ? ORDER BY m.created_at DESC, m.id DESC",
            (account.0,),
            read_merchant,
        )
        .await
}

pub(crate) async fn standing(
    session: &mut Session<'_>,
    merchant: MerchantId,
    account: AccountId,
) -> Result<Standing> {
    let found = session
        .first(
            "SELECT s.role IS NOT NULL, s.role FROM merchants m
             LEFT JOIN merchant_members s ON s.merchant_id = m.id AND s.account_id = ? WHERE m.id = ?",
            (account.0, merchant.0),
            |row| {
                let is_member: bool = row.read()?;
                is_member.then(|| role::read(row)).transpose()
            },
        )
        .await?;
    Ok(Standing {
        exists: found.is_some(),
        role: found.flatten(),
    })
}

/// Returns the merchant's members, newest first.
async fn members(session: &mut Session<'_>, merchant: MerchantId) -> Result<Vec<Member>> {
    session
        .rows(
            "SELECT s.id, s.account_id, a.email, a.name, s.role, s.created_at
             FROM merchant_members s JOIN accounts a ON a.id = s.account_id
             WHERE s.merchant_id = ? ORDER BY s.created_at DESC, s.id DESC",
            (merchant.0,),
            |row| {
                Ok(Member {
                    id: MemberId(row.read()?),
                    account_id: AccountId(row.read()?),
                    email: row.read()?,
                    name: row.read()?,
                    role: role::read(row)?,
                    created_at: row.timestamp()?,
                })
            },
        )
        .await
}

/// Returns the merchant's secrets, newest first.
async fn secrets(session: &mut Session<'_>, merchant: MerchantId) -> Result<Vec<ClientSecret>> {
    session
        .rows(
            "SELECT id, head, tail, created_at, expired_at FROM client_secrets
             WHERE merchant_id = ? ORDER BY created_at DESC, id DESC",
            (merchant.0,),
            |row| {
                Ok(ClientSecret {
                    id: SecretId(row.read()?),
                    head: row.read()?,
                    tail: row.read()?,
                    created_at: row.timestamp()?,
                    expired_at: row.optional_timestamp()?,
                })
            },
        )
        .await
}

async fn detail(session: &mut Session<'_>, id: MerchantId) -> Result<Option<MerchantDetail>> {
    let sql = "SELECT id, name, client_id, created_at, updated_at FROM merchants WHERE id = ?";
    let found = session.first(sql, (id.0,), read_merchant).await?;
    let Some(merchant) = found else {
        return Ok(None);
    };
    Ok(Some(MerchantDetail {
        merchant,
        members: members(session, id).await?,
        secrets: secrets(session, id).await?,
    }))
}

async fn create(
    session: &mut Session<'_>,
    owner: AccountId,
    name: &str,
    client_id: &str,
    secret: &NewSecret,
    quota: Quota,
) -> Result<std::result::Result<MerchantDetail, MerchantLimitExceeded>> {
    if quota.is_limited() {
        // Locks the account, so that the count holds until the commit.
        let lock = format!(
            "SELECT id FROM accounts WHERE id = ?{}",
            Lock::Exclusive.sql()
        );
        session.first(&lock, (owner.0,), |_| Ok(())).await?;
        let owned = "SELECT COUNT(*) FROM merchant_members WHERE account_id = ? AND role = ?";
        let key = (owner.0, role::code(Role::Owner));
        if !quota.has_room(count(session, owned, key).await?) {
            return Ok(Err(MerchantLimitExceeded));
        }
    }
    let now = micros(session.now);
    let id = session
        .insert(
            "INSERT INTO merchants (name, client_id, created_at, updated_at) VALUES (?, ?, ?, ?)",
            (name, client_id, now, now),
        )
        .await?;
    let id = MerchantId(id);
    insert_member(session, id, owner, Role::Owner).await?;
    insert_secret(session, id, secret).await?;
    let detail = detail(session, id).await?;
    let gone = Fault::Corrupt("a merchant that was just written is gone");
    detail.map(Ok).ok_or(gone)
}

/// Returns the number that a SELECT COUNT(*) returns.
pub(crate) async fn count(
    session: &mut Session<'_>,
    sql: &str,
    key: impl Into<mysql_async::Params>,
) -> Result<i64> {
    let counted = session.first(sql, key, |row| row.read()).await?;
    Ok(counted.unwrap_or(0))
}

async fn insert_member(
    session: &mut Session<'_>,
    merchant: MerchantId,
    account: AccountId,
    member_role: Role,
) -> Result<MemberId> {
    let now = micros(session.now);
    let id = session
        .insert(
            "INSERT INTO merchant_members (merchant_id, account_id, role, created_at)
             VALUES (?, ?, ?, ?)",
            (merchant.0, account.0, role::code(member_role), now),
        )
        .await?;
    Ok(MemberId(id))
}

async fn insert_secret(
    session: &mut Session<'_>,
    merchant: MerchantId,
    secret: &NewSecret,
) -> Result<ClientSecret> {
    let now = session.now;
    let id = session
        .insert(
            "INSERT INTO client_secrets (merchant_id, digest, head, tail, created_at)
             VALUES (?, ?, ?, ?, ?)",
            (
                merchant.0,
                secret.digest.as_slice(),
                &secret.head,
                &secret.tail,
                micros(now),
            ),
        )
        .await?;
    Ok(ClientSecret {
        id: SecretId(id),
        head: secret.head.clone(),
        tail: secret.tail.clone(),
        created_at: now,
        expired_at: None,
    })
}

/// Locks the merchant's row. Every change of its members or secrets, and every new template, first takes an exclusive
/// lock; a change that needs an account to stay a member until the commit takes a shared one.
pub(crate) async fn lock_row(
    session: &mut Session<'_>,
    merchant: MerchantId,
    lock: Lock,
) -> Result<()> {
    let sql = format!("SELECT id FROM merchants WHERE id = ?{}", lock.sql());
    let found = session.first(&sql, (merchant.0,), |row| row.read::<i64>());
    found.await.map(drop)
}

/// Sets the time of the merchant's last change. It never goes back, although another process's clock may be ahead.
async fn set_updated(session: &mut Session<'_>, merchant: MerchantId) -> Result<()> {
    session
        .run(
            "UPDATE merchants SET updated_at = GREATEST(updated_at, ?) WHERE id = ?",
            (micros(session.now), merchant.0),
        )
        .await
        .map(drop)
}

async fn add_secret(
    session: &mut Session<'_>,
    merchant: MerchantId,
    by: AccountId,
    secret: &NewSecret,
) -> Result<std::result::Result<ClientSecret, SecretRefusal>> {
    lock_row(session, merchant, Lock::Exclusive).await?;
    let standing = standing(session, merchant, by).await?;
    let existing = secrets(session, merchant).await?;
    let decision = standing
        .require_owner()
        .map_err(SecretRefusal::Access)
        .and_then(|()| merchant::add_secret(&existing, session.now));
    if let Err(refusal) = decision {
        return Ok(Err(refusal));
    }
    set_updated(session, merchant).await?;
    insert_secret(session, merchant, secret).await.map(Ok)
}

async fn expire_secret(
    session: &mut Session<'_>,
    merchant: MerchantId,
    by: AccountId,
    id: SecretId,
    at: Option<Timestamp>,
) -> Result<std::result::Result<ClientSecret, SecretRefusal>> {
    lock_row(session, merchant, Lock::Exclusive).await?;
    let standing = standing(session, merchant, by).await?;
    let existing = secrets(session, merchant).await?;
    let decision = standing
        .require_owner()
        .map_err(SecretRefusal::Access)
        .and_then(|()| merchant::expire_secret(&existing, id, at, session.now));
    let end = match decision {
        Ok(end) => end,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let Some(secret) = existing.into_iter().find(|secret| secret.id == id) else {
        return Ok(Err(SecretRefusal::NotFound));
    };
    if secret.expired_at != Some(end) {
        session
            .run(
                "UPDATE client_secrets SET expired_at = ? WHERE id = ?",
                (micros(end), id.0),
            )
            .await?;
        set_updated(session, merchant).await?;
    }
    Ok(Ok(ClientSecret {
        expired_at: Some(end),
        ..secret
    }))
}

async fn add_member(
    session: &mut Session<'_>,
    merchant: MerchantId,
    by: AccountId,
    email: &EmailKey,
    quota: Quota,
) -> Result<std::result::Result<Member, MemberRefusal>> {
    lock_row(session, merchant, Lock::Exclusive).await?;
    let allowed = standing(session, merchant, by).await?.require_owner();
    if let Err(refusal) = allowed {
        return Ok(Err(MemberRefusal::Access(refusal)));
    }
    // Needs no lock: a verified account stays verified.
    let account = match load_by_email(session, email, Lock::None).await? {
        Some((account, _)) if account.verified => account,
        _ => return Ok(Err(MemberRefusal::AccountNotFound)),
    };
    if standing(session, merchant, account.id)
        .await?
        .role
        .is_some()
    {
        return Ok(Err(MemberRefusal::AlreadyAMember));
    }
    let members = "SELECT COUNT(*) FROM merchant_members WHERE merchant_id = ?";
    if quota.is_limited() && !quota.has_room(count(session, members, (merchant.0,)).await?) {
        return Ok(Err(MemberRefusal::LimitExceeded));
    }
    let id = insert_member(session, merchant, account.id, Role::Staff).await?;
    set_updated(session, merchant).await?;
    Ok(Ok(Member {
        id,
        account_id: account.id,
        email: account.email,
        name: account.name,
        role: Role::Staff,
        created_at: session.now,
    }))
}

async fn remove_member(
    session: &mut Session<'_>,
    merchant: MerchantId,
    by: AccountId,
    id: MemberId,
) -> Result<std::result::Result<Member, MemberRefusal>> {
    lock_row(session, merchant, Lock::Exclusive).await?;
    let allowed = standing(session, merchant, by).await?.require_owner();
    if let Err(refusal) = allowed {
        return Ok(Err(MemberRefusal::Access(refusal)));
    }
    let members = members(session, merchant).await?;
    let found = members.into_iter().find(|member| member.id == id);
    if let Err(refusal) = merchant::remove_member(found.as_ref()) {
        return Ok(Err(refusal));
    }
    let Some(member) = found else {
        return Ok(Err(MemberRefusal::NotFound));
    };
    session
        .run("DELETE FROM merchant_members WHERE id = ?", (id.0,))
        .await?;
    set_updated(session, merchant).await?;
    Ok(Ok(member))
}

/// Reads merchant and secrets in one statement, so that they are of one moment.
async fn credentials(session: &mut Session<'_>, client_id: &str) -> Result<Option<Credentials>> {
    let rows = session
        .rows(
            "SELECT m.id, s.digest, s.expired_at FROM merchants m
             LEFT JOIN client_secrets s ON s.merchant_id = m.id WHERE m.client_id = ?",
            (client_id,),
            |row| {
                let id = MerchantId(row.read()?);
                Ok((id, row.optional_bytes()?, row.optional_timestamp()?))
            },
        )
        .await?;
    Ok(rows.first().map(|(merchant_id, ..)| Credentials {
        merchant_id: *merchant_id,
        secrets: rows
            .iter()
            .filter_map(|(_, digest, end)| digest.map(|digest| (digest, *end)))
            .collect(),
    }))
}

#[async_trait]
impl Merchants for Store {
    async fn create(
        &self,
        owner: AccountId,
        name: String,
        client_id: String,
        secret: NewSecret,
        quota: Quota,
    ) -> StoreResult<std::result::Result<MerchantDetail, MerchantLimitExceeded>> {
        self.transact(|session| Box::pin(create(session, owner, &name, &client_id, &secret, quota)))
            .await
    }

    async fn list(&self, account: AccountId) -> StoreResult<Vec<Merchant>> {
        self.read(|session| Box::pin(list(session, account))).await
    }

    async fn standing(&self, merchant: MerchantId, account: AccountId) -> StoreResult<Standing> {
        self.read(|session| Box::pin(standing(session, merchant, account)))
            .await
    }

    async fn detail(
        &self,
        merchant: MerchantId,
        account: AccountId,
    ) -> StoreResult<Option<MerchantDetail>> {
        // In one snapshot, so that members and secrets are of one moment.
        self.read_snapshot(|session| {
            Box::pin(async move {
                match standing(session, merchant, account).await?.role {
                    Some(_) => detail(session, merchant).await,
                    None => Ok(None),
                }
            })
        })
        .await
    }

    async fn add_secret(
        &self,
        merchant: MerchantId,
        by: AccountId,
        secret: NewSecret,
    ) -> StoreResult<std::result::Result<ClientSecret, SecretRefusal>> {
        self.transact(|session| Box::pin(add_secret(session, merchant, by, &secret)))
            .await
    }

    async fn expire_secret(
        &self,
        merchant: MerchantId,
        by: AccountId,
        secret: SecretId,
        at: Option<Timestamp>,
    ) -> StoreResult<std::result::Result<ClientSecret, SecretRefusal>> {
        self.transact(|session| Box::pin(expire_secret(session, merchant, by, secret, at)))
            .await
    }

    async fn add_member(
        &self,
        merchant: MerchantId,
        by: AccountId,
        email: &EmailKey,
        quota: Quota,
    ) -> StoreResult<std::result::Result<Member, MemberRefusal>> {
        self.transact(|session| Box::pin(add_member(session, merchant, by, email, quota)))
            .await
    }

    async fn remove_member(
        &self,
        merchant: MerchantId,
        by: AccountId,
        member: MemberId,
    ) -> StoreResult<std::result::Result<Member, MemberRefusal>> {
        self.transact(|session| Box::pin(remove_member(session, merchant, by, member)))
            .await
    }

    async fn credentials(&self, client_id: &str) -> StoreResult<Option<Credentials>> {
        self.read(|session| Box::pin(credentials(session, client_id)))
            .await
    }
}
