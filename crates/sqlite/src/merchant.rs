//! Merchants, their members and their client secrets.

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
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    account::load_by_email,
    codec::{micros, optional_timestamp, role, timestamp},
    store::Store,
    write::tx::Tx,
};

fn read_merchant(row: &Row<'_>) -> rusqlite::Result<Merchant> {
    Ok(Merchant {
        id: MerchantId(row.get(0)?),
        name: row.get(1)?,
        client_id: row.get(2)?,
        created_at: timestamp(row, 3)?,
        updated_at: timestamp(row, 4)?,
    })
}

fn list(connection: &Connection, account: AccountId) -> rusqlite::Result<Vec<Merchant>> {
    connection
        .prepare_cached(
            "SELECT m.id, m.name, m.client_id, m.created_at, m.updated_at
             FROM merchant_members s JOIN merchants m ON m.id = s.merchant_id
             WHERE s.account_id = ?1 ORDER BY m.created_at DESC, m.id DESC",
        )?
        .query_map([account.0], read_merchant)?
        .collect()
}

pub(crate) fn standing(
    connection: &Connection,
    merchant: MerchantId,
    account: AccountId,
) -> rusqlite::Result<Standing> {
    let found = connection
        .prepare_cached(
            "SELECT s.role, s.role IS NOT NULL FROM merchants m
             LEFT JOIN merchant_members s ON s.merchant_id = m.id AND s.account_id = ?2 WHERE m.id = ?1",
        )?
        .query_row(params![merchant.0, account.0], |row| {
            let is_member: bool = row.get(1)?;
            is_member.then(|| role::read(row, 0)).transpose()
        })
        .optional()?;
    Ok(Standing {
        exists: found.is_some(),
        role: found.flatten(),
    })
}

/// Newest first.
fn members(connection: &Connection, merchant: MerchantId) -> rusqlite::Result<Vec<Member>> {
    connection
        .prepare_cached(
            "SELECT s.id, s.account_id, a.email, a.name, s.role, s.created_at
             FROM merchant_members s JOIN accounts a ON a.id = s.account_id
             WHERE s.merchant_id = ?1 ORDER BY s.created_at DESC, s.id DESC",
        )?
        .query_map([merchant.0], |row| {
            Ok(Member {
                id: MemberId(row.get(0)?),
                account_id: AccountId(row.get(1)?),
                email: row.get(2)?,
                name: row.get(3)?,
                role: role::read(row, 4)?,
                created_at: timestamp(row, 5)?,
            })
        })?
        .collect()
}

/// Newest first.
fn secrets(connection: &Connection, merchant: MerchantId) -> rusqlite::Result<Vec<ClientSecret>> {
    connection
        .prepare_cached(
            "SELECT id, head, tail, created_at, expired_at FROM client_secrets
             WHERE merchant_id = ?1 ORDER BY created_at DESC, id DESC",
        )?
        .query_map([merchant.0], |row| {
            Ok(ClientSecret {
                id: SecretId(row.get(0)?),
                head: row.get(1)?,
                tail: row.get(2)?,
                created_at: timestamp(row, 3)?,
                expired_at: optional_timestamp(row, 4)?,
            })
        })?
        .collect()
}

fn detail(connection: &Connection, id: MerchantId) -> rusqlite::Result<Option<MerchantDetail>> {
    let found = connection
        .prepare_cached(
            "SELECT id, name, client_id, created_at, updated_at FROM merchants WHERE id = ?1",
        )?
        .query_row([id.0], read_merchant)
        .optional()?;
    let Some(merchant) = found else {
        return Ok(None);
    };
    Ok(Some(MerchantDetail {
        merchant,
        members: members(connection, id)?,
        secrets: secrets(connection, id)?,
    }))
}

fn create(
    tx: &Tx<'_>,
    owner: AccountId,
    name: &str,
    client_id: &str,
    secret: &NewSecret,
    quota: Quota,
) -> rusqlite::Result<Result<MerchantDetail, MerchantLimitExceeded>> {
    let owned = "SELECT count(*) FROM merchant_members WHERE account_id = ?1 AND role = ?2";
    let key = params![owner.0, role::code(Role::Owner)];
    if quota.is_limited() && !quota.has_room(count(tx.connection, owned, key)?) {
        return Ok(Err(MerchantLimitExceeded));
    }
    tx.connection
        .prepare_cached(
            "INSERT INTO merchants (name, client_id, created_at, updated_at) VALUES (?1, ?2, ?3, ?3)",
        )?
        .execute(params![name, client_id, micros(tx.now)])?;
    let id = MerchantId(tx.connection.last_insert_rowid());
    insert_member(tx, id, owner, Role::Owner)?;
    insert_secret(tx, id, secret)?;
    let detail = detail(tx.connection, id)?;
    detail.map(Ok).ok_or(rusqlite::Error::QueryReturnedNoRows)
}

/// The count that a query returns.
pub(crate) fn count(
    connection: &Connection,
    sql: &str,
    key: impl rusqlite::Params,
) -> rusqlite::Result<i64> {
    connection
        .prepare_cached(sql)?
        .query_row(key, |row| row.get(0))
}

fn insert_member(
    tx: &Tx<'_>,
    merchant: MerchantId,
    account: AccountId,
    member_role: Role,
) -> rusqlite::Result<MemberId> {
    tx.connection
        .prepare_cached(
            "INSERT INTO merchant_members (merchant_id, account_id, role, created_at)
             VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            merchant.0,
            account.0,
            role::code(member_role),
            micros(tx.now)
        ])?;
    Ok(MemberId(tx.connection.last_insert_rowid()))
}

fn insert_secret(
    tx: &Tx<'_>,
    merchant: MerchantId,
    secret: &NewSecret,
) -> rusqlite::Result<ClientSecret> {
    tx.connection
        .prepare_cached(
            "INSERT INTO client_secrets (merchant_id, digest, head, tail, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            merchant.0,
            secret.digest,
            secret.head,
            secret.tail,
            micros(tx.now)
        ])?;
    Ok(ClientSecret {
        id: SecretId(tx.connection.last_insert_rowid()),
        head: secret.head.clone(),
        tail: secret.tail.clone(),
        created_at: tx.now,
        expired_at: None,
    })
}

fn touch(tx: &Tx<'_>, merchant: MerchantId) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached("UPDATE merchants SET updated_at = ?2 WHERE id = ?1")?
        .execute(params![merchant.0, micros(tx.now)])
        .map(drop)
}

fn add_secret(
    tx: &Tx<'_>,
    merchant: MerchantId,
    by: AccountId,
    secret: &NewSecret,
) -> rusqlite::Result<Result<ClientSecret, SecretRefusal>> {
    let standing = standing(tx.connection, merchant, by)?;
    let existing = secrets(tx.connection, merchant)?;
    let decision = standing
        .require_owner()
        .map_err(SecretRefusal::Access)
        .and_then(|()| merchant::add_secret(&existing, tx.now));
    if let Err(refusal) = decision {
        return Ok(Err(refusal));
    }
    touch(tx, merchant)?;
    insert_secret(tx, merchant, secret).map(Ok)
}

fn expire_secret(
    tx: &Tx<'_>,
    merchant: MerchantId,
    by: AccountId,
    id: SecretId,
    at: Option<Timestamp>,
) -> rusqlite::Result<Result<ClientSecret, SecretRefusal>> {
    let standing = standing(tx.connection, merchant, by)?;
    let existing = secrets(tx.connection, merchant)?;
    let decision = standing
        .require_owner()
        .map_err(SecretRefusal::Access)
        .and_then(|()| merchant::expire_secret(&existing, id, at, tx.now));
    let end = match decision {
        Ok(end) => end,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let Some(secret) = existing.into_iter().find(|secret| secret.id == id) else {
        return Ok(Err(SecretRefusal::NotFound));
    };
    if secret.expired_at != Some(end) {
        tx.connection
            .prepare_cached("UPDATE client_secrets SET expired_at = ?2 WHERE id = ?1")?
            .execute(params![id.0, micros(end)])?;
        touch(tx, merchant)?;
    }
    Ok(Ok(ClientSecret {
        expired_at: Some(end),
        ..secret
    }))
}

fn add_member(
    tx: &Tx<'_>,
    merchant: MerchantId,
    by: AccountId,
    email: &EmailKey,
    quota: Quota,
) -> rusqlite::Result<Result<Member, MemberRefusal>> {
    let allowed = standing(tx.connection, merchant, by)?.require_owner();
    if let Err(refusal) = allowed {
        return Ok(Err(MemberRefusal::Access(refusal)));
    }
    let account = match load_by_email(tx.connection, email)? {
        Some((account, _)) if account.verified => account,
        _ => return Ok(Err(MemberRefusal::AccountNotFound)),
    };
    if standing(tx.connection, merchant, account.id)?
        .role
        .is_some()
    {
        return Ok(Err(MemberRefusal::AlreadyAMember));
    }
    let members = "SELECT count(*) FROM merchant_members WHERE merchant_id = ?1";
    if quota.is_limited() && !quota.has_room(count(tx.connection, members, [merchant.0])?) {
        return Ok(Err(MemberRefusal::LimitExceeded));
    }
    let id = insert_member(tx, merchant, account.id, Role::Staff)?;
    touch(tx, merchant)?;
    Ok(Ok(Member {
        id,
        account_id: account.id,
        email: account.email,
        name: account.name,
        role: Role::Staff,
        created_at: tx.now,
    }))
}

fn remove_member(
    tx: &Tx<'_>,
    merchant: MerchantId,
    by: AccountId,
    id: MemberId,
) -> rusqlite::Result<Result<Member, MemberRefusal>> {
    let allowed = standing(tx.connection, merchant, by)?.require_owner();
    if let Err(refusal) = allowed {
        return Ok(Err(MemberRefusal::Access(refusal)));
    }
    let members = members(tx.connection, merchant)?;
    let found = members.into_iter().find(|member| member.id == id);
    if let Err(refusal) = merchant::remove_member(found.as_ref()) {
        return Ok(Err(refusal));
    }
    let Some(member) = found else {
        return Ok(Err(MemberRefusal::NotFound));
    };
    tx.connection
        .prepare_cached("DELETE FROM merchant_members WHERE id = ?1")?
        .execute([id.0])?;
    touch(tx, merchant)?;
    Ok(Ok(member))
}

fn credentials(connection: &Connection, client_id: &str) -> rusqlite::Result<Option<Credentials>> {
    let found = connection
        .prepare_cached("SELECT id FROM merchants WHERE client_id = ?1")?
        .query_row([client_id], |row| row.get(0).map(MerchantId))
        .optional()?;
    let Some(merchant_id) = found else {
        return Ok(None);
    };
    let secrets = connection
        .prepare_cached("SELECT digest, expired_at FROM client_secrets WHERE merchant_id = ?1")?
        .query_map([merchant_id.0], |row| {
            Ok((row.get(0)?, optional_timestamp(row, 1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(Credentials {
        merchant_id,
        secrets,
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
    ) -> StoreResult<Result<MerchantDetail, MerchantLimitExceeded>> {
        self.write(move |tx| create(tx, owner, &name, &client_id, &secret, quota))
            .await
    }

    async fn list(&self, account: AccountId) -> StoreResult<Vec<Merchant>> {
        self.scan(move |connection| list(connection, account)).await
    }

    async fn standing(&self, merchant: MerchantId, account: AccountId) -> StoreResult<Standing> {
        self.read(move |connection| standing(connection, merchant, account))
            .await
    }

    async fn detail(
        &self,
        merchant: MerchantId,
        account: AccountId,
    ) -> StoreResult<Option<MerchantDetail>> {
        self.scan(move |connection| {
            // One snapshot, so that members and secrets are of one moment.
            let snapshot = connection.unchecked_transaction()?;
            match standing(&snapshot, merchant, account)?.role {
                Some(_) => detail(&snapshot, merchant),
                None => Ok(None),
            }
        })
        .await
    }

    async fn add_secret(
        &self,
        merchant: MerchantId,
        by: AccountId,
        secret: NewSecret,
    ) -> StoreResult<Result<ClientSecret, SecretRefusal>> {
        self.write(move |tx| add_secret(tx, merchant, by, &secret))
            .await
    }

    async fn expire_secret(
        &self,
        merchant: MerchantId,
        by: AccountId,
        secret: SecretId,
        at: Option<Timestamp>,
    ) -> StoreResult<Result<ClientSecret, SecretRefusal>> {
        self.write(move |tx| expire_secret(tx, merchant, by, secret, at))
            .await
    }

    async fn add_member(
        &self,
        merchant: MerchantId,
        by: AccountId,
        email: &EmailKey,
        quota: Quota,
    ) -> StoreResult<Result<Member, MemberRefusal>> {
        let email = email.clone();
        self.write(move |tx| add_member(tx, merchant, by, &email, quota))
            .await
    }

    async fn remove_member(
        &self,
        merchant: MerchantId,
        by: AccountId,
        member: MemberId,
    ) -> StoreResult<Result<Member, MemberRefusal>> {
        self.write(move |tx| remove_member(tx, merchant, by, member))
            .await
    }

    async fn credentials(&self, client_id: &str) -> StoreResult<Option<Credentials>> {
        let client_id = client_id.to_owned();
        self.read(move |connection| credentials(connection, &client_id))
            .await
    }
}
