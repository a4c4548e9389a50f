//! Sign-up and verification: the cases that the unit tests in `src/account.rs` leave out (contract §2).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixtures;

use fixtures::{MICRO, minute, runner};
use goodpon_domain::{
    account::{
        Account, EmailKey, ResendRefusal, VerificationToken, VerifyRefusal, check_sign_up,
        is_email, resend, verify,
    },
    id::AccountId,
};
use proptest::prelude::*;

/// Matches the contract's pattern by trying every position of its `@` and its last `\.`.
fn matches_pattern(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    let all = |part: &[char], also: &str| {
        part.iter()
            .all(|c| matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9') || also.contains(*c))
    };
    let letters = |part: &[char]| part.iter().all(|c| c.is_ascii_alphabetic());
    (0..chars.len()).any(|at| {
        (at + 1..chars.len()).any(|dot| {
            let (local, host, top) = (&chars[..at], &chars[at + 1..dot], &chars[dot + 1..]);
            chars[at] == '@'
                && chars[dot] == '.'
                && !local.is_empty()
                && !host.is_empty()
                && all(local, "+_.-")
                && all(host, ".-")
                && top.len() >= 2
                && letters(top)
        })
    })
}

/// Returns whether the host of a short address is well-formed.
fn has_sound_labels(text: &str) -> bool {
    let host = text.rsplit('@').next().unwrap_or_default();
    host.split('.')
        .all(|label| !label.is_empty() && label.trim_matches('-') == label)
}

#[test]
fn an_address_is_what_the_pattern_says_with_a_host_that_can_exist() {
    let near = "[aZ0+_.-]{0,3}@?[aZ9.@-]{0,4}\\.?[aZ5.]{0,3}[ \n가]{0,1}";
    let good = "[a-zA-Z0-9+_.-]{1,5}@[a-zA-Z0-9]{1,5}\\.[a-zA-Z]{2,4}";
    runner(4_000)
        .run(&prop_oneof![4 => near, 1 => "\\PC{0,12}"], |text| {
            let expected = matches_pattern(&text) && has_sound_labels(&text);
            prop_assert_eq!(is_email(&text), expected, "{:?}", text);
            Ok(())
        })
        .unwrap();
    runner(1_000)
        .run(&good, |text| {
            prop_assert!(is_email(&text) && matches_pattern(&text), "{:?}", text);
            Ok(())
        })
        .unwrap();
}

#[test]
fn an_address_is_known_without_regard_to_case() {
    runner(500)
        .run(
            &"[a-zA-Z0-9+_.-]{1,8}@[a-zA-Z0-9]{1,5}\\.[a-zA-Z]{2,3}",
            |email| {
                let key = EmailKey::of(&email);
                prop_assert_eq!(&key, &EmailKey::of(&email.to_uppercase()));
                prop_assert_eq!(&key, &EmailKey::of(&email.to_lowercase()));
                prop_assert_eq!(&key, &EmailKey::of(key.as_str()));
                prop_assert_ne!(key, EmailKey::of(&format!("{email}x")));
                Ok(())
            },
        )
        .unwrap();
}

#[test]
fn name_and_password_are_measured_in_code_points() {
    for (letter, name_is_blank) in [
        ("a", false),
        ("가", false),
        ("🎟", false),
        (" ", true),
        ("\u{3000}", true),
    ] {
        for length in 0..=102 {
            let text = letter.repeat(length);
            let as_name = check_sign_up("a@b.co", &text, "12345678").is_ok();
            assert_eq!(
                as_name,
                (1..=50).contains(&length) && !name_is_blank,
                "{letter:?} {length}"
            );
            let as_password = check_sign_up("a@b.co", "a", &text).is_ok();
            assert_eq!(
                as_password,
                (8..=100).contains(&length),
                "{letter:?} {length}"
            );
        }
    }
    assert!(check_sign_up("a@b", "a", "12345678").is_err());
    assert!(check_sign_up("a@b.co", " a ", "        ").is_ok());
}

fn account(verified: bool) -> Account {
    Account {
        id: AccountId(1),
        email: "a@b.co".into(),
        name: "a".into(),
        verified,
        created_at: minute(0),
        generation: None,
        is_first_generation: true,
    }
}

#[test]
fn a_verification_is_refused_for_the_first_reason() {
    let token = VerificationToken {
        account_id: AccountId(1),
        created_at: minute(0),
        is_spent: false,
        tries: 0,
    };
    let (fresh, old) = (minute(30) - MICRO, minute(30));
    for account in [None, Some(account(false)), Some(account(true))] {
        let invalid = Err(VerifyRefusal::InvalidToken);
        assert_eq!(verify(None, account.as_ref(), fresh), invalid);
        assert_eq!(verify(Some(token), account.as_ref(), old), invalid);
        assert_eq!(verify(Some(token), account.as_ref(), old + MICRO), invalid);
        let expected = match &account {
            None => Err(VerifyRefusal::AccountNotFound),
            Some(account) if account.verified => Err(VerifyRefusal::AlreadyVerified),
            Some(account) => Ok(account),
        };
        assert_eq!(verify(Some(token), account.as_ref(), minute(0)), expected);
        assert_eq!(verify(Some(token), account.as_ref(), fresh), expected);
    }
}

#[test]
fn a_mail_is_sent_again_to_unverified_accounts_only() {
    assert_eq!(
        resend(None, &[], minute(0)),
        Err(ResendRefusal::AccountNotFound)
    );
    assert_eq!(
        resend(Some(&account(true)), &[], minute(0)),
        Err(ResendRefusal::AlreadyVerified)
    );
    assert_eq!(
        resend(Some(&account(false)), &[], minute(0)),
        Ok(&account(false))
    );
}
