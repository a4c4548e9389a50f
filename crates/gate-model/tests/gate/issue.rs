//! Requests, confirmations, help and looks.

use super::*;

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
fn a_look_has_every_number_and_changes_nothing() {
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
        look(None, Some(KeyDigests { body, ..key(1) })).key,
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
