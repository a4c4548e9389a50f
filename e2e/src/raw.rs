//! HTTP by hand, for bytes that no HTTP client sends.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The time for which a peer may be silent before the exchange counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The answer over a bare connection.
pub struct RawAnswer {
    /// HTTP status, 0 where the connection ended without an answer.
    pub status: u16,
    /// The whole answer as text.
    pub text: String,
}

impl RawAnswer {
    /// The end of a connection without an answer.
    #[must_use]
    pub fn none() -> Self {
        Self::of(&[])
    }

    fn of(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let status = text
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0);
        Self { status, text }
    }

    /// Returns the value of a header of the first answer, if it is there; takes its name in lowercase.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next()?;
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Returns the code in the envelope, empty where there is none.
    #[must_use]
    pub fn code(&self) -> &str {
        let after = self.text.split_once(r#""code":""#);
        after
            .and_then(|(_, rest)| rest.split('"').next())
            .unwrap_or_default()
    }
}

/// Writes bytes to a fresh connection and reads until the peer closes or one whole answer is there.
///
/// # Panics
/// Nothing happens for a minute.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> RawAnswer {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    // A peer that refuses early may close while we still write: the answer counts, not the write.
    let _ = stream.write_all(bytes).await;
    read_answer(&mut stream).await
}

/// Writes as [`exchange`], but closes the sending side before it reads, and reads the connection to its end.
///
/// # Panics
/// Nothing happens for a minute.
pub async fn last_words(address: SocketAddr, bytes: &[u8]) -> RawAnswer {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(bytes).await.expect("room to write");
    stream.shutdown().await.expect("an open connection");
    let mut all = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all))
        .await
        .expect("the peer keeps silent")
        .expect("a connection that ends well");
    RawAnswer::of(&all)
}

/// Reads one answer from an open connection.
///
/// # Panics
/// Nothing happens for a minute.
pub async fn read_answer(stream: &mut TcpStream) -> RawAnswer {
    let mut all = Vec::new();
    let mut chunk = [0_u8; 8192];
    loop {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut chunk))
            .await
            .expect("the peer keeps silent");
        match read {
            Ok(0) | Err(_) => break,
            Ok(count) => all.extend_from_slice(&chunk[..count]),
        }
        if is_whole(&all) {
            break;
        }
    }
    RawAnswer::of(&all)
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some(head_end) = text.find("\r\n\r\n") else {
        return false;
    };
    let length = text[..head_end].lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    length.is_some_and(|length| bytes.len() >= head_end + 4 + length)
}
