//! The lenient reader of path, query string and JSON body (contract §1: Numbers, Leniency, Text, Bad
//! requests). It gathers every field at fault, so that one answer can name them all.

mod date;
mod fault;
mod number;
mod reader;

use std::borrow::Cow;
use std::fmt;

use axum::extract::MatchedPath;
use http::Uri;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

pub use fault::{FieldFault, Malformed};
pub use reader::Reader;

use reader::Given;

/// The path, query and body of a request, and the faults found in them so far.
///
/// ```
/// use goodpon_web::input::Fields;
/// let uri = "/v1/coupon-templates/7/issue".parse().unwrap();
/// let mut fields = Fields::new(&uri, "/v1/coupon-templates/{couponTemplateId}/issue")
///     .with_body(br#"{"userId":"kim"}"#);
/// let template = fields.path("couponTemplateId").id();
/// let user = fields.body("userId").text(1..=255);
/// let (template, user) = fields.finish(|| Some((template?, user?))).unwrap();
/// assert_eq!((template, &*user), (7, "kim"));
/// ```
#[derive(Debug)]
pub struct Fields<'a> {
    pattern: &'a str,
    path: &'a str,
    query: &'a str,
    body: Members<'a>,
    has_malformed_body: bool,
    faults: Vec<FieldFault>,
}

impl<'a> Fields<'a> {
    /// Reads `uri`, whose path matched the route `pattern` (`/v1/merchants/{merchantId}`).
    pub fn new(uri: &'a Uri, pattern: &'a str) -> Self {
        Self {
            pattern,
            path: uri.path(),
            query: uri.query().unwrap_or_default(),
            body: Members(Vec::new()),
            has_malformed_body: false,
            faults: Vec::new(),
        }
    }

    /// Reads the URI of a request that the router has matched.
    pub fn of(parts: &'a Parts) -> Self {
        let matched = parts.extensions.get::<MatchedPath>();
        Self::new(&parts.uri, matched.map_or("", MatchedPath::as_str))
    }

    /// Adds the body. One that is no JSON object makes [`Fields::finish`] fail with [`Malformed::Body`].
    #[must_use]
    pub fn with_body(mut self, bytes: &'a [u8]) -> Self {
        // Values stay raw text: numbers are read to the digit, and a member that no handler reads is only skipped,
        // without recursion, however deep it nests.
        let bytes = without_byte_order_mark(bytes);
        let object = std::str::from_utf8(bytes).ok().map(serde_json::from_str);
        match object {
            Some(Ok(members)) => self.body = members,
            _ => self.has_malformed_body = true,
        }
        self
    }

    /// Adds a body that may be left out: white space alone is an object without members.
    #[must_use]
    pub fn with_optional_body(self, bytes: &'a [u8]) -> Self {
        if without_byte_order_mark(bytes).trim_ascii().is_empty() {
            return self;
        }
        self.with_body(bytes)
    }

    /// The path with each variable decoded and numbers without leading zeros: the same for all spellings of one
    /// resource, and the path as it stands for the canonical one.
    pub fn canonical_path(&self) -> Cow<'a, [u8]> {
        let segments = || self.pattern.split('/').zip(self.path.split('/'));
        let canonical = |(segment, raw): (&str, &'a str)| match variable(segment) {
            Some(_) => canonical_value(raw),
            None => Cow::Borrowed(raw.as_bytes()),
        };
        if segments().all(|pair| *canonical(pair) == *pair.1.as_bytes()) {
            return Cow::Borrowed(self.path.as_bytes());
        }
        let canonical: Vec<_> = segments().map(canonical).collect();
        Cow::Owned(canonical.join(&b'/'))
    }

    /// The path variable `name`, percent-decoded.
    pub fn path(&mut self, name: &'static str) -> Reader<'_, 'a> {
        // From the end, for a router that is nested under a prefix sees the rest of the path only.
        let raw = self
            .pattern
            .rsplit('/')
            .zip(self.path.rsplit('/'))
            .find(|(segment, _)| variable(segment) == Some(name))
            .map(|(_, raw)| raw);
        let given = raw.map_or(Given::Absent, |raw| Given::decoded(decode(raw, false)));
        Reader::new(given, name, &mut self.faults)
    }

    /// The query parameter `name`, percent-decoded, a `+` being a blank. An empty one counts as absent; one that stands
    /// twice is at fault.
    pub fn query(&mut self, name: &'static str) -> Reader<'_, 'a> {
        let values = self
            .query
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(|(key, _)| *key == name || decode(key, true).is_some_and(|key| key == name))
            .map(|(_, raw)| raw);
        let given = only(values, |raw| match raw {
            "" => Given::Absent,
            raw => Given::decoded(decode(raw, true)),
        });
        Reader::new(given, name, &mut self.faults)
    }

    /// The body's member `name`. Null counts as absent; one that stands twice is at fault.
    pub fn body(&mut self, name: &'static str) -> Reader<'_, 'a> {
        let members = self.body.0.iter().filter(|(key, _)| key == name);
        let given = only(members, |(_, raw)| Given::json(raw.get()));
        Reader::new(given, name, &mut self.faults)
    }

    /// Adds a fault that the values of fields show beyond their form. Without a `message` it is the general one.
    pub fn fault(&mut self, field: &'static str, message: Option<&'static str>) {
        self.faults.push(FieldFault { field, message });
    }

    /// Builds a value of the values read, unless a fault was found: then `build` is not called, so that each `?` on a value
    /// in it is safe.
    ///
    /// # Errors
    /// [`Malformed`] with every fault found.
    pub fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, Malformed> {
        if self.has_malformed_body {
            return Err(Malformed::Body);
        }
        if !self.faults.is_empty() {
            return Err(Malformed::Fields(self.faults));
        }
        build().ok_or(Malformed::Body)
    }
}

/// Reads the only value. Of several none is picked: a reader before us, such as a proxy, may have picked another.
fn only<'a, T>(
    mut values: impl Iterator<Item = T>,
    read: impl FnOnce(T) -> Given<'a>,
) -> Given<'a> {
    match (values.next(), values.next()) {
        (None, _) => Given::Absent,
        (Some(value), None) => read(value),
        (Some(_), Some(_)) => Given::Other,
    }
}

/// A body without the byte order mark that may stand before it (contract §1, Envelope).
fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn variable(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

fn canonical_value(raw: &str) -> Cow<'_, [u8]> {
    let decoded: Cow<'_, [u8]> = percent_decode_str(raw).into();
    let number = std::str::from_utf8(&decoded)
        .ok()
        .and_then(reader::whole_id);
    match number {
        Some(number) => Cow::Owned(number.to_string().into_bytes()),
        None => decoded,
    }
}

/// Percent-decodes a text; `None` where the bytes are no UTF-8.
fn decode(raw: &str, plus_is_blank: bool) -> Option<Cow<'_, str>> {
    if plus_is_blank && raw.contains('+') {
        let blanks = raw.replace('+', " ");
        let decoded = percent_decode_str(&blanks).decode_utf8().ok()?;
        return Some(Cow::Owned(decoded.into_owned()));
    }
    percent_decode_str(raw).decode_utf8().ok()
}

/// The members of a JSON object in their order, values unread.
#[derive(Debug)]
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(4);
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests;
