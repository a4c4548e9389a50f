//! A gate's beginning and end, and refusals where there is none.

use super::*;

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
        store.remember(KeyDigests { body, ..key(1) }, other, now()),
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
            InstallResult::NotOlder(E)
        );
        assert_eq!(
            store.install(HERE, epoch, 1, 0, 0),
            InstallResult::NotOlder(E)
        );
    }
    let next = E.next();
    assert_eq!(
        store.load("elsewhere", next, &[digest(9)], &[]),
        InstallResult::WrongServer
    );
    assert_eq!(
        store.install("elsewhere", next, 1, 0, 0),
        InstallResult::WrongServer
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
        InstallResult::Done
    );
    assert_eq!(
        store.load(HERE, next, &batch[..1], &[]),
        InstallResult::Done,
        "twice is as once"
    );
    let loading = store.contents();
    assert_eq!(
        (&loading.installed, &loading.finished),
        (&before.installed, &before.finished)
    );
    assert_eq!(
        store.install(HERE, next, 4, 2, 3),
        InstallResult::CountDiffers(Some(2))
    );
    assert_eq!(store.install(HERE, next, 4, 2, 2), InstallResult::Done);
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
        InstallResult::NotOlder(next)
    );
}

#[test]
fn users_who_wait_for_their_gate_are_forgotten_after_an_hour() {
    let mut store = Store::new(HERE, NOW_MS);
    assert_eq!(store.load(HERE, E, &[], &[]), InstallResult::Done);
    assert!(
        store.contents().loading[&E].holders.is_empty(),
        "a load of nobody is known"
    );
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
        InstallResult::CountDiffers(None)
    );
    store.load(HERE, E, &[digest(3)], &[]);
    assert_eq!(store.install(HERE, E, 1, 1, 1), InstallResult::Done);
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
fn a_gate_is_cleared_away_when_nothing_of_it_is_pending() {
    let mut store = open(1, &[]);
    store.take(HERE, &keyed(1, 1));
    assert_eq!(store.fold(Epoch(4)), FoldResult::NotThere(Some(E)));
    assert_eq!(store.fold(E), FoldResult::StillPending);
    assert!(confirm(&mut store, 1));
    assert_eq!(store.fold(E), FoldResult::Done);
    assert_eq!(store.fold(E), FoldResult::NotThere(None));
    assert_eq!(store.take(HERE, &ask(1)), Taken::Closed { epoch: None });
    assert_eq!(store.take(HERE, &keyed(1, 1)), Taken::Replay(Ok(())));
}
