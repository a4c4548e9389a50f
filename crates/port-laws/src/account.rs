//! Laws of [`goodpon_application::ports::Accounts`].

use goodpon_application::ports::{NewAccount, NewPassword, StoredMail};
use goodpon_domain::{
    account::{
        Account, AddressRefusal, EmailKey, MAX_PASSWORD_TRIES_PER_TOKEN, ResendRefusal, TryRefusal,
        UNVERIFIED_ACCOUNT_LIFETIME, VERIFICATION_TOKEN_VALIDITY, VerifyRefusal,
    },
    id::AccountId,
};
use jiff::SignedDuration;

use crate::{
    World,
    scene::{
        ALL, MICRO, at_once, new_account, new_verification, unique, unique_digest,
        unique_generation,
    },
};

async fn mails_to(world: &World, address: &str) -> Vec<StoredMail> {
    let all = world.stores.mails.list(None, ALL).await.unwrap();
    all.into_iter()
        .filter(|mail| mail.to.eq_ignore_ascii_case(address))
        .collect()
}

async fn sign_up(
    world: &World,
    new: &NewAccount,
    token: [u8; 32],
) -> Result<Account, AddressRefusal> {
    let verification = new_verification(token);
    let signed_up = world
        .stores
        .accounts
        .sign_up(new.clone(), verification)
        .await;
    signed_up.unwrap()
}

async fn verify(world: &World, token: [u8; 32]) -> Result<AccountId, VerifyRefusal> {
    let verified = world.stores.accounts.verify(token, None).await.unwrap();
    verified.map(|account| account.id)
}

/// An address is taken once it is verified, in whatever case it is written, and is shown as it was typed.
pub async fn addresses_are_unique_without_regard_to_case(world: &World) {
    let typed = format!("Mixed.Case+{}@Example.COM", unique());
    let key = EmailKey::of(&typed);
    assert_eq!(
        world.stores.accounts.find_by_email(&key).await.unwrap(),
        None
    );
    let (new, token) = (new_account(&typed), unique_digest());
    let account = sign_up(world, &new, token).await.expect("a new address");
    assert_eq!((&account.email, &account.name), (&new.email, &new.name));
    assert_eq!((account.verified, account.created_at), (false, world.now()));
    let sessions = (account.generation, account.is_first_generation);
    assert_eq!(sessions, (Some(new.generation), true));
    assert!(!world.stores.accounts.is_email_taken(&key).await.unwrap());
    assert_eq!(verify(world, token).await, Ok(account.id));
    let account = Account {
        verified: true,
        ..account
    };
    for variant in [typed.to_uppercase(), typed.to_lowercase(), typed.clone()] {
        let key = EmailKey::of(&variant);
        assert!(
            world.stores.accounts.is_email_taken(&key).await.unwrap(),
            "{variant}"
        );
        let again = sign_up(world, &new_account(&variant), unique_digest()).await;
        assert_eq!(again, Err(AddressRefusal::Taken), "{variant}");
        let found = world.stores.accounts.find_by_email(&key).await.unwrap();
        let expected = Some((account.clone(), new.password_hash.clone()));
        assert_eq!(found, expected, "{variant}");
    }
    assert_eq!(
        world.stores.accounts.find(account.id).await.unwrap(),
        Some(account)
    );
    for absent in [0, -1, i64::MIN, i64::MAX] {
        assert_eq!(
            world.stores.accounts.find(AccountId(absent)).await.unwrap(),
            None
        );
    }
}

/// Account, token and mail are there together, or none of them.
pub async fn sign_up_is_all_or_nothing(world: &World) {
    let (account, token) = world.unverified().await;
    let mails = mails_to(world, &account.email).await;
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, account.email);
    assert_eq!(mails[0].content, new_verification(token).mail);
    assert_eq!((mails[0].created_at, mails[0].sent_at), (world.now(), None));
    let due = world.stores.mails.due(ALL).await.unwrap();
    assert!(
        due.iter().any(|mail| mail.id == mails[0].id),
        "the mail is due at once"
    );
    assert_eq!(verify(world, token).await, Ok(account.id));

    let lost = unique_digest();
    let refused = sign_up(world, &new_account(&account.email), lost).await;
    assert_eq!(refused, Err(AddressRefusal::Taken));
    let mails = mails_to(world, &account.email).await;
    assert_eq!(mails.len(), 1, "a refused sign-up sends nothing");
    let refused = verify(world, lost).await;
    assert_eq!(
        refused,
        Err(VerifyRefusal::InvalidToken),
        "nor is there a token"
    );
}

/// A second sign-up with an address that is not verified yet takes the place of the first: tokens and password of the
/// first are void, and the day for verifying begins anew.
pub async fn a_sign_up_takes_the_place_of_an_unverified_one(world: &World) {
    let (first, void) = world.unverified().await;
    world.clock.advance(SignedDuration::from_hours(23));
    let new = NewAccount {
        name: "다른 이름".into(),
        ..new_account(&first.email.to_uppercase())
    };
    let token = unique_digest();
    let again = sign_up(world, &new, token).await.expect("not verified");
    let expected = Account {
        email: new.email.clone(),
        name: new.name.clone(),
        created_at: world.now(),
        generation: Some(new.generation),
        is_first_generation: false,
        ..first.clone()
    };
    assert_eq!(again, expected);
    let key = EmailKey::of(&first.email);
    let found = world.stores.accounts.find_by_email(&key).await.unwrap();
    assert_eq!(found, Some((again, new.password_hash)));
    let refused = verify(world, void).await;
    assert_eq!(
        refused,
        Err(VerifyRefusal::InvalidToken),
        "the token before"
    );
    let mails = mails_to(world, &first.email).await;
    assert_eq!(mails.len(), 2, "another mail");
    assert_eq!(mails[0].to, new.email);
    world.clock.advance(VERIFICATION_TOKEN_VALIDITY - MICRO);
    clean_up(world).await;
    assert_eq!(verify(world, token).await, Ok(first.id));
}

/// Sign-ups with one address at once make one account, and the last of them counts as a whole. No more of them go through
/// than the address may be sent mails.
pub async fn of_sign_ups_at_once_one_is_left(world: &World) {
    let address = format!("race-{}@example.com", unique());
    let results = at_once(world, 32, |world, number| {
        let typed = if number % 2 == 0 {
            address.clone()
        } else {
            address.to_uppercase()
        };
        async move {
            let (new, token) = (new_account(&typed), unique_digest());
            let signed_up = sign_up(&world, &new, token).await;
            signed_up.map(|account| (account, new.password_hash, token))
        }
    });
    let (won, refused): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 4, "the first, and three further mails");
    let too_many = |result: &Result<_, _>| matches!(result, Err(AddressRefusal::TooManyMails(_)));
    assert!(refused.iter().all(too_many), "{refused:?}");
    assert_eq!(mails_to(world, &address).await.len(), 4, "mails");
    let due = world.stores.mails.due(ALL).await.unwrap();
    let due = due
        .iter()
        .filter(|mail| mail.to.eq_ignore_ascii_case(&address));
    assert_eq!(due.count(), 1, "mails that will leave");
    let found = world
        .stores
        .accounts
        .find_by_email(&EmailKey::of(&address))
        .await;
    let (account, hash) = found.unwrap().expect("the account");
    let mut verified = 0;
    for (won, its_hash, token) in won.into_iter().flatten() {
        assert_eq!(won.id, account.id);
        let is_last = its_hash == hash;
        assert_eq!(won.generation == account.generation, is_last, "as a whole");
        assert_eq!(
            verify(world, token).await.is_ok(),
            is_last,
            "its token only"
        );
        verified += usize::from(is_last);
    }
    assert_eq!(verified, 1);
}

/// A token verifies the sign-up that it was mailed for, unless another sign-up was first and voids it: nobody is verified
/// with another's password.
pub async fn a_sign_up_and_a_verification_at_once_do_not_mix(world: &World) {
    for _ in 0..16 {
        let (first, token) = world.unverified().await;
        let new = new_account(&first.email);
        let results = at_once(world, 2, |world, number| {
            let new = new.clone();
            async move {
                match number {
                    0 => verify(&world, token).await.is_ok(),
                    _ => sign_up(&world, &new, unique_digest()).await.is_ok(),
                }
            }
        });
        let results = results.await;
        assert_ne!(results[0], results[1], "one of both");
        let found = world.stores.accounts.find(first.id).await.unwrap();
        let account = found.expect("the account");
        assert_eq!(account.verified, results[0]);
        let generation = if results[0] {
            first.generation
        } else {
            Some(new.generation)
        };
        assert_eq!(account.generation, generation);
    }
}

/// A token verifies once, however often it is tried at once, and is answered as spent for a day.
pub async fn a_token_is_spent_once(world: &World) {
    let (account, token) = world.unverified().await;
    let results = at_once(world, 64, move |world, _| async move {
        verify(&world, token).await
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1, "verifications by one token");
    assert!(
        lost.iter()
            .all(|result| *result == Err(VerifyRefusal::Spent))
    );
    let found = world.stores.accounts.find(account.id).await.unwrap();
    assert!(found.expect("the account").verified);
    assert_eq!(
        verify(world, unique_digest()).await,
        Err(VerifyRefusal::InvalidToken)
    );
    world.clock.advance(SignedDuration::from_hours(24));
    clean_up(world).await;
    let looked = world.stores.accounts.verifiable(token).await.unwrap();
    assert_eq!(looked.map(drop), Err(VerifyRefusal::Spent));
    world.clock.advance(SignedDuration::from_hours(1));
    clean_up(world).await;
    let looked = world.stores.accounts.verifiable(token).await.unwrap();
    assert_eq!(looked.map(drop), Err(VerifyRefusal::InvalidToken));
}

/// A verification may set a new password, which ends all sessions; one that is refused sets none.
pub async fn a_verification_may_set_a_password(world: &World) {
    let (account, token) = world.unverified().await;
    let key = EmailKey::of(&account.email);
    let password = |hash: &str| NewPassword {
        hash: hash.into(),
        generation: unique_generation(),
    };
    let lost = Some(password("lost"));
    let refused = world
        .stores
        .accounts
        .verify(unique_digest(), lost)
        .await
        .unwrap();
    assert_eq!(refused, Err(VerifyRefusal::InvalidToken));
    let looked = world.stores.accounts.verifiable(token).await.unwrap();
    assert_eq!(looked, Ok(account.clone()), "a look changes nothing");
    let set = password("set");
    let verified = world.stores.accounts.verify(token, Some(set.clone())).await;
    let expected = Account {
        verified: true,
        generation: Some(set.generation),
        is_first_generation: false,
        ..account
    };
    assert_eq!(verified.unwrap(), Ok(expected.clone()));
    let late = Some(password("late"));
    let refused = world.stores.accounts.verify(token, late).await.unwrap();
    assert_eq!(refused, Err(VerifyRefusal::Spent));
    let found = world.stores.accounts.find_by_email(&key).await.unwrap();
    assert_eq!(found, Some((expected, "set".into())));
}

/// A token allows a bounded number of tries with a password, also of tries at once; without a password it verifies
/// nevertheless.
pub async fn a_token_allows_a_bounded_number_of_passwords(world: &World) {
    let (account, token) = world.unverified().await;
    let key = EmailKey::of(&account.email);
    let found = world.stores.accounts.find_by_email(&key).await.unwrap();
    let (_, hash) = found.expect("the account");
    let results = at_once(world, 32, move |world, _| async move {
        world.stores.accounts.try_password(token).await.unwrap()
    });
    let (tried, refused): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
    assert_eq!(tried.len(), MAX_PASSWORD_TRIES_PER_TOKEN as usize);
    assert!(
        tried
            .iter()
            .all(|result| *result == Ok((account.clone(), hash.clone())))
    );
    let too_many = Err(TryRefusal::TooManyTries);
    assert!(refused.iter().all(|result| *result == too_many));
    assert_eq!(verify(world, token).await, Ok(account.id));
    let spent = world.stores.accounts.try_password(token).await.unwrap();
    assert_eq!(spent, Err(TryRefusal::Verify(VerifyRefusal::Spent)));
}

/// An account gets a generation once: the first draw counts.
pub async fn a_generation_that_is_there_stays(world: &World) {
    let (account, _) = world.unverified().await;
    let drawn = world
        .stores
        .accounts
        .draw_generation(account.id, unique_generation());
    drawn.await.unwrap();
    let found = world.stores.accounts.find(account.id).await.unwrap();
    assert_eq!(found, Some(account));
    let nobody = world
        .stores
        .accounts
        .draw_generation(AccountId(i64::MAX), unique_generation());
    nobody.await.unwrap();
}

async fn clean_up(world: &World) {
    while world.stores.upkeep.clean_up(100).await.unwrap() > 0 {}
}

/// An account that nobody verified within a day is deleted with its tokens; its address is free.
pub async fn an_unverified_account_goes_after_a_day(world: &World) {
    let (account, token) = world.unverified().await;
    let key = EmailKey::of(&account.email);
    let verified = world.account().await;
    world.clock.advance(UNVERIFIED_ACCOUNT_LIFETIME - MICRO);
    let (other, _) = world.unverified().await;
    clean_up(world).await;
    assert!(
        world
            .stores
            .accounts
            .find(account.id)
            .await
            .unwrap()
            .is_some()
    );
    world.clock.advance(MICRO);
    let renewed = world
        .stores
        .accounts
        .renew_verification(&key, new_verification(unique_digest()));
    let gone = Err(ResendRefusal::AccountNotFound);
    assert_eq!(renewed.await.unwrap(), gone, "gone, swept or not");
    assert_eq!(world.stores.upkeep.clean_up(1).await.unwrap(), 1);
    clean_up(world).await;
    assert_eq!(world.stores.accounts.find(account.id).await.unwrap(), None);
    assert_eq!(
        world.stores.accounts.find_by_email(&key).await.unwrap(),
        None
    );
    assert_eq!(verify(world, token).await, Err(VerifyRefusal::InvalidToken));
    for kept in [&verified, &other] {
        assert!(world.stores.accounts.find(kept.id).await.unwrap().is_some());
    }
    let again = sign_up(world, &new_account(&account.email), unique_digest()).await;
    assert_ne!(again.expect("a free address").id, account.id);
}

/// Beyond three further mails within an hour and ten within a day nothing happens, and the last link stays good.
pub async fn further_mails_are_bounded(world: &World) {
    let (account, _) = world.unverified().await;
    let key = EmailKey::of(&account.email);
    let minute = SignedDuration::from_mins(1);
    let mut last = unique_digest();
    let (mut sent, mut refused) = (Vec::new(), 0);
    // Every quarter of an hour, in turn by a resend and by another sign-up.
    for round in 0..56 {
        let token = unique_digest();
        let wait = if round % 2 == 0 {
            let renewed = world
                .stores
                .accounts
                .renew_verification(&key, new_verification(token));
            match renewed.await.unwrap() {
                Ok(()) => None,
                Err(ResendRefusal::TooManyMails(wait)) => Some(wait),
                Err(other) => panic!("{other:?}"),
            }
        } else {
            match sign_up(world, &new_account(&account.email), token).await {
                Ok(_) => None,
                Err(AddressRefusal::TooManyMails(wait)) => Some(wait),
                Err(other) => panic!("{other:?}"),
            }
        };
        let within = |duration: SignedDuration| {
            let since = world.now() - duration;
            sent.iter().filter(|at| **at > since).count()
        };
        let (hour, day) = (
            SignedDuration::from_hours(1),
            SignedDuration::from_hours(24),
        );
        match wait {
            None => {
                assert!(within(hour) < 3 && within(day) < 10);
                sent.push(world.now());
                last = token;
            }
            Some(wait) => {
                assert!(within(hour) >= 3 || within(day) >= 10);
                assert!(wait.is_positive() && wait <= day);
                refused += 1;
            }
        }
        let looked = world.stores.accounts.verifiable(last).await.unwrap();
        let is_young = sent.last().is_none_or(|at| world.now() < *at + minute * 30);
        assert_eq!(
            looked.is_ok(),
            is_young && !sent.is_empty(),
            "the last link"
        );
        world.clock.advance(minute * 15);
    }
    assert!(sent.len() >= 10 && refused > 5, "{} {refused}", sent.len());
    assert_eq!(mails_to(world, &account.email).await.len(), 1 + sent.len());
}

/// A token is good until just before half an hour has passed.
pub async fn a_token_lasts_half_an_hour(world: &World) {
    let (_, in_time) = world.unverified().await;
    let (late_account, late) = world.unverified().await;
    world.clock.advance(VERIFICATION_TOKEN_VALIDITY - MICRO);
    assert!(verify(world, in_time).await.is_ok());
    world.clock.advance(MICRO);
    let refused = verify(world, late).await;
    assert_eq!(refused, Err(VerifyRefusal::InvalidToken));
    let found = world.stores.accounts.find(late_account.id).await.unwrap();
    assert!(!found.expect("the account").verified);
}

/// A new token voids all before it and has a half-hour of its own.
pub async fn a_renewal_voids_the_token_before(world: &World) {
    let (account, first) = world.unverified().await;
    let key = EmailKey::of(&account.email.to_uppercase());
    world.clock.advance(VERIFICATION_TOKEN_VALIDITY - MICRO);
    let second = unique_digest();
    let renewed = world
        .stores
        .accounts
        .renew_verification(&key, new_verification(second))
        .await;
    assert_eq!(renewed.unwrap(), Ok(()));
    let third = unique_digest();
    let renewed = world
        .stores
        .accounts
        .renew_verification(&key, new_verification(third))
        .await;
    assert_eq!(renewed.unwrap(), Ok(()));
    let mails = mails_to(world, &account.email).await;
    assert_eq!(mails.len(), 3, "one mail for each token");
    assert!(
        mails.iter().all(|mail| mail.to == account.email),
        "to the address as typed"
    );
    for void in [first, second] {
        let refused = verify(world, void).await;
        assert_eq!(refused, Err(VerifyRefusal::InvalidToken), "a voided token");
    }
    world.clock.advance(VERIFICATION_TOKEN_VALIDITY - MICRO);
    assert_eq!(verify(world, third).await, Ok(account.id));
}

/// Where there is nothing to verify, no token and no mail are made.
pub async fn a_renewal_is_refused_without_a_trace(world: &World) {
    let verified = world.account().await;
    let unknown = format!("nobody-{}@example.com", unique());
    for (address, refusal, mails) in [
        (unknown.as_str(), ResendRefusal::AccountNotFound, 0),
        (verified.email.as_str(), ResendRefusal::AlreadyVerified, 1),
    ] {
        let token = unique_digest();
        let key = EmailKey::of(address);
        let renewed = world
            .stores
            .accounts
            .renew_verification(&key, new_verification(token))
            .await;
        assert_eq!(renewed.unwrap(), Err(refusal));
        assert_eq!(mails_to(world, address).await.len(), mails);
        let refused = verify(world, token).await;
        assert_eq!(refused, Err(VerifyRefusal::InvalidToken));
    }
}
