//! Laws of [`goodpon_application::ports::Mails`].

use goodpon_application::ports::NewVerification;
use goodpon_application::ports::{MailState, QueuedMail, StoredMail};
use goodpon_domain::account::{EmailKey, VERIFICATION_TOKEN_VALIDITY};
use goodpon_trace::{SpanId, TraceContext, TraceId};
use jiff::SignedDuration;

use crate::{
    World,
    scene::{ALL, MICRO, new_account, new_verification, unique_digest},
};

/// Reads the mails that are due to one of `addresses`, in the order of the store.
async fn due(world: &World, addresses: &[String]) -> Vec<QueuedMail> {
    let due = world.stores.mails.due(ALL).await.unwrap();
    due.into_iter()
        .filter(|mail| addresses.contains(&mail.to))
        .collect()
}

async fn only(world: &World, address: &str) -> StoredMail {
    let mut listed = world.stores.mails.list(Some(address), ALL).await.unwrap();
    assert_eq!(listed.len(), 1, "mails to {address}");
    listed.remove(0)
}

/// Mails that are due come oldest first, up to the limit, and no more once they left.
pub async fn mails_are_due_oldest_first_until_sent(world: &World) {
    let (mut addresses, mut tokens) = (Vec::new(), Vec::new());
    for number in 0..5 {
        world.clock.advance(MICRO * (number % 2));
        let (account, token) = world.unverified().await;
        addresses.push(account.email);
        tokens.push(token);
    }
    let mails = due(world, &addresses).await;
    assert_eq!(
        mails.iter().map(|mail| mail.to.clone()).collect::<Vec<_>>(),
        addresses
    );
    for (mail, token) in mails.iter().zip(tokens) {
        let written = new_verification(token).mail;
        assert_eq!((mail.attempts, &mail.content), (0, &written));
        let listed = only(world, &mail.to).await;
        assert_eq!(
            (listed.created_at, listed.state(), listed.error),
            (mail.created_at, MailState::Waiting, None)
        );
    }
    assert_eq!(
        world.stores.mails.due(2).await.unwrap().len(),
        2,
        "no more than the limit"
    );
    world.clock.advance(SignedDuration::from_secs(1));
    for number in 0..5 {
        world
            .stores
            .mails
            .mark_sent(mails[number].id)
            .await
            .unwrap();
        assert_eq!(
            due(world, &addresses).await,
            mails[number + 1..],
            "without what left"
        );
        let listed = only(world, &addresses[number]).await;
        assert_eq!(
            (listed.sent_at, listed.state()),
            (Some(world.now()), MailState::Sent)
        );
    }
    world.clock.advance(SignedDuration::from_hours(48));
    assert!(due(world, &addresses).await.is_empty(), "never again");
}

/// Each mail that is due has the network whose request wrote it, and the mails that are due can be counted.
pub async fn mails_know_their_network(world: &World) {
    let (account, _) = world.unverified().await;
    let verification = NewVerification {
        origin: Some("2001:db8:1::".to_owned()),
        ..new_verification(unique_digest())
    };
    let key = EmailKey::of(&account.email);
    let renewed = world
        .stores
        .accounts
        .renew_verification(&key, verification)
        .await;
    assert_eq!(renewed.unwrap(), Ok(()));
    let mail = due(world, std::slice::from_ref(&account.email))
        .await
        .remove(0);
    assert_eq!(mail.origin.as_deref(), Some("2001:db8:1::"));
    let backlog = world.stores.mails.backlog().await.unwrap();
    let due = world.stores.mails.due(ALL).await.unwrap();
    assert_eq!(backlog.due, i64::try_from(due.len()).unwrap());
    assert!(backlog.oldest.is_some_and(|oldest| oldest <= world.now()));
}

/// A mail keeps the trace in whose context it was written, beside mails that are written in other contexts or in none.
pub async fn mails_keep_the_trace_of_their_request(world: &World) {
    let context = || {
        Some(TraceContext {
            trace_id: TraceId::fresh(),
            parent: SpanId::fresh(),
            sampled: true,
        })
    };
    let (one, other) = (context(), context());
    let ((first, _), (second, _), (third, _)) = tokio::join!(
        goodpon_trace::scope(one, world.unverified()),
        world.unverified(),
        goodpon_trace::scope(other, world.unverified()),
    );
    for (account, trace) in [(first, one), (second, None), (third, other)] {
        let mail = due(world, &[account.email]).await.remove(0);
        assert_eq!(mail.trace, trace);
    }
}

/// A failed try counts, and the next is due at its time exactly; without a time there is none.
pub async fn a_failed_mail_waits_for_its_time(world: &World) {
    let minute = SignedDuration::from_mins(1);
    let addresses = [
        world.unverified().await.0.email,
        world.unverified().await.0.email,
    ];
    let mails = due(world, &addresses).await;
    for attempt in 1..=3 {
        let retry_at = world.now() + minute;
        let failed =
            world
                .stores
                .mails
                .mark_failed(mails[0].id, Some(retry_at), "451 try later 🎟".into());
        failed.await.unwrap();
        assert_eq!(due(world, &addresses[..1]).await, []);
        world.clock.advance(minute - MICRO);
        assert_eq!(
            due(world, &addresses[..1]).await,
            [],
            "just before its time"
        );
        world.clock.advance(MICRO);
        let again = due(world, &addresses[..1]).await;
        let expected = QueuedMail {
            attempts: attempt,
            ..mails[0].clone()
        };
        assert_eq!(again, [expected], "at its time");
        let listed = only(world, &addresses[0]).await;
        assert_eq!(
            (listed.state(), listed.attempts, listed.error.as_deref()),
            (MailState::Waiting, attempt, Some("451 try later 🎟"))
        );
    }
    assert_eq!(
        due(world, &addresses[1..]).await,
        mails[1..],
        "the other is not held up"
    );
    let refused = world
        .stores
        .mails
        .mark_failed(mails[1].id, None, "550 no such mailbox".into());
    refused.await.unwrap();
    world.clock.advance(SignedDuration::from_hours(24 * 30));
    assert_eq!(due(world, &addresses[1..]).await, [], "never again");
    let listed = only(world, &addresses[1]).await;
    assert_eq!(
        (listed.state(), listed.attempts, listed.error.as_deref()),
        (MailState::GivenUp, 1, Some("550 no such mailbox")),
        "but listed"
    );
    world.stores.mails.mark_sent(mails[0].id).await.unwrap();
    assert_eq!(due(world, &addresses).await, []);
}

/// A mail that was given up is not due any more, whatever the outcome of a try that was under way.
pub async fn a_mail_given_up_stays_listed(world: &World) {
    let address = world.unverified().await.0.email;
    let addresses = std::slice::from_ref(&address);
    let mail = due(world, addresses).await.remove(0);
    let given_up = world
        .stores
        .mails
        .mark_failed(mail.id, None, "no mail server".into());
    given_up.await.unwrap();
    let late = world
        .stores
        .mails
        .mark_failed(mail.id, Some(world.now()), "451 try later".into());
    late.await.unwrap();
    assert_eq!(due(world, addresses).await, []);
    let listed = only(world, &address).await;
    assert_eq!(
        (listed.state(), listed.attempts, listed.error.as_deref()),
        (MailState::GivenUp, 1, Some("no mail server"))
    );
}

/// A mail whose token a newer mail voids must not leave any more. One that left is not touched.
pub async fn a_newer_mail_supersedes_one_that_waits(world: &World) {
    let (account, _) = world.unverified().await;
    let (other, _) = world.unverified().await;
    let addresses = [account.email.clone(), other.email];
    let key = EmailKey::of(&account.email);
    let first = due(world, &addresses[..1]).await.remove(0);
    for _ in 0..2 {
        let verification = new_verification(unique_digest());
        let renewed = world
            .stores
            .accounts
            .renew_verification(&key, verification)
            .await;
        assert_eq!(renewed.unwrap(), Ok(()));
    }
    let waiting = due(world, &addresses[..1]).await;
    assert_eq!(waiting.len(), 1, "the newest only");
    assert!(waiting[0].id != first.id);
    assert_eq!(due(world, &addresses[1..]).await.len(), 1, "the other's");
    let states = async || {
        let listed = world
            .stores
            .mails
            .list(Some(&account.email), ALL)
            .await
            .unwrap();
        listed.iter().map(StoredMail::state).collect::<Vec<_>>()
    };
    let (waits, given_up) = (MailState::Waiting, MailState::GivenUp);
    assert_eq!(states().await, [waits, given_up, given_up]);
    world.stores.mails.mark_sent(waiting[0].id).await.unwrap();
    let renewed = world
        .stores
        .accounts
        .renew_verification(&key, new_verification(unique_digest()))
        .await;
    assert_eq!(renewed.unwrap(), Ok(()));
    assert_eq!(states().await, [waits, MailState::Sent, given_up, given_up]);
}

/// Mails are listed newest first, all of them or those to one address, up to the limit.
pub async fn mails_are_listed_newest_first(world: &World) {
    let (account, _) = world.unverified().await;
    let (other, _) = world.unverified().await;
    let key = EmailKey::of(&account.email);
    for number in 0..3 {
        world.clock.advance(MICRO * (number % 2));
        let verification = new_verification(unique_digest());
        let renewed = world
            .stores
            .accounts
            .renew_verification(&key, verification)
            .await;
        assert_eq!(renewed.unwrap(), Ok(()));
    }
    let listed = world
        .stores
        .mails
        .list(Some(&account.email), ALL)
        .await
        .unwrap();
    assert_eq!(listed.len(), 4);
    let place = |mail: &StoredMail| (mail.created_at, mail.id);
    assert!(
        listed
            .windows(2)
            .all(|pair| place(&pair[0]) > place(&pair[1])),
        "newest first"
    );
    assert!(listed.iter().all(|mail| mail.to == account.email));
    let first = world
        .stores
        .mails
        .list(Some(&account.email), 2)
        .await
        .unwrap();
    assert_eq!(first, listed[..2]);
    let all = world.stores.mails.list(None, ALL).await.unwrap();
    assert!(
        all.windows(2).all(|pair| place(&pair[0]) > place(&pair[1])),
        "newest first"
    );
    let ours: Vec<_> = all
        .into_iter()
        .filter(|mail| mail.to == account.email)
        .collect();
    assert_eq!(ours, listed);
    only(world, &other.email).await;
    let nobody = world
        .stores
        .mails
        .list(Some("nobody@example.com"), ALL)
        .await
        .unwrap();
    assert!(nobody.is_empty());
}

/// A mail goes a week after it left; after it was written, where it never left.
pub async fn mails_are_kept_for_a_week(world: &World) {
    let week = SignedDuration::from_hours(24 * 7);
    let waiting = world.unverified().await.0.email;
    let given_up = world.account().await.email;
    let sent = world.unverified().await.0.email;
    world.clock.advance(SignedDuration::from_hours(1));
    let mail = due(world, std::slice::from_ref(&sent)).await.remove(0);
    world.stores.mails.mark_sent(mail.id).await.unwrap();
    world
        .clock
        .advance(week - SignedDuration::from_hours(1) - MICRO);
    clean_up(world).await;
    for address in [&waiting, &given_up, &sent] {
        only(world, address).await;
    }
    world.clock.advance(MICRO);
    clean_up(world).await;
    for address in [&waiting, &given_up] {
        let listed = world.stores.mails.list(Some(address), ALL).await.unwrap();
        assert!(listed.is_empty(), "{listed:?}");
    }
    only(world, &sent).await;
    world.clock.advance(SignedDuration::from_hours(1));
    clean_up(world).await;
    assert!(
        world
            .stores
            .mails
            .list(Some(&sent), ALL)
            .await
            .unwrap()
            .is_empty()
    );
}

async fn clean_up(world: &World) {
    while world.stores.upkeep.clean_up(2).await.unwrap() > 0 {}
}

/// Asserts the texts of a mail, token included or with the token blanked.
fn says(mail: &StoredMail, token: [u8; 32], is_blanked: bool) {
    let whole = new_verification(token).mail;
    let expected = if is_blanked {
        whole.without_token()
    } else {
        whole
    };
    assert_eq!(mail.content, expected, "blanked: {is_blanked}");
}

/// A newer mail, another sign-up and the verification blank the token, whether the mail left or not.
pub async fn tokens_in_mails_are_blanked_once_void(world: &World) {
    let (account, first) = world.unverified().await;
    let (other, others) = world.unverified().await;
    let key = EmailKey::of(&account.email);
    let list = async || {
        world
            .stores
            .mails
            .list(Some(&account.email), ALL)
            .await
            .unwrap()
    };
    let sent = list().await.remove(0);
    says(&sent, first, false);
    world.stores.mails.mark_sent(sent.id).await.unwrap();
    let second = unique_digest();
    let renewed = world
        .stores
        .accounts
        .renew_verification(&key, new_verification(second))
        .await;
    assert_eq!(renewed.unwrap(), Ok(()));
    let mails = list().await;
    says(&mails[0], second, false);
    says(&mails[1], first, true);
    let third = unique_digest();
    let again = world
        .stores
        .accounts
        .sign_up(new_account(&account.email), new_verification(third))
        .await;
    assert!(again.unwrap().is_ok());
    let mails = list().await;
    says(&mails[0], third, false);
    says(&mails[1], second, true);
    assert_eq!(mails[0].state(), MailState::Waiting);
    let verified = world.stores.accounts.verify(third, None).await.unwrap();
    assert!(verified.is_ok());
    let mails = list().await;
    says(&mails[0], third, true);
    assert_eq!(
        mails[0].state(),
        MailState::GivenUp,
        "it need not leave any more"
    );
    says(&only(world, &other.email).await, others, false);
}

/// A token is blanked once its half-hour is over, if its mail does not wait any more; else later.
pub async fn tokens_in_mails_are_blanked_at_their_end(world: &World) {
    let mut sent = Vec::new();
    for _ in 0..5 {
        let (account, token) = world.unverified().await;
        let mail = only(world, &account.email).await;
        world.stores.mails.mark_sent(mail.id).await.unwrap();
        sent.push((account.email, token));
    }
    let (waiting, its_token) = world.unverified().await;
    world.clock.advance(VERIFICATION_TOKEN_VALIDITY - MICRO);
    clean_up(world).await;
    for (address, token) in &sent {
        says(&only(world, address).await, *token, false);
    }
    world.clock.advance(MICRO);
    clean_up(world).await;
    for (address, token) in &sent {
        says(&only(world, address).await, *token, true);
    }
    let mail = only(world, &waiting.email).await;
    says(&mail, its_token, false);
    world.stores.mails.mark_sent(mail.id).await.unwrap();
    clean_up(world).await;
    says(&only(world, &waiting.email).await, its_token, true);
}
