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

/// An account to be created.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The address as it was typed.
    pub email: String,
    /// The name as it was typed.
    pub name: String,
    /// The argon2id hash of the password.
    pub password_hash: String,
    /// The generation of its access tokens.
    pub generation: Generation,
}

/// A password that replaces the account's, and ends all its access tokens.
#[derive(Debug, Clone)]
pub struct NewPassword {
    /// The argon2id hash.
    pub hash: String,
    /// The new generation of the account's access tokens.
    pub generation: Generation,
}

/// A verification to send: the token's digest, and the mail that carries the token.
#[derive(Debug, Clone)]
pub struct NewVerification {
    /// SHA-256 of the token. The token itself is stored only within the mail.
    pub token_digest: [u8; 32],
    /// The mail.
    pub mail: MailContent,
    /// The network of the request that caused the mail, as text; `None` if no request did.
    pub origin: Option<String>,
}

/// Accounts and their verification tokens. An account that was not verified in time counts as gone
/// ([`Account::is_gone`]) until [`Upkeep::clean_up`] deletes it with its tokens.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Returns whether a verified account has that address.
    async fn is_email_taken(&self, email: &EmailKey) -> StoreResult<bool>;
    /// Stores the account, its token and its mail in one transaction. If an unverified account has the address, the new
    /// one replaces it under the same id, and the old one's tokens are void.
    async fn sign_up(
        &self,
        account: NewAccount,
        verification: NewVerification,
    ) -> StoreResult<Result<Account, AddressRefusal>>;
    /// Returns the account of that id.
    async fn find(&self, id: AccountId) -> StoreResult<Option<Account>>;
    /// Returns the account of that address with its password hash.
    async fn find_by_email(&self, email: &EmailKey) -> StoreResult<Option<(Account, String)>>;
    /// Sets the generation of an account that has none; leaves any other account as it is.
    async fn draw_generation(&self, id: AccountId, generation: Generation) -> StoreResult<()>;
    /// Returns the account that the token of that digest would verify now.
    async fn verifiable(
        &self,
        token_digest: [u8; 32],
    ) -> StoreResult<Result<Account, VerifyRefusal>>;
    /// Counts one more password tried with the token, and returns the account that it would verify now with its
    /// password hash.
    async fn try_password(
        &self,
        token_digest: [u8; 32],
    ) -> StoreResult<Result<(Account, String), TryRefusal>>;
    /// Verifies the account of the token of that digest, spends the token, and sets the new password if there is one.
    async fn verify(
        &self,
        token_digest: [u8; 32],
        password: Option<NewPassword>,
    ) -> StoreResult<Result<Account, VerifyRefusal>>;
    /// Voids the account's tokens, and stores a new one with its mail, in one transaction.
    async fn renew_verification(
        &self,
        email: &EmailKey,
        verification: NewVerification,
    ) -> StoreResult<Result<(), ResendRefusal>>;
}
