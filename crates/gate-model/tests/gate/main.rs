//! The gate's scripts, rule by rule and in their order.
#![allow(clippy::unwrap_used)]

mod issue;
mod opening;

use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Epoch, KeyDigests},
    id::CouponId,
};
use goodpon_gate_model::gate::{
    ANSWER_KEPT, Confirmation, Counts, Digest, FoldResult, HELP_EVERY_MS, Holding, InstallResult,
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

fn key(n: u8) -> KeyDigests {
    KeyDigests {
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
    let keyed = request.keyed.map(|keyed| KeyDigests {
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
    assert_eq!(store.load(HERE, E, &users, &[]), InstallResult::Done);
    let base = i64::try_from(users.len()).unwrap();
    assert_eq!(
        store.install(HERE, E, cap, base, users.len()),
        InstallResult::Done
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
