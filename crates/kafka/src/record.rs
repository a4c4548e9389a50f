//! Reads records of the log for an issuer, and packs those that it parks.

use std::panic::{AssertUnwindSafe, catch_unwind};

use goodpon_domain::{
    gate::{IssueEvent, LogContent, LogRecord, Unreadable},
    id::TemplateId,
};
use goodpon_trace::TraceContext;
use jiff::Timestamp;
use rdkafka::message::{self, Header, Headers, Message, OwnedHeaders};

use crate::event::{
    self, Body, INSTALLATION_HEADER, Rest, TEMPLATE_HEADER, TRACE_HEADER, USER_HEADER,
    VALID_UNTIL_HEADER, decode, time,
};

/// Reads a record for an installation. A record at which reading panics is unreadable: other writers to the topic must not
/// be able to end the issuer. If the broker gave no append time, the record is unreadable with an append time of 1970, which
/// does not move the log's time.
pub(crate) fn read(message: &impl Message, installation: &str) -> LogRecord {
    let may_panic = AssertUnwindSafe(|| read_or_panic(message, installation));
    catch_unwind(may_panic).unwrap_or_else(|_| LogRecord {
        offset: message.offset(),
        appended_at: appended_at(message.timestamp()).unwrap_or(Timestamp::UNIX_EPOCH),
        content: LogContent::Unreadable(Unreadable {
            reason: "goodpon panicked while it read it: report this".to_owned(),
            template_id: None,
            user_id: None,
            valid_until: None,
            raw: pack(message.payload(), &[]),
        }),
    })
}

fn read_or_panic(message: &impl Message, installation: &str) -> LogRecord {
    let (appended_at, defect) = match appended_at(message.timestamp()) {
        Some(at) => (at, None),
        None => (
            Timestamp::UNIX_EPOCH,
            Some("the record has no log-append time".to_owned()),
        ),
    };
    LogRecord {
        offset: message.offset(),
        appended_at,
        content: read_content(message.payload(), installation, defect, || {
            readable_headers(message.headers())
        }),
    }
}

/// Returns the log's append time; `None` if the timestamp is of another kind.
pub(crate) fn appended_at(timestamp: message::Timestamp) -> Option<Timestamp> {
    match timestamp {
        message::Timestamp::LogAppendTime(millis) if millis >= 0 => {
            Timestamp::from_millisecond(millis).ok()
        }
        _ => None,
    }
}

/// Returns a record's headers; none if one has a key that is not UTF-8, at which the client library panics.
fn readable_headers<H: Headers>(headers: Option<&H>) -> Vec<Header<'_, &[u8]>> {
    let may_panic = || headers.into_iter().flat_map(Headers::iter).collect();
    catch_unwind(AssertUnwindSafe(may_panic)).unwrap_or_default()
}

/// Makes the headers of an event.
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

/// Adds the context of a trace to the headers of an event.
pub(crate) fn with_trace(headers: OwnedHeaders, trace: TraceContext) -> OwnedHeaders {
    headers.insert(Header {
        key: TRACE_HEADER,
        value: Some(&trace.to_string()),
    })
}

/// Packs an event in the form of an unreadable record, to be read again with [`reread`]. It names no installation, because
/// only the event's own one parks it.
#[must_use]
pub fn keep(event: &IssueEvent) -> Vec<u8> {
    let headers = headers(event, None);
    let body = event::encode(event, None);
    pack(Some(&body), &readable_headers(Some(&headers)))
}

/// Reads a packed record again, for an installation: this version may be able to read what an earlier one could not.
#[must_use]
pub fn reread(raw: &[u8], installation: &str) -> LogContent {
    match unpack(raw) {
        Ok((payload, headers)) => read_content(payload, installation, None, || headers),
        Err(reason) => LogContent::Unreadable(Unreadable {
            reason: format!("what was kept of a record: {reason}"),
            template_id: None,
            user_id: None,
            valid_until: None,
            raw: raw.to_vec(),
        }),
    }
}

/// Reads a payload for the installation `own`. With a `defect` the record is unreadable whatever its payload. The headers
/// are read only if the payload cannot be. A record without an installation's name is taken as this installation's.
fn read_content<'a>(
    payload: Option<&[u8]>,
    own: &str,
    defect: Option<String>,
    headers: impl FnOnce() -> Vec<Header<'a, &'a [u8]>>,
) -> LogContent {
    let body = match (defect, payload) {
        (Some(defect), _) => Err(defect),
        (None, None) => Err("there is no body".to_owned()),
        (None, Some(payload)) => decode(payload),
    };
    match body {
        Ok(Body::Event {
            installation: Some(other),
            ..
        }) if other != own => LogContent::Foreign(other),
        Ok(Body::Event { event, .. }) => LogContent::Event(event),
        Ok(Body::Tick) => LogContent::Tick,
        Err(reason) => {
            let headers = headers();
            if let Some(other) = text(&headers, INSTALLATION_HEADER).filter(|name| *name != own) {
                return LogContent::Foreign(other.to_owned());
            }
            let number = |key| text(&headers, key).and_then(|text| text.parse().ok());
            LogContent::Unreadable(Unreadable {
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

/// The version of the packed form.
const PACKED_VERSION: u8 = 1;

/// Packs payload and headers: a version byte, the payload, and key and value of each header. Each of these is written as
/// its length in 4 bytes and its bytes. A mark precedes the payload and each value: 1, or 0 if it is absent.
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
    let mut packed = vec![PACKED_VERSION];
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
        PACKED_VERSION => {}
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
