//! Accounts of people who use the dashboard, and the verification of their e-mail addresses.

use jiff::{SignedDuration, Timestamp};

use crate::id::AccountId;

/// How long a verification token is valid (contract §2).
pub const VERIFICATION_TOKEN_VALIDITY: SignedDuration = SignedDuration::from_mins(30);

/// A person who can log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// The address as it was typed.
    pub email: String,
    /// The name as it was typed.
    pub name: String,
    /// Whether the address was proven.
    pub verified: bool,
    /// When it signed up.
    pub created_at: Timestamp,
}

/// The form of an address under which accounts are unique and found: without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EmailKey(String);

impl EmailKey {
    /// The key of an address as typed.
    pub fn of(email: &str) -> Self {
        Self(email.to_ascii_lowercase())
    }

    /// The key's text, to store and compare.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A sign-up that broke a rule on e-mail, name or password: ACCOUNT_SIGN_UP_INVALID_INPUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSignUp;

/// Whether `email` reads `^[A-Za-z0-9+_.-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$` (contract §2).
pub fn is_email(email: &str) -> bool {
    let Some((local, host)) = email.split_once('@') else {
        return false;
    };
    let Some((domain, top)) = host.rsplit_once('.') else {
        return false;
    };
    let word = |text: &str, extra: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || extra.as_bytes().contains(&b))
    };
    word(local, "+_.-")
        && word(domain, ".-")
        && top.len() >= 2
        && top.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Checks what was typed at sign-up: e-mail form, name of 1 to 50 characters that is not only white
/// space, password of 8 to 100 characters (contract §2).
pub fn check_sign_up(email: &str, name: &str, password: &str) -> Result<(), InvalidSignUp> {
    let name_ok = (1..=50).contains(&name.chars().count()) && !name.trim().is_empty();
    let password_ok = (8..=100).contains(&password.chars().count());
    (is_email(email) && name_ok && password_ok)
        .then_some(())
        .ok_or(InvalidSignUp)
}

/// A verification token as the store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerificationToken {
    /// Whom it verifies.
    pub account_id: AccountId,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Why a verification is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyRefusal {
    /// Unknown, spent, voided or older than 30 minutes.
    InvalidToken,
    /// The account is gone.
    AccountNotFound,
    /// There is nothing left to verify.
    AlreadyVerified,
}

/// Decides a verification by a token; on success the account becomes verified and the token is spent.
pub fn verify(
    token: Option<VerificationToken>,
    account: Option<&Account>,
    now: Timestamp,
) -> Result<(), VerifyRefusal> {
    let token = token.ok_or(VerifyRefusal::InvalidToken)?;
    if now.duration_since(token.created_at) >= VERIFICATION_TOKEN_VALIDITY {
        return Err(VerifyRefusal::InvalidToken);
    }
    let account = account.ok_or(VerifyRefusal::AccountNotFound)?;
    if account.verified {
        return Err(VerifyRefusal::AlreadyVerified);
    }
    Ok(())
}

/// Why no new token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResendRefusal {
    /// Nobody signed up with that address.
    AccountNotFound,
    /// There is nothing left to verify.
    AlreadyVerified,
}

/// Decides whether a new verification mail is sent.
pub fn resend(account: Option<&Account>) -> Result<&Account, ResendRefusal> {
    let account = account.ok_or(ResendRefusal::AccountNotFound)?;
    if account.verified {
        return Err(ResendRefusal::AlreadyVerified);
    }
    Ok(account)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn email_forms() {
        for good in ["a@b.co", "A.b+c_d-e@x-y.z.museum", "1@1.kr"] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "", "a", "@b.co", "a@", "a@b", "a@b.c", "a@.co", "a@b.c1", "a b@c.de", "a@b@c.de",
            "가@b.co", "a@b.co ", "a@b..", "a@b.co\n",
        ] {
            assert!(!is_email(bad), "{bad}");
        }
    }

    #[test]
    fn sign_up_bounds() {
        let try_it = |name: &str, password: &str| check_sign_up("a@b.co", name, password).is_ok();
        assert!(try_it("가", "12345678"));
        assert!(try_it(&"가".repeat(50), &"🎟".repeat(100)));
        assert!(!try_it("", "12345678"));
        assert!(!try_it("\u{3000} \t", "12345678"));
        assert!(!try_it(&"가".repeat(51), "12345678"));
        assert!(!try_it("a", "1234567"));
        assert!(!try_it("a", &"a".repeat(101)));
    }

    #[test]
    fn a_token_is_good_for_half_an_hour() {
        let made: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let account = Account {
            id: AccountId(1),
            email: "a@b.co".into(),
            name: "a".into(),
            verified: false,
            created_at: made,
        };
        let token = Some(VerificationToken {
            account_id: account.id,
            created_at: made,
        });
        let just_before = made + SignedDuration::from_micros(30 * 60 * 1_000_000 - 1);
        assert_eq!(verify(token, Some(&account), just_before), Ok(()));
        let at_the_end = made + VERIFICATION_TOKEN_VALIDITY;
        assert_eq!(
            verify(token, Some(&account), at_the_end),
            Err(VerifyRefusal::InvalidToken)
        );
        assert_eq!(
            verify(token, None, made),
            Err(VerifyRefusal::AccountNotFound)
        );
        let verified = Account {
            verified: true,
            ..account
        };
        assert_eq!(
            verify(token, Some(&verified), made),
            Err(VerifyRefusal::AlreadyVerified)
        );
    }
}
