//! Client ids and secrets of shops: made here, and checked on every partner request (contract §3).

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use goodpon_domain::id::MerchantId;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{Mutex, Semaphore};

use crate::{
    App, Failure,
    ports::{Credentials, NewSecret, StoreResult},
};

/// How long credentials are believed without asking the store: well within the 5 seconds after which
/// a revoked secret must be dead everywhere.
const BELIEVED_FOR: Duration = Duration::from_secs(2);

/// A secret that is not among those remembered may be newer, made by another process: the store is asked before it is
/// refused, but no sooner than this after it was asked about that client.
const ASKED_EVERY: Duration = Duration::from_millis(100);

/// How long a client id that the store did not know is refused without asking again.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);

const CACHED_CLIENTS: usize = 10_000;
const CACHED_UNKNOWN: usize = 10_000;

/// How many look-ups run at a time for addresses that fail too often.
const SPARING_LOOKUPS: usize = 2;

/// The shop's credentials are not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCredentials;

/// A text of the form that all client ids have: `ck_` and 32 lowercase hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId(u128);

impl ClientId {
    /// `None` for a text that no client id has.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        digits(text.strip_prefix(b"ck_")?).map(Self)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ck_{:032x}", self.0)
    }
}

/// The digest of a text of the form that all secrets have: `sk_` and 32 lowercase hex digits.
#[derive(Clone, Copy)]
pub struct GivenSecret([u8; 32]);

impl GivenSecret {
    /// `None` for a text that no secret has.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        digits(text.strip_prefix(b"sk_")?)?;
        Some(Self(Sha256::digest(text).into()))
    }
}

/// The number that 32 lowercase hex digits are.
fn digits(text: &[u8]) -> Option<u128> {
    if text.len() != 32 {
        return None;
    }
    text.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// What the store said of clients lately. Bounded, and of clients that it does not know only the id is kept.
pub struct CredentialCache {
    known: Cache<ClientId, Arc<Known>>,
    unknown: Cache<ClientId, Instant>,
    sparing: Semaphore,
}

struct Known {
    /// Of before the question, so that what the read missed is not believed for longer.
    asked: Instant,
    credentials: Credentials,
    /// Held while the store is asked about this client.
    asking: Arc<Mutex<()>>,
}

impl Default for CredentialCache {
    fn default() -> Self {
        Self {
            known: Cache::new(CACHED_CLIENTS),
            unknown: Cache::new(CACHED_UNKNOWN),
            sparing: Semaphore::new(SPARING_LOOKUPS),
        }
    }
}

impl CredentialCache {
    /// Forgets a client, for its secrets have changed.
    pub fn forget(&self, client_id: &str) {
        if let Some(client_id) = ClientId::read(client_id.as_bytes()) {
            self.known.remove(&client_id);
        }
    }

    fn is_unknown(&self, client_id: ClientId) -> bool {
        let asked = self.unknown.get(&client_id);
        asked.is_some_and(|asked| asked.elapsed() < UNKNOWN_FOR)
    }
}

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
    let is_good = known.asked.elapsed() < BELIEVED_FOR && has_secret(app, &known, secret);
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
    let found = app.merchants.credentials(&client_id.to_string()).await?;
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
