//! Clients that send requests and do not read the answers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{Size, resident_kib};
use crate::raw::read_answer;
use crate::{Api, Options, World};

/// A request whose answer fits into no buffer on its way.
const LARGE: &str = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n";
const ACCOUNTS: &str = "GET /v1/user-coupons HTTP/1.1\r\nHost: x\r\n\r\n";

/// The time that a server may take to end a connection whose client does not read: four times its 10 s, because these
/// tests share a machine.
const ENDS_WITHIN: Duration = Duration::from_secs(40);

/// KiB that a connection of a slow reader may take. Copied whole for each, the file alone would be 1,500 KiB.
const KIB_A_READER: u64 = 650;

/// Connects a client with a small receive buffer, and sends requests until the answers exceed the system's buffers.
async fn slow_reader(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(2048)?;
    let mut stream = socket.connect(address).await?;
    stream.write_all(LARGE.repeat(4).as_bytes()).await?;
    Ok(stream)
}

/// Says that the server has ended the connection, which a client that does not read learns when it writes.
async fn is_ended(stream: &mut TcpStream) -> bool {
    match stream.write_all(b"x").await {
        Ok(()) => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            stream.write_all(b"x").await.is_err()
        }
        Err(_) => true,
    }
}

/// Connects clients that do not read, or read a byte at a time, and lose the connection; and one that reads steadily,
/// slower than the server writes, and keeps it.
///
/// # Panics
/// One of the former keeps its connection, or the latter loses it.
pub async fn slow_readers_are_cut_off() {
    let world = World::with(Options::default()).await;
    let address = world.server().addr(Api::Partner);
    let mut silent = slow_reader(address).await.unwrap();
    let mut trickle = slow_reader(address).await.unwrap();
    let mut steady = slow_reader(address).await.unwrap();
    let begun = Instant::now();
    let mut steadily_read = 0;
    let mut buffer = vec![0; 20_000];
    let mut ended = false;
    while begun.elapsed() < ENDS_WITHIN && !ended {
        let _ = tokio::time::timeout(Duration::from_millis(100), trickle.read(&mut [0; 1])).await;
        for _ in 0..5 {
            let read =
                tokio::time::timeout(Duration::from_secs(10), steady.read(&mut buffer)).await;
            steadily_read += read
                .expect("bytes for who reads")
                .expect("an open connection");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        if begun.elapsed() > Duration::from_secs(9) {
            ended = is_ended(&mut silent).await && is_ended(&mut trickle).await;
        }
    }
    assert!(ended, "they stay for ever");
    assert!(steadily_read > 10_000, "{steadily_read}");
    assert!(connections_cut(&world, "slow_reader").await > 0);
}

/// Counts the connections of shops that the server has ended for that reason.
async fn connections_cut(world: &World, reason: &str) -> usize {
    let url = format!("http://{}/metrics", world.server().admin());
    let answer = world.client.http().get(url).send().await.unwrap();
    let metrics = answer.text().await.unwrap();
    let name = format!(r#"goodpon_http_connections_cut_total{{api="partner",reason="{reason}"}} "#);
    let mut lines = metrics.lines();
    let count = lines.find_map(|line| line.strip_prefix(&name));
    count.map_or(0, |count| count.parse().unwrap())
}

/// Connects slow readers of one address: they take that address's share of the connections and no more, and little memory.
///
/// # Panics
/// Another address is not answered, or the server grew too large.
pub async fn places_for_others(size: Size) {
    let share = size.slow_readers;
    let options = Options::default().args([
        "--max-connections",
        &(share * 2).to_string(),
        "--max-connections-per-address",
        &share.to_string(),
    ]);
    let world = World::with(options).await;
    let (address, pid) = (world.server().addr(Api::Partner), world.server().pid());
    let before = resident_kib(pid);
    let mut readers = Vec::new();
    for _ in 0..share * 5 / 2 {
        readers.extend(slow_reader(address).await.ok());
    }
    // A client of another address: all of 127.0.0.0/8 is this machine.
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(address).await.unwrap();
    other.write_all(ACCOUNTS.as_bytes()).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), read_answer(&mut other)).await;
    let answer = answer.expect("an answer for another address");
    assert_eq!(answer.code(), "CLIENT_ID_MISSING", "{}", answer.text);
    // Else the other address would have been served too, once the slow readers had lost their connections.
    let refused = connections_cut(&world, "address_share").await;
    assert!(
        refused >= share,
        "{refused} beyond the share of one address"
    );
    let grown = resident_kib(pid).saturating_sub(before);
    let bound = KIB_A_READER * share as u64;
    assert!(grown < bound, "{grown} KiB for {share} slow readers");
    drop(readers);
}
