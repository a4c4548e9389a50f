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
        GuessedFirst, HashPurpose, HashTurn, NewAccount, NewPassword, NewVerification, StoreError,
        StoreResult,
    },
    verification_mail::Notice,
};

/// What everybody who attacks this product tries.
const PRODUCT: &str = "goodpon";

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
    pub network: Network,
}

/// Why a sign-up is refused, in the order in which it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignUpRefusal {
    /// A verified account has that address.
    EmailTaken,
    /// E-mail, name or password break a rule.
    InvalidInput,
    /// The address was sent as many mails as it may be; another may follow so long from now.
    TooManyMails(SignedDuration),
}

/// Signs an account up and writes its verification mail, as one.
pub async fn sign_up(app: &App, input: SignUp) -> Result<Account, Failure<SignUpRefusal>> {
    sign_up_with_token(app, input)
        .await
        .map(|(account, _)| account)
}

/// The same, for a caller that may know the token in the mail.
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

/// The hash of a password that somebody with that address and name sets.
async fn hash(
    app: &App,
    password: String,
    email: &str,
    name: &str,
    turn: HashTurn,
) -> StoreResult<Result<String, GuessedFirst>> {
    let local_part = email.split('@').next().unwrap_or_default();
    let about = [email, local_part, name, PRODUCT].map(str::to_owned);
    app.passwords.hash(password, about.into(), turn).await
}

/// A generation that no account has had.
fn draw_generation(app: &App) -> Generation {
    let mut bits = [0; 8];
    app.random.fill(&mut bits);
    Generation::of_random(u64::from_be_bytes(bits))
}

/// A verification to send, and its token.
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

/// Verifies the address that a token was sent to.
pub async fn verify(app: &App, token: &str) -> Result<Account, Failure<VerifyRefusal>> {
    let verified = app.stores.accounts.verify(digest(token), None).await?;
    verified.map_err(Failure::Refused)
}

/// The account that a token would verify.
pub async fn verifiable(app: &App, token: &str) -> Result<Account, Failure<VerifyRefusal>> {
    let found = app.stores.accounts.verifiable(digest(token)).await?;
    found.map_err(Failure::Refused)
}

/// How somebody who opened the link in a mail shows whose account it shall be.
#[derive(Debug, Clone)]
pub enum Proof {
    /// The password chosen at sign-up: the same person signed up.
    Password(String),
    /// A password of their own in its place: anybody else who signed up is locked out.
    NewPassword(String),
}

/// Why a proof does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProofRefusal {
    /// The token verifies nothing.
    Verify(VerifyRefusal),
    /// The password is another.
    PasswordMismatch,
    /// Too many passwords were tried with the token.
    TooManyTries,
    /// The new password breaks a rule.
    InvalidPassword,
}

/// Verifies the address that a token was sent to, for somebody in `network` who shows that the account is theirs.
pub async fn verify_with_proof(
    app: &App,
    token: &str,
    proof: Proof,
    network: Network,
) -> Result<Account, Failure<ProofRefusal>> {
    let turn = HashTurn::new(HashPurpose::Verification, network);
    let new_password = match proof {
        Proof::Password(password) => {
            // A sign-up meanwhile voids the token, so it is this very password that verifies.
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

/// Nothing is hashed for a bad token.
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

/// Sends another verification mail, which somebody in `network` asked for; the token before is void from then on.
pub async fn resend_verification(
    app: &App,
    email: &str,
    network: Network,
) -> Result<(), Failure<ResendRefusal>> {
    let key = EmailKey::of(email);
    let found = app.stores.accounts.find_by_email(&key).await?;
    let account = found.as_ref().map(|(account, _)| account);
    // How many mails were sent is for the store to say, as one with the next.
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
    /// Nobody signed up with that address.
    AccountNotFound,
    /// The password is another.
    PasswordMismatch,
}

/// Logs in, verified or not, and gives the account with an access token. `turn` is where the password is to wait.
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
    // The one that was read together with the password hash: should all tokens have ended since, this one has too.
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

/// The account with a generation, drawn now where a version before this one made it; `hash` is what the password was
/// compared with.
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

/// The account that an access token stands for; `None` where it stands for none.
pub async fn authenticate(app: &App, token: &str) -> StoreResult<Option<Account>> {
    let now = app.clock.now();
    let Some(claims) = app.tokens.read(token, now) else {
        return Ok(None);
    };
    let found = app.stores.accounts.find(claims.account_id).await?;
    Ok(found.filter(|account| claims.is_valid_for(account) && !account.is_gone(now)))
}
