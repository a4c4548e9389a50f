//! A connection to a broker that fails at a chosen moment: the broker has done its work, and its answer is lost.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The number of a Produce request in Kafka's protocol.
const PRODUCE: [u8; 2] = [0, 0];

/// Stands before a broker of this machine, and replaces the broker's address in answers by its own.
pub struct Proxy {
    pub address: String,
    cuts: Arc<AtomicBool>,
}

impl Proxy {
    pub async fn before(broker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (host, port) = broker.rsplit_once(':').unwrap();
        let own_port = listener.local_addr().unwrap().port();
        let place = |port: u16| [host.as_bytes(), &u32::from(port).to_be_bytes()].concat();
        let places = (place(port.parse().unwrap()), place(own_port));
        let cuts = Arc::new(AtomicBool::new(false));
        let (broker, is_cutting) = (broker.to_owned(), Arc::clone(&cuts));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&broker).await.unwrap();
                tokio::spawn(carry(
                    client,
                    server,
                    places.clone(),
                    Arc::clone(&is_cutting),
                ));
            }
        });
        Self {
            address: format!("{host}:{own_port}"),
            cuts,
        }
    }

    /// Swallows the answer to the next Produce request, with its connection.
    pub fn cut_next_acknowledgement(&self) {
        self.cuts.store(true, Ordering::SeqCst);
    }

    /// Says that it has swallowed one.
    pub fn has_cut(&self) -> bool {
        !self.cuts.load(Ordering::SeqCst)
    }
}

/// Forwards requests and answers until either side ends.
async fn carry(
    client: TcpStream,
    server: TcpStream,
    places: (Vec<u8>, Vec<u8>),
    cuts: Arc<AtomicBool>,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let produced = Mutex::new(HashSet::<[u8; 4]>::new());
    let requests = async {
        while let Some(frame) = read(&mut from_client).await {
            // Kind, version, and the correlation number, which the answer will have.
            if frame[..2] == PRODUCE {
                produced
                    .lock()
                    .unwrap()
                    .insert(frame[4..8].try_into().unwrap());
            }
            write(&mut to_server, &frame).await;
        }
    };
    let answers = async {
        while let Some(mut frame) = read(&mut from_server).await {
            let number: [u8; 4] = frame[..4].try_into().unwrap();
            if produced.lock().unwrap().remove(&number) && cuts.swap(false, Ordering::SeqCst) {
                return;
            }
            replace(&mut frame, &places);
            write(&mut to_client, &frame).await;
        }
    };
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}

/// Reads a frame, and returns it without its length.
async fn read(from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let length = from.read_u32().await.ok()?;
    let mut frame = vec![0; length.try_into().unwrap()];
    from.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

/// Writes a frame. An error means that the other side is gone, which the next read notices.
async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) {
    let _ = to.write_u32(frame.len().try_into().unwrap()).await;
    let _ = to.write_all(frame).await;
}

fn replace(frame: &mut [u8], (from, to): &(Vec<u8>, Vec<u8>)) {
    let found = frame.windows(from.len()).position(|window| window == from);
    if let Some(at) = found {
        frame[at..at + to.len()].copy_from_slice(to);
        replace(&mut frame[at + to.len()..], &(from.clone(), to.clone()));
    }
}
