//! Accounts and their verification tokens.

use async_trait::async_trait;
use goodpon_application::ports::{Accounts, EmailTaken, NewAccount, NewVerification, StoreResult};
use goodpon_domain::{
    account::{self, Account, EmailKey, ResendRefusal, VerificationToken, VerifyRefusal},
    id::AccountId,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    Store,
    codec::{micros, timestamp},
    mail::insert_mail,
    writer::Tx,
};

const COLUMNS: &str = "id, email, name, verified, created_at";

/// Reads a row of [`COLUMNS`].
fn read(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        id: AccountId(row.get(0)?),
        email: row.get(1)?,
        name: row.get(2)?,
        verified: row.get(3)?,
        created_at: timestamp(row, 4)?,
    })
}

/// The account of that id.
fn load(connection: &Connection, id: AccountId) -> rusqlite::Result<Option<Account>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM accounts WHERE id = ?1"))?
        .query_row([id.0], read)
        .optional()
}

/// The account of that address and its password hash.
pub(crate) fn load_by_email(
    connection: &Connection,
    email: &EmailKey,
) -> rusqlite::Result<Option<(Account, String)>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, password_hash FROM accounts WHERE email_key = ?1"
        ))?
        .query_row([email.as_str()], |row| Ok((read(row)?, row.get(5)?)))
        .optional()
}

fn sign_up(
    tx: &Tx<'_>,
    new: &NewAccount,
    verification: &NewVerification,
) -> rusqlite::Result<Result<Account, EmailTaken>> {
    let inserted = tx
        .connection
        .prepare_cached(
            "INSERT INTO accounts (email, email_key, name, password_hash, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (email_key) DO NOTHING",
        )?
        .execute(params![
            new.email,
            EmailKey::of(&new.email).as_str(),
            new.name,
            new.password_hash,
            micros(tx.now)
        ])?;
    if inserted == 0 {
        return Ok(Err(EmailTaken));
    }
    let account = Account {
        id: AccountId(tx.connection.last_insert_rowid()),
        email: new.email.clone(),
        name: new.name.clone(),
        verified: false,
        created_at: tx.now,
    };
    insert_verification(tx, &account, verification)?;
    Ok(Ok(account))
}

/// Stores a token with the mail that carries it.
fn insert_verification(
    tx: &Tx<'_>,
    account: &Account,
    verification: &NewVerification,
) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached(
            "INSERT INTO verification_tokens (digest, account_id, created_at) VALUES (?1, ?2, ?3)",
        )?
        .execute(params![
            verification.token_digest,
            account.id.0,
            micros(tx.now)
        ])?;
    insert_mail(tx, &account.email, verification)
}

fn delete_tokens(tx: &Tx<'_>, account: AccountId) -> rusqlite::Result<()> {
    tx.connection
        .prepare_cached("DELETE FROM verification_tokens WHERE account_id = ?1")?
        .execute([account.0])
        .map(drop)
}

fn verify(tx: &Tx<'_>, digest: [u8; 32]) -> rusqlite::Result<Result<Account, VerifyRefusal>> {
    let token = tx
        .connection
        .prepare_cached("SELECT account_id, created_at FROM verification_tokens WHERE digest = ?1")?
        .query_row([digest], |row| {
            Ok(VerificationToken {
                account_id: AccountId(row.get(0)?),
                created_at: timestamp(row, 1)?,
            })
        })
        .optional()?;
    let found = match token {
        Some(token) => load(tx.connection, token.account_id)?,
        None => None,
    };
    if let Err(refusal) = account::verify(token, found.as_ref(), tx.now) {
        return Ok(Err(refusal));
    }
    let Some(account) = found else {
        return Ok(Err(VerifyRefusal::AccountNotFound));
    };
    tx.connection
        .prepare_cached("UPDATE accounts SET verified = 1 WHERE id = ?1")?
        .execute([account.id.0])?;
    delete_tokens(tx, account.id)?;
    Ok(Ok(Account {
        verified: true,
        ..account
    }))
}

fn renew(
    tx: &Tx<'_>,
    email: &EmailKey,
    verification: &NewVerification,
) -> rusqlite::Result<Result<(), ResendRefusal>> {
    let found = load_by_email(tx.connection, email)?;
    match account::resend(found.as_ref().map(|(account, _)| account)) {
        Err(refusal) => Ok(Err(refusal)),
        Ok(account) => {
            delete_tokens(tx, account.id)?;
            insert_verification(tx, account, verification).map(Ok)
        }
    }
}

#[async_trait]
impl Accounts for Store {
    async fn is_email_taken(&self, email: &EmailKey) -> StoreResult<bool> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT 1 FROM accounts WHERE email_key = ?1")?
                .exists([email.as_str()])
        })
    }

    async fn sign_up(
        &self,
        account: NewAccount,
        verification: NewVerification,
    ) -> StoreResult<Result<Account, EmailTaken>> {
        self.write(move |tx| sign_up(tx, &account, &verification))
            .await
    }

    async fn find(&self, id: AccountId) -> StoreResult<Option<Account>> {
        self.read(|connection| load(connection, id))
    }

    async fn find_by_email(&self, email: &EmailKey) -> StoreResult<Option<(Account, String)>> {
        self.read(|connection| load_by_email(connection, email))
    }

    async fn verify(&self, token_digest: [u8; 32]) -> StoreResult<Result<Account, VerifyRefusal>> {
        self.write(move |tx| verify(tx, token_digest)).await
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
