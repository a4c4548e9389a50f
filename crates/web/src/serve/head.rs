//! Checks of a request's head that HTTP/1.1 demands and hyper does not make. A proxy in front may read such a head
//! differently, and take for one request what we take for two.

use http::header::{HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Version};

use crate::connection::Lines;

/// Returns whether the head is one that RFC 9112 has or lets a server refuse: not exactly one `Host` (§3.2; HTTP/1.0 may leave
/// it out), a transfer coding other than `chunked`, once, or one beside a length (§6.1), a line that ends in a single line
/// feed (§2.2).
pub(super) fn is_malformed<B>(request: &Request<B>, lines: &Lines) -> bool {
    lines.has_bare_feed
        || !has_one_host(request)
        || !has_plain_coding(request.headers(), lines.has_length)
}

fn has_one_host<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let mut bytes = host.as_bytes().iter();
            bytes.all(|byte| HOST_BYTES[usize::from(*byte)])
        }
        (None, _) => request.version() < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

/// The bytes that may stand in a host: all visible ASCII but those that end a host or begin another part of a URL.
const HOST_BYTES: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        allowed[byte as usize] = !matches!(
            byte,
            b'/' | b'\\' | b'?' | b'#' | b'@' | b',' | b'"' | b'<' | b'>'
        );
        byte += 1;
    }
    allowed
};

fn has_plain_coding(headers: &HeaderMap, has_length: bool) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => {
            let coding = coding.as_bytes().trim_ascii();
            !has_length && coding.eq_ignore_ascii_case(b"chunked")
        }
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn refused(version: Version, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        is_malformed(&request.body(()).unwrap(), &Lines::default())
    }

    #[test]
    fn a_request_names_one_host() {
        let host = ("host", "shop.example:8080");
        for good in ["a", "127.0.0.1:80", "[::1]:8080", "[fe80::1%25eth0]", ""] {
            assert!(!refused(Version::HTTP_11, &[("host", good)]), "{good}");
        }
        for bad in ["a b", "a,b", "a/b", "user@a", "a?b", "a#b", "\u{e9}"] {
            assert!(refused(Version::HTTP_11, &[("host", bad)]), "{bad}");
        }
        assert!(refused(Version::HTTP_11, &[]));
        assert!(refused(Version::HTTP_11, &[host, host]));
        assert!(!refused(Version::HTTP_10, &[]));
        assert!(!refused(Version::HTTP_10, &[host]));
        assert!(refused(Version::HTTP_10, &[host, host]));
    }

    #[test]
    fn a_body_is_chunked_or_not_coded_at_all() {
        let host = ("host", "a");
        let coded = |coding| refused(Version::HTTP_11, &[host, ("transfer-encoding", coding)]);
        assert!(!coded("chunked") && !coded(" Chunked "));
        for bad in [
            "gzip, chunked",
            "chunked, chunked",
            "identity",
            "chunked;q=1",
            "",
        ] {
            assert!(coded(bad), "{bad}");
        }
        let twice = ("transfer-encoding", "chunked");
        assert!(refused(Version::HTTP_11, &[host, twice, twice]));
    }
}
