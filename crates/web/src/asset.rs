//! Files that never change while the program runs: held once, compressed, with their digest as entity tag.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};

use crate::pieces::in_pieces;

/// The time for which a cache may give a file out without asking whether it has changed.
#[derive(Debug, Clone, Copy)]
pub enum Lifetime {
    /// The cache asks each time.
    Asked,
    /// The cache asks after an hour.
    AnHour,
}

/// A file that never changes while the program runs.
#[derive(Debug)]
pub struct Asset {
    kind: HeaderValue,
    /// A weak entity tag, for it stands for both encodings.
    tag: HeaderValue,
    lifetime: Lifetime,
    gzip: Bytes,
    /// Made for the first client that cannot read gzip.
    plain: OnceLock<Bytes>,
}

impl Asset {
    /// A file of these bytes and this media type.
    ///
    /// # Errors
    /// It cannot be compressed, or its media type is no header value.
    pub fn of_plain(
        kind: &str,
        bytes: impl Into<Cow<'static, [u8]>>,
        lifetime: Lifetime,
    ) -> Result<Self, String> {
        let bytes = to_bytes(bytes.into());
        let gzip = zipped(&bytes).map_err(|error| error.to_string())?;
        let asset = Self::of_gzip(kind, gzip, lifetime)?;
        asset.plain.get_or_init(|| bytes);
        Ok(asset)
    }

    /// A file that was compressed before.
    ///
    /// # Errors
    /// Its media type is no header value.
    pub fn of_gzip(
        kind: &str,
        gzip: impl Into<Cow<'static, [u8]>>,
        lifetime: Lifetime,
    ) -> Result<Self, String> {
        let gzip = to_bytes(gzip.into());
        let digest = Sha256::digest(&gzip);
        let digits: String = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
        let header = |text: &str| HeaderValue::from_str(text).map_err(|error| error.to_string());
        Ok(Self {
            kind: header(kind)?,
            tag: header(&format!("W/\"{digits}\""))?,
            lifetime,
            gzip,
            plain: OnceLock::new(),
        })
    }

    /// Answers a request with these headers.
    ///
    /// # Errors
    /// The file was made of bytes that are not in the gzip format.
    pub fn answer(&self, asked: &HeaderMap) -> io::Result<Response> {
        let mut response = match self.is_known(asked) {
            true => StatusCode::NOT_MODIFIED.into_response(),
            false => self.body(asked)?,
        };
        let headers = response.headers_mut();
        let lifetime = match self.lifetime {
            Lifetime::Asked => "no-cache",
            Lifetime::AnHour => "public, max-age=3600",
        };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(lifetime));
        headers.insert(ETAG, self.tag.clone());
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        Ok(response)
    }

    /// Returns whether the client has this file already.
    fn is_known(&self, asked: &HeaderMap) -> bool {
        let digest = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let ours = self.tag.to_str().map(digest).unwrap_or_default();
        members(asked, IF_NONE_MATCH).any(|tag| tag == "*" || digest(tag) == ours)
    }

    fn body(&self, asked: &HeaderMap) -> io::Result<Response> {
        let takes_gzip = members(asked, ACCEPT_ENCODING).any(accepts_gzip);
        let bytes = match takes_gzip {
            true => self.gzip.clone(),
            false => self.plain()?,
        };
        let mut response = Response::new(in_pieces(bytes));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, self.kind.clone());
        if takes_gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(response)
    }

    fn plain(&self) -> io::Result<Bytes> {
        if let Some(plain) = self.plain.get() {
            return Ok(plain.clone());
        }
        let mut plain = Vec::new();
        GzDecoder::new(&self.gzip[..]).read_to_end(&mut plain)?;
        Ok(self.plain.get_or_init(|| plain.into()).clone())
    }
}

fn to_bytes(bytes: Cow<'static, [u8]>) -> Bytes {
    match bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

fn zipped(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(bytes)?;
    gzip.finish()
}

/// The members of a header that is a list.
fn members(headers: &HeaderMap, name: http::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

/// `gzip`, `gzip;q=0.5` or `*`, but not `gzip;q=0`.
fn accepts_gzip(coding: &str) -> bool {
    let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
    let weight = weight.trim().strip_prefix("q=").map(str::parse::<f32>);
    let is_wanted = !matches!(weight, Some(Ok(weight)) if weight <= 0.0);
    is_wanted
        && matches!(
            name.trim().to_ascii_lowercase().as_str(),
            "gzip" | "x-gzip" | "*"
        )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use http_body_util::BodyExt;

    use super::*;

    async fn asked(asset: &Asset, headers: &[(&str, &str)]) -> (Response<()>, Bytes) {
        let mut asked = HeaderMap::new();
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            asked.append(name, value.parse().unwrap());
        }
        let (parts, body) = asset.answer(&asked).unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (http::Response::from_parts(parts, ()), bytes)
    }

    #[tokio::test]
    async fn a_client_that_takes_gzip_gets_it() {
        let text = "coupon ".repeat(10_000);
        let asset = Asset::of_plain("text/plain", text.clone().into_bytes(), Lifetime::AnHour);
        let asset = asset.unwrap();
        for accepted in ["gzip", "br, gzip;q=0.5", "*", "GZIP"] {
            let (head, bytes) = asked(&asset, &[("accept-encoding", accepted)]).await;
            assert_eq!(head.headers()[CONTENT_ENCODING], "gzip", "{accepted}");
            assert_eq!(head.headers()[CACHE_CONTROL], "public, max-age=3600");
            assert!(bytes.len() < text.len() / 10);
            let again = Asset::of_gzip("text/plain", bytes.to_vec(), Lifetime::Asked).unwrap();
            assert_eq!(asked(&again, &[]).await.1, text);
        }
        for accepted in ["br", "gzip;q=0", "identity", "gzip;q=0.0, br"] {
            let (head, bytes) = asked(&asset, &[("accept-encoding", accepted)]).await;
            assert!(!head.headers().contains_key(CONTENT_ENCODING), "{accepted}");
            assert_eq!(bytes, text);
        }
    }

    #[tokio::test]
    async fn a_client_that_has_the_file_already_gets_a_304() {
        let asset = Asset::of_plain("text/plain", &b"one"[..], Lifetime::Asked).unwrap();
        let other = Asset::of_plain("text/plain", &b"two"[..], Lifetime::Asked).unwrap();
        let tag = asked(&asset, &[]).await.0.headers()[ETAG].clone();
        let tag = tag.to_str().unwrap();
        let listed = format!("\"x\", {}", tag.trim_start_matches("W/"));
        for known in [tag, &listed, "*"] {
            let (head, bytes) = asked(&asset, &[("if-none-match", known)]).await;
            assert_eq!(head.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(head.headers()[ETAG], tag);
            assert!(bytes.is_empty() && !head.headers().contains_key(CONTENT_TYPE));
        }
        let (head, bytes) = asked(&other, &[("if-none-match", tag)]).await;
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(bytes, "two");
    }
}
