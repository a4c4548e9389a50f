//! Sign-up, verification and login of dashboard users (contract §2).

use goodpon_domain::account::{self, Account, EmailKey, ResendRefusal, VerifyRefusal};
use sha2::{Digest, Sha256};

use crate::{
    App, Failure,
    credentials::random_hex,
    ports::{NewAccount, NewVerification, StoreResult},
};

/// What a person types to sign up.
#[derive(Debug, Clone)]
pub struct SignUp {
    /// The address.
    pub email: String,
    /// The password, in clear; it is hashed and forgotten.
    pub password: String,
    /// The name.
    pub name: String,
    /// The network that the request came from.
    pub origin: Option<String>,
}

/// Why a sign-up is refused, in the order in which it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignUpRefusal {
    /// Somebody has that address.
    EmailTaken,
    /// E-mail, name or password break a rule.
    InvalidInput,
}

/// Signs an account up and writes its verification mail, as one.
pub async fn sign_up(app: &App, input: SignUp) -> Result<Account, Failure<SignUpRefusal>> {
    let key = EmailKey::of(&input.email);
    if account::is_email(&input.email) && app.accounts.is_email_taken(&key).await? {
        return Err(Failure::Refused(SignUpRefusal::EmailTaken));
    }
    account::check_sign_up(&input.email, &input.name, &input.password)
        .map_err(|_| Failure::Refused(SignUpRefusal::InvalidInput))?;
    let verification = new_verification(app, &input.name, input.origin);
    let account = NewAccount {
        email: input.email,
        name: input.name,
        password_hash: app.passwords.hash(input.password).await?,
    };
    app.accounts
        .sign_up(account, verification)
        .await?
        .map_err(|_| Failure::Refused(SignUpRefusal::EmailTaken))
}

fn new_verification(app: &App, name: &str, origin: Option<String>) -> NewVerification {
    let token = random_hex(app);
    NewVerification {
        token_digest: Sha256::digest(token.as_bytes()).into(),
        mail: app.verification_mail.write(name, &token),
        origin,
    }
}

/// Verifies the address that a token was sent to.
pub async fn verify(app: &App, token: &str) -> Result<Account, Failure<VerifyRefusal>> {
    let digest = Sha256::digest(token.as_bytes()).into();
    app.accounts.verify(digest).await?.map_err(Failure::Refused)
}

/// Sends another verification mail; the token before is void from then on.
pub async fn resend_verification(
    app: &App,
    email: &str,
    origin: Option<String>,
) -> Result<(), Failure<ResendRefusal>> {
    let key = EmailKey::of(email);
    let found = app.accounts.find_by_email(&key).await?;
    let account =
        account::resend(found.as_ref().map(|(account, _)| account)).map_err(Failure::Refused)?;
    let verification = new_verification(app, &account.name, origin);
    app.accounts
        .renew_verification(&key, verification)
        .await?
        .map_err(Failure::Refused)
}

/// Why a login is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginRefusal {
    /// Nobody signed up with that address.
    AccountNotFound,
    /// The password is another.
    PasswordMismatch,
}

/// Logs in, verified or not, and gives the account with an access token.
pub async fn login(
    app: &App,
    email: &str,
    password: String,
) -> Result<(Account, String), Failure<LoginRefusal>> {
    let found = app.accounts.find_by_email(&EmailKey::of(email)).await?;
    let (account, hash) = found.ok_or(Failure::Refused(LoginRefusal::AccountNotFound))?;
    if !app.passwords.verify(password, hash).await? {
        return Err(Failure::Refused(LoginRefusal::PasswordMismatch));
    }
    let token = app.tokens.issue(account.id, app.clock.now())?;
    Ok((account, token))
}

/// The account that an access token stands for; `None` where it stands for none.
pub async fn authenticate(app: &App, token: &str) -> StoreResult<Option<Account>> {
    match app.tokens.read(token, app.clock.now()) {
        Some(id) => app.accounts.find(id).await,
        None => Ok(None),
    }
}
