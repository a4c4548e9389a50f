use goodpon_domain::{gate::Epoch, id::CouponId};
use proptest::prelude::*;
use rdkafka::message::{OwnedMessage, Timestamp as Stamp};

use super::*;
use crate::event::{encode, encode_tick};

const OWN: &str = "0123456789abcdef";
const OTHER: &str = "fedcba9876543210";

const APPENDED: i64 = 1_800_000_000_123;

fn event() -> IssueEvent {
    IssueEvent {
        coupon_id: CouponId::from_bytes([7; 16]),
        template_id: TemplateId(42),
        epoch: Epoch(3),
        user_id: "회원 7".into(),
        accepted_at: time(1_800_000_000_000_001).unwrap(),
        keyed: None,
        valid_until: time(1_800_000_006_000_000).unwrap(),
    }
}

fn message(payload: Option<Vec<u8>>, stamp: Stamp, named: Option<&str>) -> OwnedMessage {
    OwnedMessage::new(
        payload,
        None,
        "t".into(),
        stamp,
        5,
        99,
        Some(headers(&event(), named)),
    )
}

fn read_at_its_time(payload: Option<Vec<u8>>) -> LogRecord {
    let message = message(payload, Stamp::LogAppendTime(APPENDED), None);
    read(&message, OWN)
}

#[test]
fn an_event_and_a_tick_are_read_with_offset_and_time() {
    let record = |content| LogRecord {
        offset: 99,
        appended_at: Timestamp::from_millisecond(APPENDED).unwrap(),
        content,
    };
    for named in [None, Some(OWN)] {
        let read = read_at_its_time(Some(encode(&event(), named)));
        assert_eq!(read, record(LogContent::Event(event())), "{named:?}");
    }
    assert_eq!(
        read_at_its_time(Some(encode_tick())),
        record(LogContent::Tick)
    );
}

/// Nothing that counts depends on it, whatever a stranger writes there.
#[test]
fn an_event_is_read_alike_whatever_its_traceparent_says() {
    let context = TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let own = || headers(&event(), Some(OWN));
    let strange = |value| {
        let key = TRACE_HEADER;
        own().insert(Header { key, value })
    };
    for headers in [
        own(),
        with_trace(own(), context.unwrap()),
        strange(Some(&b"malformed"[..])),
        strange(Some(&[0xff; 55][..])),
        strange(None),
    ] {
        let payload = Some(encode(&event(), Some(OWN)));
        let stamp = Stamp::LogAppendTime(APPENDED);
        let message = OwnedMessage::new(payload, None, "t".into(), stamp, 5, 99, Some(headers));
        let read = read(&message, OWN);
        assert_eq!(read.content, LogContent::Event(event()), "{message:?}");
    }
}

#[test]
fn an_unreadable_body_is_read_with_the_template_and_user_of_its_headers() {
    for (payload, why) in [
        (None, "there is no body"),
        (Some(vec![]), "it ends before the end of the version"),
        (Some(vec![9, 1]), "format version 9 is not known"),
    ] {
        let LogContent::Unreadable(Unreadable {
            reason,
            template_id: template,
            user_id: user,
            valid_until,
            raw,
        }) = read_at_its_time(payload.clone()).content
        else {
            panic!("{payload:?} was read");
        };
        assert_eq!(reason, why);
        assert_eq!(template, Some(event().template_id));
        assert_eq!(user, Some(event().user_id));
        assert_eq!(valid_until, Some(event().valid_until));
        assert_eq!(
            reread(&raw, OWN),
            read_at_its_time(payload).content,
            "it can be read again"
        );
    }
}

#[test]
fn a_record_without_the_logs_time_is_unreadable_however_good_its_body() {
    for stamp in [
        Stamp::CreateTime(APPENDED),
        Stamp::NotAvailable,
        Stamp::LogAppendTime(-1),
    ] {
        let body = encode(&event(), Some(OWN));
        let record = read(&message(Some(body), stamp, Some(OWN)), OWN);
        assert_eq!(record.appended_at, Timestamp::UNIX_EPOCH);
        let LogContent::Unreadable(Unreadable { raw, .. }) = record.content else {
            panic!("{stamp:?} was believed");
        };
        assert_eq!(
            reread(&raw, OWN),
            LogContent::Event(event()),
            "its body was kept"
        );
    }
}

#[test]
fn a_record_of_another_installation_is_foreign_whether_or_not_it_can_be_read() {
    let good = Stamp::LogAppendTime(APPENDED);
    for (payload, stamp) in [
        (Some(encode(&event(), Some(OTHER))), good),
        (Some(encode(&event(), Some(OTHER))), Stamp::NotAvailable),
        (Some(vec![9, 1]), good),
        (None, good),
    ] {
        let message = message(payload.clone(), stamp, Some(OTHER));
        let foreign = LogContent::Foreign(OTHER.into());
        assert_eq!(read(&message, OWN).content, foreign, "{payload:?}");
        assert_ne!(read(&message, OTHER).content, foreign);
    }
}

#[test]
fn a_packed_event_belongs_to_the_installation_that_parks_it() {
    let kept = keep(&event());
    assert_eq!(reread(&kept, OWN), LogContent::Event(event()));
    // Without its headers, an event of another installation is parked by this one.
    let stray = pack(Some(&encode(&event(), Some(OTHER))), &[]);
    assert_eq!(reread(&stray, OWN), LogContent::Foreign(OTHER.into()));
    assert_eq!(reread(&stray, OTHER), LogContent::Event(event()));
}

#[test]
fn events_parked_before_installations_had_names_are_read() {
    // Version 1 with the headers of that time: every later program must read it.
    let mut raw = vec![1, 1, 0, 0, 0, 63];
    raw.extend(encode(&event(), None));
    for (key, value) in [
        ("template", "42"),
        ("user", "회원 7"),
        ("valid-until", "1800000006000000"),
    ] {
        for (mark, text) in [(&[][..], key), (&[1][..], value)] {
            raw.extend(mark);
            raw.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
            raw.extend(text.as_bytes());
        }
    }
    assert_eq!(reread(&raw, OWN), LogContent::Event(event()));
    assert_eq!(keep(&event()), raw);
}

#[test]
fn malformed_headers_are_left_out() {
    let headers = [
        (TEMPLATE_HEADER, &b"many"[..]),
        (USER_HEADER, &b"\xff"[..]),
        (VALID_UNTIL_HEADER, &b"9223372036854775807"[..]),
        (INSTALLATION_HEADER, &b"\xff"[..]),
    ];
    let headers = headers.map(|(key, value)| Header {
        key,
        value: Some(value),
    });
    let content = read_content(None, OWN, None, || headers.to_vec());
    assert!(
        matches!(
            content,
            LogContent::Unreadable(Unreadable {
                template_id: None,
                user_id: None,
                valid_until: None,
                ..
            })
        ),
        "{content:?}"
    );
}

#[test]
fn a_header_that_the_client_library_panics_at_costs_the_headers_only() {
    struct Broken;
    impl Headers for Broken {
        fn count(&self) -> usize {
            1
        }
        fn try_get(&self, _: usize) -> Option<Header<'_, &[u8]>> {
            panic!("its key is no UTF-8");
        }
    }
    let content = read_content(Some(&[9]), OWN, None, || readable_headers(Some(&Broken)));
    assert!(
        matches!(
            content,
            LogContent::Unreadable(Unreadable { user_id: None, .. })
        ),
        "{content:?}"
    );
}

proptest! {
    #[test]
    fn packing_keeps_payload_and_headers(payload: Option<Vec<u8>>, parts: Vec<(String, Option<Vec<u8>>)>) {
        let headers: Vec<_> = parts
            .iter()
            .map(|(key, value)| Header { key: key.as_str(), value: value.as_deref() })
            .collect();
        let packed = pack(payload.as_deref(), &headers);
        prop_assert_eq!(unpack(&packed), Ok((payload.as_deref(), headers)));
    }

    #[test]
    fn no_bytes_make_the_second_reading_panic(raw: Vec<u8>) {
        let _ = reread(&raw, OWN);
        let _ = reread(&[&[PACKED_VERSION], &raw[..]].concat(), OWN);
    }
}

#[test]
fn packed_bytes_of_an_unknown_version_stay_unreadable() {
    let LogContent::Unreadable(Unreadable { reason, raw, .. }) = reread(&[2], OWN) else {
        panic!("a later version was read");
    };
    assert_eq!(reason, "what was kept of a record: version 2 is not known");
    assert_eq!(raw, [2]);
}
