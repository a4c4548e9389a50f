//! Accounts of people who use the dashboard, and the verification of their e-mail addresses.

use jiff::{SignedDuration, Timestamp};

use crate::{generation::Generation, id::AccountId, name::looks_empty};

/// How long a verification token is valid (contract §2).
pub const VERIFICATION_TOKEN_VALIDITY: SignedDuration = SignedDuration::from_mins(30);

/// How long an account may stay unverified; after that it is gone.
pub const UNVERIFIED_FOR: SignedDuration = SignedDuration::from_hours(24);

/// How many passwords may be tried with one verification token, so that a stolen link does not find the password out.
pub const PASSWORDS_A_TOKEN: u32 = 10;

/// How many further verification mails one address is sent at the most, and within how long.
const RESENDS: [(usize, SignedDuration); 2] = [
    (3, SignedDuration::from_hours(1)),
    (10, RESENDS_COUNTED_FOR),
];

/// For how long a further verification mail counts.
pub const RESENDS_COUNTED_FOR: SignedDuration = SignedDuration::from_hours(24);

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
    /// When it signed up, for the last time where it did so again before it was verified.
    pub created_at: Timestamp,
    /// What its access tokens carry; `None` until the first login draws it, where a version before this one made it.
    pub generation: Option<Generation>,
    /// Whether that is still the generation which the account was made with.
    pub is_first_generation: bool,
}

impl Account {
    /// Whether nobody verified it in time: it counts as deleted, swept or not.
    pub fn is_gone(&self, now: Timestamp) -> bool {
        !self.verified && now.duration_since(self.created_at) >= UNVERIFIED_FOR
    }
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

/// Whether `email` reads `^[A-Za-z0-9+_.-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$` (contract §2) and can be written to: its parts
/// are no longer than mail allows, and its host is one that can exist.
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
    // Dots with nothing between them are written in quotes, which count.
    let longest = if local.split('.').any(str::is_empty) {
        62
    } else {
        64
    };
    is_word(local, "+_.-")
        && local.len() <= longest
        && host.len() <= 253
        && host.split('.').all(is_label)
        && top.len() >= 2
        && top.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Checks what was typed at sign-up: e-mail form, name of 1 to 50 characters of which one can be seen, password
/// (contract §2).
pub fn check_sign_up(email: &str, name: &str, password: &str) -> Result<(), InvalidSignUp> {
    let name_ok = (1..=50).contains(&name.chars().count()) && !looks_empty(name);
    (is_email(email) && name_ok && is_password(password))
        .then_some(())
        .ok_or(InvalidSignUp)
}

/// Whether a password has 8 to 100 characters.
pub fn is_password(password: &str) -> bool {
    (8..=100).contains(&password.chars().count())
}

/// A verification token as the store knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerificationToken {
    /// Whom it verifies.
    pub account_id: AccountId,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it verified its account already.
    pub is_spent: bool,
    /// How many passwords were tried with it.
    pub tries: u32,
}

/// Why a verification is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyRefusal {
    /// Unknown, voided or older than 30 minutes.
    InvalidToken,
    /// It verified its account already.
    Spent,
    /// The account is gone.
    AccountNotFound,
    /// There is nothing left to verify.
    AlreadyVerified,
}

/// Decides a verification by a token, and gives the account that becomes verified while the token is spent.
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

/// Why no password is tried with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryRefusal {
    /// It verifies nothing.
    Verify(VerifyRefusal),
    /// [`PASSWORDS_A_TOKEN`] were tried with it.
    TooManyTries,
}

/// Decides whether one more password may be tried with a token.
pub fn try_password(
    token: Option<VerificationToken>,
    account: Option<&Account>,
    now: Timestamp,
) -> Result<&Account, TryRefusal> {
    let account = verify(token, account, now).map_err(TryRefusal::Verify)?;
    match token {
        Some(token) if token.tries < PASSWORDS_A_TOKEN => Ok(account),
        _ => Err(TryRefusal::TooManyTries),
    }
}

/// Why no new token is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResendRefusal {
    /// Nobody signed up with that address.
    AccountNotFound,
    /// There is nothing left to verify.
    AlreadyVerified,
    /// The address was sent as many mails as it may be; another may follow so long from now.
    TooManyMails(SignedDuration),
}

/// Decides whether a further verification mail is sent. `further` is when those of the last [`RESENDS_COUNTED_FOR`]
/// were written.
pub fn resend<'a>(
    account: Option<&'a Account>,
    further: &[Timestamp],
    now: Timestamp,
) -> Result<&'a Account, ResendRefusal> {
    let account = account.filter(|account| !account.is_gone(now));
    let account = account.ok_or(ResendRefusal::AccountNotFound)?;
    if account.verified {
        return Err(ResendRefusal::AlreadyVerified);
    }
    match wait_for_resend(further, now) {
        None => Ok(account),
        Some(wait) => Err(ResendRefusal::TooManyMails(wait)),
    }
}

/// Why nobody signs up with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressRefusal {
    /// A verified account has it.
    Taken,
    /// As [`ResendRefusal::TooManyMails`].
    TooManyMails(SignedDuration),
}

/// Decides whether a sign-up may take the place of `account`, which signed up with the same address; `further` as in
/// [`resend`].
pub fn sign_up_again(
    account: &Account,
    further: &[Timestamp],
    now: Timestamp,
) -> Result<(), AddressRefusal> {
    if account.verified {
        return Err(AddressRefusal::Taken);
    }
    wait_for_resend(further, now).map_or(Ok(()), |wait| Err(AddressRefusal::TooManyMails(wait)))
}

/// How long it is until another mail may follow, if not at once.
fn wait_for_resend(further: &[Timestamp], now: Timestamp) -> Option<SignedDuration> {
    let wait = |(count, within): (usize, SignedDuration)| {
        let mut counted: Vec<Timestamp> = further.to_vec();
        counted.retain(|at| now.duration_since(*at) < within);
        counted.sort_unstable();
        // Once this one counts no more, there is room for one.
        let last_too_many = counted.len().checked_sub(count)?;
        let frees = counted.get(last_too_many)?.checked_add(within).ok()?;
        Some(frees.duration_since(now))
    };
    RESENDS.into_iter().filter_map(wait).max()
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
    fn a_token_is_good_for_half_an_hour_and_once() {
        let account = account();
        let token = VerificationToken {
            account_id: account.id,
            created_at: at(0),
            is_spent: false,
            tries: PASSWORDS_A_TOKEN,
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
    fn a_token_bears_ten_passwords() {
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
        let day = at(0) + UNVERIFIED_FOR;
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
        let wait = |further: &[i64], now: i64| {
            let further: Vec<_> = further.iter().copied().map(at).collect();
            let refused = resend(Some(&account), &further, at(now)).err()?;
            let again = sign_up_again(&account, &further, at(now)).err()?;
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
