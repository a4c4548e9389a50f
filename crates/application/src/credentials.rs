//! Client ids and secrets of shops: made here, and checked on every partner request (contract §3).

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use goodpon_domain::id::MerchantId;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    App, Failure,
    ports::{Credentials, NewSecret},
};

/// How long credentials are believed without asking the store: well within the 5 seconds after which
/// a revoked secret must be dead everywhere.
const BELIEVED_FOR: Duration = Duration::from_secs(2);
const CACHED_CLIENTS: usize = 10_000;

/// The shop's credentials are not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCredentials;

/// Credentials that were looked up within the last two seconds.
pub struct CredentialCache(Cache<String, (Instant, Arc<Credentials>)>);

impl Default for CredentialCache {
    fn default() -> Self {
        Self(Cache::new(CACHED_CLIENTS))
    }
}

impl CredentialCache {
    /// Forgets a client, for its secrets have changed.
    pub fn forget(&self, client_id: &str) {
        self.0.remove(client_id);
    }

    fn get(&self, client_id: &str) -> Option<Arc<Credentials>> {
        let (looked_up, credentials) = self.0.get(client_id)?;
        (looked_up.elapsed() < BELIEVED_FOR).then_some(credentials)
    }
}

/// The merchant whose client id and unexpired secret these are. A secret that what is remembered does not have may be
/// newer than that, made by another process: the store is asked before it is refused.
pub async fn authenticate(
    app: &App,
    client_id: &str,
    secret: &str,
) -> Result<MerchantId, Failure<InvalidCredentials>> {
    if let Some(credentials) = app.credentials.get(client_id)
        && has_secret(app, &credentials, secret)
    {
        return Ok(credentials.merchant_id);
    }
    // The age counts from before the read, so that what the read missed is not believed for longer.
    let asked = Instant::now();
    let found = app.merchants.credentials(client_id).await?;
    let found = Arc::new(found.ok_or(Failure::Refused(InvalidCredentials))?);
    let entry = (asked, Arc::clone(&found));
    app.credentials.0.insert(client_id.to_owned(), entry);
    has_secret(app, &found, secret)
        .then_some(found.merchant_id)
        .ok_or(Failure::Refused(InvalidCredentials))
}

fn has_secret(app: &App, credentials: &Credentials, secret: &str) -> bool {
    let given = Sha256::digest(secret.as_bytes());
    let now = app.clock.now();
    let good = credentials
        .secrets
        .iter()
        .filter(|(_, end)| end.is_none_or(|end| now < end))
        .fold(subtle::Choice::from(0), |good, (digest, _)| {
            good | digest.ct_eq(given.as_slice())
        });
    bool::from(good)
}

/// 32 lowercase hex digits of 128 unpredictable bits.
pub(crate) fn random_hex(app: &App) -> String {
    let mut bytes = [0; 16];
    app.random.fill(&mut bytes);
    bytes
        .iter()
        .fold(String::with_capacity(32), |mut hex, byte| {
            // Writing into a String does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// A fresh secret in full, to be shown this once, and what may rest of it.
pub(crate) fn new_secret(app: &App) -> (String, NewSecret) {
    let digits = random_hex(app);
    let full = format!("sk_{digits}");
    let secret = NewSecret {
        digest: Sha256::digest(full.as_bytes()).into(),
        head: digits[..4].to_owned(),
        tail: digits[28..].to_owned(),
    };
    (full, secret)
}
