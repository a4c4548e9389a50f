//! A record of the log as the issuer reads it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use goodpon_domain::{
    gate::{Content, IssueEvent, Record, Unreadable},
    id::TemplateId,
};
use jiff::Timestamp;
use rdkafka::message::{self, Header, Headers, Message, OwnedHeaders};

use crate::event::{
    self, Body, INSTALLATION_HEADER, Rest, TEMPLATE_HEADER, USER_HEADER, VALID_UNTIL_HEADER,
    decode, time,
};

/// Reads a record for an installation. One at which reading panics is unreadable: a record that anybody might write
/// must not end the issuer. Its append time is 1970 where the broker gave none: it is unreadable then, and the log's time
/// does not move by it.
pub(crate) fn read(message: &impl Message, installation: &str) -> Record {
    let plainly = AssertUnwindSafe(|| read_plainly(message, installation));
    catch_unwind(plainly).unwrap_or_else(|_| Record {
        offset: message.offset(),
        appended_at: appended_at(message.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH),
        content: Content::Unreadable(Unreadable {
            reason: "goodpon panicked while it read it: report this".to_owned(),
            template_id: None,
            user_id: None,
            valid_until: None,
            raw: pack(message.payload(), &[]),
        }),
    })
}

fn read_plainly(message: &impl Message, installation: &str) -> Record {
    let (appended_at, doubt) = match appended_at(message.timestamp()) {
        Some(at) => (at, None),
        None => (
            Timestamp::UNIX_EPOCH,
            Some("the record does not bear the time at which the log took it in".to_owned()),
        ),
    };
    Record {
        offset: message.offset(),
        appended_at,
        content: read_content(message.payload(), installation, doubt, || {
            all(message.headers())
        }),
    }
}

/// The log's append time, if that is what the timestamp is.
pub(crate) fn appended_at(timestamp: message::Timestamp) -> Option<Timestamp> {
    match timestamp {
        message::Timestamp::LogAppendTime(millis) if millis >= 0 => {
            Timestamp::from_millisecond(millis).ok()
        }
        _ => None,
    }
}

/// A record's headers as far as they can be had. The client library panics at one whose key is no UTF-8; a record
/// that anybody might write must not end the issuer.
fn all<H: Headers>(headers: Option<&H>) -> Vec<Header<'_, &[u8]>> {
    let all = || headers.into_iter().flat_map(Headers::iter).collect();
    catch_unwind(AssertUnwindSafe(all)).unwrap_or_default()
}

/// The headers of an event.
pub(crate) fn headers(event: &IssueEvent, installation: Option<&str>) -> OwnedHeaders {
    let template = event.template_id.to_string();
    let valid_until = event.valid_until.as_microsecond().to_string();
    [
        (TEMPLATE_HEADER, template.as_str()),
        (USER_HEADER, event.user_id.as_str()),
        (VALID_UNTIL_HEADER, valid_until.as_str()),
    ]
    .into_iter()
    .chain(installation.map(|name| (INSTALLATION_HEADER, name)))
    .fold(
        OwnedHeaders::new_with_capacity(4),
        |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        },
    )
}

/// An event as it is kept of an unreadable record: to be read again later with [`reread`]. It names no installation:
/// it is of the one that keeps it.
#[must_use]
pub fn keep(event: &IssueEvent) -> Vec<u8> {
    let headers = headers(event, None);
    pack(Some(&event::encode(event, None)), &all(Some(&headers)))
}

/// Reads again, for an installation, what was kept of an unreadable record: a later version may know more.
#[must_use]
pub fn reread(raw: &[u8], installation: &str) -> Content {
    match unpack(raw) {
        Ok((payload, headers)) => read_content(payload, installation, None, || headers),
        Err(reason) => Content::Unreadable(Unreadable {
            reason: format!("what was kept of a record: {reason}"),
            template_id: None,
            user_id: None,
            valid_until: None,
            raw: raw.to_vec(),
        }),
    }
}

/// Reads a payload for an installation; unreadable in any case if there is a `doubt` already. Only then are the headers
/// looked at. What does not say whose it is is taken as the installation's own.
fn read_content<'a>(
    payload: Option<&[u8]>,
    own: &str,
    doubt: Option<String>,
    headers: impl FnOnce() -> Vec<Header<'a, &'a [u8]>>,
) -> Content {
    let body = match (doubt, payload) {
        (Some(doubt), _) => Err(doubt),
        (None, None) => Err("there is no body".to_owned()),
        (None, Some(payload)) => decode(payload),
    };
    match body {
        Ok(Body::Event {
            installation: Some(other),
            ..
        }) if other != own => Content::Foreign(other),
        Ok(Body::Event { event, .. }) => Content::Event(event),
        Ok(Body::Tick) => Content::Tick,
        Err(reason) => {
            let headers = headers();
            if let Some(other) = text(&headers, INSTALLATION_HEADER).filter(|name| *name != own) {
                return Content::Foreign(other.to_owned());
            }
            let number = |key| text(&headers, key).and_then(|text| text.parse().ok());
            Content::Unreadable(Unreadable {
                reason,
                template_id: number(TEMPLATE_HEADER).map(TemplateId),
                user_id: text(&headers, USER_HEADER).map(str::to_owned),
                valid_until: number(VALID_UNTIL_HEADER).and_then(time),
                raw: pack(payload, &headers),
            })
        }
    }
}

fn text<'a>(headers: &[Header<'a, &'a [u8]>], key: &str) -> Option<&'a str> {
    let header = headers.iter().find(|header| header.key == key)?;
    std::str::from_utf8(header.value?).ok()
}

/// The version of what is kept.
const PACKED: u8 = 1;

/// Payload and headers as one: a version byte, then payload, and key and value of each header. Each is its length
/// (4 bytes) and itself, with a mark before payload and values: 0 for none, else 1.
fn pack(payload: Option<&[u8]>, headers: &[Header<'_, &[u8]>]) -> Vec<u8> {
    fn put(packed: &mut Vec<u8>, bytes: &[u8]) {
        packed.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        packed.extend(bytes);
    }
    fn put_optional(packed: &mut Vec<u8>, bytes: Option<&[u8]>) {
        packed.push(u8::from(bytes.is_some()));
        if let Some(bytes) = bytes {
            put(packed, bytes);
        }
    }
    let mut packed = vec![PACKED];
    put_optional(&mut packed, payload);
    for header in headers {
        put(&mut packed, header.key.as_bytes());
        put_optional(&mut packed, header.value);
    }
    packed
}

type Unpacked<'a> = (Option<&'a [u8]>, Vec<Header<'a, &'a [u8]>>);

fn unpack(packed: &[u8]) -> Result<Unpacked<'_>, String> {
    fn take_optional<'a>(rest: &mut Rest<'a>, what: &str) -> Result<Option<&'a [u8]>, String> {
        match rest.byte(what)? {
            0 => Ok(None),
            _ => rest.bytes(what).map(Some),
        }
    }
    let mut rest = Rest(packed);
    match rest.byte("the version")? {
        PACKED => {}
        version => return Err(format!("version {version} is not known")),
    }
    let payload = take_optional(&mut rest, "the payload")?;
    let mut headers = Vec::new();
    while !rest.0.is_empty() {
        let key = std::str::from_utf8(rest.bytes("a header's key")?);
        headers.push(Header {
            key: key.map_err(|_| "a header's key is no UTF-8".to_owned())?,
            value: take_optional(&mut rest, "a header's value")?,
        });
    }
    Ok((payload, headers))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
