//! Laws of idempotency keys, wherever a port takes one (contract §3.1).

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use goodpon_application::{
    idempotency::{ANSWER_RETENTION, Answer, Idempotency, Outcome, Peek},
    ports::{CancelOutcome, IssueOutcome, RedeemOutcome, RedeemRequest},
};
use goodpon_domain::{
    coupon::IssueRefusal,
    id::{CouponId, MerchantId, TemplateId},
    ledger::HistoryAction::{self, CancelRedemption, Issue, Redeem},
    redemption::{CancelRefusal, RedeemRefusal},
    template::Limit,
};

use crate::{
    World,
    scene::{
        MICRO, at_once, cancel_request, issue_request, order, ran, unique_key, without_id,
        without_ids,
    },
};

const BODY: [u8; 16] = [7; 16];
const OTHER_BODY: [u8; 16] = [8; 16];

/// Makes an answer with the outcome, and with bytes in it that no text has.
fn answer<T: Debug>(outcome: &T) -> Answer {
    let mut body = format!("{outcome:?} 쿠폰 🎟\r\n ").into_bytes();
    body.extend(0..=255);
    Answer {
        status: 200,
        body: Bytes::from(body),
    }
}

fn keyed<T: Debug + 'static>(key: [u8; 16], body: [u8; 16]) -> Idempotency<T> {
    Idempotency {
        key,
        body,
        render: Arc::new(answer),
    }
}

/// A keyed issue, whose answer does not show the coupon's id: what the contract's answers do not show either.
fn keyed_issue(key: [u8; 16], body: [u8; 16]) -> Idempotency<IssueOutcome> {
    Idempotency {
        key,
        body,
        render: Arc::new(|outcome: &IssueOutcome| answer(&without_id(*outcome))),
    }
}

type Issuing = Result<(), IssueRefusal>;

type Key = ([u8; 16], [u8; 16]);

async fn issue(
    world: &World,
    merchant: MerchantId,
    template: TemplateId,
    user: &str,
    (key, body): Key,
) -> Outcome<Issuing> {
    let request = issue_request(merchant, template, user);
    let issued = world
        .stores
        .gate
        .issue(request, Some(keyed_issue(key, body)));
    without_ids(issued.await.unwrap())
}

async fn redeem(
    world: &World,
    merchant: MerchantId,
    coupon_id: CouponId,
    user: &str,
    (key, body): Key,
) -> Outcome<RedeemOutcome> {
    let request = RedeemRequest {
        merchant_id: merchant,
        coupon_id,
        order: order(user, "o", 5_000),
    };
    world
        .stores
        .coupons
        .redeem(request, Some(keyed(key, body)))
        .await
        .unwrap()
}

async fn cancel(
    world: &World,
    merchant: MerchantId,
    coupon: CouponId,
    (key, body): Key,
) -> Outcome<CancelOutcome> {
    let request = cancel_request(merchant, coupon, "o");
    world
        .stores
        .coupons
        .cancel(request, Some(keyed(key, body)))
        .await
        .unwrap()
}

async fn peek_issue(world: &World, template: TemplateId, (key, body): Key) -> Peek {
    world
        .stores
        .gate
        .peek(template, &keyed_issue(key, body))
        .await
        .unwrap()
}

async fn peek_coupon(world: &World, (key, body): Key) -> Peek {
    world.stores.coupons.peek(key, body).await.unwrap()
}

async fn count(world: &World, merchant: MerchantId, action: HistoryAction) -> usize {
    let ledger = world.ledger(merchant).await;
    ledger.iter().filter(|entry| entry.action == action).count()
}

/// Returns the one outcome that ran; all others replay its answer, or came while it was running.
fn one_ran<T: Debug>(outcomes: Vec<Outcome<T>>) -> T {
    let (ran, others): (Vec<_>, Vec<_>) = outcomes
        .into_iter()
        .partition(|one| matches!(one, Outcome::Ran(_)));
    assert_eq!(ran.len(), 1, "requests with one key that ran");
    let Some(Outcome::Ran(outcome)) = ran.into_iter().next() else {
        panic!("it ran")
    };
    let expected = answer(&outcome);
    for other in others {
        match other {
            Outcome::Replayed(replayed) => assert_eq!(replayed, expected),
            Outcome::Processing => {}
            other => panic!("expected a replay, got {other:?}"),
        }
    }
    outcome
}

/// A stored answer is given again as it was, although a later version of the program may have other words.
pub async fn a_replay_keeps_the_words_of_its_time(world: &World) {
    let (shop, stranger) = (world.shop().await, world.shop().await);
    let id = world
        .published(&shop, world.limited(Limit::IssueCount(1)))
        .await;
    let later = |key| Idempotency::<IssueOutcome> {
        key,
        body: BODY,
        render: Arc::new(|outcome| Answer {
            status: 299,
            body: format!("In other words: {outcome:?}").into(),
        }),
    };
    for (merchant, user, expected) in [
        (shop.id, "first", Ok(())),
        (shop.id, "first", Err(IssueRefusal::AlreadyIssued)),
        (shop.id, "too late", Err(IssueRefusal::SoldOut)),
        (stranger.id, "first", Err(IssueRefusal::NotOwnedByMerchant)),
    ] {
        let key = unique_key();
        let outcome = issue(world, merchant, id, user, (key, BODY)).await;
        assert_eq!(outcome, Outcome::Ran(expected));
        let request = issue_request(merchant, id, user);
        let again = world
            .stores
            .gate
            .issue(request, Some(later(key)))
            .await
            .unwrap();
        assert_eq!(again, Outcome::Replayed(answer(&expected)), "{expected:?}");
        let peeked = world.stores.gate.peek(id, &later(key)).await.unwrap();
        assert_eq!(peeked, Peek::Finished(answer(&expected)), "{expected:?}");
    }
    world.audited().await;
}

/// The second request gets the first one's answer, and nothing happens.
pub async fn an_issue_is_replayed_to_the_byte(world: &World) {
    let shop = world.shop().await;
    let id = world
        .published(&shop, world.limited(Limit::IssueCount(2)))
        .await;
    let key = (unique_key(), BODY);
    let first = issue(world, shop.id, id, "u", key).await;
    assert_eq!(first, Outcome::Ran(Ok(())));
    for _ in 0..2 {
        let again = issue(world, shop.id, id, "u", key).await;
        assert_eq!(again, Outcome::Replayed(answer(&Issuing::Ok(()))));
        world.settled().await;
    }
    assert_eq!(count(world, shop.id, Issue).await, 1);
    let without = world.issue(shop.id, id, "u").await;
    assert_eq!(
        without,
        Err(IssueRefusal::AlreadyIssued),
        "without the key it is a request of its own"
    );
    world.audited().await;
}

/// The answer to a redemption is replayed after its cancellation, and the cancellation's after the next redemption.
pub async fn a_redemption_and_its_cancellation_are_replayed_to_the_byte(world: &World) {
    let shop = world.shop().await;
    let id = world
        .published(&shop, world.limited(Limit::RedeemCount(1)))
        .await;
    let coupon = world.issued(&shop, id, "u").await.id;
    let (redeem_key, cancel_key) = ((unique_key(), BODY), (unique_key(), BODY));
    let redeemed = ran(redeem(world, shop.id, coupon, "u", redeem_key).await);
    assert!(redeemed.is_ok());
    world.clock.advance(MICRO);
    let again = redeem(world, shop.id, coupon, "u", redeem_key).await;
    assert_eq!(again, Outcome::Replayed(answer(&redeemed)));
    let cancelled = ran(cancel(world, shop.id, coupon, cancel_key).await);
    assert!(cancelled.is_ok());
    world.clock.advance(MICRO);
    let again = redeem(world, shop.id, coupon, "u", redeem_key).await;
    assert_eq!(
        again,
        Outcome::Replayed(answer(&redeemed)),
        "cancelled since"
    );
    assert!(
        world
            .redeem(shop.id, coupon, order("u", "o", 1))
            .await
            .is_ok()
    );
    let again = cancel(world, shop.id, coupon, cancel_key).await;
    assert_eq!(
        again,
        Outcome::Replayed(answer(&cancelled)),
        "redeemed since"
    );
    let counts = (
        count(world, shop.id, Redeem).await,
        count(world, shop.id, CancelRedemption).await,
    );
    assert_eq!(counts, (2, 1));
    world.audited().await;
}

/// Of 64 requests with one key at once, one runs.
pub async fn an_issue_happens_once_at_once(world: &World) {
    let shop = world.shop().await;
    let merchant = shop.id;
    let id = world
        .published(&shop, world.limited(Limit::IssueCount(9)))
        .await;
    let key = (unique_key(), BODY);
    let outcomes = at_once(world, 64, |world, _| async move {
        issue(&world, merchant, id, "u", key).await
    });
    assert_eq!(one_ran(outcomes.await), Ok(()));
    assert_eq!(count(world, merchant, Issue).await, 1);
    let after = issue(world, merchant, id, "u", key).await;
    assert_eq!(after, Outcome::Replayed(answer(&Issuing::Ok(()))));
    world.audited().await;
}

/// Of 64 requests with one key at once, one runs, and none is answered that the coupon was redeemed already.
pub async fn a_redemption_happens_once_at_once(world: &World) {
    let shop = world.shop().await;
    let merchant = shop.id;
    let id = world.published(&shop, world.terms()).await;
    let coupon = world.issued(&shop, id, "u").await.id;
    let key = (unique_key(), BODY);
    let outcomes = at_once(world, 64, |world, _| async move {
        redeem(&world, merchant, coupon, "u", key).await
    });
    let outcome = one_ran(outcomes.await);
    assert!(outcome.is_ok());
    assert_eq!(count(world, merchant, Redeem).await, 1);
    let after = redeem(world, merchant, coupon, "u", key).await;
    assert_eq!(after, Outcome::Replayed(answer(&outcome)));
    world.audited().await;
}

/// Of 64 requests with one key at once, one runs, and none is answered that it was cancelled already.
pub async fn a_cancellation_happens_once_at_once(world: &World) {
    let shop = world.shop().await;
    let merchant = shop.id;
    let id = world.published(&shop, world.terms()).await;
    let coupon = world.redeemed(&shop, id, "o").await.id;
    let key = (unique_key(), BODY);
    let outcomes = at_once(world, 64, |world, _| async move {
        cancel(&world, merchant, coupon, key).await
    });
    let outcome = one_ran(outcomes.await);
    assert!(outcome.is_ok());
    assert_eq!(count(world, merchant, CancelRedemption).await, 1);
    let after = cancel(world, merchant, coupon, key).await;
    assert_eq!(after, Outcome::Replayed(answer(&outcome)));
    world.audited().await;
}

/// Of requests with one key and different bodies at once, one body wins.
pub async fn one_body_wins_at_once(world: &World) {
    let shop = world.shop().await;
    let merchant = shop.id;
    let id = world.published(&shop, world.terms()).await;
    let key = unique_key();
    let body = |number: usize| {
        if number.is_multiple_of(2) {
            BODY
        } else {
            OTHER_BODY
        }
    };
    let outcomes = at_once(world, 64, |world, number| async move {
        let user = format!("user-{}", number % 2);
        issue(&world, merchant, id, &user, (key, body(number))).await
    });
    let outcomes = outcomes.await;
    let ran: Vec<_> = (0..64)
        .filter(|n| matches!(outcomes[*n], Outcome::Ran(_)))
        .collect();
    assert_eq!(ran.len(), 1, "requests that ran");
    for (number, outcome) in outcomes.iter().enumerate() {
        let same = body(number) == body(ran[0]);
        match outcome {
            Outcome::Ran(outcome) => assert_eq!(*outcome, Ok(())),
            Outcome::Replayed(_) => assert!(same, "another body is not answered for"),
            Outcome::PayloadMismatch => assert!(!same, "the same body matches"),
            Outcome::Processing => {}
        }
    }
    assert_eq!(count(world, merchant, Issue).await, 1);
    world.audited().await;
}

/// Another body under a used key does nothing, and does not disturb what is remembered.
pub async fn another_body_is_a_mismatch(world: &World) {
    let shop = world.shop().await;
    let id = world.published(&shop, world.terms()).await;
    let coupon = world.issued(&shop, id, "w").await.id;
    let [issued, redeemed, cancelled] = [(); 3].map(|()| unique_key());
    assert_eq!(
        issue(world, shop.id, id, "u", (issued, BODY)).await,
        Outcome::Ran(Ok(()))
    );
    let redemption = ran(redeem(world, shop.id, coupon, "w", (redeemed, BODY)).await);
    let cancellation = ran(cancel(world, shop.id, coupon, (cancelled, BODY)).await);
    for _ in 0..2 {
        let other = issue(world, shop.id, id, "v", (issued, OTHER_BODY)).await;
        assert_eq!(other, Outcome::PayloadMismatch);
        let other = redeem(world, shop.id, coupon, "w", (redeemed, OTHER_BODY)).await;
        assert_eq!(other, Outcome::PayloadMismatch);
        let other = cancel(world, shop.id, coupon, (cancelled, OTHER_BODY)).await;
        assert_eq!(other, Outcome::PayloadMismatch);
        let same = issue(world, shop.id, id, "u", (issued, BODY)).await;
        assert_eq!(same, Outcome::Replayed(answer(&Issuing::Ok(()))));
        let same = redeem(world, shop.id, coupon, "w", (redeemed, BODY)).await;
        assert_eq!(same, Outcome::Replayed(answer(&redemption)));
        let same = cancel(world, shop.id, coupon, (cancelled, BODY)).await;
        assert_eq!(same, Outcome::Replayed(answer(&cancellation)));
    }
    assert_eq!(world.ledger(shop.id).await.len(), 4);
    world.audited().await;
}

/// A refusal is an answer too, also when the same request would go through meanwhile. Sold out and already issued
/// may be decided anew instead, for they come out the same.
pub async fn refusals_are_remembered(world: &World) {
    let shop = world.shop().await;
    let draft = world.draft(&shop, world.terms()).await.id;
    let key = (unique_key(), BODY);
    let refused: Issuing = Err(IssueRefusal::NotIssuable);
    assert_eq!(
        issue(world, shop.id, draft, "u", key).await,
        Outcome::Ran(refused)
    );
    world
        .stores
        .templates
        .publish(shop.id, shop.owner, draft)
        .await
        .unwrap()
        .unwrap();
    let again = issue(world, shop.id, draft, "u", key).await;
    assert_eq!(
        again,
        Outcome::Replayed(answer(&refused)),
        "published since"
    );

    let id = world
        .published(&shop, world.limited(Limit::IssueCount(1)))
        .await;
    assert_eq!(world.issue(shop.id, id, "u").await, Ok(()));
    for (user, refusal) in [
        ("u", IssueRefusal::AlreadyIssued),
        ("v", IssueRefusal::SoldOut),
    ] {
        let key = (unique_key(), BODY);
        let refused: Issuing = Err(refusal);
        assert_eq!(
            issue(world, shop.id, id, user, key).await,
            Outcome::Ran(refused)
        );
        let again = issue(world, shop.id, id, user, key).await;
        let replayed = Outcome::Replayed(answer(&refused));
        assert!(
            again == replayed || again == Outcome::Ran(refused),
            "{again:?}"
        );
    }

    let id = world
        .published(&shop, world.limited(Limit::RedeemCount(1)))
        .await;
    let first = world.redeemed(&shop, id, "o").await.id;
    let second = world.issued(&shop, id, "u").await.id;
    let (redeem_key, cancel_key) = ((unique_key(), BODY), (unique_key(), BODY));
    let full: RedeemOutcome = Err(RedeemRefusal::RedeemLimitReached);
    assert_eq!(
        redeem(world, shop.id, second, "u", redeem_key).await,
        Outcome::Ran(full.clone())
    );
    let never: CancelOutcome = Err(CancelRefusal::NotAllowed);
    assert_eq!(
        cancel(world, shop.id, second, cancel_key).await,
        Outcome::Ran(never.clone())
    );
    assert!(world.cancel(shop.id, first, "o").await.is_ok());
    let again = redeem(world, shop.id, second, "u", redeem_key).await;
    assert_eq!(
        again,
        Outcome::Replayed(answer(&full)),
        "there is a place since"
    );
    assert!(
        world
            .redeem(shop.id, second, order("u", "o", 1))
            .await
            .is_ok()
    );
    let again = cancel(world, shop.id, second, cancel_key).await;
    assert_eq!(again, Outcome::Replayed(answer(&never)), "redeemed since");
    world.audited().await;
}

/// Keys that differ in one bit are different keys, and so are bodies.
pub async fn keys_do_not_run_together(world: &World) {
    let shop = world.shop().await;
    let id = world.published(&shop, world.terms()).await;
    let key = unique_key();
    assert_eq!(
        issue(world, shop.id, id, "u", (key, BODY)).await,
        Outcome::Ran(Ok(()))
    );
    for bit in [0, 7, 64, 127] {
        let flip = |bytes: [u8; 16]| (u128::from_be_bytes(bytes) ^ 1 << bit).to_be_bytes();
        let other = issue(
            world,
            shop.id,
            id,
            &format!("user-{bit}"),
            (flip(key), BODY),
        )
        .await;
        assert_eq!(other, Outcome::Ran(Ok(())), "bit {bit}");
        let mismatch = issue(world, shop.id, id, "u", (key, flip(BODY))).await;
        assert_eq!(mismatch, Outcome::PayloadMismatch, "bit {bit}");
    }
    for end in [0, b' ', 255] {
        let mut key = key;
        (key[0], key[15]) = (end, end);
        let outcome = issue(world, shop.id, id, &format!("user {end}"), (key, [end; 16])).await;
        assert_eq!(outcome, Outcome::Ran(Ok(())), "any bytes may be a key");
        assert!(matches!(
            peek_issue(world, id, (key, [end; 16])).await,
            Peek::Finished(_)
        ));
    }
    world.audited().await;
}

/// An answer is kept for 24 hours from when it was stored; then the key is free for any body.
pub async fn keys_are_forgotten_after_a_day(world: &World) {
    let shop = world.shop().await;
    let id = world.published(&shop, world.terms()).await;
    let coupon = world.issued(&shop, id, "w").await.id;
    let [issued, redeemed] = [(); 2].map(|()| unique_key());
    assert_eq!(
        issue(world, shop.id, id, "u", (issued, BODY)).await,
        Outcome::Ran(Ok(()))
    );
    let redemption = ran(redeem(world, shop.id, coupon, "w", (redeemed, BODY)).await);
    // Scaled out, a gate keeps an issue's answer once it is confirmed, some milliseconds later.
    world.settled().await;
    world.clock.advance(ANSWER_RETENTION - MICRO);
    while world.stores.upkeep.clean_up(100).await.unwrap() > 0 {}
    let again = issue(world, shop.id, id, "u", (issued, BODY)).await;
    assert_eq!(again, Outcome::Replayed(answer(&Issuing::Ok(()))));
    let again = redeem(world, shop.id, coupon, "w", (redeemed, BODY)).await;
    assert_eq!(again, Outcome::Replayed(answer(&redemption)));
    world.clock.advance(MICRO);
    assert_eq!(peek_issue(world, id, (issued, BODY)).await, Peek::Free);
    assert_eq!(peek_coupon(world, (redeemed, OTHER_BODY)).await, Peek::Free);
    let fresh = issue(world, shop.id, id, "v", (issued, OTHER_BODY)).await;
    assert_eq!(fresh, Outcome::Ran(Ok(())), "free for any body");
    let fresh = redeem(world, shop.id, coupon, "w", (redeemed, BODY)).await;
    assert_eq!(fresh, Outcome::Ran(Err(RedeemRefusal::AlreadyRedeemed)));
    world.settled().await;
    world.clock.advance(ANSWER_RETENTION - MICRO);
    while world.stores.upkeep.clean_up(100).await.unwrap() > 0 {}
    let again = issue(world, shop.id, id, "v", (issued, OTHER_BODY)).await;
    let replayed = Outcome::Replayed(answer(&Issuing::Ok(())));
    assert_eq!(again, replayed, "a day of its own");
    world.audited().await;
}

/// A peek returns free, finished or another body, and leaves a free key free.
pub async fn peek_changes_nothing(world: &World) {
    let shop = world.shop().await;
    let merchant = shop.id;
    let id = world.published(&shop, world.terms()).await;
    let coupon = world.issued(&shop, id, "w").await.id;
    let [issued, redeemed] = [(); 2].map(|()| unique_key());
    for body in [BODY, OTHER_BODY] {
        assert_eq!(peek_issue(world, id, (issued, body)).await, Peek::Free);
        assert_eq!(peek_coupon(world, (redeemed, body)).await, Peek::Free);
    }
    let peeks = at_once(world, 32, |world, number| async move {
        if number % 2 == 0 {
            issue(&world, merchant, id, "u", (issued, BODY)).await;
            Peek::Free
        } else {
            peek_issue(&world, id, (issued, BODY)).await
        }
    });
    let finished = Peek::Finished(answer(&Issuing::Ok(())));
    for peek in peeks.await {
        let fits = peek == Peek::Free || peek == Peek::Processing || peek == finished;
        assert!(fits, "while it runs: {peek:?}");
    }
    let redemption = ran(redeem(world, merchant, coupon, "w", (redeemed, BODY)).await);
    for _ in 0..2 {
        assert_eq!(peek_issue(world, id, (issued, BODY)).await, finished);
        assert_eq!(
            peek_issue(world, id, (issued, OTHER_BODY)).await,
            Peek::PayloadMismatch
        );
        let peeked = peek_coupon(world, (redeemed, BODY)).await;
        assert_eq!(peeked, Peek::Finished(answer(&redemption)));
        assert_eq!(
            peek_coupon(world, (redeemed, OTHER_BODY)).await,
            Peek::PayloadMismatch
        );
    }
    world.audited().await;
}
