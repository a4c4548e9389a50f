//! Accounts and their verification tokens.

use async_trait::async_trait;
use goodpon_application::ports::{Accounts, NewAccount, NewPassword, NewVerification, StoreResult};
use goodpon_domain::{
    account::{
        self, Account, AddressRefusal, EmailKey, ResendRefusal, TryRefusal,
        UNVERIFIED_ACCOUNT_LIFETIME, VerificationToken, VerifyRefusal,
    },
    generation::Generation,
    id::AccountId,
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    codec::{micros, row_limit, timestamp},
    mail::{self, Kind},
    store::Store,
    write::tx::Tx,
};

const COLUMNS: &str = "id, email, name, verified, created_at, generation, is_first_generation";

/// Accounts that were not verified, oldest first. The parameters are the time of their making and a limit.
pub(crate) const UNVERIFIED: &str = "SELECT id FROM accounts INDEXED BY accounts_unverified
     WHERE verified = 0 AND created_at <= ?1 ORDER BY created_at LIMIT ?2";

/// Reads a row of [`COLUMNS`].
fn read(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: AccountId(row.get(0)?),
        email: row.get(1)?,
        name: row.get(2)?,
        verified: row.get(3)?,
        created_at: timestamp(row, 4)?,
        generation: Generation::from_stored(row.get(5)?),
        is_first_generation: row.get(6)?,
    })
}

/// The account with its password hash for which `condition` holds of `?1`.
fn load(
    connection: &Connection,
    condition: &str,
    value: impl rusqlite::ToSql,
) -> rusqlite::Result<Option<(Account, String)>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, password_hash FROM accounts WHERE {condition} = ?1"
        ))?
        .query_row([value], |row| Ok((read(row)?, row.get(7)?)))
        .optional()
}

/// The account of that address and its password hash.
pub(crate) fn load_by_email(
    connection: &Connection,
    email: &EmailKey,
) -> rusqlite::Result<Option<(Account, String)>> {
    load(connection, "email_key", email.as_str())
}

fn sign_up(
    tx: &Tx<'_>,
    new: &NewAccount,
    verification: &NewVerification,
) -> rusqlite::Result<Result<Account, AddressRefusal>> {
    let found = load_by_email(tx.connection, &EmailKey::of(&new.email))?;
    let (id, kind) = match &found {
        None => (insert(tx, new)?, Kind::First),
        Some((account, _)) => {
            let further = mail::further(tx, &account.email)?;
            if let Err(refusal) = account::sign_up_again(account, &further, tx.now) {
                return Ok(Err(refusal));
            }
            replace(tx, account.id, new)?;
            (account.id, Kind::Further)
        }
    };
    let account = Account {
        id,
        email: new.email.clone(),
        name: new.name.clone(),
        verified: false,
        created_at: tx.now,
        generation: Some(new.generation),
        is_first_generation: found.is_none(),
    };
    send_token(tx, &account, verification, kind)?;
    Ok(Ok(account))
}

fn insert(tx: &Tx<'_>, new: &NewAccount) -> rusqlite::Result<AccountId> {
    tx.connection
        .prepare_cached(
            "INSERT INTO accounts (email, email_key, name, password_hash, created_at, generation)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            new.email,
            EmailKey::of(&new.email).as_str(),
            new.name,
            new.password_hash,
            micros(tx.now),
            new.generation.to_stored()
        ])?;
    Ok(AccountId(tx.connection.last_insert_rowid()))
}

/// Replaces the sign-up that made this account by another one.
fn replace(tx: &Tx<'_>, id: AccountId, new: &NewAccount) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached(
            "UPDATE accounts SET email = ?2, name = ?3, password_hash = ?4, created_at = ?5,
                    generation = ?6, is_first_generation = 0 WHERE id = ?1",
        )?
        .execute(params![
            id.0,
            new.email,
            new.name,
            new.password_hash,
            micros(tx.now),
            new.generation.to_stored()
        ])
        .map(drop)
}

/// Stores a token in place of all that the account had, with the mail that carries it.
fn send_token(
    tx: &Tx<'_>,
    account: &Account,
    verification: &NewVerification,
    kind: Kind,
) -> rusqlite::Result<()> {
    delete_tokens(tx, account.id)?;
    tx.connection
        .prepare_cached(
            "INSERT INTO verification_tokens (digest, account_id, created_at) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![
            verification.token_digest,
            account.id.0,
            micros(tx.now)
        ])?;
    mail::insert_mail(tx, &account.email, verification, kind)
}

fn delete_tokens(tx: &Tx<'_>, account: AccountId) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached("DELETE FROM verification_tokens WHERE account_id = ?1")?
        .execute([account.0])
        .map(drop)
}

/// The token of that digest, and its account with the password hash.
type Found = (Option<VerificationToken>, Option<(Account, String)>);

fn find_token(connection: &Connection, digest: [u8; 32]) -> rusqlite::Result<Found> {
    let token = connection
        .prepare_cached(
            "SELECT account_id, created_at, spent_at IS NOT NULL, tries FROM verification_tokens
             WHERE digest = ?1",
        )?
        .query_row([digest], |row| {
            Ok(VerificationToken {
                account_id: AccountId(row.get(0)?),
                created_at: timestamp(row, 1)?,
                is_spent: row.get(2)?,
                tries: row.get(3)?,
            })
        })
        .optional()?;
    let account = match token {
        Some(token) => load(connection, "id", token.account_id.0)?,
        None => None,
    };
    Ok((token, account))
}

fn try_password(
    tx: &Tx<'_>,
    digest: [u8; 32],
) -> rusqlite::Result<Result<(Account, String), TryRefusal>> {
    let (token, found) = find_token(tx.connection, digest)?;
    let account = found.as_ref().map(|(account, _)| account);
    if let Err(refusal) = account::try_password(token, account, tx.now) {
        return Ok(Err(refusal));
    }
    tx.connection
        .prepare_cached("UPDATE verification_tokens SET tries = tries + 1 WHERE digest = ?1")?
        .execute([digest])?;
    let gone = TryRefusal::Verify(VerifyRefusal::AccountNotFound);
    Ok(found.ok_or(gone))
}

fn verify(
    tx: &Tx<'_>,
    digest: [u8; 32],
    password: Option<&NewPassword>,
) -> rusqlite::Result<Result<Account, VerifyRefusal>> {
    let (token, found) = find_token(tx.connection, digest)?;
    let account = found.as_ref().map(|(account, _)| account);
    let account = match account::verify(token, account, tx.now) {
        Ok(account) => account.clone(),
        Err(refusal) => return Ok(Err(refusal)),
    };
    tx.connection
        .prepare_cached("UPDATE accounts SET verified = 1 WHERE id = ?1")?
        .execute([account.id.0])?;
    // The token is kept for a while, so that its link can say that it was spent.
    tx.connection
        .prepare_cached("UPDATE verification_tokens SET spent_at = ?2 WHERE digest = ?1")?
        .execute(params![digest, micros(tx.now)])?;
    mail::void_tokens(tx, &account.email, "its token was used")?;
    let mut account = Account {
        verified: true,
        ..account
    };
    if let Some(password) = password {
        set_password(tx, &mut account, password)?;
    }
    Ok(Ok(account))
}

fn set_password(
    tx: &Tx<'_>,
    account: &mut Account,
    password: &NewPassword,
) -> rusqlite::Result<()> {
    account.generation = Some(password.generation);
    account.is_first_generation = false;
    tx.connection
        .prepare_cached(
            "UPDATE accounts SET password_hash = ?2, generation = ?3, is_first_generation = 0
             WHERE id = ?1",
        )?
        .execute(params![
            account.id.0,
            password.hash,
            password.generation.to_stored()
        ])
        .map(drop)
}

fn renew(
    tx: &Tx<'_>,
    email: &EmailKey,
    verification: &NewVerification,
) -> rusqlite::Result<Result<(), ResendRefusal>> {
    let found = load_by_email(tx.connection, email)?;
    let further = mail::further(tx, email.as_str())?;
    match account::resend(found.as_ref().map(|(account, _)| account), &further, tx.now) {
        Err(refusal) => Ok(Err(refusal)),
        Ok(account) => send_token(tx, account, verification, Kind::Further).map(Ok),
    }
}

/// Deletes an account with its tokens if it is still not verified.
fn delete_unverified(tx: &Tx<'_>, id: AccountId, until: Timestamp) -> rusqlite::Result<bool> {
    let found = load(tx.connection, "id", id.0)?;
    if !found.is_some_and(|(account, _)| !account.verified && account.created_at <= until) {
        return Ok(false);
    }
    delete_tokens(tx, id)?;
    tx.connection
        .prepare_cached("DELETE FROM accounts WHERE id = ?1")?
        .execute([id.0])?;
    Ok(true)
}

impl Store {
    /// Deletes up to `limit` accounts that were not verified in time, and returns their number.
    pub(crate) async fn forget_unverified(&self, limit: usize) -> StoreResult<usize> {
        let until = self.inner.clock.now() - UNVERIFIED_ACCOUNT_LIFETIME;
        let find = move |connection: &Connection| {
            connection
                .prepare_cached(UNVERIFIED)?
                .query_map(params![micros(until), row_limit(limit)], |row| {
                    row.get(0).map(AccountId)
                })?
                .collect()
        };
        let found: Vec<AccountId> = self.scan(find).await?;
        if found.is_empty() {
            return Ok(0);
        }
        self.write(move |tx| {
            let mut done = 0;
            for &id in &found {
                done += usize::from(delete_unverified(tx, id, until)?);
            }
            Ok(done)
        })
        .await
    }
}

#[async_trait]
impl Accounts for Store {
    async fn is_email_taken(&self, email: &EmailKey) -> StoreResult<bool> {
        let email = email.clone();
        let find = move |connection: &Connection| load_by_email(connection, &email);
        let found = self.read(find).await?;
        Ok(found.is_some_and(|(account, _)| account.verified))
    }

    async fn sign_up(
        &self,
        account: NewAccount,
        verification: NewVerification,
    ) -> StoreResult<Result<Account, AddressRefusal>> {
        self.write(move |tx| sign_up(tx, &account, &verification))
            .await
    }

    async fn find(&self, id: AccountId) -> StoreResult<Option<Account>> {
        let find = move |connection: &Connection| load(connection, "id", id.0);
        let found = self.read(find).await?;
        Ok(found.map(|(account, _)| account))
    }

    async fn find_by_email(&self, email: &EmailKey) -> StoreResult<Option<(Account, String)>> {
        let email = email.clone();
        self.read(move |connection| load_by_email(connection, &email))
            .await
    }

    async fn draw_generation(&self, id: AccountId, generation: Generation) -> StoreResult<()> {
        self.write(move |tx| {
            tx.connection
                .prepare_cached(
                    "UPDATE accounts SET generation = ?2 WHERE id = ?1 AND generation = 0",
                )?
                .execute(params![id.0, generation.to_stored()])
                .map(drop)
        })
        .await
    }

    async fn verifiable(
        &self,
        token_digest: [u8; 32],
    ) -> StoreResult<Result<Account, VerifyRefusal>> {
        let find = move |connection: &Connection| find_token(connection, token_digest);
        let (token, found) = self.read(find).await?;
        let account = found.as_ref().map(|(account, _)| account);
        Ok(account::verify(token, account, self.inner.clock.now()).cloned())
    }

    async fn try_password(
        &self,
        token_digest: [u8; 32],
    ) -> StoreResult<Result<(Account, String), TryRefusal>> {
        self.write(move |tx| try_password(tx, token_digest)).await
    }

    async fn verify(
        &self,
        token_digest: [u8; 32],
        password: Option<NewPassword>,
    ) -> StoreResult<Result<Account, VerifyRefusal>> {
        self.write(move |tx| verify(tx, token_digest, password.as_ref()))
            .await
    }

    async fn renew_verification(
        &self,
        email: &EmailKey,
        verification: NewVerification,
    ) -> StoreResult<Result<(), ResendRefusal>> {
        let email = email.clone();
        self.write(move |tx| renew(tx, &email, &verification)).await
    }
}
