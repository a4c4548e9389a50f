//! Access tokens of the dashboard: JWTs, HS256, 24 hours (contract §2).

use goodpon_application::ports::{AccessTokens, StoreError, StoreResult};
use goodpon_domain::id::AccountId;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

/// How long a token is good.
const VALIDITY: SignedDuration = SignedDuration::from_hours(24);

#[derive(Serialize, Deserialize)]
struct Claims {
    /// The account's id in decimal digits.
    sub: String,
    /// When it was given out, in seconds since 1970.
    iat: i64,
    /// From when on it is expired, likewise.
    exp: i64,
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
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
            validation,
        }
    }
}

impl AccessTokens for Jwt {
    fn issue(&self, account: AccountId, now: Timestamp) -> StoreResult<String> {
        let claims = Claims {
            sub: account.to_string(),
            iat: now.as_second(),
            exp: now.as_second() + VALIDITY.as_secs(),
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .map_err(|error| StoreError::Unexpected(format!("access token: {error}")))
    }

    fn read(&self, token: &str, now: Timestamp) -> Option<AccountId> {
        let claims = decode::<Claims>(token, &self.decoding, &self.validation)
            .ok()?
            .claims;
        let id: i64 = claims.sub.parse().ok()?;
        (now.as_second() < claims.exp && id > 0).then_some(AccountId(id))
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

    #[test]
    fn a_token_is_good_for_a_day_to_the_second() {
        let jwt = Jwt::new(SECRET);
        let token = jwt.issue(AccountId(7), at(1_000)).unwrap();
        let day = 24 * 3600;
        assert_eq!(jwt.read(&token, at(1_000)), Some(AccountId(7)));
        assert_eq!(jwt.read(&token, at(1_000 + day - 1)), Some(AccountId(7)));
        assert_eq!(jwt.read(&token, at(1_000 + day)), None);
    }

    #[test]
    fn foreign_and_broken_tokens_are_none() {
        let jwt = Jwt::new(SECRET);
        let now = at(1_000);
        let foreign = Jwt::new(b"another secret of thirty-two bytes").issue(AccountId(7), now);
        let own = jwt.issue(AccountId(7), now).unwrap();
        let mut tampered = own.clone();
        tampered.insert(own.find('.').unwrap() + 1, 'x');
        for token in [
            foreign.unwrap().as_str(),
            &tampered,
            &own[1..],
            "",
            "a.b.c",
            "…",
        ] {
            assert_eq!(jwt.read(token, now), None, "{token}");
        }
    }

    #[test]
    fn only_hs256_with_our_claims_passes() {
        let jwt = Jwt::new(SECRET);
        let key = EncodingKey::from_secret(SECRET);
        let read = |algorithm, claims: serde_json::Value| {
            let token = encode(&Header::new(algorithm), &claims, &key).unwrap();
            jwt.read(&token, at(1_000))
        };
        let good = serde_json::json!({"sub": "7", "iat": 1000, "exp": 2000});
        assert_eq!(read(Algorithm::HS256, good.clone()), Some(AccountId(7)));
        assert_eq!(read(Algorithm::HS512, good.clone()), None);
        for (key, bad) in [
            ("sub", serde_json::json!("-7")),
            ("sub", serde_json::json!("seven")),
            ("sub", serde_json::Value::Null),
            ("exp", serde_json::Value::Null),
            ("exp", serde_json::json!("2000")),
        ] {
            let mut claims = good.clone();
            claims[key] = bad;
            assert_eq!(read(Algorithm::HS256, claims.clone()), None, "{claims}");
        }
        // {"alg":"none"}.{"sub":"7","iat":1000,"exp":2000}.
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiI3IiwiaWF0IjoxMDAwLCJleHAiOjIwMDB9.";
        assert_eq!(jwt.read(unsigned, at(1_000)), None);
    }
}
