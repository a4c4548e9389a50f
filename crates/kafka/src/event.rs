//! The bytes of events and ticks. Big-endian, times in microseconds since 1970:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version: 1 or 2 |
//! | 1 | kind: 1 an event, 2 a tick, which is of version 1 and ends here |
//! | 16 | coupon id |
//! | 8 | template id |
//! | 8 | epoch |
//! | 8 | accepted at |
//! | 8 | valid until |
//! | 1 (+ 32) | 0 without idempotency key; 1 and the digests of key and body |
//! | 4 + n | the user id's length and its bytes, UTF-8 |
//! | 4 + n | version 2 only: the length of the installation's name and its bytes, UTF-8 |
//!
//! Nothing may follow. The log has events of version 2: installations that share a topic by mistake recognise their own
//! by the name. Events that a database keeps are of version 1, and ticks belong to no installation.
//!
//! Template, user, valid until and installation are also in headers, as text, so that the user of a body that cannot be
//! read is known. A sampled request's event also has a header `traceparent`. Bytes once
//! written must be read for ever: a change is a new version.

use goodpon_domain::{
    gate::{Epoch, IssueEvent, KeyDigests},
    id::{CouponId, TemplateId},
};
use jiff::Timestamp;

const VERSION: u8 = 1;
const VERSION_WITH_INSTALLATION: u8 = 2;
const EVENT: u8 = 1;
const TICK: u8 = 2;

/// The header with the template's id in decimal.
pub(crate) const TEMPLATE_HEADER: &str = "template";
/// The header with the user's id.
pub(crate) const USER_HEADER: &str = "user";
/// The header with the microseconds of `valid_until` in decimal.
pub(crate) const VALID_UNTIL_HEADER: &str = "valid-until";
/// The header with the name of the installation.
pub(crate) const INSTALLATION_HEADER: &str = "installation";

/// The header that has the W3C `traceparent` of a sampled request; nothing that counts depends on it.
pub(crate) const TRACE_HEADER: &str = "traceparent";

/// A body that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    Event {
        event: IssueEvent,
        /// The installation that it names, if any.
        installation: Option<String>,
    },
    Tick,
}

/// Writes the body of an event, of version 2 if an installation is named.
pub(crate) fn encode(event: &IssueEvent, installation: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(107 + event.user_id.len());
    let version = match installation {
        None => VERSION,
        Some(_) => VERSION_WITH_INSTALLATION,
    };
    bytes.extend([version, EVENT]);
    bytes.extend(event.coupon_id.to_bytes());
    bytes.extend(event.template_id.0.to_be_bytes());
    bytes.extend(event.epoch.0.to_be_bytes());
    bytes.extend(event.accepted_at.as_microsecond().to_be_bytes());
    bytes.extend(event.valid_until.as_microsecond().to_be_bytes());
    match event.keyed {
        None => bytes.push(0),
        Some(KeyDigests { key, body }) => {
            bytes.push(1);
            bytes.extend(key);
            bytes.extend(body);
        }
    }
    for text in [Some(event.user_id.as_str()), installation]
        .into_iter()
        .flatten()
    {
        // Brokers refuse records of more than a mebibyte long before a length does not fit.
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        bytes.extend(length.to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Writes the body of a tick.
pub(crate) fn encode_tick() -> Vec<u8> {
    vec![VERSION, TICK]
}

/// Reads a body; the error says why it cannot be read.
pub(crate) fn decode(bytes: &[u8]) -> Result<Body, String> {
    let mut rest = Rest(bytes);
    let version = rest.byte("the version")?;
    if ![VERSION, VERSION_WITH_INSTALLATION].contains(&version) {
        return Err(format!("format version {version} is not known"));
    }
    let body = match (version, rest.byte("the kind")?) {
        (VERSION, TICK) => Body::Tick,
        (_, EVENT) => Body::Event {
            event: decode_event(&mut rest)?,
            installation: match version {
                VERSION => None,
                _ => Some(rest.text("the installation")?),
            },
        },
        (_, kind) => return Err(format!("kind {kind} is not known")),
    };
    match rest.0.len() {
        0 => Ok(body),
        more => Err(format!("{more} bytes too many")),
    }
}

fn decode_event(rest: &mut Rest<'_>) -> Result<IssueEvent, String> {
    Ok(IssueEvent {
        coupon_id: CouponId::from_bytes(rest.array("the coupon")?),
        template_id: TemplateId(rest.number("the template")?),
        epoch: Epoch(rest.number("the epoch")?),
        accepted_at: rest.time("accepted at")?,
        valid_until: rest.time("valid until")?,
        keyed: match rest.byte("the key's mark")? {
            0 => None,
            1 => Some(KeyDigests {
                key: rest.array("the key's digest")?,
                body: rest.array("the body's digest")?,
            }),
            mark => return Err(format!("the key's mark is {mark}")),
        },
        user_id: user_id(rest.text("the user")?)?,
    })
}

/// Checks that a shop can have given this user id (contract: 1 to 255 characters).
fn user_id(text: String) -> Result<String, String> {
    match text.chars().count() {
        1..=255 => Ok(text),
        count => Err(format!("a user id of {count} characters")),
    }
}

/// Returns the time `micros` microseconds after 1970, if the calendar has it.
pub(crate) fn time(micros: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(micros).ok()
}

/// The bytes that were not read yet.
pub(crate) struct Rest<'a>(pub(crate) &'a [u8]);

impl<'a> Rest<'a> {
    pub(crate) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let (head, tail) = self.0.split_first_chunk().ok_or_else(|| cut_off(what))?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn byte(&mut self, what: &str) -> Result<u8, String> {
        self.array(what).map(|[byte]| byte)
    }

    fn number(&mut self, what: &str) -> Result<i64, String> {
        self.array(what).map(i64::from_be_bytes)
    }

    fn time(&mut self, what: &str) -> Result<Timestamp, String> {
        let micros = self.number(what)?;
        time(micros).ok_or_else(|| format!("{what} is no time: {micros}"))
    }

    /// Reads a length of four bytes, and as many bytes.
    pub(crate) fn bytes(&mut self, what: &str) -> Result<&'a [u8], String> {
        let length = usize::try_from(u32::from_be_bytes(self.array(what)?));
        let length = length.map_err(|_| cut_off(what))?;
        let (head, tail) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| cut_off(what))?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn text(&mut self, what: &str) -> Result<String, String> {
        let text = std::str::from_utf8(self.bytes(what)?);
        text.map(str::to_owned)
            .map_err(|_| format!("{what} is no UTF-8"))
    }
}

fn cut_off(what: &str) -> String {
    format!("it ends before the end of {what}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The bytes of an event that a program of version 1 wrote once. This text must never change.
    const YESTERDAY: &str = "01010196f3a1c2007abc8def0123456789ab000000000000002a000000000000000700064f1c6f3a8d15\
                             00064f1c6f961b5501000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00\
                             000008ed9a8cec9b902d37";

    /// The bytes of an event of version 2, which names its installation. This text must never change either.
    const YESTERDAY_NAMED: &str = "02010196f3a1c2007abc8def0123456789ab000000000000002a000000000000000700064f1c6f3a8d15\
                                   00064f1c6f961b5501000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00\
                                   000008ed9a8cec9b902d370000001030303166633361376630653164326333";

    const INSTALLATION: &str = "001fc3a7f0e1d2c3";

    fn body(event: IssueEvent, installation: Option<&str>) -> Body {
        Body::Event {
            event,
            installation: installation.map(str::to_owned),
        }
    }

    fn yesterday() -> IssueEvent {
        IssueEvent {
            coupon_id: CouponId::parse("0196f3a1c2007abc8def0123456789ab").unwrap(),
            template_id: TemplateId(42),
            epoch: Epoch(7),
            user_id: "회원-7".into(),
            accepted_at: time(0x0006_4f1c_6f3a_8d15).unwrap(),
            keyed: Some(KeyDigests {
                key: std::array::from_fn(|index| u8::try_from(index).unwrap()),
                body: std::array::from_fn(|index| u8::try_from(16 + index).unwrap()),
            }),
            valid_until: time(0x0006_4f1c_6f96_1b55).unwrap(),
        }
    }

    fn from_hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn event() -> impl Strategy<Value = IssueEvent> {
        let keyed = proptest::option::of(any::<([u8; 16], [u8; 16])>());
        let times = (
            -2_000_000_000_000_000i64..9_000_000_000_000_000,
            0i64..60_000_000,
        );
        (any::<([u8; 16], i64, i64)>(), times, keyed, "\\PC{1,40}").prop_map(
            |((coupon, template, epoch), (accepted, life), keyed, user_id)| IssueEvent {
                coupon_id: CouponId::from_bytes(coupon),
                template_id: TemplateId(template),
                epoch: Epoch(epoch),
                user_id,
                accepted_at: time(accepted).unwrap(),
                keyed: keyed.map(|(key, body)| KeyDigests { key, body }),
                valid_until: time(accepted + life).unwrap(),
            },
        )
    }

    #[test]
    fn what_yesterday_wrote_is_read_today() {
        let read = |text| decode(&from_hex(text));
        assert_eq!(read(YESTERDAY), Ok(body(yesterday(), None)));
        let named = body(yesterday(), Some(INSTALLATION));
        assert_eq!(read(YESTERDAY_NAMED), Ok(named));
        assert_eq!(decode(&[1, 2]), Ok(Body::Tick));
    }

    #[test]
    fn today_writes_what_yesterday_wrote() {
        assert_eq!(encode(&yesterday(), None), from_hex(YESTERDAY));
        let named = encode(&yesterday(), Some(INSTALLATION));
        assert_eq!(named, from_hex(YESTERDAY_NAMED));
        assert_eq!(encode_tick(), [1, 2]);
    }

    proptest! {
        #[test]
        fn events_survive(event in event(), installation: Option<String>) {
            let installation = installation.as_deref();
            prop_assert_eq!(decode(&encode(&event, installation)), Ok(body(event, installation)));
        }

        #[test]
        fn nothing_may_be_missing_and_nothing_may_follow(
            event in event(),
            installation: Option<String>,
            junk: u8,
        ) {
            let mut bytes = encode(&event, installation.as_deref());
            for length in 0..bytes.len() {
                prop_assert!(decode(&bytes[..length]).is_err(), "cut off after {}", length);
            }
            bytes.push(junk);
            prop_assert!(decode(&bytes).is_err());
            prop_assert!(decode(&[1, 2, junk]).is_err());
        }

        #[test]
        fn no_bytes_break_the_reader(bytes: Vec<u8>, tail: Vec<u8>) {
            let _ = decode(&bytes);
            for version in [VERSION, VERSION_WITH_INSTALLATION] {
                let _ = decode(&[&[version, EVENT], &bytes[..]].concat());
            }
            for text in [YESTERDAY, YESTERDAY_NAMED] {
                let mut changed = from_hex(text);
                for (at, byte) in tail.iter().enumerate().take(changed.len()) {
                    changed[at] ^= byte;
                }
                let _ = decode(&changed);
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |bytes: &[u8]| decode(bytes).unwrap_err();
        assert_eq!(wrong(&[]), "it ends before the end of the version");
        assert_eq!(wrong(&[3, 1]), "format version 3 is not known");
        assert_eq!(wrong(&[2, 2]), "kind 2 is not known");
        assert_eq!(wrong(&[1, 3]), "kind 3 is not known");
        assert_eq!(wrong(&[1, 2, 0, 0]), "2 bytes too many");
        let mut bytes = from_hex(YESTERDAY);
        bytes[50] = 2;
        assert_eq!(wrong(&bytes), "the key's mark is 2");
        bytes = from_hex(YESTERDAY);
        *bytes.last_mut().unwrap() = 0xff;
        assert_eq!(wrong(&bytes), "the user is no UTF-8");
        bytes = from_hex(YESTERDAY_NAMED);
        *bytes.last_mut().unwrap() = 0xff;
        assert_eq!(wrong(&bytes), "the installation is no UTF-8");
        for count in [0, 256] {
            let user_id = "é".repeat(count);
            let event = IssueEvent {
                user_id,
                ..yesterday()
            };
            let expected = format!("a user id of {count} characters");
            assert_eq!(wrong(&encode(&event, None)), expected);
        }
        bytes = from_hex(YESTERDAY);
        bytes[42] = 0x7f;
        assert!(
            wrong(&bytes).starts_with("valid until is no time"),
            "{}",
            wrong(&bytes)
        );
    }
}
