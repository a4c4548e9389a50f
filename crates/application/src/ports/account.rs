//! Accounts and their verification tokens.

use async_trait::async_trait;
use goodpon_domain::{
    account::{Account, AddressRefusal, EmailKey, ResendRefusal, TryRefusal, VerifyRefusal},
    generation::Generation,
    id::AccountId,
};

#[cfg(doc)]
use super::Upkeep;
use super::{MailContent, StoreResult};

/// An account that is about to sign up.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// As typed.
    pub email: String,
    /// As typed.
    pub name: String,
    /// The argon2id hash.
    pub password_hash: String,
    /// What its access tokens will carry.
    pub generation: Generation,
}

/// A password that takes the place of another, and ends all access tokens given before.
#[derive(Debug, Clone)]
pub struct NewPassword {
    /// The argon2id hash.
    pub hash: String,
    /// What access tokens carry from then on.
    pub generation: Generation,
}

/// A verification to send: the token's digest, and the mail that carries the token.
#[derive(Debug, Clone)]
pub struct NewVerification {
    /// SHA-256 of the token; the token itself does not rest here.
    pub token_digest: [u8; 32],
    /// What the mail says.
    pub mail: MailContent,
    /// The network whose request wrote the mail, as text; `None` where nobody asked from outside.
    pub origin: Option<String>,
}

/// Accounts and their verification tokens. An account that was not verified in time counts as gone in
/// [`Account::is_gone`], and is deleted by [`Upkeep::clean_up`] with its tokens.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Whether a verified account has that address.
    async fn is_email_taken(&self, email: &EmailKey) -> StoreResult<bool>;
    /// Stores the account, its token and its mail as one. Where an unverified account has the address, the new one
    /// takes its place under the same id, and its tokens are void.
    async fn sign_up(
        &self,
        account: NewAccount,
        verification: NewVerification,
    ) -> StoreResult<Result<Account, AddressRefusal>>;
    /// The account of that id.
    async fn find(&self, id: AccountId) -> StoreResult<Option<Account>>;
    /// The account of that address and its password hash.
    async fn find_by_email(&self, email: &EmailKey) -> StoreResult<Option<(Account, String)>>;
    /// Gives an account that has no generation yet this one.
    async fn draw_generation(&self, id: AccountId, generation: Generation) -> StoreResult<()>;
    /// The account that the token of that digest would verify now.
    async fn verifiable(
        &self,
        token_digest: [u8; 32],
    ) -> StoreResult<Result<Account, VerifyRefusal>>;
    /// The same with its password hash, counting one password more that is tried with the token.
    async fn try_password(
        &self,
        token_digest: [u8; 32],
    ) -> StoreResult<Result<(Account, String), TryRefusal>>;
    /// Verifies by a token's digest, spending the token, and sets a new password where there is one.
    async fn verify(
        &self,
        token_digest: [u8; 32],
        password: Option<NewPassword>,
    ) -> StoreResult<Result<Account, VerifyRefusal>>;
    /// Voids the tokens that the account had, and stores a new one with its mail, as one.
    async fn renew_verification(
        &self,
        email: &EmailKey,
        verification: NewVerification,
    ) -> StoreResult<Result<(), ResendRefusal>>;
}
