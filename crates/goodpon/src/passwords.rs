//! Password hashes: argon2id as PHC strings, with a bound on how much runs and waits at once.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use goodpon_application::ports::{GuessedFirst, Passwords, Random, StoreError, StoreResult};
use tokio::sync::Semaphore;

use crate::guessing::is_guessed_first;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How many may wait for their turn; a hash takes some 70 ms, so more than these would time out anyway.
const WAITING: usize = 32;

/// Hashes on threads of their own, on at most half of the cores, so that a storm of logins leaves the rest
/// of the service its share.
pub struct Argon2Passwords {
    hasher: Arc<Argon2<'static>>,
    random: Arc<dyn Random>,
    running: Arc<Semaphore>,
    admitted: Arc<Semaphore>,
}

impl Argon2Passwords {
    /// # Errors
    /// None that these parameters have.
    pub fn new(random: Arc<dyn Random>) -> Result<Self, argon2::Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let running = (cores / 2).max(1);
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
        Ok(Self {
            hasher: Arc::new(Argon2::new(Algorithm::Argon2id, Version::V0x13, params)),
            random,
            running: Arc::new(Semaphore::new(running)),
            admitted: Arc::new(Semaphore::new(running + WAITING)),
        })
    }

    /// Runs `work` when its turn comes. The places are given back by the work itself: a caller that has
    /// gone away does not make room while its hash still runs.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>) -> Result<T, Error> + Send + 'static,
    ) -> StoreResult<T> {
        let admitted = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_| StoreError::Unavailable {
                reason: "too many passwords wait to be hashed".into(),
                may_have_happened: false,
            })?;
        let running = Arc::clone(&self.running).acquire_owned().await;
        let running = running.map_err(|error| unexpected(&error))?;
        let hasher = Arc::clone(&self.hasher);
        tokio::task::spawn_blocking(move || {
            let _places = (admitted, running);
            work(&hasher)
        })
        .await
        .map_err(|error| unexpected(&error))?
        .map_err(|error| unexpected(&error))
    }
}

fn unexpected(error: &dyn std::error::Error) -> StoreError {
    StoreError::Unexpected(format!("password hashing: {error}"))
}

#[async_trait]
impl Passwords for Argon2Passwords {
    async fn hash(
        &self,
        password: String,
        about: Vec<String>,
    ) -> StoreResult<Result<String, GuessedFirst>> {
        let mut salt = [0; 16];
        self.random.fill(&mut salt);
        self.in_turn(move |hasher| {
            if is_guessed_first(&password, &about) {
                return Ok(Err(GuessedFirst));
            }
            let hash: PasswordHash = hasher.hash_password_with_salt(password.as_bytes(), &salt)?;
            Ok(Ok(hash.to_string()))
        })
        .await
    }

    async fn verify(&self, password: String, hash: String) -> StoreResult<bool> {
        self.in_turn(move |hasher| {
            let hash = PasswordHash::new(&hash).map_err(|_| Error::EncodingInvalid)?;
            match hasher.verify_password(password.as_bytes(), &hash) {
                Ok(()) => Ok(true),
                Err(Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::random::SecureRandom;

    fn passwords() -> Argon2Passwords {
        Argon2Passwords::new(Arc::new(SecureRandom)).unwrap()
    }

    #[tokio::test]
    async fn a_hash_knows_its_password_and_no_other() {
        let passwords = passwords();
        let hash = hash(&passwords, "비밀번호🎟🎟🎟").await;
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(
            passwords
                .verify("비밀번호🎟🎟🎟".into(), hash.clone())
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("비밀번호".into(), hash.clone())
                .await
                .unwrap()
        );
        assert_ne!(hash, self::hash(&passwords, "비밀번호🎟🎟🎟").await);
        let guessed = passwords.hash("kim@x.kr".into(), vec!["kim@x.kr".into()]);
        assert_eq!(guessed.await.unwrap(), Err(GuessedFirst));
    }

    async fn hash(passwords: &Argon2Passwords, password: &str) -> String {
        let hash = passwords.hash(password.into(), Vec::new()).await.unwrap();
        hash.unwrap()
    }

    #[tokio::test]
    async fn a_hash_that_cannot_be_read_is_our_fault() {
        let read = passwords().verify("x".into(), "none".into()).await;
        assert!(matches!(read, Err(StoreError::Unexpected(_))), "{read:?}");
    }

    #[tokio::test]
    async fn beyond_the_bound_it_is_unavailable_at_once() {
        let passwords = passwords();
        let all = passwords.admitted.available_permits() as u32;
        let taken = passwords.admitted.acquire_many(all).await.unwrap();
        let refused = passwords.hash("x".into(), Vec::new()).await;
        assert!(matches!(
            refused,
            Err(StoreError::Unavailable {
                may_have_happened: false,
                ..
            })
        ));
        drop(taken);
        assert!(passwords.hash("x".into(), Vec::new()).await.is_ok());
        assert_eq!(passwords.admitted.available_permits() as u32, all);
    }

    #[tokio::test]
    async fn who_goes_away_while_waiting_gives_the_place_back() {
        let passwords = passwords();
        let free = passwords.admitted.available_permits();
        let running = passwords.running.available_permits() as u32;
        let taken = passwords.running.acquire_many(running).await.unwrap();
        let mut waiting = Box::pin(passwords.hash("x".into(), Vec::new()));
        assert!(is_pending_once_polled(&mut waiting).await);
        assert_eq!(passwords.admitted.available_permits(), free - 1);
        drop(waiting);
        assert_eq!(passwords.admitted.available_permits(), free);
        drop(taken);
    }

    async fn is_pending_once_polled<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
