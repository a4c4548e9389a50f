//! A proxy on the way to a server, which does to the bytes what networks do.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// Bytes that are forwarded at a time at the most.
const CHUNK: usize = 64 * 1024;

/// How long a connection lives whose answers are swallowed.
const SWALLOWS_FOR: Duration = Duration::from_millis(700);

/// How long a port may be busy with the connections of a run before.
const BIND_WITHIN: Duration = Duration::from_secs(5);

/// What a way does to the bytes on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It forwards them.
    Pass,
    /// It resets all connections.
    Cut,
    /// It keeps them, both ways, and tells nobody. What it has kept goes on when it forwards again.
    Hold,
    /// It forwards each piece so much later.
    Delay(Duration),
    /// It forwards what callers send, but no answer, and resets the connection a while later.
    Swallow,
}

/// The way of a caller to a server. Clones are the same way.
#[derive(Debug, Clone)]
pub struct Link(watch::Sender<Mode>);

impl Default for Link {
    fn default() -> Self {
        Self(watch::Sender::new(Mode::Pass))
    }
}

impl Link {
    /// From now on it does this, to connections that are there, too.
    pub fn set(&self, mode: Mode) {
        self.0.send_replace(mode);
    }
}

/// Whose way a connection is.
#[derive(Debug, Clone)]
pub enum Callers {
    /// Everybody's is the same.
    Any(Link),
    /// That of the Kafka client whose `client.id` this is; nothing happens to others.
    KafkaClients(BTreeMap<String, Link>),
}

/// It listens until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Listens at `address` (port 0: any) for who wants to go to `target`.
    ///
    /// # Panics
    /// The port stays busy.
    pub async fn start(address: SocketAddr, target: SocketAddr, callers: Callers) -> Self {
        let bind = async {
            loop {
                match TcpListener::bind(address).await {
                    Ok(listener) => return listener,
                    Err(_) => sleep(Duration::from_millis(100)).await,
                }
            }
        };
        let listener = timeout(BIND_WITHIN, bind).await.unwrap_or_else(|_| {
            panic!("{address} is busy: does another run use this set of servers?")
        });
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(serve(caller, target, callers.clone()));
            }
        });
        Self {
            address,
            task: task.abort_handle(),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(mut caller: TcpStream, target: SocketAddr, callers: Callers) {
    let mut first = Vec::new();
    let link = match callers {
        Callers::Any(link) => link,
        Callers::KafkaClients(links) => match client_id(&mut caller, &mut first).await {
            Ok(name) => links.get(&name).cloned().unwrap_or_default(),
            Err(_) => return,
        },
    };
    let mut mode = link.0.subscribe();
    let connected = tokio::select! {
        connected = connect(target, link.0.subscribe()) => connected,
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => Err(io::ErrorKind::ConnectionReset.into()),
    };
    let Ok(server) = connected else {
        let _ = caller.set_zero_linger();
        return;
    };
    let _ = (caller.set_nodelay(true), server.set_nodelay(true));
    let (from_caller, to_caller) = caller.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = Pump {
        from: from_caller,
        to: to_server,
        mode: link.0.subscribe(),
        are_answers: false,
    };
    let answers = Pump {
        from: from_server,
        to: to_caller,
        mode: link.0.subscribe(),
        are_answers: true,
    };
    let forwarded = async { tokio::join!(requests.run(first), answers.run(Vec::new())) };
    tokio::pin!(forwarded);
    let is_reset = tokio::select! {
        _ = &mut forwarded => false,
        () = reset(mode) => true,
    };
    if is_reset {
        // Both pumps end at their next step; what is dropped with a linger of zero is reset.
        let _ = timeout(Duration::from_secs(1), forwarded).await;
    }
}

/// Goes on until the connection is to be reset.
async fn reset(mut mode: watch::Receiver<Mode>) {
    let ends = |mode: &Mode| matches!(mode, Mode::Cut | Mode::Swallow);
    let swallows = match mode.wait_for(ends).await {
        Ok(mode) => *mode == Mode::Swallow,
        Err(_) => return,
    };
    if swallows {
        sleep(SWALLOWS_FOR).await;
    }
}

async fn connect(target: SocketAddr, mut mode: watch::Receiver<Mode>) -> io::Result<TcpStream> {
    let _ = mode.wait_for(|mode| *mode != Mode::Hold).await;
    TcpStream::connect(target).await
}

/// Reads the first request of a Kafka client as far as its name: length, kind, version, correlation, then the name.
async fn client_id(caller: &mut TcpStream, first: &mut Vec<u8>) -> io::Result<String> {
    loop {
        let length = match first.get(12..14) {
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
            _ => usize::MAX,
        };
        let name = length.checked_add(14).and_then(|end| first.get(14..end));
        if let Some(name) = name {
            return Ok(String::from_utf8_lossy(name).into_owned());
        }
        if caller.read_buf(first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// One direction of a connection.
struct Pump {
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    mode: watch::Receiver<Mode>,
    are_answers: bool,
}

impl Pump {
    async fn run(mut self, first: Vec<u8>) {
        let mut chunk = first;
        loop {
            if !chunk.is_empty() && !self.forward(&chunk).await {
                return;
            }
            chunk.clear();
            chunk.reserve(CHUNK);
            tokio::select! {
                read = self.from.read_buf(&mut chunk) => match read {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                },
                _ = self.mode.wait_for(|mode| *mode == Mode::Cut) => return self.drop_reset(),
            }
        }
        // The end comes through as bytes do.
        if self.passes().await {
            let _ = self.to.shutdown().await;
        }
    }

    /// Whether the connection goes on.
    async fn forward(&mut self, chunk: &[u8]) -> bool {
        if !self.passes().await {
            return false;
        }
        if *self.mode.borrow() == Mode::Swallow && self.are_answers {
            return true;
        }
        self.to.write_all(chunk).await.is_ok()
    }

    /// Waits until bytes may go on; false if they never may.
    async fn passes(&mut self) -> bool {
        let mode = *self.mode.borrow_and_update();
        if let Mode::Delay(delay) = mode {
            tokio::select! {
                () = sleep(delay) => {}
                _ = self.mode.changed() => {}
            }
        }
        let moves = self.mode.wait_for(|mode| *mode != Mode::Hold).await;
        let goes_on = moves.is_ok_and(|mode| *mode != Mode::Cut);
        if !goes_on {
            self.set_reset();
        }
        goes_on
    }

    fn set_reset(&self) {
        let _ = self.from.as_ref().set_zero_linger();
        let _ = self.to.as_ref().set_zero_linger();
    }

    fn drop_reset(self) {
        self.set_reset();
    }
}
