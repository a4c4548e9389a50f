//! `goodpon healthcheck`: asks a running server whether it is ready, for containers and supervisors.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::config::ListenAddr;
use crate::failed::Failed;

const TIMEOUT: Duration = Duration::from_secs(5);

/// The most bytes of the answer that are read: enough for the status line.
const MAX_ANSWER_BYTES: u64 = 4096;

/// Asks the admin port at `admin` for `/readyz`.
///
/// # Errors
/// There is no answer, or its status is not 200.
pub fn run(admin: &ListenAddr) -> Result<(), Failed> {
    let address = admin
        .resolve()
        .map(reachable)
        .map_err(|error| Failed::new(format!("{} does not resolve: {error}", admin.as_str())))?;
    let status = status(address).map_err(|error| {
        Failed::new(format!(
            "no answer from http://{address}/readyz ({error}): is `goodpon serve` running?"
        ))
    })?;
    match status.as_str() {
        "200" => Ok(()),
        other => Err(Failed::new(format!(
            "http://{address}/readyz answers {other}: the server's log says why"
        ))),
    }
}

/// Returns the address by which this machine reaches a server that listens at `address`.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn status(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // Sent in one piece: a server that answers before it has read everything would reset the connection.
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let mut words = answer.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(version), Some(status)) if version.starts_with("HTTP/1.") => Ok(status.to_owned()),
        _ => Err(std::io::Error::other("the answer is not HTTP")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::net::TcpListener;

    use super::*;

    fn against(answer: &'static str) -> Result<(), Failed> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            assert!(request.starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let result = run(&address);
        server.join().unwrap();
        result
    }

    #[test]
    fn only_200_is_healthy() {
        assert!(against("HTTP/1.1 200 OK\r\n\r\n{}").is_ok());
        let error = against("HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err();
        assert!(error.to_string().contains("answers 503"), "{error}");
        assert!(against("hello").is_err());
    }

    #[test]
    fn an_unspecified_address_is_reached_on_loopback() {
        let reached = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reached("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(reached("[::]:1"), "[::1]:1");
        assert_eq!(reached("10.0.0.1:1"), "10.0.0.1:1");
    }
}
