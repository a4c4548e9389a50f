//! Accounts of people who use the dashboard, and the verification of their e-mail addresses.

use jiff::{SignedDuration, Timestamp};

use crate::{generation::Generation, id::AccountId, name::looks_empty};

/// The age at which a verification token stops being valid (contract §2).
pub const VERIFICATION_TOKEN_VALIDITY: SignedDuration = SignedDuration::from_mins(30);

/// The age at which an unverified account is gone (contract §2).
pub const UNVERIFIED_ACCOUNT_LIFETIME: SignedDuration = SignedDuration::from_hours(24);

/// The most passwords that may be tried with one verification token, so that a stolen link cannot be used to guess the
/// password.
pub const MAX_PASSWORD_TRIES_PER_TOKEN: u32 = 10;

/// Bounds on the verification mails that one address is sent after its first: each is a number of mails and the time
/// within which no more than that number are sent.
const RESEND_LIMITS: [(usize, SignedDuration); 2] =
    [(3, SignedDuration::from_hours(1)), (10, RESEND_WINDOW)];

/// The age at which a resent verification mail no longer counts towards any limit: the longest window of the limits.
pub const RESEND_WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// A person who can log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// The address as it was typed.
    pub email: String,
    /// The name as it was typed.
    pub name: String,
    /// True once its owner verified the address.
    pub verified: bool,
    /// The time of the sign-up; of the last one, where it was repeated before the account was verified.
    pub created_at: Timestamp,
    /// The generation that its valid access tokens carry. `None` for an account made by a release that had no
    /// generations, until its first login draws one.
    pub generation: Option<Generation>,
    /// True while the account still has the generation with which it was created.
    pub is_first_generation: bool,
}

impl Account {
    /// Returns whether the account was not verified in time. It then counts as deleted, whether or not the sweep has
    /// removed it yet.
    pub fn is_gone(&self, now: Timestamp) -> bool {
        !self.verified && now.duration_since(self.created_at) >= UNVERIFIED_ACCOUNT_LIFETIME
    }
}

/// An address in lower case: the form in which addresses are unique and looked up (contract §2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EmailKey(String);

impl EmailKey {
    /// Returns the key of an address as it was typed.
    pub fn of(email: &str) -> Self {
        Self(email.to_ascii_lowercase())
    }

    /// Returns the text to store and to compare.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A sign-up whose e-mail, name or password breaks a rule: ACCOUNT_SIGN_UP_INVALID_INPUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidSignUp;

/// Returns whether `email` matches `^[A-Za-z0-9+_.-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$` (contract §2) and mail can be sent
/// to it: its parts are no longer than SMTP allows, and its host is a well-formed name.
pub fn is_email(email: &str) -> bool {
    let Some((local, host)) = email.split_once('@') else {
        return false;
    };
    let Some((_, top)) = host.rsplit_once('.') else {
        return false;
    };
    let is_word = |text: &str, extra: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || extra.as_bytes().contains(&b))
    };
    let is_label = |label: &str| {
        label.len() <= 63 && is_word(label, "-") && !label.starts_with('-') && !label.ends_with('-')
    };
    // SMTP allows 64 bytes. A local part with adjacent, leading or trailing dots is sent in quotes, which count as two.
    let max_local_len = if local.split('.').any(str::is_empty) {
        62
    } else {
        64
    };
    is_word(local, "+_.-")
        && local.len() <= max_local_len
        && host.len() <= 253
        && host.split('.').all(is_label)
        && top.len() >= 2
        && top.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Checks the fields of a sign-up (contract §2): the form of the e-mail, a name of 1 to 50 characters of which at least
/// one is visible, and the password's length.
///
/// # Errors
/// [`InvalidSignUp`] if any of them is wrong; the contract does not say which.
pub fn check_sign_up(email: &str, name: &str, password: &str) -> Result<(), InvalidSignUp> {
    let name_ok = (1..=50).contains(&name.chars().count()) && !looks_empty(name);
    (is_email(email) && name_ok && is_password(password))
        .then_some(())
        .ok_or(InvalidSignUp)
}

/// Returns whether a password has 8 to 100 characters (contract §2).
pub fn is_password(password: &str) -> bool {
    (8..=100).contains(&password.chars().count())
}

/// A verification token as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerificationToken {
    /// The account that it verifies.
    pub account_id: AccountId,
    /// The time at which it was made.
    pub created_at: Timestamp,
    /// True once it has verified its account.
    pub is_spent: bool,
    /// The number of passwords that were tried with it.
    pub tries: u32,
}

/// Why a verification is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyRefusal {
    /// The token is unknown, was voided, or is 30 minutes old.
    InvalidToken,
    /// The token has verified its account already.
    Spent,
    /// The account does not exist any more.
    AccountNotFound,
    /// The account is verified already.
    AlreadyVerified,
}

/// Decides whether a token may verify its account at `now`, and returns that account. The caller marks the account as
/// verified and the token as spent.
///
/// # Errors
/// The first refusal that applies, in this order: unknown token, spent, too old, account gone, account verified.
pub fn verify(
    token: Option<VerificationToken>,
    account: Option<&Account>,
    now: Timestamp,
) -> Result<&Account, VerifyRefusal> {
    let token = token.ok_or(VerifyRefusal::InvalidToken)?;
    if token.is_spent {
        return Err(VerifyRefusal::Spent);
    }
    if now.duration_since(token.created_at) >= VERIFICATION_TOKEN_VALIDITY {
        return Err(VerifyRefusal::InvalidToken);
    }
    let account = account.filter(|account| !account.is_gone(now));
    let account = account.ok_or(VerifyRefusal::AccountNotFound)?;
    if account.verified {
        return Err(VerifyRefusal::AlreadyVerified);
    }
    Ok(account)
}

/// Why a password may not be tried with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRefusal {
    /// The token may not verify its account.
    Verify(VerifyRefusal),
    /// [`MAX_PASSWORD_TRIES_PER_TOKEN`] passwords were tried with it already.
    TooManyTries,
}

/// Decides whether one more password may be tried with a token at `now`, and returns the token's account.
///
/// # Errors
/// The refusal of [`verify`], or else [`TryRefusal::TooManyTries`].
pub fn try_password(
    token: Option<VerificationToken>,
    account: Option<&Account>,
    now: Timestamp,
) -> Result<&Account, TryRefusal> {
    let account = verify(token, account, now).map_err(TryRefusal::Verify)?;
    match token {
        Some(token) if token.tries < MAX_PASSWORD_TRIES_PER_TOKEN => Ok(account),
        _ => Err(TryRefusal::TooManyTries),
    }
}

/// Why a verification mail is not sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResendRefusal {
    /// No account has that address.
    AccountNotFound,
    /// The account is verified already.
    AlreadyVerified,
    /// The address has reached a limit of mails; carries the time from now until the next mail is allowed.
    TooManyMails(SignedDuration),
}

/// Decides whether a verification mail is sent again at `now`, and returns its account. `resends` holds the times of the
/// address's mails of the last [`RESEND_WINDOW`], its first one left out.
///
/// # Errors
/// The first refusal that applies, in the order of [`ResendRefusal`].
pub fn resend<'a>(
    account: Option<&'a Account>,
    resends: &[Timestamp],
    now: Timestamp,
) -> Result<&'a Account, ResendRefusal> {
    let account = account.filter(|account| !account.is_gone(now));
    let account = account.ok_or(ResendRefusal::AccountNotFound)?;
    if account.verified {
        return Err(ResendRefusal::AlreadyVerified);
    }
    match wait_until_resend(resends, now) {
        None => Ok(account),
        Some(wait) => Err(ResendRefusal::TooManyMails(wait)),
    }
}

/// Why an address cannot be signed up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressRefusal {
    /// A verified account has it.
    Taken,
    /// The address has reached a limit of mails; carries the time from now until the next mail is allowed.
    TooManyMails(SignedDuration),
}

/// Decides whether a sign-up may replace that of `account`, which has the same address and was not verified yet.
/// `resends` is as for [`resend`].
///
/// # Errors
/// The first refusal that applies, in the order of [`AddressRefusal`].
pub fn sign_up_again(
    account: &Account,
    resends: &[Timestamp],
    now: Timestamp,
) -> Result<(), AddressRefusal> {
    if account.verified {
        return Err(AddressRefusal::Taken);
    }
    wait_until_resend(resends, now).map_or(Ok(()), |wait| Err(AddressRefusal::TooManyMails(wait)))
}

/// Returns the time from `now` until the limits allow another mail; `None` if they allow it at once.
fn wait_until_resend(resends: &[Timestamp], now: Timestamp) -> Option<SignedDuration> {
    let wait = |(max_mails, window): (usize, SignedDuration)| {
        let mut counted: Vec<Timestamp> = resends.to_vec();
        counted.retain(|at| now.duration_since(*at) < window);
        counted.sort_unstable();
        // Another mail is allowed once all but `max_mails - 1` of these have left the window.
        let last_to_leave = counted.len().checked_sub(max_mails)?;
        let allowed_at = counted.get(last_to_leave)?.checked_add(window).ok()?;
        Some(allowed_at.duration_since(now))
    };
    RESEND_LIMITS.into_iter().filter_map(wait).max()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn email_forms() {
        for good in ["a@b.co", "A.b+c_d-e@x-y.z.museum", "1@1.kr", "a..b.@c.de"] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "", "a", "@b.co", "a@", "a@b", "a@b.c", "a@.co", "a@b.c1", "a b@c.de", "a@b@c.de",
            "가@b.co", "a@b.co ", "a@b..", "a@b.co\n", "a@-b.co", "a@b-.co", "a@b..co", "a@.b.co",
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

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn account() -> Account {
        Account {
            id: AccountId(1),
            email: "a@b.co".into(),
            name: "a".into(),
            verified: false,
            created_at: at(0),
            generation: None,
            is_first_generation: true,
        }
    }

    #[test]
    fn lengths_that_no_mail_server_takes() {
        let of =
            |local: usize, label: usize| format!("{}@{}.co", "a".repeat(local), "b".repeat(label));
        assert!(is_email(&of(64, 63)));
        assert!(!is_email(&of(65, 1)) && !is_email(&of(1, 64)));
        assert!(is_email(&format!("..{}@b.co", "a".repeat(60))));
        assert!(!is_email(&format!("..{}@b.co", "a".repeat(61))));
        assert!(is_email(&format!("a@{}co", "b.".repeat(125))));
        assert!(!is_email(&format!("a@{}co", "b.".repeat(126))));
    }

    #[test]
    fn a_token_is_valid_for_half_an_hour_and_once() {
        let account = account();
        let token = VerificationToken {
            account_id: account.id,
            created_at: at(0),
            is_spent: false,
            tries: MAX_PASSWORD_TRIES_PER_TOKEN,
        };
        let just_before = at(0) + SignedDuration::from_micros(30 * 60 * 1_000_000 - 1);
        let (end, some) = (at(0) + VERIFICATION_TOKEN_VALIDITY, Some(token));
        assert_eq!(verify(some, Some(&account), just_before), Ok(&account));
        let invalid = Err(VerifyRefusal::InvalidToken);
        assert_eq!(verify(some, Some(&account), end), invalid);
        assert_eq!(verify(None, Some(&account), at(0)), invalid);
        let gone = Err(VerifyRefusal::AccountNotFound);
        assert_eq!(verify(some, None, at(0)), gone);
        let verified = Account {
            verified: true,
            ..account.clone()
        };
        let already = Err(VerifyRefusal::AlreadyVerified);
        assert_eq!(verify(some, Some(&verified), at(0)), already);
        let spent = Some(VerificationToken {
            is_spent: true,
            ..token
        });
        assert_eq!(
            verify(spent, Some(&verified), end),
            Err(VerifyRefusal::Spent)
        );
    }

    #[test]
    fn ten_passwords_may_be_tried_with_a_token() {
        let account = account();
        let tried = |tries| {
            let token = VerificationToken {
                account_id: account.id,
                created_at: at(0),
                is_spent: false,
                tries,
            };
            try_password(Some(token), Some(&account), at(0)).map(drop)
        };
        assert_eq!(tried(9), Ok(()));
        assert_eq!(tried(10), Err(TryRefusal::TooManyTries));
        let invalid = Err(TryRefusal::Verify(VerifyRefusal::InvalidToken));
        assert_eq!(try_password(None, Some(&account), at(0)), invalid);
    }

    #[test]
    fn an_account_that_nobody_verifies_is_gone_after_a_day() {
        let account = account();
        let day = at(0) + UNVERIFIED_ACCOUNT_LIFETIME;
        assert!(!account.is_gone(day - SignedDuration::from_micros(1)));
        assert!(account.is_gone(day));
        assert_eq!(
            resend(Some(&account), &[], day),
            Err(ResendRefusal::AccountNotFound)
        );
        let verified = Account {
            verified: true,
            ..account
        };
        assert!(!verified.is_gone(day));
    }

    #[test]
    fn three_mails_an_hour_and_ten_a_day() {
        let account = account();
        let wait = |resends: &[i64], now: i64| {
            let resends: Vec<_> = resends.iter().copied().map(at).collect();
            let refused = resend(Some(&account), &resends, at(now)).err()?;
            let again = sign_up_again(&account, &resends, at(now)).err()?;
            let ResendRefusal::TooManyMails(wait) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(again, AddressRefusal::TooManyMails(wait));
            Some(wait.as_secs())
        };
        assert_eq!(wait(&[], 0), None);
        assert_eq!(wait(&[0, 10], 20), None);
        assert_eq!(wait(&[10, 0, 20], 30), Some(3570));
        assert_eq!(wait(&[0, 10, 20], 3599), Some(1));
        assert_eq!(wait(&[0, 10, 20], 3600), None);
        let hourly: Vec<i64> = (0..10).map(|number| number * 3600).collect();
        assert_eq!(wait(&hourly, 36_000), Some(24 * 3600 - 36_000));
        assert_eq!(wait(&hourly[..9], 36_000), None);
        assert_eq!(wait(&hourly, 24 * 3600 - 1), Some(1));
    }
}
