//! A client that never repeats a request, so that every refused, reset or unanswered one is seen.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use goodpon_waits::within;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::raw::{RawAnswer, read_answer};

/// The requests of all clients and what became of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Answered 200.
    pub ok: u64,
    /// Answered 503 with `Retry-After`.
    pub unavailable: u64,
    /// Answered with anything else.
    pub other: u64,
    /// Connections that were refused or reset before they stood.
    pub refused: u64,
    /// Requests on a fresh connection that ended without an answer.
    pub cut_fresh: u64,
    /// Requests on a connection that had answered before, and ended without an answer.
    pub cut_reused: u64,
    /// The longest time from a request, or from the attempt to connect for it, to its answer.
    pub longest_wait: Duration,
}

impl Tally {
    /// The requests that failed without a documented answer.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.other + self.refused + self.cut_fresh + self.cut_reused
    }

    fn add(&mut self, other: &Self) {
        self.ok += other.ok;
        self.unavailable += other.unavailable;
        self.other += other.other;
        self.refused += other.refused;
        self.cut_fresh += other.cut_fresh;
        self.cut_reused += other.cut_reused;
        self.longest_wait = self.longest_wait.max(other.longest_wait);
    }
}

/// Clients that run until they are stopped.
pub struct NoRetryClients {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    tasks: JoinSet<Tally>,
}

impl NoRetryClients {
    /// Starts `count` clients. `request` makes the bytes of the request with a number that no other has.
    #[must_use]
    pub fn start(
        count: usize,
        address: SocketAddr,
        request: impl Fn(u64) -> Vec<u8> + Clone + Send + 'static,
    ) -> Self {
        let (stop, sent) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let (stop, sent, request) = (Arc::clone(&stop), Arc::clone(&sent), request.clone());
            tasks.spawn(async move {
                let mut client = Client::new(address);
                while !stop.load(Ordering::Relaxed) {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    client.send(&request(number)).await;
                }
                client.tally
            });
        }
        Self { stop, sent, tasks }
    }

    /// The number of requests so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stops all clients once their requests under way have ended.
    pub async fn stop(mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        while let Some(tally) = within("a client ends", self.tasks.join_next()).await {
            all.add(&tally.expect("a client that does not panic"));
        }
        all
    }
}

struct Client {
    address: SocketAddr,
    /// A connection that has answered and was not seen to be closed.
    reusable: Option<TcpStream>,
    tally: Tally,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            reusable: None,
            tally: Tally::default(),
        }
    }

    async fn send(&mut self, request: &[u8]) {
        let began = Instant::now();
        let reused = self.reusable.take().filter(is_open);
        let is_fresh = reused.is_none();
        let connection = match reused {
            Some(connection) => Ok(connection),
            None => TcpStream::connect(self.address).await,
        };
        let Ok(mut connection) = connection else {
            self.tally.refused += 1;
            // A server that is not there is not asked as fast as it would refuse.
            tokio::time::sleep(Duration::from_millis(1)).await;
            return;
        };
        let answer = match connection.write_all(request).await {
            Ok(()) => read_answer(&mut connection).await,
            Err(_) => RawAnswer::none(),
        };
        self.tally.longest_wait = self.tally.longest_wait.max(began.elapsed());
        match answer.status {
            200 => self.tally.ok += 1,
            503 if answer.header("retry-after").is_some() => self.tally.unavailable += 1,
            0 if is_fresh => self.tally.cut_fresh += 1,
            0 => self.tally.cut_reused += 1,
            _ => self.tally.other += 1,
        }
        let closes = answer
            .header("connection")
            .is_some_and(|value| value == "close");
        if answer.status != 0 && !closes {
            self.reusable = Some(connection);
        }
    }
}

/// Says that the peer was not seen to close the connection.
fn is_open(connection: &TcpStream) -> bool {
    let mut byte = [0];
    match connection.try_read(&mut byte) {
        // Nothing to read, as it must be between two answers.
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        Ok(_) => false,
    }
}
