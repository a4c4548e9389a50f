//! Client ids and secrets of shops: their creation, and their check on every partner request (contract §3).

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use goodpon_domain::id::MerchantId;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::Mutex;

use crate::{
    App, Failure,
    ports::{NewSecret, StoreResult},
};

pub(crate) mod cache;
mod form;

use cache::CachedCredentials;

pub use cache::CredentialCache;
pub use form::{ClientId, GivenSecret};

/// The least time between two reads of one client's credentials. A secret that is not in the cache may be newer, added
/// by another process: it is refused only after a read, and a flood of wrong secrets must not cause a read each.
const MIN_READ_INTERVAL: Duration = Duration::from_millis(100);

/// The client id is unknown, or the secret is wrong or expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCredentials;

/// The priority with which credentials may be read from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// Without a bound.
    Freely,
    /// For an address that fails too often: these requests share a few permits for reads, and one that finds no permit
    /// free is refused without a read. A request whose secret is in the cache is never among these.
    Sparingly,
}

/// Returns the merchant whose client id and unexpired secret these are, from the cache alone; `None` if the cache cannot
/// say. Most requests need no more.
#[must_use]
pub fn recognise(app: &App, client_id: ClientId, secret: &GivenSecret) -> Option<MerchantId> {
    let known = app.credentials.known.get(&client_id)?;
    let is_valid = known.is_fresh() && has_secret(app, &known, secret);
    is_valid.then_some(known.credentials.merchant_id)
}

/// Returns the merchant whose client id and unexpired secret these are; reads the store before it refuses.
///
/// # Errors
/// [`InvalidCredentials`], or the store's failure.
pub async fn authenticate(
    app: &App,
    client_id: ClientId,
    secret: &GivenSecret,
    asking: Asking,
) -> Result<MerchantId, Failure<InvalidCredentials>> {
    let refused = Failure::Refused(InvalidCredentials);
    let known = match app.credentials.known.get(&client_id) {
        Some(known) => {
            let asking = match has_secret(app, &known, secret) {
                true => Asking::Freely,
                false => asking,
            };
            read_again(app, client_id, known, asking).await?
        }
        None if app.credentials.is_unknown(client_id) => return Err(refused),
        None => read(app, client_id, asking, Arc::default()).await?,
    };
    match has_secret(app, &known, secret) {
        true => Ok(known.credentials.merchant_id),
        false => Err(refused),
    }
}

/// Returns whether these are a client id and an unexpired secret of it.
pub async fn are_valid(app: &App, client_id: &str, secret: &str) -> StoreResult<bool> {
    let client_id = ClientId::read(client_id.as_bytes());
    let secret = GivenSecret::read(secret.as_bytes());
    let (Some(client_id), Some(secret)) = (client_id, secret) else {
        return Ok(false);
    };
    match authenticate(app, client_id, &secret, Asking::Freely).await {
        Ok(_) => Ok(true),
        Err(Failure::Refused(InvalidCredentials)) => Ok(false),
        Err(Failure::Store(error)) => Err(error),
    }
}

/// Reads the credentials of a client that is in the cache again. Requests that wait at the same time share one read.
async fn read_again(
    app: &App,
    client_id: ClientId,
    known: Arc<CachedCredentials>,
    asking: Asking,
) -> Result<Arc<CachedCredentials>, Failure<InvalidCredentials>> {
    let arrived_at = Instant::now();
    let reading = Arc::clone(&known.reading);
    let _one_at_a_time = reading.lock().await;
    let known = app.credentials.known.get(&client_id).unwrap_or(known);
    if known.read_at >= arrived_at {
        return Ok(known);
    }
    tokio::time::sleep(MIN_READ_INTERVAL.saturating_sub(known.read_at.elapsed())).await;
    read(app, client_id, asking, Arc::clone(&reading)).await
}

async fn read(
    app: &App,
    client_id: ClientId,
    asking: Asking,
    reading: Arc<Mutex<()>>,
) -> Result<Arc<CachedCredentials>, Failure<InvalidCredentials>> {
    let refused = || Failure::Refused(InvalidCredentials);
    let _permit = match asking {
        Asking::Freely => None,
        Asking::Sparingly => Some(
            app.credentials
                .sparing_reads
                .try_acquire()
                .map_err(|_| refused())?,
        ),
    };
    let read_at = Instant::now();
    let found = app
        .stores
        .merchants
        .credentials(&client_id.to_string())
        .await?;
    let Some(credentials) = found else {
        app.credentials.unknown.insert(client_id, read_at);
        return Err(refused());
    };
    let known = Arc::new(CachedCredentials {
        read_at,
        credentials,
        reading,
    });
    app.credentials.known.insert(client_id, Arc::clone(&known));
    Ok(known)
}

/// Returns whether `secret` is an unexpired one of the client. Every secret is compared, in constant time.
fn has_secret(app: &App, known: &CachedCredentials, secret: &GivenSecret) -> bool {
    let now = app.clock.now();
    let matches = known
        .credentials
        .secrets
        .iter()
        .filter(|(_, end)| end.is_none_or(|end| now < end))
        .fold(subtle::Choice::from(0), |matches, (digest, _)| {
            matches | digest.ct_eq(secret.0.as_slice())
        });
    bool::from(matches)
}

/// Returns 128 random bits as 32 lowercase hex digits.
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

/// Draws a secret, and returns it in full, to be shown once, with the parts of it that are stored.
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
