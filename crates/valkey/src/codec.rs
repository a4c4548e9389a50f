//! How events and outcomes rest in Valkey. The scripts know these forms too: `gate.lua`, `confirm.lua`, `answer.lua`.

use goodpon_application::ports::{IssueOutcome, StoreError, StoreResult};
use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Epoch, IssueEvent, Keyed},
    id::{CouponId, TemplateId},
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// A user as the gate knows them: 128 bits of SHA-256 over the id, byte for byte.
#[must_use]
pub fn user_digest(user_id: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(user_id.as_bytes())[..16]);
    short
}

/// What a server holds that no version of this program writes.
pub(crate) fn corrupt(what: &str) -> StoreError {
    StoreError::Unexpected(format!(
        "Valkey holds or answers what it should not: {what}"
    ))
}

/// The letter of an outcome. They never change.
pub(crate) const fn letter(outcome: IssueOutcome) -> u8 {
    match outcome {
        Ok(()) => b'I',
        Err(refusal) => refusal_letter(refusal),
    }
}

/// The letter of a refusal.
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

/// Reads [`letter`].
pub(crate) fn outcome(letter: u8) -> StoreResult<IssueOutcome> {
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

/// A finished success as `k` holds it.
pub(crate) fn success(body: [u8; 16], stored_at: Timestamp) -> Vec<u8> {
    let mut text = vec![letter(Ok(()))];
    text.extend_from_slice(&body);
    text.extend_from_slice(stored_at.as_microsecond().to_string().as_bytes());
    text
}

const WITH_KEY: u8 = 1;
const WITHOUT_KEY: u8 = 0;

/// An event as `p` holds it: coupon, time of acceptance, whether it bears a key, key and body if so, user. Template
/// and epoch are those of the gate; until when it counts is for each of its publishers to say.
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

/// Reads [`event`], for a publisher whose copies count until `valid_until`.
pub(crate) fn read_event(
    bytes: &[u8],
    template_id: TemplateId,
    epoch: Epoch,
    valid_until: Timestamp,
) -> StoreResult<IssueEvent> {
    let read = || {
        let (coupon, rest) = bytes.split_first_chunk::<16>()?;
        let (accepted_at, rest) = rest.split_first_chunk::<8>()?;
        let (form, rest) = rest.split_first()?;
        let (keyed, user) = match *form {
            WITHOUT_KEY => (None, rest),
            WITH_KEY => {
                let (key, rest) = rest.split_first_chunk()?;
                let (body, rest) = rest.split_first_chunk()?;
                let keyed = Keyed {
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
    };
    read().ok_or_else(|| corrupt("an event"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_event_comes_back_as_it_was() {
        let keyed = Keyed {
            key: [1; 16],
            body: [2; 16],
        };
        let at = Timestamp::from_microsecond(1_800_000_000_123_456).unwrap();
        for keyed in [None, Some(keyed)] {
            for user in ["", "u", "사용자 \u{0} 1"] {
                let there = IssueEvent {
                    coupon_id: CouponId::from_bytes([9; 16]),
                    template_id: TemplateId(4),
                    epoch: Epoch(2),
                    user_id: user.into(),
                    accepted_at: at,
                    keyed,
                    valid_until: at,
                };
                let bytes = event(&there);
                let back = read_event(&bytes, TemplateId(4), Epoch(2), at).unwrap();
                assert_eq!(back, there);
                assert!(read_event(&bytes[..24], TemplateId(4), Epoch(2), at).is_err());
            }
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
        for there in refusals.map(Err).into_iter().chain([Ok(())]) {
            assert_eq!(outcome(letter(there)).unwrap(), there);
        }
        assert!(outcome(b'?').is_err());
    }
}
