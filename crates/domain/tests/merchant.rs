//! Access to merchants, and random sequences of secret rotations (contract §2, §5).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixtures;

use fixtures::{MICRO, minute, runner};
use goodpon_domain::{
    id::{AccountId, MemberId, SecretId},
    merchant::{
        AccessRefusal, ClientSecret, Member, MemberRefusal, Role, SecretRefusal, Standing,
        add_secret, expire_secret, remove_member,
    },
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum SecretChange {
    Add,
    /// The index of the secret, and its end in minutes from now; `None` sends no end.
    Expire(usize, Option<i64>),
    Pass(i64),
}

fn secret_change() -> impl Strategy<Value = SecretChange> {
    prop_oneof![
        3 => Just(SecretChange::Add),
        4 => (0..12usize, prop::option::of(-5..=9i64)).prop_map(|(which, at)| SecretChange::Expire(which, at)),
        2 => (1..=4i64).prop_map(SecretChange::Pass),
    ]
}

fn secret(number: usize, now: i64) -> ClientSecret {
    ClientSecret {
        id: SecretId(i64::try_from(number).unwrap() + 1),
        head: "0000".into(),
        tail: "ffff".into(),
        created_at: minute(now),
        expired_at: None,
    }
}

/// Expects the result of an addition; `ends` has the end of each secret in minutes, `None` for one without end.
fn expected_add(ends: &[Option<i64>], now: i64) -> Result<(), SecretRefusal> {
    let alive = ends
        .iter()
        .filter(|end| end.is_none_or(|end| now < end))
        .count();
    if alive < 5 {
        Ok(())
    } else {
        Err(SecretRefusal::LimitExceeded)
    }
}

fn expected_end(
    ends: &[Option<i64>],
    which: usize,
    at: Option<i64>,
    now: i64,
) -> Result<i64, SecretRefusal> {
    let Some(end) = ends.get(which) else {
        return Err(SecretRefusal::NotFound);
    };
    if let Some(end) = end
        && *end <= now
    {
        return Ok(*end);
    }
    let others_without_end = ends
        .iter()
        .enumerate()
        .any(|(i, end)| i != which && end.is_none());
    if end.is_none() && !others_without_end {
        return Err(SecretRefusal::LastSecret);
    }
    match at {
        Some(at) if at > now => Ok(at),
        _ => Ok(now),
    }
}

#[test]
fn rotation_keeps_an_endless_secret_and_at_most_five_unexpired() {
    runner(2_000)
        .run(&prop::collection::vec(secret_change(), 1..50), |steps| {
            let (mut now, mut secrets, mut ends) = (0, vec![secret(0, 0)], vec![None]);
            for step in steps {
                match step {
                    SecretChange::Pass(minutes) => now += minutes,
                    SecretChange::Add => {
                        let result = add_secret(&secrets, minute(now));
                        prop_assert_eq!(result, expected_add(&ends, now));
                        if result.is_ok() {
                            secrets.push(secret(secrets.len(), now));
                            ends.push(None);
                        }
                    }
                    SecretChange::Expire(which, at) => {
                        let at = at.map(|offset| now + offset);
                        let id = SecretId(i64::try_from(which).unwrap() + 1);
                        let result = expire_secret(&secrets, id, at.map(minute), minute(now));
                        let expected = expected_end(&ends, which, at, now);
                        prop_assert_eq!(result, expected.map(minute));
                        if let Ok(end) = result {
                            let was_expired = secrets[which].is_expired(minute(now));
                            secrets[which].expired_at = Some(end);
                            ends[which] = expected.ok();
                            prop_assert!(!was_expired || secrets[which].is_expired(minute(now)));
                        }
                    }
                }
                let alive = secrets
                    .iter()
                    .filter(|s| !s.is_expired(minute(now)))
                    .count();
                prop_assert!((1..=5).contains(&alive));
                prop_assert!(secrets.iter().any(|s| s.expired_at.is_none()));
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_secret_is_expired_from_its_end_on() {
    let mut one = secret(0, 0);
    assert!(!one.is_expired(jiff::Timestamp::MAX));
    one.expired_at = Some(minute(5));
    assert!(!one.is_expired(minute(5) - MICRO));
    assert!(one.is_expired(minute(5)));
    assert!(one.is_expired(minute(5) + MICRO));
}

#[test]
fn existence_comes_before_membership_and_membership_before_ownership() {
    for role in [None, Some(Role::Staff), Some(Role::Owner)] {
        let nowhere = Standing {
            exists: false,
            role,
        };
        assert_eq!(
            nowhere.require_member(),
            Err(AccessRefusal::MerchantNotFound)
        );
        assert_eq!(
            nowhere.require_owner(),
            Err(AccessRefusal::MerchantNotFound)
        );
        let here = Standing { exists: true, role };
        let (member, owner) = match role {
            None => (
                Err(AccessRefusal::NotAMember),
                Err(AccessRefusal::NotAMember),
            ),
            Some(Role::Staff) => (Ok(Role::Staff), Err(AccessRefusal::OwnerOnly)),
            Some(Role::Owner) => (Ok(Role::Owner), Ok(())),
        };
        assert_eq!(
            (here.require_member(), here.require_owner()),
            (member, owner)
        );
    }
}

#[test]
fn an_owner_cannot_be_removed() {
    let member = |role| Member {
        id: MemberId(1),
        account_id: AccountId(1),
        email: "a@b.co".into(),
        name: "a".into(),
        role,
        created_at: minute(0),
    };
    assert_eq!(remove_member(None), Err(MemberRefusal::NotFound));
    assert_eq!(
        remove_member(Some(&member(Role::Owner))),
        Err(MemberRefusal::OwnerNotRemovable)
    );
    assert_eq!(remove_member(Some(&member(Role::Staff))), Ok(()));
}
