//! A proxy before the server, whose connections can be cut or silenced.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::Database;

/// The moment at which a connection is cut that sends COMMIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CutAt {
    Never = 0,
    /// Before the server receives it.
    Command = 1,
    /// After the server has committed, before its answer is passed on.
    Answer = 2,
}

/// Passes connections on to the server of a database.
pub(crate) struct Proxy {
    url: String,
    cut_at: Arc<AtomicU8>,
    ends: watch::Sender<End>,
}

/// The way in which all connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Cut,
    /// Passes nothing on any more, but closes neither side.
    Silent,
}

impl Proxy {
    pub(crate) async fn to(database: &Database) -> Self {
        let mut url = url::Url::parse(&database.url()).unwrap();
        let server = (
            url.host_str().unwrap().to_owned(),
            url.port().unwrap_or(3306),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        let (cut_at, ends) = (Arc::new(AtomicU8::new(0)), watch::Sender::new(End::Cut));
        let proxy = Self {
            url: url.to_string(),
            cut_at: Arc::clone(&cut_at),
            ends: ends.clone(),
        };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(pass(client, server, Arc::clone(&cut_at), ends.subscribe()));
            }
        });
        proxy
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Cuts the next connection that commits.
    pub(crate) fn cut_commit(&self, at: CutAt) {
        self.cut_at.store(at as u8, Ordering::SeqCst);
    }

    /// Cuts all open connections.
    pub(crate) fn cut_all(&self) {
        self.ends.send_replace(End::Cut);
    }

    /// Passes nothing on any more on all open connections.
    pub(crate) fn silence_all(&self) {
        self.ends.send_replace(End::Silent);
    }
}

async fn pass(
    mut client: TcpStream,
    mut server: TcpStream,
    cut_at: Arc<AtomicU8>,
    mut ends: watch::Receiver<End>,
) {
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(count @ 1..) = read else { return };
                // With the byte of a command before it, because READ COMMITTED contains the word too.
                let is_commit = up[..count].windows(7).any(|word| word == b"\x03COMMIT");
                let cut = match is_commit {
                    true => cut_at.swap(0, Ordering::SeqCst),
                    false => CutAt::Never as u8,
                };
                if cut == CutAt::Command as u8 || server.write_all(&up[..count]).await.is_err() {
                    return;
                }
                if cut == CutAt::Answer as u8 {
                    let _ = server.read(&mut down).await;
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(&down[..count]).await.is_err() {
                    return;
                }
            }
            _ = ends.changed() => match *ends.borrow() {
                End::Cut => return,
                End::Silent => break,
            },
        }
    }
    std::future::pending::<()>().await;
}
