//! Where a request comes from: its peer, or what a trusted proxy says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address at the other end of a request's connection: an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The client's address as limits count it (an IPv6 network as one client); `0.0.0.0` where it is not known.
pub fn client_address(parts: &Parts, trusts_forwarded_for: bool) -> IpAddr {
    let address = sender(&parts.headers, &parts.extensions, trusts_forwarded_for);
    as_one_client(address.unwrap_or(Ipv4Addr::UNSPECIFIED.into()))
}

/// The address that a request comes from. Where `X-Forwarded-For` is trusted, its last entry, which our own proxy wrote;
/// the peer's where that is missing or cannot be read.
pub(crate) fn sender(
    headers: &HeaderMap,
    extensions: &Extensions,
    trusts_forwarded_for: bool,
) -> Option<IpAddr> {
    let forwarded = match trusts_forwarded_for {
        true => last_forwarded(headers),
        false => None,
    };
    forwarded.or_else(|| Some(extensions.get::<Peer>()?.0.ip()))
}

/// An address as that of one client: of IPv6 the network (/64), for a client may use any address in it.
pub(crate) fn as_one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

/// The last entry of `X-Forwarded-For`: the one that the proxy nearest to us added.
fn last_forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(FORWARDED_FOR).iter().next_back()?;
    let entry = last.to_str().ok()?.rsplit(',').next()?.trim();
    let with_port = || entry.parse::<SocketAddr>().map(|address| address.ip());
    let bracketed = || entry.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    entry
        .parse()
        .or_else(|_| with_port())
        .ok()
        .or_else(bracketed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_address_is_the_peers_unless_a_proxy_is_trusted() {
        let peer: SocketAddr = "10.0.0.1:99".parse().unwrap();
        let address = |values: &[&str], trusted| {
            let (mut parts, ()) = http::Request::new(()).into_parts();
            parts.extensions.insert(Peer(peer));
            for value in values {
                let value = value.parse().unwrap();
                parts.headers.append("x-forwarded-for", value);
            }
            client_address(&parts, trusted).to_string()
        };
        assert_eq!(address(&["1.1.1.1"], false), "10.0.0.1");
        assert_eq!(address(&[], true), "10.0.0.1");
        assert_eq!(
            address(&["1.1.1.1, 2.2.2.2", "3.3.3.3,4.4.4.4"], true),
            "4.4.4.4"
        );
        assert_eq!(address(&["1.1.1.1, spoofed"], true), "10.0.0.1");
        assert_eq!(address(&["4.4.4.4:1234"], true), "4.4.4.4");
        assert_eq!(address(&["[2001:db8:1:2:3::4]:80"], true), "2001:db8:1:2::");
        assert_eq!(address(&["[2001:db8:1:2:3::4]"], true), "2001:db8:1:2::");
        assert_eq!(address(&["::ffff:4.4.4.4"], true), "4.4.4.4");
    }
}
