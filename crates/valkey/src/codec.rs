//! The forms of events and outcomes in Valkey. The scripts know them too: `gate.lua`, `confirm.lua`, `answer.lua`.

use goodpon_application::ports::{StoreError, StoreResult};
use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Epoch, IssueEvent, KeyDigests},
    id::{CouponId, TemplateId},
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// Returns the digest under which the gate knows a user: the first 128 bits of the SHA-256 of the id's bytes.
#[must_use]
pub fn user_digest(user_id: &str) -> [u8; 16] {
    let mut digest = [0; 16];
    digest.copy_from_slice(&Sha256::digest(user_id.as_bytes())[..16]);
    digest
}

/// Makes the error for data or answers of a server that no version of this program writes.
pub(crate) fn corrupt(what: &str) -> StoreError {
    StoreError::Unexpected(format!(
        "Valkey holds or answers what it should not: {what}"
    ))
}

/// Returns the letter that stands for an outcome. Letters never change.
pub(crate) const fn letter(outcome: Result<(), IssueRefusal>) -> u8 {
    match outcome {
        Ok(()) => b'I',
        Err(refusal) => refusal_letter(refusal),
    }
}

/// Returns the letter that stands for a refusal.
pub(crate) const fn refusal_letter(refusal: IssueRefusal) -> u8 {
    match refusal {
        IssueRefusal::TemplateNotFound => b'T',
        IssueRefusal::NotOwnedByMerchant => b'O',
        IssueRefusal::NotIssuablePeriod => b'P',
        IssueRefusal::NotIssuable => b'N',
        IssueRefusal::AlreadyIssued => b'A',
        IssueRefusal::SoldOut => b'S',
    }
}

/// Returns the outcome that a [`letter`] stands for.
pub(crate) fn outcome(letter: u8) -> StoreResult<Result<(), IssueRefusal>> {
    Ok(match letter {
        b'I' => Ok(()),
        b'T' => Err(IssueRefusal::TemplateNotFound),
        b'O' => Err(IssueRefusal::NotOwnedByMerchant),
        b'P' => Err(IssueRefusal::NotIssuablePeriod),
        b'N' => Err(IssueRefusal::NotIssuable),
        b'A' => Err(IssueRefusal::AlreadyIssued),
        b'S' => Err(IssueRefusal::SoldOut),
        _ => return Err(corrupt("an unknown outcome")),
    })
}

/// Reads a coupon's id, as 32 hex digits, or nothing.
pub(crate) fn coupon_id(digits: &[u8]) -> StoreResult<Option<CouponId>> {
    if digits.is_empty() {
        return Ok(None);
    }
    let digits = std::str::from_utf8(digits).ok();
    let id = digits.and_then(|digits| u128::from_str_radix(digits, 16).ok());
    let id = id.ok_or_else(|| corrupt("a coupon's id"))?;
    Ok(Some(CouponId::from_bytes(id.to_be_bytes())))
}

/// Writes a finished success in the form of `k`. `answer` is the number under which the database stores its text.
pub(crate) fn success(body: [u8; 16], stored_at: Timestamp, answer: Option<u32>) -> Vec<u8> {
    let mut text = vec![letter(Ok(()))];
    text.extend_from_slice(&body);
    text.extend_from_slice(stored_at.as_microsecond().to_string().as_bytes());
    if let Some(answer) = answer {
        text.extend_from_slice(format!(".{answer}").as_bytes());
    }
    text
}

/// Writes the number of an answer as the scripts take it: empty if there is none.
pub(crate) fn number(answer: Option<u32>) -> String {
    answer.map(|answer| answer.to_string()).unwrap_or_default()
}

const WITHOUT_KEY: u8 = 0;
const WITH_KEY: u8 = 1;
/// The number of the success's answer follows the body, in four bytes. This version reads this form and does not write it:
/// the previous version, which may run beside it, does not know it (`docs/upgrades.md`).
const WITH_KEY_AND_ANSWER: u8 = 2;

/// Writes an event in the form of `p`: coupon id, time of acceptance in microseconds, a byte for the form, the digests of
/// key and body if there is a key, user id. Template and epoch are the gate's, and each publisher sets `valid_until`.
pub(crate) fn event(event: &IssueEvent) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(57 + event.user_id.len());
    bytes.extend_from_slice(&event.coupon_id.to_bytes());
    bytes.extend_from_slice(&event.accepted_at.as_microsecond().to_be_bytes());
    match event.keyed {
        None => bytes.push(WITHOUT_KEY),
        Some(keyed) => {
            bytes.push(WITH_KEY);
            bytes.extend_from_slice(&keyed.key);
            bytes.extend_from_slice(&keyed.body);
        }
    }
    bytes.extend_from_slice(event.user_id.as_bytes());
    bytes
}

/// Reads an [`event`] for a publisher whose copies count until `valid_until`. Returns `None` for a form that this program
/// does not know; a newer program does.
pub(crate) fn read_event(
    bytes: &[u8],
    template_id: TemplateId,
    epoch: Epoch,
    valid_until: Timestamp,
) -> Option<IssueEvent> {
    let (coupon, rest) = bytes.split_first_chunk::<16>()?;
    let (accepted_at, rest) = rest.split_first_chunk::<8>()?;
    let (form, rest) = rest.split_first()?;
    let (keyed, user) = match *form {
        WITHOUT_KEY => (None, rest),
        WITH_KEY | WITH_KEY_AND_ANSWER => {
            let (key, rest) = rest.split_first_chunk()?;
            let (body, mut rest) = rest.split_first_chunk()?;
            if *form == WITH_KEY_AND_ANSWER {
                rest = rest.split_first_chunk::<4>()?.1;
            }
            let keyed = KeyDigests {
                key: *key,
                body: *body,
            };
            (Some(keyed), rest)
        }
        _ => return None,
    };
    let accepted_at = i64::from_be_bytes(*accepted_at);
    Some(IssueEvent {
        coupon_id: CouponId::from_bytes(*coupon),
        template_id,
        epoch,
        user_id: String::from_utf8(user.to_vec()).ok()?,
        accepted_at: Timestamp::from_microsecond(accepted_at).ok()?,
        keyed,
        valid_until,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_back_as_it_was() {
        let keyed = KeyDigests {
            key: [1; 16],
            body: [2; 16],
        };
        let at = Timestamp::from_microsecond(1_800_000_000_123_456).unwrap();
        for keyed in [None, Some(keyed)] {
            for user in ["", "u", "사용자 \u{0} 1"] {
                let written = IssueEvent {
                    coupon_id: CouponId::from_bytes([9; 16]),
                    template_id: TemplateId(4),
                    epoch: Epoch(2),
                    user_id: user.into(),
                    accepted_at: at,
                    keyed,
                    valid_until: at,
                };
                let bytes = event(&written);
                let read = read_event(&bytes, TemplateId(4), Epoch(2), at).unwrap();
                assert_eq!(read, written);
                assert_eq!(read_event(&bytes[..24], TemplateId(4), Epoch(2), at), None);
            }
        }
    }

    fn golden() -> (IssueEvent, IssueEvent) {
        let at = Timestamp::from_microsecond(1_800_000_000_123_456).unwrap();
        let plain = IssueEvent {
            coupon_id: CouponId::from_bytes([0xc0; 16]),
            template_id: TemplateId(4),
            epoch: Epoch(2),
            user_id: "u\u{e9}".into(),
            accepted_at: at,
            keyed: None,
            valid_until: at,
        };
        let keyed = IssueEvent {
            keyed: Some(KeyDigests {
                key: [0xaa; 16],
                body: [0xbb; 16],
            }),
            ..plain.clone()
        };
        (plain, keyed)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn events_are_written_in_the_form_of_the_previous_version_to_the_byte() {
        let (plain, keyed) = golden();
        let front = format!("{}00066517289a6240", "c0".repeat(16));
        let user = "75c3a9";
        assert_eq!(hex(&event(&plain)), format!("{front}00{user}"));
        let (key, body) = ("aa".repeat(16), "bb".repeat(16));
        assert_eq!(hex(&event(&keyed)), format!("{front}01{key}{body}{user}"));
        let kept = success([0xbb; 16], keyed.accepted_at, None);
        assert_eq!(kept[0], b'I');
        assert_eq!(kept[1..17], [0xbb; 16]);
        assert_eq!(kept[17..], *b"1800000000123456");
        let kept = success([0xbb; 16], keyed.accepted_at, Some(7));
        assert_eq!(kept[17..], *b"1800000000123456.7");
    }

    #[test]
    fn the_form_of_the_next_version_is_read_and_an_unknown_one_is_left_alone() {
        let (_, keyed) = golden();
        let mut bytes = event(&keyed);
        bytes[24] = WITH_KEY_AND_ANSWER;
        bytes.splice(57..57, [0, 0, 1, 2]);
        let at = keyed.accepted_at;
        let read = |bytes: &[u8]| read_event(bytes, TemplateId(4), Epoch(2), at);
        assert_eq!(read(&bytes), Some(keyed));
        for form in 3..=255 {
            bytes[24] = form;
            assert_eq!(read(&bytes), None);
        }
    }

    #[test]
    fn every_outcome_has_a_letter_of_its_own() {
        let refusals = [
            IssueRefusal::TemplateNotFound,
            IssueRefusal::NotOwnedByMerchant,
            IssueRefusal::NotIssuablePeriod,
            IssueRefusal::NotIssuable,
            IssueRefusal::AlreadyIssued,
            IssueRefusal::SoldOut,
        ];
        for one in refusals.map(Err).into_iter().chain([Ok(())]) {
            assert_eq!(outcome(letter(one)).unwrap(), one);
        }
        assert!(outcome(b'?').is_err());
    }
}
