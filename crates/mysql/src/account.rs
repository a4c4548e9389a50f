//! Accounts and their verification tokens.

use async_trait::async_trait;
use goodpon_application::ports::{Accounts, EmailTaken, NewAccount, NewVerification, StoreResult};
use goodpon_domain::{
    account::{self, Account, EmailKey, ResendRefusal, VerificationToken, VerifyRefusal},
    id::AccountId,
};

use crate::{
    Store, codec::micros, columns::Columns, fault::Result, mail::insert_mail, session::Session,
    template::Lock,
};

const COLUMNS: &str = "id, email, name, verified, created_at";

/// Reads a row of [`COLUMNS`].
fn read(row: &mut Columns) -> Result<Account> {
    Ok(Account {
        id: AccountId(row.read()?),
        email: row.read()?,
        name: row.read()?,
        verified: row.read()?,
        created_at: row.timestamp()?,
    })
}

/// The account of that id.
async fn load(session: &mut Session<'_>, id: AccountId, lock: Lock) -> Result<Option<Account>> {
    let sql = format!("SELECT {COLUMNS} FROM accounts WHERE id = ?{}", lock.sql());
    session.first(&sql, (id.0,), read).await
}

/// The account of that address and its password hash.
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

async fn is_email_taken(session: &mut Session<'_>, email: &EmailKey) -> Result<bool> {
    let sql = "SELECT 1 FROM accounts WHERE email_key = ?";
    let found = session.first(sql, (email.as_str(),), |row| row.read::<i64>());
    Ok(found.await?.is_some())
}

async fn sign_up(
    session: &mut Session<'_>,
    new: &NewAccount,
    verification: &NewVerification,
) -> Result<std::result::Result<Account, EmailTaken>> {
    let key = EmailKey::of(&new.email);
    let inserted = session
        .insert(
            "INSERT INTO accounts (email, email_key, name, password_hash, created_at)
             VALUES (?, ?, ?, ?, ?)",
            (
                &new.email,
                key.as_str(),
                &new.name,
                &new.password_hash,
                micros(session.now),
            ),
        )
        .await;
    let id = match inserted {
        Ok(id) => AccountId(id),
        Err(fault) if fault.is_duplicate() => return Ok(Err(EmailTaken)),
        Err(fault) => return Err(fault),
    };
    let account = Account {
        id,
        email: new.email.clone(),
        name: new.name.clone(),
        verified: false,
        created_at: session.now,
    };
    insert_verification(session, &account, verification).await?;
    Ok(Ok(account))
}

/// Stores a token with the mail that carries it. The account's row is locked, or new.
async fn insert_verification(
    session: &mut Session<'_>,
    account: &Account,
    verification: &NewVerification,
) -> Result<()> {
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
    insert_mail(session, &account.email, verification).await
}

/// Likewise.
async fn delete_tokens(session: &mut Session<'_>, account: AccountId) -> Result<()> {
    session
        .run(
            "DELETE FROM verification_tokens WHERE account_id = ?",
            (account.0,),
        )
        .await
        .map(drop)
}

async fn token(session: &mut Session<'_>, digest: [u8; 32]) -> Result<Option<VerificationToken>> {
    session
        .first(
            "SELECT account_id, created_at FROM verification_tokens WHERE digest = ?",
            (digest.as_slice(),),
            |row| {
                Ok(VerificationToken {
                    account_id: AccountId(row.read()?),
                    created_at: row.timestamp()?,
                })
            },
        )
        .await
}

async fn verify(
    session: &mut Session<'_>,
    digest: [u8; 32],
) -> Result<std::result::Result<Account, VerifyRefusal>> {
    let found = match token(session, digest).await? {
        Some(token) => load(session, token.account_id, Lock::Exclusive).await?,
        None => None,
    };
    // Tokens come and go with their account's row locked: only now it is known whether this one is still good.
    let token = token(session, digest).await?;
    if let Err(refusal) = account::verify(token, found.as_ref(), session.now) {
        return Ok(Err(refusal));
    }
    let Some(account) = found else {
        return Ok(Err(VerifyRefusal::AccountNotFound));
    };
    session
        .run(
            "UPDATE accounts SET verified = 1 WHERE id = ?",
            (account.id.0,),
        )
        .await?;
    delete_tokens(session, account.id).await?;
    Ok(Ok(Account {
        verified: true,
        ..account
    }))
}

async fn renew(
    session: &mut Session<'_>,
    email: &EmailKey,
    verification: &NewVerification,
) -> Result<std::result::Result<(), ResendRefusal>> {
    let found = load_by_email(session, email, Lock::Exclusive).await?;
    match account::resend(found.as_ref().map(|(account, _)| account)) {
        Err(refusal) => Ok(Err(refusal)),
        Ok(account) => {
            delete_tokens(session, account.id).await?;
            insert_verification(session, account, verification)
                .await
                .map(Ok)
        }
    }
}

#[async_trait]
impl Accounts for Store {
    async fn is_email_taken(&self, email: &EmailKey) -> StoreResult<bool> {
        self.read(|session| Box::pin(is_email_taken(session, email)))
            .await
    }

    async fn sign_up(
        &self,
        account: NewAccount,
        verification: NewVerification,
    ) -> StoreResult<std::result::Result<Account, EmailTaken>> {
        self.transact(|session| Box::pin(sign_up(session, &account, &verification)))
            .await
    }

    async fn find(&self, id: AccountId) -> StoreResult<Option<Account>> {
        self.read(|session| Box::pin(load(session, id, Lock::None)))
            .await
    }

    async fn find_by_email(&self, email: &EmailKey) -> StoreResult<Option<(Account, String)>> {
        self.read(|session| Box::pin(load_by_email(session, email, Lock::None)))
            .await
    }

    async fn verify(
        &self,
        token_digest: [u8; 32],
    ) -> StoreResult<std::result::Result<Account, VerifyRefusal>> {
        self.transact(|session| Box::pin(verify(session, token_digest)))
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
