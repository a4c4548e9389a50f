//! Client ids and secrets of shops: made here, and checked on every partner request (contract §3).

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

use cache::Known;

pub use cache::CredentialCache;
pub use form::{ClientId, GivenSecret};

/// A secret that is not among those remembered may be newer, made by another process: the store is asked before it is
/// refused, but no sooner than this after it was asked about that client.
const ASKED_EVERY: Duration = Duration::from_millis(100);

/// The shop's credentials are not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCredentials;

/// How freely the store may be asked about credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// As need be.
    Freely,
    /// For an address that fails too often: only in a few places at a time that all of these share, and where none
    /// is free, not at all. Whoever was good before is not among these.
    Sparingly,
}

/// The merchant whose client id and unexpired secret these are by what is remembered and still believed: all that most
/// requests need.
#[must_use]
pub fn recognise(app: &App, client_id: ClientId, secret: &GivenSecret) -> Option<MerchantId> {
    let known = app.credentials.known.get(&client_id)?;
    let is_good = known.is_believed() && has_secret(app, &known, secret);
    is_good.then_some(known.credentials.merchant_id)
}

/// As [`recognise`], but asks the store before it refuses.
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
            ask_again(app, client_id, known, asking).await?
        }
        None if app.credentials.is_unknown(client_id) => return Err(refused),
        None => ask(app, client_id, asking, Arc::default()).await?,
    };
    match has_secret(app, &known, secret) {
        true => Ok(known.credentials.merchant_id),
        false => Err(refused),
    }
}

/// Whether these are a client id and a good secret of it.
pub async fn are_good(app: &App, client_id: &str, secret: &str) -> StoreResult<bool> {
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

/// Asks about a client that is remembered, once for all who wait for the answer.
async fn ask_again(
    app: &App,
    client_id: ClientId,
    known: Arc<Known>,
    asking: Asking,
) -> Result<Arc<Known>, Failure<InvalidCredentials>> {
    let came = Instant::now();
    let line = Arc::clone(&known.asking);
    let _first_in_line = line.lock().await;
    let known = app.credentials.known.get(&client_id).unwrap_or(known);
    if known.asked >= came {
        return Ok(known);
    }
    tokio::time::sleep(ASKED_EVERY.saturating_sub(known.asked.elapsed())).await;
    ask(app, client_id, asking, Arc::clone(&line)).await
}

async fn ask(
    app: &App,
    client_id: ClientId,
    asking: Asking,
    line: Arc<Mutex<()>>,
) -> Result<Arc<Known>, Failure<InvalidCredentials>> {
    let refused = || Failure::Refused(InvalidCredentials);
    let _place = match asking {
        Asking::Freely => None,
        Asking::Sparingly => Some(
            app.credentials
                .sparing
                .try_acquire()
                .map_err(|_| refused())?,
        ),
    };
    let asked = Instant::now();
    let found = app
        .stores
        .merchants
        .credentials(&client_id.to_string())
        .await?;
    let Some(credentials) = found else {
        app.credentials.unknown.insert(client_id, asked);
        return Err(refused());
    };
    let known = Arc::new(Known {
        asked,
        credentials,
        asking: line,
    });
    app.credentials.known.insert(client_id, Arc::clone(&known));
    Ok(known)
}

fn has_secret(app: &App, known: &Known, secret: &GivenSecret) -> bool {
    let now = app.clock.now();
    let good = known
        .credentials
        .secrets
        .iter()
        .filter(|(_, end)| end.is_none_or(|end| now < end))
        .fold(subtle::Choice::from(0), |good, (digest, _)| {
            good | digest.ct_eq(secret.0.as_slice())
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
