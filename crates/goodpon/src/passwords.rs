//! Password hashes: argon2id as PHC strings, with bounds on the hashes that run and wait at a time.

mod queue;

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use async_trait::async_trait;
use goodpon_application::ports::{
    HashPurpose, HashTurn, PasswordTooWeak, Passwords, Random, StoreError, StoreResult,
};
use tokio::sync::Semaphore;

use queue::Queue;

use crate::guessing::is_guessed_first;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// The most networks that wait in each queue. A hash takes 20 to 70 ms and the queues take turns, so the last one is
/// reached within the time limit of a request.
const MAX_LOGIN_NETWORKS: usize = 64;
const MAX_OTHER_NETWORKS: usize = 32;

/// A longer text cannot be a password (contract §2: at most 100 characters), and is refused without waiting.
const MAX_PASSWORD_BYTES: usize = 400;

/// Hashes passwords on blocking threads, on at most half of the cores, so that many logins at once leave the rest of the
/// service its cores.
pub struct Argon2Passwords {
    hasher: Arc<Argon2<'static>>,
    random: Arc<dyn Random>,
    running: Arc<Semaphore>,
    logins: Queue,
    known_logins: Queue,
    sign_ups: Queue,
    verifications: Queue,
}

impl Argon2Passwords {
    /// Makes the hasher and its queues.
    ///
    /// # Errors
    /// Never with these parameters.
    pub fn new(random: Arc<dyn Random>) -> Result<Self, argon2::Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
        Ok(Self {
            hasher: Arc::new(Argon2::new(Algorithm::Argon2id, Version::V0x13, params)),
            random,
            running: Arc::new(Semaphore::new((cores / 2).max(1))),
            logins: Queue::for_networks(MAX_LOGIN_NETWORKS),
            known_logins: Queue::for_networks(MAX_OTHER_NETWORKS),
            sign_ups: Queue::for_networks(MAX_OTHER_NETWORKS),
            verifications: Queue::for_networks(MAX_OTHER_NETWORKS),
        })
    }

    fn queue(&self, purpose: HashPurpose) -> &Queue {
        match purpose {
            HashPurpose::Login => &self.logins,
            HashPurpose::KnownLogin => &self.known_logins,
            HashPurpose::SignUp => &self.sign_ups,
            HashPurpose::Verification => &self.verifications,
        }
    }

    /// Runs `work` when its turn comes. The blocking thread releases the permit, not the caller: if the caller is dropped,
    /// its hash still counts as running.
    async fn in_turn<T: Send + 'static>(
        &self,
        turn: HashTurn,
        work: impl FnOnce(&Argon2<'static>) -> Result<T, Error> + Send + 'static,
    ) -> StoreResult<T> {
        let queue = self.queue(turn.purpose);
        let running = queue.wait(turn.network, &self.running).await?;
        let hasher = Arc::clone(&self.hasher);
        tokio::task::spawn_blocking(move || {
            let _running = running;
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
        known_to_attackers: Vec<String>,
        turn: HashTurn,
    ) -> StoreResult<Result<String, PasswordTooWeak>> {
        let mut salt = [0; 16];
        self.random.fill(&mut salt);
        self.in_turn(turn, move |hasher| {
            if is_guessed_first(&password, &known_to_attackers) {
                return Ok(Err(PasswordTooWeak));
            }
            let hash: PasswordHash = hasher.hash_password_with_salt(password.as_bytes(), &salt)?;
            Ok(Ok(hash.to_string()))
        })
        .await
    }

    async fn verify(&self, password: String, hash: String, turn: HashTurn) -> StoreResult<bool> {
        if password.len() > MAX_PASSWORD_BYTES {
            return Ok(false);
        }
        self.in_turn(turn, move |hasher| {
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

    use goodpon_application::network::Network;

    use super::*;
    use crate::random::SecureRandom;

    fn passwords() -> Argon2Passwords {
        Argon2Passwords::new(Arc::new(SecureRandom)).unwrap()
    }

    const TURN: HashTurn = HashTurn {
        purpose: HashPurpose::Login,
        network: Network::UNKNOWN,
    };

    #[tokio::test]
    async fn a_hash_verifies_its_password_and_no_other() {
        let passwords = passwords();
        let hash = hash(&passwords, "비밀번호🎟🎟🎟").await;
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        let verify = async |password: &str| {
            let read = passwords.verify(password.into(), hash.clone(), TURN).await;
            read.unwrap()
        };
        assert!(verify("비밀번호🎟🎟🎟").await);
        assert!(!verify("비밀번호").await);
        assert_ne!(hash, self::hash(&passwords, "비밀번호🎟🎟🎟").await);
        let guessed = passwords.hash("kim@x.kr".into(), vec!["kim@x.kr".into()], TURN);
        assert_eq!(guessed.await.unwrap(), Err(PasswordTooWeak));
    }

    async fn hash(passwords: &Argon2Passwords, password: &str) -> String {
        let hash = passwords.hash(password.into(), Vec::new(), TURN).await;
        hash.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_malformed_hash_is_an_unexpected_error() {
        let read = passwords().verify("x".into(), "none".into(), TURN).await;
        assert!(matches!(read, Err(StoreError::Unexpected(_))), "{read:?}");
    }

    #[tokio::test]
    async fn a_full_queue_leaves_the_others_open() {
        let passwords = Arc::new(passwords());
        let hash = hash(&passwords, "비밀번호🎟🎟🎟").await;
        let mut waiting = tokio::task::JoinSet::new();
        let running = passwords.running.available_permits() as u32;
        let taken = passwords.running.acquire_many(running).await.unwrap();
        for number in 0..MAX_LOGIN_NETWORKS {
            let passwords = Arc::clone(&passwords);
            let network = Network::of([10, 0, 0, number as u8].into());
            let turn = HashTurn::new(HashPurpose::Login, network);
            let hash = hash.clone();
            waiting.spawn(async move { passwords.verify("x".into(), hash, turn).await });
        }
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        let stranger = Network::of([192, 0, 2, 1].into());
        let verify = |purpose| {
            let turn = HashTurn::new(purpose, stranger);
            passwords.verify("x".into(), hash.clone(), turn)
        };
        let refused = verify(HashPurpose::Login).await;
        assert!(matches!(
            refused,
            Err(StoreError::Unavailable {
                may_have_happened: false,
                ..
            })
        ));
        drop(taken);
        // The queues take turns, however long the others are.
        for purpose in [
            HashPurpose::KnownLogin,
            HashPurpose::SignUp,
            HashPurpose::Verification,
        ] {
            assert!(verify(purpose).await.is_ok(), "{purpose:?}");
        }
        waiting.shutdown().await;
        assert!(verify(HashPurpose::Login).await.is_ok());
    }
}
