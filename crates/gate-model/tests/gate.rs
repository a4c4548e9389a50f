//! The scripts of the gate, rule by rule and in their order.
#![allow(clippy::unwrap_used)]

use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Epoch, Keyed},
    id::CouponId,
};
use goodpon_gate_model::gate::{
    ANSWER_KEPT, Confirmation, Counts, Digest, Folding, HELP_EVERY_MS, Holding, Installation,
    KeptSuccess, KeyState, LOADED_KEPT_MS, Pending, Request, SERVER_BELIEVED_MS, Store, Taken,
};
use jiff::{SignedDuration, Timestamp};

const HERE: &str = "run replid";
const NOW_MS: i64 = 1_800_000_000_000;
const E: Epoch = Epoch(3);
const CLOSED: Taken = Taken::Closed { epoch: Some(E) };

fn now() -> Timestamp {
    Timestamp::from_millisecond(NOW_MS).unwrap()
}

fn digest(n: u8) -> Digest {
    [n; 16]
}

fn key(n: u8) -> Keyed {
    Keyed {
        key: digest(100 + n),
        body: digest(200),
    }
}

fn coupon(n: u8) -> CouponId {
    CouponId::from_bytes(digest(n))
}

/// User `n` asks with coupon id `n`, without a key.
fn ask(n: u8) -> Request<'static> {
    Request {
        epoch: E,
        user: digest(n),
        user_id: "u",
        keyed: None,
        verdict: None,
        coupon_id: coupon(n),
        accepted_at: now(),
        now: now(),
        spare: false,
    }
}

fn keyed(n: u8, k: u8) -> Request<'static> {
    Request {
        keyed: Some(key(k)),
        ..ask(n)
    }
}

fn other_body(request: &Request<'static>) -> Request<'static> {
    let keyed = request.keyed.map(|keyed| Keyed {
        body: digest(201),
        ..keyed
    });
    Request {
        keyed,
        ..request.clone()
    }
}

/// A gate of `cap` places where the users of `holders` have coupons.
fn open(cap: i64, holders: &[u8]) -> Store {
    let mut store = Store::new(HERE, NOW_MS);
    let users: Vec<_> = holders.iter().map(|&n| digest(n)).collect();
    assert_eq!(store.load(HERE, E, &users, &[]), Installation::Done);
    let base = i64::try_from(users.len()).unwrap();
    assert_eq!(
        store.install(HERE, E, cap, base, users.len()),
        Installation::Done
    );
    store
}

fn confirm(store: &mut Store, n: u8) -> bool {
    let confirmation = Confirmation {
        user: digest(n),
        coupon_id: coupon(n),
    };
    store.confirm(HERE, E, &[confirmation], now()) == [true]
}

fn pending(request: &Request<'_>) -> Pending {
    Pending {
        coupon_id: request.coupon_id,
        user: request.user,
        user_id: request.user_id.to_owned(),
        accepted_at: request.accepted_at,
        keyed: request.keyed,
    }
}

fn help(request: &Request<'_>) -> Taken {
    Taken::Help(pending(request))
}

const REFUSED: Taken = Taken::Refused(IssueRefusal::NotIssuable);

fn refused(request: &Request<'static>) -> Request<'static> {
    Request {
        verdict: Some(IssueRefusal::NotIssuable),
        ..request.clone()
    }
}

#[test]
fn places_are_given_out_until_there_are_none_and_sold_out_is_told_when_all_are_sure() {
    let mut store = open(2, &[]);
    assert_eq!(store.take(HERE, &ask(1)), Taken::Reserved { spent: 1 });
    assert_eq!(store.take(HERE, &ask(2)), Taken::Reserved { spent: 2 });
    assert_eq!(store.take(HERE, &ask(3)), Taken::Wait);
    assert!(confirm(&mut store, 1));
    assert_eq!(store.take(HERE, &ask(3)), Taken::Wait);
    assert!(confirm(&mut store, 2));
    assert_eq!(store.take(HERE, &ask(3)), Taken::SoldOut);
    assert_eq!(store.take(HERE, &ask(1)), Taken::AlreadyIssued);
}

#[test]
fn a_finished_answer_comes_before_everything_even_on_another_server_or_epoch() {
    let mut store = open(1, &[]);
    assert_eq!(store.take(HERE, &keyed(1, 1)), Taken::Reserved { spent: 1 });
    assert!(confirm(&mut store, 1));
    let again = Request {
        epoch: Epoch(9),
        ..refused(&keyed(1, 1))
    };
    assert_eq!(store.take("elsewhere", &again), Taken::Replay(Ok(())));
    assert_eq!(
        store.take("elsewhere", &other_body(&again)),
        Taken::Mismatch
    );
    assert_eq!(store.take("elsewhere", &keyed(1, 2)), CLOSED);
}

#[test]
fn a_finished_answer_counts_for_a_day_of_the_caller_and_of_the_server() {
    let mut store = open(9, &[1]);
    assert_eq!(store.take(HERE, &keyed(1, 1)), Taken::AlreadyIssued);
    let day = |micros| Request {
        now: now() + ANSWER_KEPT + SignedDuration::from_micros(micros),
        ..other_body(&keyed(1, 1))
    };
    assert_eq!(store.take(HERE, &day(-1)), Taken::Mismatch);
    assert_eq!(
        store.take(HERE, &day(0)),
        Taken::AlreadyIssued,
        "absent, and stored anew"
    );
    assert_eq!(
        store.take(HERE, &day(0)),
        Taken::Replay(Err(IssueRefusal::AlreadyIssued))
    );

    let mut store = open(9, &[1]);
    assert_eq!(store.take(HERE, &keyed(1, 1)), Taken::AlreadyIssued);
    store.set_clock(NOW_MS + 24 * 3_600_000);
    assert_eq!(store.take(HERE, &other_body(&keyed(1, 1))), Taken::Mismatch);
    store.set_clock(NOW_MS + 24 * 3_600_000 + 1);
    assert_eq!(store.contents().finished.len(), 0);
    assert_eq!(
        store.take(HERE, &other_body(&keyed(1, 1))),
        Taken::AlreadyIssued
    );
}

#[test]
fn a_gate_is_closed_that_is_missing_or_of_another_server_or_epoch() {
    let mut store = open(1, &[]);
    assert_eq!(store.take("elsewhere", &ask(1)), CLOSED);
    for epoch in [Epoch(2), Epoch(4)] {
        assert_eq!(store.take(HERE, &Request { epoch, ..ask(1) }), CLOSED);
    }
    let refused = Request {
        epoch: Epoch(4),
        ..refused(&keyed(1, 1))
    };
    assert_eq!(store.take(HERE, &refused), CLOSED, "before the verdict");
    assert_eq!(store.contents().finished.len(), 0);
    store.flush();
    assert_eq!(store.take(HERE, &ask(1)), Taken::Closed { epoch: None });
}

#[test]
fn a_server_that_changed_behind_the_connection_is_found_out_in_time() {
    let mut store = open(3, &[]);
    store.set_server("run another-replid");
    store.set_clock(NOW_MS + SERVER_BELIEVED_MS);
    assert_eq!(
        store.take(HERE, &ask(1)),
        Taken::Reserved { spent: 1 },
        "still believed"
    );
    store.set_clock(NOW_MS + SERVER_BELIEVED_MS + 1);
    assert_eq!(store.take(HERE, &ask(2)), CLOSED);
    assert_eq!(store.confirm(HERE, E, &[], now()), []);
    assert!(!confirm(&mut store, 1));
    assert_eq!(store.pending(HERE, E, 0, 9), Err(Some(E)));
    assert_eq!(store.look(HERE, E, None, None, now()).gate, Err(Some(E)));
    store.set_clock(NOW_MS - 1);
    assert_eq!(
        store.take(HERE, &ask(2)),
        CLOSED,
        "checked by a clock that is ahead"
    );
    store.set_server(HERE);
    assert_eq!(store.take(HERE, &ask(2)), Taken::Reserved { spent: 2 });
    store.set_server("run another-replid");
    store.set_clock(NOW_MS + SERVER_BELIEVED_MS);
    assert_eq!(
        store.take(HERE, &ask(3)),
        CLOSED,
        "a check lasts from when it was made"
    );
}

#[test]
fn a_script_that_ran_already_reserves_the_same_place_again() {
    let mut store = open(2, &[]);
    assert_eq!(store.take(HERE, &keyed(1, 1)), Taken::Reserved { spent: 1 });
    let once = store.contents();
    assert_eq!(store.take(HERE, &keyed(1, 1)), Taken::Reserved { spent: 1 });
    assert_eq!(
        store.take(HERE, &refused(&keyed(1, 1))),
        Taken::Reserved { spent: 1 }
    );
    assert_eq!(store.contents(), once);
}

#[test]
fn a_pending_key_or_user_is_helped_first() {
    let mut store = open(2, &[]);
    let first = keyed(1, 1);
    store.take(HERE, &first);
    let retry = Request {
        coupon_id: coupon(9),
        ..first.clone()
    };
    assert_eq!(store.take(HERE, &retry), help(&first));
    assert_eq!(
        store.take(HERE, &other_body(&retry)),
        help(&first),
        "judged when it is finished"
    );
    assert_eq!(
        store.take(HERE, &refused(&retry)),
        help(&first),
        "the key before the verdict"
    );
    assert_eq!(
        store.take(HERE, &keyed(2, 1)),
        help(&first),
        "of whatever user"
    );
    let no_key = Request {
        keyed: None,
        ..retry.clone()
    };
    assert_eq!(store.take(HERE, &no_key), help(&first));
    assert_eq!(
        store.take(HERE, &refused(&no_key)),
        REFUSED,
        "the verdict before the user"
    );
    assert!(confirm(&mut store, 1));
    assert_eq!(store.take(HERE, &retry), Taken::Replay(Ok(())));
    assert_eq!(store.take(HERE, &other_body(&retry)), Taken::Mismatch);
}

#[test]
fn a_verdict_is_told_and_remembered_before_user_and_places_are_looked_at() {
    let mut store = open(1, &[1]);
    assert_eq!(store.take(HERE, &refused(&ask(1))), REFUSED);
    assert_eq!(
        store.contents().finished.len(),
        0,
        "nothing to remember it under"
    );
    assert_eq!(store.take(HERE, &refused(&keyed(1, 1))), REFUSED);
    let replay = Taken::Replay(Err(IssueRefusal::NotIssuable));
    assert_eq!(store.take(HERE, &keyed(1, 1)), replay);
    let short = Request {
        spare: true,
        ..refused(&keyed(2, 2))
    };
    assert_eq!(store.take(HERE, &short), REFUSED);
    assert_eq!(
        store.take(HERE, &keyed(2, 2)),
        replay,
        "kept however short memory is"
    );
}

#[test]
fn a_holder_is_told_so_before_it_is_told_of_places() {
    let mut store = open(0, &[1]);
    assert_eq!(store.take(HERE, &keyed(1, 1)), Taken::AlreadyIssued);
    assert_eq!(store.take(HERE, &keyed(2, 2)), Taken::SoldOut);
    let replay = |refusal| Taken::Replay(Err(refusal));
    assert_eq!(
        store.take(HERE, &keyed(1, 1)),
        replay(IssueRefusal::AlreadyIssued)
    );
    assert_eq!(
        store.take(HERE, &keyed(2, 2)),
        replay(IssueRefusal::SoldOut)
    );
}

#[test]
fn answers_that_come_again_by_themselves_are_not_kept_when_memory_is_short() {
    let mut store = open(1, &[1]);
    let short = |request| Request {
        spare: true,
        ..request
    };
    assert_eq!(store.take(HERE, &short(keyed(1, 1))), Taken::AlreadyIssued);
    assert_eq!(
        store.take(HERE, &short(keyed(2, 2))),
        Taken::Reserved { spent: 1 }
    );
    assert!(confirm(&mut store, 2));
    assert_eq!(store.take(HERE, &short(keyed(3, 3))), Taken::SoldOut);
    let kept: Vec<_> = store.contents().finished.into_keys().collect();
    assert_eq!(kept, [key(2).key], "a success is");
}

#[test]
fn who_finds_no_place_helps_the_longest_due_and_else_waits() {
    let mut store = open(2, &[]);
    store.take(HERE, &ask(2));
    store.set_clock(NOW_MS + 1);
    store.take(HERE, &ask(1));
    store.set_clock(NOW_MS + HELP_EVERY_MS - 1);
    assert_eq!(store.take(HERE, &ask(3)), Taken::Wait, "none is due yet");
    store.set_clock(NOW_MS + HELP_EVERY_MS + 1);
    assert_eq!(store.take(HERE, &ask(3)), help(&ask(2)), "the oldest");
    assert_eq!(store.take(HERE, &ask(3)), help(&ask(1)), "then the next");
    assert_eq!(
        store.take(HERE, &ask(3)),
        Taken::Wait,
        "each is due again later"
    );
    store.set_clock(NOW_MS + 2 * HELP_EVERY_MS + 1);
    assert_eq!(
        store.take(HERE, &ask(3)),
        help(&ask(1)),
        "of one age, by digest"
    );
}

#[test]
fn a_confirmation_counts_once_and_only_for_its_own_coupon() {
    let mut store = open(2, &[]);
    store.take(HERE, &keyed(1, 1));
    store.take(HERE, &ask(2));
    let confirmations = |ids: &[(u8, u8)]| -> Vec<_> {
        let confirmation = |&(user, id)| Confirmation {
            user: digest(user),
            coupon_id: coupon(id),
        };
        ids.iter().map(confirmation).collect()
    };
    let wrong = confirmations(&[(1, 2), (3, 3)]);
    assert_eq!(store.confirm(HERE, E, &wrong, now()), [false, false]);
    let right = confirmations(&[(1, 1), (1, 1), (2, 2)]);
    assert_eq!(store.confirm("elsewhere", E, &right, now()), [false; 3]);
    assert_eq!(store.confirm(HERE, Epoch(4), &right, now()), [false; 3]);
    assert_eq!(store.confirm(HERE, E, &right, now()), [true, false, true]);
    let gate = store.installed().unwrap();
    assert_eq!((gate.confirmed, gate.holders.len()), (2, 2));
    assert!(gate.pending.is_empty() && gate.due.is_empty() && gate.keys.is_empty());
    assert_eq!(store.take(HERE, &keyed(7, 1)), Taken::Replay(Ok(())));
}

#[test]
fn a_refusal_without_any_gate_is_remembered_once() {
    let mut store = Store::new(HERE, NOW_MS);
    let not_yet = IssueRefusal::NotIssuablePeriod;
    assert_eq!(
        store.remember(key(1), not_yet, now()),
        Taken::Refused(not_yet)
    );
    let other = IssueRefusal::NotIssuable;
    assert_eq!(
        store.remember(key(1), other, now()),
        Taken::Replay(Err(not_yet))
    );
    let body = digest(201);
    assert_eq!(
        store.remember(Keyed { body, ..key(1) }, other, now()),
        Taken::Mismatch
    );
    assert_eq!(
        store.remember(key(1), other, now() + ANSWER_KEPT),
        Taken::Refused(other)
    );
}

#[test]
fn only_an_older_gate_is_replaced_and_nothing_of_it_stays_but_answers() {
    let mut store = open(5, &[1]);
    store.take(HERE, &keyed(2, 2));
    store.take(HERE, &keyed(3, 3));
    assert!(confirm(&mut store, 3));
    for epoch in [Epoch(2), E] {
        assert_eq!(
            store.load(HERE, epoch, &[digest(9)], &[]),
            Installation::NotOlder(E)
        );
        assert_eq!(
            store.install(HERE, epoch, 1, 0, 0),
            Installation::NotOlder(E)
        );
    }
    let next = E.next();
    assert_eq!(
        store.load("elsewhere", next, &[digest(9)], &[]),
        Installation::WrongServer
    );
    assert_eq!(
        store.install("elsewhere", next, 1, 0, 0),
        Installation::WrongServer
    );
    let success = KeptSuccess {
        keyed: key(3),
        stored_at: now(),
        rest_ms: 5,
    };
    let before = store.contents();
    let batch = [digest(1), digest(3)];
    assert_eq!(
        store.load(HERE, next, &batch, &[success]),
        Installation::Done
    );
    assert_eq!(
        store.load(HERE, next, &batch[..1], &[]),
        Installation::Done,
        "twice is as once"
    );
    let loading = store.contents();
    assert_eq!(
        (&loading.installed, &loading.finished),
        (&before.installed, &before.finished)
    );
    assert_eq!(
        store.install(HERE, next, 4, 2, 3),
        Installation::CountDiffers(2)
    );
    assert_eq!(store.install(HERE, next, 4, 2, 2), Installation::Done);
    let counts = Counts {
        cap: 4,
        base: 2,
        spent: 0,
        confirmed: 0,
        user: None,
    };
    let look = store.look(HERE, next, Some(digest(2)), Some(key(2)), now());
    assert_eq!(
        (look.gate, look.key),
        (Ok(counts), None),
        "the reservation is gone"
    );
    assert!(store.contents().loading.is_empty());
    assert_eq!(
        store.install(HERE, next, 4, 2, 2),
        Installation::NotOlder(next)
    );
}

#[test]
fn users_who_wait_for_their_gate_are_forgotten_after_an_hour() {
    let mut store = Store::new(HERE, NOW_MS);
    assert_eq!(store.load(HERE, E, &[], &[]), Installation::Done);
    assert!(store.contents().loading.is_empty(), "an empty set is none");
    store.load(HERE, E, &[digest(1)], &[]);
    store.set_clock(NOW_MS + LOADED_KEPT_MS);
    store.load(HERE, E, &[digest(2)], &[]);
    store.set_clock(NOW_MS + 2 * LOADED_KEPT_MS);
    assert_eq!(
        store.contents().loading[&E].holders.len(),
        2,
        "each batch keeps them for longer"
    );
    store.set_clock(NOW_MS + 2 * LOADED_KEPT_MS + 1);
    assert!(store.contents().loading.is_empty());
    assert_eq!(
        store.install(HERE, E, 1, 2, 2),
        Installation::CountDiffers(0)
    );
    store.load(HERE, E, &[digest(3)], &[]);
    assert_eq!(store.install(HERE, E, 1, 1, 1), Installation::Done);
    store.set_clock(NOW_MS + 99 * LOADED_KEPT_MS);
    assert_eq!(
        store.take(HERE, &ask(3)),
        Taken::AlreadyIssued,
        "those of a gate are not"
    );
}

#[test]
fn loaded_answers_last_for_their_rest() {
    let mut store = Store::new(HERE, NOW_MS);
    let success = KeptSuccess {
        keyed: key(1),
        stored_at: now(),
        rest_ms: 5,
    };
    store.load(HERE, E, &[digest(1)], &[success]);
    store.set_clock(NOW_MS + 5);
    assert_eq!(store.take("anywhere", &keyed(1, 1)), Taken::Replay(Ok(())));
    store.set_clock(NOW_MS + 6);
    assert_eq!(
        store.take("anywhere", &keyed(1, 1)),
        Taken::Closed { epoch: None }
    );
}

#[test]
fn a_look_tells_all_and_changes_nothing() {
    let mut store = open(7, &[1]);
    store.take(HERE, &keyed(2, 2));
    store.take(HERE, &keyed(1, 1));
    store.set_clock(NOW_MS + 5_000);
    let before = store.contents();
    let look = |user, k| store.look(HERE, E, user, k, now());
    let gate = look(Some(digest(2)), Some(key(2)));
    let counts = gate.gate.unwrap();
    assert_eq!(
        (counts.cap, counts.base, counts.spent, counts.confirmed),
        (7, 1, 1, 0)
    );
    assert_eq!(
        (counts.user, gate.key),
        (Some(Holding::Pending), Some(KeyState::Pending))
    );
    let holder = look(Some(digest(1)), Some(key(1)));
    assert_eq!(holder.gate.unwrap().user, Some(Holding::Coupon));
    assert_eq!(
        holder.key,
        Some(KeyState::Replay(Err(IssueRefusal::AlreadyIssued)))
    );
    let body = digest(201);
    assert_eq!(
        look(None, Some(Keyed { body, ..key(1) })).key,
        Some(KeyState::Mismatch)
    );
    let closed = store.look("elsewhere", E, None, Some(key(1)), now());
    assert_eq!((closed.key, closed.gate), (holder.key, Err(Some(E))));
    assert_eq!(
        store.look("elsewhere", E, None, Some(key(2)), now()).key,
        None
    );
    assert_eq!(store.contents(), before);
}

#[test]
fn what_has_long_been_due_is_told_to_one_helper_at_a_time() {
    let mut store = open(3, &[]);
    for n in [3, 1, 2] {
        store.take(HERE, &ask(n));
    }
    store.set_clock(NOW_MS + HELP_EVERY_MS + 1_999);
    assert_eq!(store.pending(HERE, E, 2_000, 9), Ok(vec![]));
    assert_eq!(store.pending("elsewhere", E, 2_000, 9), Err(Some(E)));
    store.set_clock(NOW_MS + HELP_EVERY_MS + 2_000);
    let [one, two, three] = [1, 2, 3].map(|n| pending(&ask(n)));
    assert_eq!(store.pending(HERE, E, 2_000, 2), Ok(vec![one, two]));
    assert_eq!(store.pending(HERE, E, 2_000, 2), Ok(vec![three]));
    assert_eq!(store.pending(HERE, E, 2_000, 2), Ok(vec![]));
}

#[test]
fn a_gate_is_cleared_away_when_nothing_of_it_is_pending() {
    let mut store = open(1, &[]);
    store.take(HERE, &keyed(1, 1));
    assert_eq!(store.fold(Epoch(4)), Folding::NotThere(Some(E)));
    assert_eq!(store.fold(E), Folding::StillPending);
    assert!(confirm(&mut store, 1));
    assert_eq!(store.fold(E), Folding::Done);
    assert_eq!(store.fold(E), Folding::NotThere(None));
    assert_eq!(store.take(HERE, &ask(1)), Taken::Closed { epoch: None });
    assert_eq!(store.take(HERE, &keyed(1, 1)), Taken::Replay(Ok(())));
}
