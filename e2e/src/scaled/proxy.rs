//! A proxy on the way to a server, which delays, holds and loses bytes as networks do.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// Bytes that are forwarded at a time, at most.
const CHUNK: usize = 64 * 1024;

/// The time after which a connection is reset whose answers are swallowed.
const SWALLOWS_FOR: Duration = Duration::from_millis(700);

/// The time for which a port may be busy with the connections of a run before.
const BIND_WITHIN: Duration = Duration::from_secs(5);

/// The behaviour of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It forwards them.
    Pass,
    /// It resets all connections.
    Cut,
    /// It holds the bytes of both directions without a sign, and forwards them when it passes again.
    Hold,
    /// It forwards each piece later by this time.
    Delay(Duration),
    /// It forwards what callers send, but no answer, and resets the connection a while later.
    Swallow,
}

/// The way from a caller to a server. Clones are the same way.
#[derive(Debug, Clone)]
pub struct Link(watch::Sender<Mode>);

impl Default for Link {
    fn default() -> Self {
        Self(watch::Sender::new(Mode::Pass))
    }
}

impl Link {
    /// Changes its behaviour, also for connections that are open.
    pub fn set(&self, mode: Mode) {
        self.0.send_replace(mode);
    }
}

/// The way that a connection belongs to.
#[derive(Debug, Clone)]
pub enum Callers {
    /// All connections are on the same way.
    Any(Link),
    /// A connection is on the way of the Kafka client with its `client.id`; others just pass.
    KafkaClients(BTreeMap<String, Link>),
}

/// A proxy, which listens until it is dropped.
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
    /// Listens at `address` (port 0: any) for connections to `target`.
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

    /// Returns the address that it listens at.
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
    let Ok(mut server) = connected else {
        let _ = caller.set_zero_linger();
        return;
    };
    let _ = (caller.set_nodelay(true), server.set_nodelay(true));
    let is_reset = {
        let (from_caller, to_caller) = caller.split();
        let (from_server, to_server) = server.split();
        let (asks, answers) = (link.0.subscribe(), link.0.subscribe());
        let asks = pump(from_caller, to_server, asks, Direction::Asks, first);
        let answers = pump(
            from_server,
            to_caller,
            answers,
            Direction::Answers,
            Vec::new(),
        );
        tokio::select! {
            _ = async { tokio::join!(asks, answers) } => false,
            () = reset(mode) => true,
        }
    };
    if is_reset {
        let _ = (caller.set_zero_linger(), server.set_zero_linger());
    }
}

/// Waits until the connection is to be reset.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Asks,
    Answers,
}

/// Forwards one direction of a connection until its end, `chunk` first.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
    direction: Direction,
    mut chunk: Vec<u8>,
) {
    let mut swallows = false;
    loop {
        if !chunk.is_empty() {
            passes(&mut mode).await;
            // Bytes behind lost ones never arrive either: connections have no gaps.
            swallows |= direction == Direction::Answers && *mode.borrow() == Mode::Swallow;
            if !swallows && to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        chunk.clear();
        chunk.reserve(CHUNK);
        match from.read_buf(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    // The end is forwarded as bytes are.
    passes(&mut mode).await;
    let _ = to.shutdown().await;
}

/// Waits until bytes may go on.
async fn passes(mode: &mut watch::Receiver<Mode>) {
    let now = *mode.borrow_and_update();
    if let Mode::Delay(delay) = now {
        tokio::select! {
            () = sleep(delay) => {}
            _ = mode.changed() => {}
        }
    }
    let _ = mode.wait_for(|mode| *mode != Mode::Hold).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a server that answers each byte with the next one, and a proxy before it.
    async fn echo(callers: Callers) -> Proxy {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = TcpListener::bind(any).await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        stream.write_u8(byte.wrapping_add(1)).await.unwrap();
                    }
                });
            }
        });
        Proxy::start(any, target, callers).await
    }

    async fn answer(stream: &mut TcpStream) -> Option<io::Result<u8>> {
        timeout(Duration::from_millis(200), stream.read_u8())
            .await
            .ok()
    }

    #[tokio::test]
    async fn what_is_held_goes_on_when_the_way_is_free_again() {
        let link = Link::default();
        let proxy = echo(Callers::Any(link.clone())).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_u8(1).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 2);
        link.set(Mode::Hold);
        stream.write_u8(5).await.unwrap();
        assert!(answer(&mut stream).await.is_none());
        link.set(Mode::Pass);
        assert_eq!(stream.read_u8().await.unwrap(), 6);
    }

    #[tokio::test]
    async fn a_cut_resets_those_who_are_there_and_those_who_come() {
        let link = Link::default();
        let proxy = echo(Callers::Any(link.clone())).await;
        let mut before = TcpStream::connect(proxy.address()).await.unwrap();
        before.write_u8(1).await.unwrap();
        before.read_u8().await.unwrap();
        link.set(Mode::Cut);
        let kind = before.read_u8().await.unwrap_err().kind();
        assert_eq!(kind, io::ErrorKind::ConnectionReset);
        let mut after = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(after.read_u8().await.is_err());
    }

    #[tokio::test]
    async fn behind_an_answer_that_was_swallowed_nothing_comes() {
        let link = Link::default();
        let proxy = echo(Callers::Any(link.clone())).await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        link.set(Mode::Swallow);
        stream.write_u8(1).await.unwrap();
        assert!(answer(&mut stream).await.is_none());
        link.set(Mode::Pass);
        stream.write_u8(7).await.unwrap();
        assert!(stream.read_u8().await.is_err(), "it ends without an answer");
    }

    #[tokio::test]
    async fn kafka_clients_have_ways_of_their_own() {
        let link = Link::default();
        let links = [("one".to_owned(), link.clone())];
        let proxy = echo(Callers::KafkaClients(links.into())).await;
        link.set(Mode::Cut);
        let first = |name: &[u8]| [&[0, 0, 0, 13, 0, 18, 0, 3, 0, 0, 0, 1, 0, 3], name].concat();
        let mut one = TcpStream::connect(proxy.address()).await.unwrap();
        one.write_all(&first(b"one")).await.unwrap();
        assert!(one.read_u8().await.is_err());
        let mut two = TcpStream::connect(proxy.address()).await.unwrap();
        two.write_all(&first(b"two")).await.unwrap();
        assert_eq!(two.read_u8().await.unwrap(), 1);
    }
}
