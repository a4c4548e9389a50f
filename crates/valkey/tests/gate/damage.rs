//! A gate that has lost a part is deleted: it would give a place twice, or never give it.

use std::time::Duration;

use goodpon_domain::gate::{Closed, Epoch, IssueEvent, Taken};

use crate::scene::{GATE, Scene, event, finished, keyed, now};

const MISSING: Closed = Closed { epoch: None };

/// The parts that are lost, of a gate with two holders, one of whom was loaded, and a reservation.
const LOSSES: [&str; 13] = [
    "DEL u",
    "DEL p",
    "DEL z",
    "SPOP u",
    "HDEL p",
    "ZREM z",
    "epoch",
    "server",
    "checked_ms",
    "cap",
    "spent",
    "conf",
    "base",
];

async fn damaged(loss: &str) -> Scene {
    let scene = Scene::empty().await;
    scene.install(Epoch(1), 5, &["loaded"]).await;
    scene.issue(&event("holder", 1, keyed(1, 1))).await;
    let reserved = scene.take(&event("pending", 2, keyed(2, 2))).await;
    assert_eq!(reserved, Taken::Reserved { spent: 2 });
    let name = |end: &str| Scene::name(&format!("{end}:1"));
    let command = match loss {
        "DEL u" => format!("DEL {}", name("u")),
        "DEL p" => format!("DEL {}", name("p")),
        "DEL z" => format!("DEL {}", name("z")),
        "SPOP u" => format!("SPOP {} 1", name("u")),
        "ZREM z" => format!("ZPOPMIN {}", name("z")),
        "HDEL p" => {
            // A second reservation, so that the key stays.
            let second = scene.take(&event("second", 3, None)).await;
            assert_eq!(second, Taken::Reserved { spent: 3 });
            lose_one_reservation(&scene, &name("p")).await;
            return scene;
        }
        field => format!("HDEL {} {field}", Scene::name("g")),
    };
    let _: redis::Value = scene.server.run(&command).await;
    scene
}

async fn lose_one_reservation(scene: &Scene, name: &str) {
    let mut connection = scene.server.connect().await;
    let users: Vec<Vec<u8>> = redis::cmd("HKEYS")
        .arg(name)
        .query_async(&mut connection)
        .await
        .unwrap();
    let mut hdel = redis::cmd("HDEL");
    hdel.arg(name).arg(&users[0]);
    hdel.exec_async(&mut connection).await.unwrap();
}

#[tokio::test]
async fn it_is_missing_to_a_request_for_a_place() {
    for loss in LOSSES.into_iter().chain(["users"]) {
        let scene = damaged(loss).await;
        let newcomer = event("newcomer", 9, None);
        assert_eq!(
            scene.take(&newcomer).await,
            Taken::Closed(MISSING),
            "{loss}"
        );
        assert_eq!(
            scene.take(&newcomer).await,
            Taken::Closed(MISSING),
            "{loss}"
        );
        let exists: i64 = scene
            .server
            .run(&format!("EXISTS {}", Scene::name("g")))
            .await;
        assert_eq!(exists, 0, "{loss}");
        let left: Vec<String> = scene.server.run("KEYS *:1").await;
        assert!(left.is_empty(), "{loss}: {left:?}");
    }
}

#[tokio::test]
async fn it_is_missing_to_a_request_for_reservations() {
    for loss in LOSSES {
        let scene = damaged(loss).await;
        let pending = scene.bound.pending(GATE, Epoch(1), Duration::ZERO, 10);
        assert_eq!(pending.await.unwrap(), Err(MISSING), "{loss}");
    }
}

#[tokio::test]
async fn it_is_missing_to_a_look() {
    let fields = LOSSES.into_iter().filter(|loss| !loss.contains(' '));
    for field in fields.chain(["users"]) {
        let scene = damaged(field).await;
        let looked = scene.bound.look(GATE, Epoch(1), None, None, now()).await;
        assert_eq!(looked.unwrap().gate, Err(MISSING), "{field}");
        let unknown = scene
            .bound
            .count_unknown_users(GATE, Epoch(1), &[[9; 16]])
            .await;
        assert_eq!(unknown.unwrap(), 0, "{field}");
    }
}

#[tokio::test]
async fn certain_answers_are_given_all_the_same() {
    for loss in ["DEL p", "DEL z"] {
        let scene = damaged(loss).await;
        let holder = event("holder", 9, None);
        assert_eq!(scene.take(&holder).await, Taken::AlreadyIssued, "{loss}");
        let again = event("holder", 9, keyed(1, 1));
        assert_eq!(
            scene.take(&again).await,
            Taken::Replay(finished(Ok(()))),
            "{loss}"
        );
    }
}

#[tokio::test]
async fn the_next_epoch_leaves_none_of_its_keys_behind() {
    for loss in LOSSES {
        let scene = damaged(loss).await;
        let _ = scene.take(&event("newcomer", 9, None)).await;
        scene.install(Epoch(2), 3, &["loaded", "holder"]).await;
        let left: Vec<String> = scene.server.run("KEYS *:1").await;
        assert!(left.is_empty(), "{loss}: {left:?}");
        let newcomer = IssueEvent {
            epoch: Epoch(2),
            ..event("newcomer", 9, None)
        };
        assert_eq!(scene.take(&newcomer).await, Taken::Reserved { spent: 1 });
    }
}
