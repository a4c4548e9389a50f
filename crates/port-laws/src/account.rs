//! Laws of [`goodpon_application::ports::Accounts`].

use goodpon_domain::{
    account::{EmailKey, ResendRefusal, VERIFICATION_TOKEN_VALIDITY, VerifyRefusal},
    id::AccountId,
};

use goodpon_application::{mail::StoredMail, ports::EmailTaken};

use crate::{
    World,
    scene::{ALL, MICRO, at_once, new_account, new_verification, unique, unique_digest},
};

async fn mails_to(world: &World, address: &str) -> Vec<StoredMail> {
    let all = world.outbox.list(None, ALL).await.unwrap();
    all.into_iter()
        .filter(|mail| mail.to.eq_ignore_ascii_case(address))
        .collect()
}

/// An address is taken however its letters are written, and shown as it was typed.
pub async fn addresses_are_unique_without_regard_to_case(world: &World) {
    let typed = format!("Mixed.Case+{}@Example.COM", unique());
    let key = EmailKey::of(&typed);
    assert!(!world.accounts.is_email_taken(&key).await.unwrap());
    assert_eq!(world.accounts.find_by_email(&key).await.unwrap(), None);
    let new = new_account(&typed);
    let account = world
        .accounts
        .sign_up(new.clone(), new_verification(unique_digest()));
    let account = account.await.unwrap().expect("a new address");
    assert_eq!((&account.email, &account.name), (&new.email, &new.name));
    assert_eq!((account.verified, account.created_at), (false, world.now()));
    for variant in [typed.to_uppercase(), typed.to_lowercase(), typed.clone()] {
        let key = EmailKey::of(&variant);
        assert!(
            world.accounts.is_email_taken(&key).await.unwrap(),
            "{variant}"
        );
        let again = world
            .accounts
            .sign_up(new_account(&variant), new_verification(unique_digest()));
        assert_eq!(again.await.unwrap(), Err(EmailTaken), "{variant}");
        let found = world.accounts.find_by_email(&key).await.unwrap();
        assert_eq!(
            found,
            Some((account.clone(), new.password_hash.clone())),
            "{variant}"
        );
    }
    assert_eq!(
        world.accounts.find(account.id).await.unwrap(),
        Some(account)
    );
    for absent in [0, -1, i64::MIN, i64::MAX] {
        assert_eq!(world.accounts.find(AccountId(absent)).await.unwrap(), None);
    }
}

/// Of sign-ups with one address at once, one goes through and sends one mail.
pub async fn one_of_many_sign_ups_at_once_wins(world: &World) {
    let address = format!("race-{}@example.com", unique());
    let results = at_once(world, 32, |world, number| {
        let typed = if number % 2 == 0 {
            address.clone()
        } else {
            address.to_uppercase()
        };
        async move {
            let verification = new_verification(unique_digest());
            world
                .accounts
                .sign_up(new_account(&typed), verification)
                .await
                .unwrap()
        }
    });
    let won = results.await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1, "sign-ups with one address that went through");
    assert_eq!(mails_to(world, &address).await.len(), 1, "mails");
}

/// Account, token and mail are there together, or none of them.
pub async fn sign_up_is_all_or_nothing(world: &World) {
    let (account, token) = world.unverified().await;
    let mails = mails_to(world, &account.email).await;
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].to, account.email);
    assert_eq!(mails[0].content, new_verification(token).mail);
    assert_eq!((mails[0].created_at, mails[0].sent_at), (world.now(), None));
    let due = world.outbox.due(ALL).await.unwrap();
    assert!(
        due.iter().any(|mail| mail.id == mails[0].id),
        "the mail is due at once"
    );

    let lost = unique_digest();
    let refused = world
        .accounts
        .sign_up(new_account(&account.email), new_verification(lost));
    assert_eq!(refused.await.unwrap(), Err(EmailTaken));
    assert_eq!(
        mails_to(world, &account.email).await.len(),
        1,
        "a refused sign-up sends nothing"
    );
    let verified = world.accounts.verify(lost).await.unwrap();
    assert_eq!(
        verified,
        Err(VerifyRefusal::InvalidToken),
        "nor does it leave a token"
    );

    let verified = world.accounts.verify(token).await.unwrap();
    assert_eq!(verified.map(|verified| verified.id), Ok(account.id));
}

/// A token verifies once, however often it is tried at once.
pub async fn a_token_is_spent_once(world: &World) {
    let (account, token) = world.unverified().await;
    let results = at_once(world, 64, move |world, _| async move {
        world.accounts.verify(token).await.unwrap()
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.await.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1, "verifications by one token");
    assert!(
        lost.iter()
            .all(|result| *result == Err(VerifyRefusal::InvalidToken))
    );
    let found = world.accounts.find(account.id).await.unwrap();
    assert!(found.expect("the account").verified);
    let unknown = world.accounts.verify(unique_digest()).await.unwrap();
    assert_eq!(unknown, Err(VerifyRefusal::InvalidToken));
}

/// A token is good until just before half an hour has passed.
pub async fn a_token_lasts_half_an_hour(world: &World) {
    let (_, in_time) = world.unverified().await;
    let (late_account, late) = world.unverified().await;
    world.clock.advance(VERIFICATION_TOKEN_VALIDITY - MICRO);
    assert!(world.accounts.verify(in_time).await.unwrap().is_ok());
    world.clock.advance(MICRO);
    let refused = world.accounts.verify(late).await.unwrap();
    assert_eq!(refused, Err(VerifyRefusal::InvalidToken));
    let found = world.accounts.find(late_account.id).await.unwrap();
    assert!(!found.expect("the account").verified);
}

/// A new token voids all before it and has a half-hour of its own.
pub async fn a_renewal_voids_the_token_before(world: &World) {
    let (account, first) = world.unverified().await;
    let key = EmailKey::of(&account.email.to_uppercase());
    world.clock.advance(VERIFICATION_TOKEN_VALIDITY - MICRO);
    let second = unique_digest();
    let renewed = world
        .accounts
        .renew_verification(&key, new_verification(second))
        .await;
    assert_eq!(renewed.unwrap(), Ok(()));
    let third = unique_digest();
    let renewed = world
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
        let refused = world.accounts.verify(void).await.unwrap();
        assert_eq!(refused, Err(VerifyRefusal::InvalidToken), "a voided token");
    }
    world.clock.advance(VERIFICATION_TOKEN_VALIDITY - MICRO);
    let verified = world
        .accounts
        .verify(third)
        .await
        .unwrap()
        .expect("the newest token");
    assert_eq!((verified.id, verified.verified), (account.id, true));
}

/// Where there is nothing to verify, no token and no mail come into being.
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
            .accounts
            .renew_verification(&key, new_verification(token))
            .await;
        assert_eq!(renewed.unwrap(), Err(refusal));
        assert_eq!(mails_to(world, address).await.len(), mails);
        let refused = world.accounts.verify(token).await.unwrap();
        assert_eq!(refused, Err(VerifyRefusal::InvalidToken));
    }
}
