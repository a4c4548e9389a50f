//! Sign-up, verification and login of dashboard users (contract §2).

use goodpon_domain::{
    account::{self, Account, AddressRefusal, EmailKey, ResendRefusal, TryRefusal, VerifyRefusal},
    generation::Generation,
};
use jiff::SignedDuration;
use sha2::{Digest, Sha256};

use crate::{
    App, Failure,
    credentials::random_hex,
    network::Network,
    ports::{
        HashPurpose, HashTurn, NewAccount, NewPassword, NewVerification, PasswordTooWeak,
        StoreError, StoreResult,
    },
    verification_mail::Notice,
};

/// The product's name, which the check for guessable passwords takes as known to an attacker.
const PRODUCT: &str = "goodpon";

/// The input of a sign-up.
#[derive(Debug, Clone)]
pub struct SignUp {
    /// The address.
    pub email: String,
    /// The password in clear; only its hash is stored.
    pub password: String,
    /// The name.
    pub name: String,
    /// The network that the request came from.
    pub network: Network,
}

/// Why a sign-up is refused, in the order in which it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignUpRefusal {
    /// A verified account has that address.
    EmailTaken,
    /// The e-mail, name or password breaks a rule.
    InvalidInput,
    /// The address has reached a limit of mails; carries the time from now until the next mail is allowed.
    TooManyMails(SignedDuration),
}

/// Signs an account up. The account and its verification mail are written in one transaction.
pub async fn sign_up(app: &App, input: SignUp) -> Result<Account, Failure<SignUpRefusal>> {
    sign_up_with_token(app, input)
        .await
        .map(|(account, _)| account)
}

/// Signs an account up, and also returns the token that its mail carries: only for callers that may verify in the
/// owner's place, as the demo does.
pub async fn sign_up_with_token(
    app: &App,
    input: SignUp,
) -> Result<(Account, String), Failure<SignUpRefusal>> {
    let key = EmailKey::of(&input.email);
    if account::is_email(&input.email) && app.stores.accounts.is_email_taken(&key).await? {
        return Err(Failure::Refused(SignUpRefusal::EmailTaken));
    }
    let invalid = || Failure::Refused(SignUpRefusal::InvalidInput);
    account::check_sign_up(&input.email, &input.name, &input.password).map_err(|_| invalid())?;
    let turn = HashTurn::new(HashPurpose::SignUp, input.network);
    let hash = hash(app, input.password, &input.email, &input.name, turn).await?;
    let notice = Notice {
        address: &input.email,
        signed_up_at: app.clock.now(),
    };
    let (verification, token) = new_verification(app, notice, input.network);
    let account = NewAccount {
        email: input.email,
        name: input.name,
        password_hash: hash.map_err(|_| invalid())?,
        generation: draw_generation(app),
    };
    match app.stores.accounts.sign_up(account, verification).await? {
        Ok(account) => Ok((account, token)),
        Err(AddressRefusal::Taken) => Err(Failure::Refused(SignUpRefusal::EmailTaken)),
        Err(AddressRefusal::TooManyMails(wait)) => {
            Err(Failure::Refused(SignUpRefusal::TooManyMails(wait)))
        }
    }
}

/// Hashes a password that is set for an account with that address and name, unless it is too easily guessed.
async fn hash(
    app: &App,
    password: String,
    email: &str,
    name: &str,
    turn: HashTurn,
) -> StoreResult<Result<String, PasswordTooWeak>> {
    let local_part = email.split('@').next().unwrap_or_default();
    let known_to_attackers = [email, local_part, name, PRODUCT].map(str::to_owned);
    app.passwords
        .hash(password, known_to_attackers.into(), turn)
        .await
}

/// Draws a random generation.
fn draw_generation(app: &App) -> Generation {
    let mut bits = [0; 8];
    app.random.fill(&mut bits);
    Generation::of_random(u64::from_be_bytes(bits))
}

/// Draws a token, and returns the verification that sends it along with the token.
fn new_verification(app: &App, notice: Notice<'_>, network: Network) -> (NewVerification, String) {
    let token = random_hex(app);
    let verification = NewVerification {
        token_digest: digest(&token),
        mail: app.verification_mail.write(&app.zone, notice, &token),
        origin: Some(network.to_string()),
    };
    (verification, token)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// Verifies the account that a token was sent to, and spends the token.
pub async fn verify(app: &App, token: &str) -> Result<Account, Failure<VerifyRefusal>> {
    let verified = app.stores.accounts.verify(digest(token), None).await?;
    verified.map_err(Failure::Refused)
}

/// Returns the account that a token would verify now; changes nothing.
pub async fn verifiable(app: &App, token: &str) -> Result<Account, Failure<VerifyRefusal>> {
    let found = app.stores.accounts.verifiable(digest(token)).await?;
    found.map_err(Failure::Refused)
}

/// The input of the verification page, which proves that the reader of the mail controls the account's password.
#[derive(Debug, Clone)]
pub enum Proof {
    /// The password chosen at sign-up: the reader of the mail is the person who signed up.
    Password(String),
    /// A new password in its place, which locks out a person who signed up with another's address.
    NewPassword(String),
}

/// Why a proof does not verify an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofRefusal {
    /// The token may not verify its account.
    Verify(VerifyRefusal),
    /// It is not the account's password.
    PasswordMismatch,
    /// The most passwords allowed were tried with the token already.
    TooManyTries,
    /// The new password breaks a rule.
    InvalidPassword,
}

/// Verifies the account that a token was sent to if the proof is right. `network` is that of the request.
pub async fn verify_with_proof(
    app: &App,
    token: &str,
    proof: Proof,
    network: Network,
) -> Result<Account, Failure<ProofRefusal>> {
    let turn = HashTurn::new(HashPurpose::Verification, network);
    let new_password = match proof {
        Proof::Password(password) => {
            // If the account signs up again meanwhile, with another password, that voids the token and `verify` below
            // refuses: the password checked here is the one that the verified account has.
            check_password(app, token, password, turn).await?;
            None
        }
        Proof::NewPassword(password) => Some(new_password(app, token, password, turn).await?),
    };
    let verified = app
        .stores
        .accounts
        .verify(digest(token), new_password)
        .await?;
    verified.map_err(|refusal| Failure::Refused(ProofRefusal::Verify(refusal)))
}

async fn check_password(
    app: &App,
    token: &str,
    password: String,
    turn: HashTurn,
) -> Result<(), Failure<ProofRefusal>> {
    let tried = app.stores.accounts.try_password(digest(token)).await?;
    let (_, hash) = tried.map_err(|refusal| {
        Failure::Refused(match refusal {
            TryRefusal::Verify(refusal) => ProofRefusal::Verify(refusal),
            TryRefusal::TooManyTries => ProofRefusal::TooManyTries,
        })
    })?;
    match app.passwords.verify(password, hash, turn).await? {
        true => Ok(()),
        false => Err(Failure::Refused(ProofRefusal::PasswordMismatch)),
    }
}

/// Hashes a new password, after a check that the token may verify: nobody can make the server hash with a bad token.
async fn new_password(
    app: &App,
    token: &str,
    password: String,
    turn: HashTurn,
) -> Result<NewPassword, Failure<ProofRefusal>> {
    let account = verifiable(app, token).await;
    let account = account.map_err(|failure| failure.map(ProofRefusal::Verify))?;
    let invalid = || Failure::Refused(ProofRefusal::InvalidPassword);
    if !account::is_password(&password) {
        return Err(invalid());
    }
    let hash = hash(app, password, &account.email, &account.name, turn).await?;
    Ok(NewPassword {
        hash: hash.map_err(|_| invalid())?,
        generation: draw_generation(app),
    })
}

/// Sends another verification mail, and voids the account's earlier token. `network` is that of the request.
pub async fn resend_verification(
    app: &App,
    email: &str,
    network: Network,
) -> Result<(), Failure<ResendRefusal>> {
    let key = EmailKey::of(email);
    let found = app.stores.accounts.find_by_email(&key).await?;
    let account = found.as_ref().map(|(account, _)| account);
    // No mails are passed here: the store counts those sent, in the transaction that writes the next.
    let account = account::resend(account, &[], app.clock.now()).map_err(Failure::Refused)?;
    let notice = Notice {
        address: &account.email,
        signed_up_at: account.created_at,
    };
    let (verification, _) = new_verification(app, notice, network);
    app.stores
        .accounts
        .renew_verification(&key, verification)
        .await?
        .map_err(Failure::Refused)
}

/// Why a login is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginRefusal {
    /// No account has that address.
    AccountNotFound,
    /// It is not the account's password.
    PasswordMismatch,
}

/// Logs an account in, verified or not, and returns it with an access token. `turn` says in which queue the password
/// waits to be checked.
pub async fn login(
    app: &App,
    email: &str,
    password: String,
    turn: HashTurn,
) -> Result<(Account, String), Failure<LoginRefusal>> {
    let key = EmailKey::of(email);
    let (account, hash) = find_to_log_in(app, &key).await?;
    if !app.passwords.verify(password, hash.clone(), turn).await? {
        return Err(Failure::Refused(LoginRefusal::PasswordMismatch));
    }
    let account = with_generation(app, &key, account, &hash).await?;
    // This generation was read together with the password hash. If all tokens were ended since, the new one is ended too.
    let generation = account.generation.ok_or_else(|| {
        StoreError::Unexpected(format!("account {} has no generation", account.id))
    })?;
    let token = app.tokens.issue(account.id, generation, app.clock.now())?;
    Ok((account, token))
}

async fn find_to_log_in(
    app: &App,
    key: &EmailKey,
) -> Result<(Account, String), Failure<LoginRefusal>> {
    let found = app.stores.accounts.find_by_email(key).await?;
    found
        .filter(|(account, _)| !account.is_gone(app.clock.now()))
        .ok_or(Failure::Refused(LoginRefusal::AccountNotFound))
}

/// Returns the account with a generation, which is drawn now if an older release created the account without one. `hash`
/// is the password hash that the login was checked against; if it has changed meanwhile, the login is refused.
async fn with_generation(
    app: &App,
    key: &EmailKey,
    account: Account,
    hash: &str,
) -> Result<Account, Failure<LoginRefusal>> {
    if account.generation.is_some() {
        return Ok(account);
    }
    let drawn = draw_generation(app);
    app.stores
        .accounts
        .draw_generation(account.id, drawn)
        .await?;
    let (account, hash_now) = find_to_log_in(app, key).await?;
    match hash_now == hash {
        true => Ok(account),
        false => Err(Failure::Refused(LoginRefusal::PasswordMismatch)),
    }
}

/// Returns the account of an access token; `None` if the token is not valid.
pub async fn authenticate(app: &App, token: &str) -> StoreResult<Option<Account>> {
    let now = app.clock.now();
    let Some(claims) = app.tokens.read(token, now) else {
        return Ok(None);
    };
    let found = app.stores.accounts.find(claims.account_id).await?;
    Ok(found.filter(|account| claims.is_valid_for(account) && !account.is_gone(now)))
}
