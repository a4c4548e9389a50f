//! The access tokens of the dashboard: JWTs, signed with HS256, valid for 24 hours (contract §2).

use goodpon_application::ports::{AccessTokens, StoreError, StoreResult};
use goodpon_domain::id::AccountId;
use goodpon_domain::{generation::Generation, session::Claims};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

/// The time for which a token is valid.
const VALIDITY: SignedDuration = SignedDuration::from_hours(24);

/// The accepted values of `typ` in the header, so that a token made for another purpose is refused. Tokens are written with
/// the first; older releases wrote the second.
const TYPES: [&str; 2] = ["at+jwt", "JWT"];

/// The accepted value of the claim `aud`. The claim is not written yet, because the release before this one, which may run
/// at the same time, refuses tokens that have it.
const AUDIENCE: &str = "goodpon-dashboard";

#[derive(Serialize, Deserialize)]
struct Payload {
    /// The account's id in decimal digits.
    sub: String,
    /// The time at which it was issued, in seconds since 1970.
    iat: i64,
    /// The time from which it is expired, in seconds since 1970.
    exp: i64,
    /// The generation that the account had, 16 hex digits. Older releases wrote none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r#gen: Option<String>,
}

/// Signs tokens, and reads tokens that it signed.
pub struct Jwt {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Jwt {
    /// Makes a signer with a secret of at least 32 bytes.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // The library would use the machine's clock; `read` compares with the time it is given.
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
            typ: Some(TYPES[0].to_owned()),
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
        let (typ, payload) = (decoded.header.typ?, decoded.claims);
        let id: i64 = payload.sub.parse().ok()?;
        let is_valid = TYPES.contains(&typ.as_str()) && now.as_second() < payload.exp && id > 0;
        let generation = match payload.r#gen {
            Some(text) => Some(Generation::parse(&text)?),
            None => None,
        };
        is_valid.then_some(Claims {
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
    fn a_token_is_valid_for_a_day_to_the_second() {
        let jwt = Jwt::new(SECRET);
        let generation = Generation::of_random(0xab);
        let token = jwt.issue(AccountId(7), generation, at(1_000)).unwrap();
        let (valid, day) = (Some(claims(Some(generation))), 24 * 3600);
        assert_eq!(jwt.read(&token, at(1_000)), valid);
        assert_eq!(jwt.read(&token, at(1_000 + day - 1)), valid);
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
    fn foreign_and_broken_tokens_are_refused() {
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

    /// Reads tokens as the release before this one and the next one write them.
    #[test]
    fn tokens_of_other_releases_pass_and_those_of_other_types_do_not() {
        let mut payload =
            serde_json::json!({"sub": "7", "iat": 1000, "exp": 2000, "aud": AUDIENCE});
        payload["gen"] = serde_json::json!("00000000000000ab");
        let expected = Some(claims(Some(Generation::of_random(0xab))));
        let of_type = |typ: Option<&str>| Header {
            typ: typ.map(str::to_owned),
            ..Header::new(Algorithm::HS256)
        };
        assert_eq!(read(&of_type(Some("at+jwt")), &payload), expected);
        assert_eq!(read(&of_type(Some("JWT")), &payload), expected);
        for other in [None, Some("reset+jwt"), Some("")] {
            assert_eq!(read(&of_type(other), &payload), None, "{other:?}");
        }
    }
}
