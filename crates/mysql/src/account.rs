//! Accounts and their verification tokens. Tokens are added and deleted only while their account's row is locked.

use async_trait::async_trait;
use goodpon_application::ports::{Accounts, NewAccount, NewPassword, NewVerification, StoreResult};
use goodpon_domain::{
    account::{
        self, Account, AddressRefusal, EmailKey, ResendRefusal, TryRefusal, VerificationToken,
        VerifyRefusal,
    },
    generation::Generation,
    id::AccountId,
};
use jiff::Timestamp;

use crate::{
    Store,
    codec::{micros, row_limit},
    columns::Columns,
    fault::{Fault, Result},
    lock::Lock,
    mail::{self, MailKind},
    session::Session,
};

const COLUMNS: &str = "id, email, name, verified, created_at, generation, is_first_generation";

/// Selects unverified accounts, oldest first. Parameters: the latest creation time, the number of rows.
pub(crate) const UNVERIFIED: &str = "SELECT id FROM accounts FORCE INDEX (accounts_unverified)
     WHERE verified = 0 AND created_at <= ? ORDER BY created_at LIMIT ? FOR UPDATE SKIP LOCKED";

/// Reads a row of [`COLUMNS`].
fn read(row: &mut Columns) -> Result<Account> {
    Ok(Account {
        id: AccountId(row.read()?),
        email: row.read()?,
        name: row.read()?,
        verified: row.read()?,
        created_at: row.timestamp()?,
        generation: Generation::from_stored(row.read()?),
        is_first_generation: row.read()?,
    })
}

/// Loads the account of that id with its password hash.
async fn load(
    session: &mut Session<'_>,
    id: AccountId,
    lock: Lock,
) -> Result<Option<(Account, String)>> {
    let sql = format!(
        "SELECT {COLUMNS}, password_hash FROM accounts WHERE id = ?{}",
        lock.sql()
    );
    let read = |row: &mut Columns| Ok((read(row)?, row.read()?));
    session.first(&sql, (id.0,), read).await
}

/// Loads the account of that address with its password hash.
pub(crate) async fn load_by_email(
    session: &mut Session<'_>,
    email: &EmailKey,
    lock: Lock,
) -> Result<Option<(Account, String)>> {
    let sql = format!(
        "SELECT {COLUMNS}, password_hash FROM accounts WHERE email_key = ?{}",
        lock.sql()
    );
    let read = |row: &mut Columns| Ok((read(row)?, row.read()?));
    session.first(&sql, (email.as_str(),), read).await
}

async fn sign_up(
    session: &mut Session<'_>,
    new: &NewAccount,
    verification: &NewVerification,
) -> Result<std::result::Result<Account, AddressRefusal>> {
    let key = EmailKey::of(&new.email);
    let found = load_by_email(session, &key, Lock::Exclusive).await?;
    let (id, kind) = match &found {
        None => (insert(session, &key, new).await?, MailKind::First),
        Some((account, _)) => {
            let resends = mail::resend_times(session, key.as_str()).await?;
            if let Err(refusal) = account::sign_up_again(account, &resends, session.now) {
                return Ok(Err(refusal));
            }
            replace(session, account.id, new).await?;
            (account.id, MailKind::Resend)
        }
    };
    let account = Account {
        id,
        email: new.email.clone(),
        name: new.name.clone(),
        verified: false,
        created_at: session.now,
        generation: Some(new.generation),
        is_first_generation: found.is_none(),
    };
    send_token(session, &account, verification, kind).await?;
    Ok(Ok(account))
}

async fn insert(session: &mut Session<'_>, key: &EmailKey, new: &NewAccount) -> Result<AccountId> {
    let inserted = session
        .insert(
            "INSERT INTO accounts (email, email_key, name, password_hash, created_at, generation)
             VALUES (?, ?, ?, ?, ?, ?)",
            (
                &new.email,
                key.as_str(),
                &new.name,
                &new.password_hash,
                micros(session.now),
                new.generation.to_stored(),
            ),
        )
        .await;
    match inserted {
        Ok(id) => Ok(AccountId(id)),
        // Another sign-up with the address was committed meanwhile: the next run finds its account.
        Err(fault) if fault.is_duplicate() => Err(Fault::Overtaken),
        Err(fault) => Err(fault),
    }
}

/// Replaces the sign-up of an account by another. The account's row is locked.
async fn replace(session: &mut Session<'_>, id: AccountId, new: &NewAccount) -> Result<()> {
    session
        .run(
            "UPDATE accounts SET email = ?, name = ?, password_hash = ?, created_at = ?,
                    generation = ?, is_first_generation = 0 WHERE id = ?",
            (
                &new.email,
                &new.name,
                &new.password_hash,
                micros(session.now),
                new.generation.to_stored(),
                id.0,
            ),
        )
        .await
        .map(drop)
}

/// Stores a token, with the mail that carries it, and deletes the account's earlier tokens. The account's row is locked
/// or new.
async fn send_token(
    session: &mut Session<'_>,
    account: &Account,
    verification: &NewVerification,
    kind: MailKind,
) -> Result<()> {
    delete_tokens(session, account.id).await?;
    let token = (
        verification.token_digest.as_slice(),
        account.id.0,
        micros(session.now),
    );
    session
        .run(
            "INSERT INTO verification_tokens (digest, account_id, created_at) VALUES (?, ?, ?)",
            token,
        )
        .await?;
    mail::insert_mail(session, &account.email, verification, kind).await
}

/// Deletes the account's tokens. The account's row is locked or new.
async fn delete_tokens(session: &mut Session<'_>, account: AccountId) -> Result<()> {
    session
        .run(
            "DELETE FROM verification_tokens WHERE account_id = ?",
            (account.0,),
        )
        .await
        .map(drop)
}

async fn load_token(
    session: &mut Session<'_>,
    digest: [u8; 32],
) -> Result<Option<VerificationToken>> {
    session
        .first(
            "SELECT account_id, created_at, spent_at IS NOT NULL, tries FROM verification_tokens
             WHERE digest = ?",
            (digest.as_slice(),),
            |row| {
                Ok(VerificationToken {
                    account_id: AccountId(row.read()?),
                    created_at: row.timestamp()?,
                    is_spent: row.read()?,
                    tries: row.read()?,
                })
            },
        )
        .await
}

/// A token, and its account with the password hash.
type TokenAndAccount = (Option<VerificationToken>, Option<(Account, String)>);

async fn load_token_and_account(
    session: &mut Session<'_>,
    digest: [u8; 32],
    lock: Lock,
) -> Result<TokenAndAccount> {
    let found = match load_token(session, digest).await? {
        Some(token) => load(session, token.account_id, lock).await?,
        None => None,
    };
    // Read again now that the account's row is locked: only then can the token not be voided any more.
    Ok((load_token(session, digest).await?, found))
}

async fn verifiable(
    session: &mut Session<'_>,
    digest: [u8; 32],
) -> Result<std::result::Result<Account, VerifyRefusal>> {
    let (token, found) = load_token_and_account(session, digest, Lock::None).await?;
    let account = found.as_ref().map(|(account, _)| account);
    Ok(account::verify(token, account, session.now).cloned())
}

async fn try_password(
    session: &mut Session<'_>,
    digest: [u8; 32],
) -> Result<std::result::Result<(Account, String), TryRefusal>> {
    let (token, found) = load_token_and_account(session, digest, Lock::Exclusive).await?;
    let account = found.as_ref().map(|(account, _)| account);
    if let Err(refusal) = account::try_password(token, account, session.now) {
        return Ok(Err(refusal));
    }
    let sql = "UPDATE verification_tokens SET tries = tries + 1 WHERE digest = ?";
    session.run(sql, (digest.as_slice(),)).await?;
    let gone = TryRefusal::Verify(VerifyRefusal::AccountNotFound);
    Ok(found.ok_or(gone))
}

async fn verify(
    session: &mut Session<'_>,
    digest: [u8; 32],
    password: Option<&NewPassword>,
) -> Result<std::result::Result<Account, VerifyRefusal>> {
    let (token, found) = load_token_and_account(session, digest, Lock::Exclusive).await?;
    let account = found.as_ref().map(|(account, _)| account);
    let account = match account::verify(token, account, session.now) {
        Ok(account) => account.clone(),
        Err(refusal) => return Ok(Err(refusal)),
    };
    let sql = "UPDATE accounts SET verified = 1 WHERE id = ?";
    session.run(sql, (account.id.0,)).await?;
    // The token is kept for a day, so that its link can answer that it was used.
    let sql = "UPDATE verification_tokens SET spent_at = ? WHERE digest = ?";
    let spent = (micros(session.now), digest.as_slice());
    session.run(sql, spent).await?;
    mail::void_tokens(session, &account.email, "its token was used").await?;
    let mut account = Account {
        verified: true,
        ..account
    };
    if let Some(password) = password {
        set_password(session, &mut account, password).await?;
    }
    Ok(Ok(account))
}

/// Sets the password of an account whose row is locked, and ends its access tokens.
async fn set_password(
    session: &mut Session<'_>,
    account: &mut Account,
    password: &NewPassword,
) -> Result<()> {
    account.generation = Some(password.generation);
    account.is_first_generation = false;
    session
        .run(
            "UPDATE accounts SET password_hash = ?, generation = ?, is_first_generation = 0
             WHERE id = ?",
            (
                &password.hash,
                password.generation.to_stored(),
                account.id.0,
            ),
        )
        .await
        .map(drop)
}

async fn renew(
    session: &mut Session<'_>,
    email: &EmailKey,
    verification: &NewVerification,
) -> Result<std::result::Result<(), ResendRefusal>> {
    let found = load_by_email(session, email, Lock::Exclusive).await?;
    let resends = mail::resend_times(session, email.as_str()).await?;
    let account = found.as_ref().map(|(account, _)| account);
    match account::resend(account, &resends, session.now) {
        Err(refusal) => Ok(Err(refusal)),
        Ok(account) => send_token(session, account, verification, MailKind::Resend)
            .await
            .map(Ok),
    }
}

/// Deletes up to `limit` unverified accounts that were created at `latest` or before, with their tokens, and returns
/// their number.
pub(crate) async fn delete_unverified(
    session: &mut Session<'_>,
    latest: Timestamp,
    limit: usize,
) -> Result<usize> {
    let due = (micros(latest), row_limit(limit));
    let found = session
        .rows(UNVERIFIED, due, |row| row.read().map(AccountId))
        .await?;
    for id in &found {
        delete_tokens(session, *id).await?;
        let sql = "DELETE FROM accounts WHERE id = ?";
        session.run(sql, (id.0,)).await?;
    }
    Ok(found.len())
}

#[async_trait]
impl Accounts for Store {
    async fn is_email_taken(&self, email: &EmailKey) -> StoreResult<bool> {
        let found = self.find_by_email(email).await?;
        Ok(found.is_some_and(|(account, _)| account.verified))
    }

    async fn sign_up(
        &self,
        account: NewAccount,
        verification: NewVerification,
    ) -> StoreResult<std::result::Result<Account, AddressRefusal>> {
        self.transact(|session| Box::pin(sign_up(session, &account, &verification)))
            .await
    }

    async fn find(&self, id: AccountId) -> StoreResult<Option<Account>> {
        let found = self
            .read(|session| Box::pin(load(session, id, Lock::None)))
            .await?;
        Ok(found.map(|(account, _)| account))
    }

    async fn find_by_email(&self, email: &EmailKey) -> StoreResult<Option<(Account, String)>> {
        self.read(|session| Box::pin(load_by_email(session, email, Lock::None)))
            .await
    }

    async fn draw_generation(&self, id: AccountId, generation: Generation) -> StoreResult<()> {
        let sql = "UPDATE accounts SET generation = ? WHERE id = ? AND generation = 0";
        let drawn = (generation.to_stored(), id.0);
        self.transact(|session| Box::pin(session.run(sql, drawn)))
            .await
            .map(drop)
    }

    async fn verifiable(
        &self,
        token_digest: [u8; 32],
    ) -> StoreResult<std::result::Result<Account, VerifyRefusal>> {
        self.read(|session| Box::pin(verifiable(session, token_digest)))
            .await
    }

    async fn try_password(
        &self,
        token_digest: [u8; 32],
    ) -> StoreResult<std::result::Result<(Account, String), TryRefusal>> {
        self.transact(|session| Box::pin(try_password(session, token_digest)))
            .await
    }

    async fn verify(
        &self,
        token_digest: [u8; 32],
        password: Option<NewPassword>,
    ) -> StoreResult<std::result::Result<Account, VerifyRefusal>> {
        self.transact(|session| Box::pin(verify(session, token_digest, password.as_ref())))
            .await
    }

    async fn renew_verification(
        &self,
        email: &EmailKey,
        verification: NewVerification,
    ) -> StoreResult<std::result::Result<(), ResendRefusal>> {
        self.transact(|session| Box::pin(renew(session, email, &verification)))
            .await
    }
}
