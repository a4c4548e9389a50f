//! Access tokens of the dashboard: JWTs, HS256, 24 hours (contract §2).

use goodpon_application::ports::{AccessTokens, StoreError, StoreResult};
use goodpon_domain::id::AccountId;
use goodpon_domain::{generation::Generation, session::Claims};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

/// How long a token is good.
const VALIDITY: SignedDuration = SignedDuration::from_hours(24);

/// The kind of token, in the header: no token that is made for another purpose passes for one of ours. Versions before
/// this one wrote the second.
const KINDS: [&str; 2] = ["at+jwt", "JWT"];

/// For whom a token is, in the claim `aud`. It is read but not written yet, for the version before this one refuses
/// tokens that have the claim, and may still run beside it.
const AUDIENCE: &str = "goodpon-dashboard";

#[derive(Serialize, Deserialize)]
struct Payload {
    /// The account's id in decimal digits.
    sub: String,
    /// When it was given out, in seconds since 1970.
    iat: i64,
    /// From when on it is expired, likewise.
    exp: i64,
    /// The generation that the account had, 16 hex digits. Versions before this one wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r#gen: Option<String>,
}

/// Signs tokens and reads what it signed.
pub struct Jwt {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Jwt {
    /// With a secret of at least 32 bytes.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // The library would ask the machine's clock; `read` asks the one it is given.
        validation.validate_exp = false;
        validation.set_audience(&[AUDIENCE]);
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
        }
    }
}

impl AccessTokens for Jwt {
    fn issue(
        &self,
        account: AccountId,
        generation: Generation,
        now: Timestamp,
    ) -> StoreResult<String> {
        let header = Header {
            typ: Some(KINDS[0].to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        let payload = Payload {
            sub: account.to_string(),
            iat: now.as_second(),
            exp: now.as_second() + VALIDITY.as_secs(),
            r#gen: Some(generation.to_string()),
        };
        encode(&header, &payload, &self.encoding)
            .map_err(|error| StoreError::Unexpected(format!("access token: {error}")))
    }

    fn read(&self, token: &str, now: Timestamp) -> Option<Claims> {
        let decoded = decode::<Payload>(token, &self.decoding, &self.validation).ok()?;
        let (kind, payload) = (decoded.header.typ?, decoded.claims);
        let id: i64 = payload.sub.parse().ok()?;
        let is_good = KINDS.contains(&kind.as_str()) && now.as_second() < payload.exp && id > 0;
        let generation = match payload.r#gen {
            Some(text) => Some(Generation::parse(&text)?),
            None => None,
        };
        is_good.then_some(Claims {
            account_id: AccountId(id),
            issued_at: Timestamp::from_second(payload.iat).ok()?,
            generation,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn claims(generation: Option<Generation>) -> Claims {
        Claims {
            account_id: AccountId(7),
            issued_at: at(1_000),
            generation,
        }
    }

    #[test]
    fn a_token_is_good_for_a_day_to_the_second() {
        let jwt = Jwt::new(SECRET);
        let generation = Generation::of_random(0xab);
        let token = jwt.issue(AccountId(7), generation, at(1_000)).unwrap();
        let (good, day) = (Some(claims(Some(generation))), 24 * 3600);
        assert_eq!(jwt.read(&token, at(1_000)), good);
        assert_eq!(jwt.read(&token, at(1_000 + day - 1)), good);
        assert_eq!(jwt.read(&token, at(1_000 + day)), None);
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        let payload = decode::<serde_json::Value>(&token, &jwt.decoding, &jwt.validation);
        let expected = serde_json::json!({
            "sub": "7", "iat": 1_000, "exp": 1_000 + day, "gen": "00000000000000ab"
        });
        assert_eq!(payload.unwrap().claims, expected);
    }

    #[test]
    fn foreign_and_broken_tokens_are_none() {
        let jwt = Jwt::new(SECRET);
        let (now, generation) = (at(1_000), Generation::of_random(1));
        let foreign = Jwt::new(b"another secret of thirty-two bytes");
        let foreign = foreign.issue(AccountId(7), generation, now).unwrap();
        let own = jwt.issue(AccountId(7), generation, now).unwrap();
        let mut tampered = own.clone();
        tampered.insert(own.find('.').unwrap() + 1, 'x');
        for token in [&foreign, &tampered, &own[1..], "", "a.b.c", "…"] {
            assert_eq!(jwt.read(token, now), None, "{token}");
        }
    }

    fn read(header: &Header, payload: &serde_json::Value) -> Option<Claims> {
        let key = EncodingKey::from_secret(SECRET);
        let token = encode(header, payload, &key).unwrap();
        Jwt::new(SECRET).read(&token, at(1_000))
    }

    #[test]
    fn only_hs256_with_our_claims_passes() {
        let good = serde_json::json!({"sub": "7", "iat": 1000, "exp": 2000});
        let hs256 = Header::new(Algorithm::HS256);
        assert_eq!(read(&hs256, &good), Some(claims(None)));
        assert_eq!(read(&Header::new(Algorithm::HS512), &good), None);
        for (key, bad) in [
            ("sub", serde_json::json!("-7")),
            ("sub", serde_json::json!("seven")),
            ("sub", serde_json::Value::Null),
            ("exp", serde_json::Value::Null),
            ("exp", serde_json::json!("2000")),
            ("iat", serde_json::Value::Null),
            ("gen", serde_json::json!("seven")),
            ("gen", serde_json::json!("0000000000000000")),
            ("gen", serde_json::json!(7)),
            ("aud", serde_json::json!("another")),
        ] {
            let mut payload = good.clone();
            payload[key] = bad;
            assert_eq!(read(&hs256, &payload), None, "{payload}");
        }
        // {"alg":"none"}.{"sub":"7","iat":1000,"exp":2000}.
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiI3IiwiaWF0IjoxMDAwLCJleHAiOjIwMDB9.";
        assert_eq!(Jwt::new(SECRET).read(unsigned, at(1_000)), None);
    }

    /// Those of the version before this one and of the next.
    #[test]
    fn tokens_of_other_versions_pass_and_those_of_other_kinds_do_not() {
        let mut payload =
            serde_json::json!({"sub": "7", "iat": 1000, "exp": 2000, "aud": AUDIENCE});
        payload["gen"] = serde_json::json!("00000000000000ab");
        let expected = Some(claims(Some(Generation::of_random(0xab))));
        let of_kind = |kind: Option<&str>| Header {
            typ: kind.map(str::to_owned),
            ..Header::new(Algorithm::HS256)
        };
        assert_eq!(read(&of_kind(Some("at+jwt")), &payload), expected);
        assert_eq!(read(&of_kind(Some("JWT")), &payload), expected);
        for other in [None, Some("reset+jwt"), Some("")] {
            assert_eq!(read(&of_kind(other), &payload), None, "{other:?}");
        }
    }
}
