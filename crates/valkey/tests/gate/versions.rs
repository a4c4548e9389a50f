//! Programs of several versions at one server: the previous version runs beside this one, and data that a newer version
//! wrote are left alone.

use std::time::Duration;

use goodpon_domain::{
    coupon::IssueRefusal,
    coupon::Issued,
    gate::{Due, Epoch, Finished, IssueEvent, KeyState, Taken},
};
use goodpon_valkey::user_digest;
use jiff::SignedDuration;
use redis::{ToRedisArgs, Value};

use crate::scene::{GATE, Scene, event, finished, keyed, now};

/// The unchanged scripts of the previous version.
const GATE_BEFORE: &str = concat!(
    "#!lua\n",
    include_str!("before/server.lua"),
    include_str!("before/answer.lua"),
    include_str!("before/gate.lua")
);
const CONFIRM_BEFORE: &str = concat!(
    "#!lua flags=allow-oom\n",
    include_str!("before/server.lua"),
    include_str!("before/answer.lua"),
    include_str!("before/confirm.lua")
);
const PENDING_BEFORE: &str = concat!(
    "#!lua flags=allow-oom\n",
    include_str!("before/server.lua"),
    include_str!("before/pending.lua")
);

/// Runs a script like a program of the previous version, and returns the first element of its reply.
async fn before<A: ToRedisArgs>(scene: &Scene, script: &str, k: Option<u8>, args: &[A]) -> String {
    let mut keys: Vec<Vec<u8>> = vec![Scene::name("g").into_bytes()];
    keys.extend(["u:1", "p:1", "z:1", "q:1"].map(|end| Scene::name(end).into_bytes()));
    keys.extend(k.map(answer_name));
    let mut eval = redis::cmd("EVAL");
    eval.arg(script).arg(keys.len()).arg(keys);
    eval.arg(scene.bound.server()).arg(1).arg(args);
    let mut connection = scene.server.connect().await;
    let answer: Value = eval.query_async(&mut connection).await.unwrap();
    let Value::Array(parts) = answer else {
        panic!("{answer:?}")
    };
    redis::from_redis_value(parts.into_iter().next().unwrap()).unwrap()
}

async fn take_before(scene: &Scene, event: &IssueEvent, key: Option<u8>) -> String {
    let mut args: Vec<Vec<u8>> = vec![
        user_digest(&event.user_id).to_vec(),
        kept(event),
        now().as_microsecond().to_string().into_bytes(),
        b"0".to_vec(),
        Vec::new(),
    ];
    if let Some(keyed) = event.keyed {
        args.extend([keyed.key.to_vec(), keyed.body.to_vec()]);
    }
    before(scene, GATE_BEFORE, key, &args).await
}

async fn confirm_before(scene: &Scene, event: &IssueEvent, key: Option<u8>) -> String {
    let index = key.map_or("0", |_| "6");
    let args: [Vec<u8>; 4] = [
        now().as_microsecond().to_string().into_bytes(),
        user_digest(&event.user_id).to_vec(),
        event.coupon_id.to_bytes().to_vec(),
        index.as_bytes().to_vec(),
    ];
    before(scene, CONFIRM_BEFORE, key, &args).await
}

/// Writes an event in the form that `p` has had since the first version.
fn kept(event: &IssueEvent) -> Vec<u8> {
    let mut bytes = event.coupon_id.to_bytes().to_vec();
    bytes.extend(event.accepted_at.as_microsecond().to_be_bytes());
    bytes.push(u8::from(event.keyed.is_some()));
    if let Some(keyed) = event.keyed {
        bytes.extend(keyed.key);
        bytes.extend(keyed.body);
    }
    bytes.extend(event.user_id.as_bytes());
    bytes
}

fn answer_name(key: u8) -> Vec<u8> {
    let mut name = Scene::name("k:").into_bytes();
    name.extend([key; 16]);
    name
}

async fn set<A: ToRedisArgs>(scene: &Scene, verb: &str, words: &[A]) {
    let mut command = redis::cmd(verb);
    command.arg(words);
    let mut connection = scene.server.connect().await;
    command.exec_async(&mut connection).await.unwrap();
}

/// Gives a reservation a form that no version knows.
async fn spoil(scene: &Scene, event: &IssueEvent) {
    let mut bytes = kept(event);
    bytes[24] = 9;
    let user = user_digest(&event.user_id).to_vec();
    set(
        scene,
        "HSET",
        &[Scene::name("p:1").into_bytes(), user, bytes],
    )
    .await;
}

async fn due(scene: &Scene) -> Due {
    let due = scene.bound.pending(GATE, Epoch(1), Duration::ZERO, 9);
    due.await.unwrap().unwrap()
}

#[tokio::test]
async fn each_version_continues_what_the_other_began() {
    let scene = Scene::open(3).await;
    let (ours, theirs) = (event("a", 1, keyed(1, 1)), event("b", 2, keyed(2, 2)));
    assert_eq!(scene.take(&ours).await, Taken::Reserved { spent: 1 });
    assert_eq!(take_before(&scene, &theirs, Some(2)).await, "R");
    // Each finds the other's reservation.
    assert_eq!(take_before(&scene, &event("a", 3, None), None).await, "H");
    let helped = IssueEvent {
        valid_until: event("b", 4, None).valid_until,
        ..theirs.clone()
    };
    assert_eq!(scene.take(&event("b", 4, None)).await, Taken::Help(helped));
    // Each confirms the other's reservation, and replays its answer.
    assert_eq!(confirm_before(&scene, &ours, Some(1)).await, "D");
    assert_eq!(scene.confirm(std::slice::from_ref(&theirs)).await, [true]);
    assert_eq!(take_before(&scene, &theirs, Some(2)).await, "Y");
    let unnumbered = Finished {
        outcome: Ok(Issued { coupon_id: None }),
        answer: None,
    };
    assert_eq!(scene.take(&ours).await, Taken::Replay(unnumbered));
    assert_eq!(scene.take(&theirs).await, Taken::Replay(finished(Ok(()))));
    let other_body = event("b", 5, keyed(2, 9));
    assert_eq!(take_before(&scene, &other_body, Some(2)).await, "M");
    assert_eq!(scene.counts().await, (2, 2));
}

/// Programs of the previous version do not list gates with reservations; handing reservations out does it for them.
#[tokio::test]
async fn a_reservation_of_the_previous_version_is_listed_once_its_gate_is_looked_at() {
    let scene = Scene::open(3).await;
    let theirs = event("a", 1, None);
    assert_eq!(take_before(&scene, &theirs, None).await, "R");
    scene.make_due("a", SignedDuration::from_secs(5)).await;
    assert_eq!(scene.bound.busy(9).await.unwrap(), []);
    assert_eq!(due(&scene).await.events.len(), 1);
    let noted = async {
        while scene.bound.busy(9).await.unwrap() != [(GATE, Epoch(1))] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::scene::SOON, noted)
        .await
        .unwrap();
    let args = [&b"0"[..], b"9"];
    assert_eq!(before(&scene, PENDING_BEFORE, None, &args).await, "D");
}

#[tokio::test]
async fn a_gate_is_listed_while_it_has_a_reservation() {
    let scene = Scene::open(3).await;
    let listed = async || {
        let name = "goodpon:{test}:busy";
        let members: Vec<String> = scene.server.run(&format!("ZRANGE {name} 0 -1")).await;
        members
    };
    let (a, b) = (event("a", 1, None), event("b", 2, None));
    assert!(listed().await.is_empty());
    scene.take(&a).await;
    scene.take(&b).await;
    assert_eq!(listed().await, ["7:0:1"]);
    scene.confirm(&[a]).await;
    due(&scene).await;
    assert_eq!(listed().await, ["7:0:1"], "one is left");
    scene.confirm(&[b]).await;
    due(&scene).await;
    assert!(listed().await.is_empty());
    // The next reservation lists it again.
    scene.take(&event("c", 3, None)).await;
    assert_eq!(listed().await, ["7:0:1"]);
    // A gate that is gone is taken from the list.
    let _: Value = scene.server.run(&format!("DEL {}", Scene::name("g"))).await;
    let gone = scene.bound.pending(GATE, Epoch(1), Duration::ZERO, 9).await;
    assert!(gone.unwrap().is_err());
    assert!(listed().await.is_empty());
}

#[tokio::test]
async fn a_reservation_of_an_unknown_form_is_left_alone_and_delays_no_other() {
    let scene = Scene::open(3).await;
    let (known, unknown) = (event("a", 1, None), event("b", 2, keyed(2, 2)));
    scene.take(&known).await;
    scene.take(&unknown).await;
    spoil(&scene, &unknown).await;
    for same in [event("b", 3, None), event("b", 3, keyed(2, 2))] {
        assert_eq!(scene.take(&same).await, Taken::Unreadable);
    }
    assert_eq!(
        scene.take(&event("c", 4, None)).await,
        Taken::Reserved { spent: 3 },
        "others are served"
    );
    scene.make_due("b", SignedDuration::from_secs(9)).await;
    scene.make_due("a", SignedDuration::from_secs(5)).await;
    let late = event("late", 5, None);
    assert_eq!(scene.take(&late).await, Taken::Unreadable);
    assert_eq!(scene.take(&late).await, Taken::Help(known.clone()));
    scene.make_due("b", SignedDuration::from_secs(9)).await;
    scene.make_due("a", SignedDuration::from_secs(5)).await;
    let found = due(&scene).await;
    assert_eq!((found.events.len(), found.unreadable), (1, 1));
    assert_eq!(
        scene.confirm(&[known, event("b", 2, None)]).await,
        [true, false],
        "the unknown one stays"
    );
    assert_eq!(scene.counts().await, (3, 1));
}

#[tokio::test]
async fn an_answer_of_an_unknown_form_is_unreadable() {
    let scene = Scene::open(1).await;
    scene.issue(&event("a", 1, None)).await;
    let body = [7; 16];
    let at = now().as_microsecond().to_string();
    for (letter, rest) in [
        (b'\x01', at.clone()),
        (b'X', at.clone()),
        (b'I', format!("{at}.1.2")),
        (b'I', format!("{at}z")),
        (b'S', String::new()),
    ] {
        let value = [&[letter][..], &body, rest.as_bytes()].concat();
        set(&scene, "SET", &[answer_name(4), value]).await;
        let wish = event("b", 2, keyed(4, 7));
        assert_eq!(scene.take(&wish).await, Taken::Unreadable, "{rest}");
        let look = scene.bound.look(GATE, Epoch(1), None, wish.keyed, now());
        assert_eq!(look.await.unwrap().key, Some(KeyState::Unreadable));
        let verdict = IssueRefusal::NotIssuable;
        let remembered =
            scene
                .bound
                .remember(GATE, Epoch(9), wish.keyed.unwrap(), verdict, None, now());
        assert_eq!(remembered.await.unwrap(), Taken::Unreadable);
    }
    // A request with another key is answered.
    assert_eq!(
        scene.take(&event("b", 3, keyed(5, 5))).await,
        Taken::SoldOut
    );
}

#[tokio::test]
async fn a_gate_of_an_unknown_layout_is_closed_and_left_as_it_is() {
    let scene = Scene::open(3).await;
    let reserved = event("a", 1, None);
    scene.take(&reserved).await;
    // The unknown layout differs in more than its number: a field is missing, and `z` has a member that is no user.
    let g = Scene::name("g");
    let _: Value = scene.server.run(&format!("HSET {g} layout 2")).await;
    let _: Value = scene.server.run(&format!("HDEL {g} users")).await;
    let _: Value = scene
        .server
        .run(&format!("ZADD {} 5 z", Scene::name("z:1")))
        .await;
    let closed = goodpon_domain::gate::Closed {
        epoch: Some(Epoch(1)),
    };
    assert_eq!(
        scene.take(&event("b", 2, None)).await,
        Taken::Closed(closed)
    );
    assert_eq!(scene.confirm(&[reserved]).await, [false]);
    let look = scene.bound.look(GATE, Epoch(1), Some("a"), None, now());
    assert_eq!(look.await.unwrap().gate, Err(closed));
    let pending = scene.bound.pending(GATE, Epoch(1), Duration::ZERO, 9);
    assert_eq!(pending.await.unwrap(), Err(closed));
    let folded = scene.bound.fold(GATE, Epoch(1)).await.unwrap();
    assert_eq!(
        folded,
        goodpon_domain::gate::FoldResult::NotThere(Some(Epoch(1)))
    );
    assert_eq!(scene.names().await.len(), 4, "g, u, p and z");
    // The next epoch takes its place.
    scene.install(Epoch(2), 3, &[]).await;
    let wish = IssueEvent {
        epoch: Epoch(2),
        ..event("b", 2, None)
    };
    assert_eq!(scene.take(&wish).await, Taken::Reserved { spent: 1 });
}

/// A later version writes the number of the success's text into the reservation.
#[tokio::test]
async fn the_answer_that_a_reservation_names_is_remembered() {
    let scene = Scene::open(3).await;
    let wish = event("a", 1, keyed(1, 1));
    scene.take(&wish).await;
    let mut bytes = kept(&wish);
    bytes[24] = 2;
    bytes.splice(57..57, 4_000_000_001_u32.to_be_bytes());
    let user = user_digest("a").to_vec();
    set(
        &scene,
        "HSET",
        &[Scene::name("p:1").into_bytes(), user, bytes],
    )
    .await;
    assert_eq!(
        scene.take(&event("a", 2, None)).await,
        Taken::Help(wish.clone())
    );
    assert_eq!(scene.confirm(std::slice::from_ref(&wish)).await, [true]);
    let kept = Finished {
        outcome: Ok(Issued { coupon_id: None }),
        answer: Some(4_000_000_001),
    };
    assert_eq!(scene.take(&wish).await, Taken::Replay(kept));
}

/// The form that a later version writes: the coupon's id stands behind the number of the answer, which may be missing.
#[tokio::test]
async fn the_coupon_that_an_answer_names_is_read() {
    let scene = Scene::open(3).await;
    let wish = event("a", 1, keyed(1, 1));
    let keyed = wish.keyed.unwrap();
    let name = [Scene::name("k:").into_bytes(), keyed.key.to_vec()].concat();
    let front = [b"I".to_vec(), keyed.body.to_vec()].concat();
    let at = now().as_microsecond();
    let id = u128::from_be_bytes(wish.coupon_id.to_bytes());
    let issued = |answer| Finished {
        outcome: Ok(Issued {
            coupon_id: Some(wish.coupon_id),
        }),
        answer,
    };
    for (rest, expected) in [
        (format!("{at}.7.{id:032x}"), Taken::Replay(issued(Some(7)))),
        (format!("{at}..{id:032x}"), Taken::Replay(issued(None))),
        (format!("{at}.7.{:031x}", 5), Taken::Unreadable),
        (format!("{at}.7.{id:032x}.more"), Taken::Unreadable),
    ] {
        let kept = [front.clone(), rest.clone().into_bytes()].concat();
        set(&scene, "SET", &[name.clone(), kept]).await;
        assert_eq!(scene.take(&wish).await, expected, "{rest}");
    }
}
