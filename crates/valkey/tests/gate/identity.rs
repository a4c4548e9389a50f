//! A gate belongs to one server: data that was restored elsewhere, or a server that was restarted, demoted or promoted, is
//! closed and not mistaken for the gate.

use goodpon_application::ports::StoreError;
use goodpon_domain::gate::{Closed, Epoch, InstallResult, IssueEvent, Taken};
use goodpon_valkey::Valkey;
use tokio::time::timeout;

use crate::{
    scene::{ANSWERS, GATE, SOON, Scene, event, finished, keyed, now},
    server::Server,
};

const MISSING: Taken = Taken::Closed(Closed { epoch: None });
const AT_ONE: Taken = Taken::Closed(Closed {
    epoch: Some(Epoch(1)),
});

/// A server that saves its data only by command.
async fn saving() -> Server {
    Server::start(&["appendonly no"]).await
}

/// Waits for a pair with another server than `before`.
async fn other_than(valkey: &Valkey, before: &str) -> goodpon_valkey::Bound {
    let found = async {
        loop {
            let bound = valkey.bound_within(SOON).await.unwrap();
            if bound.server() != before {
                return bound;
            }
            // The failing check gives the old pair up.
            let _ = bound.prove_writable().await;
        }
    };
    timeout(SOON, found).await.unwrap()
}

#[tokio::test]
async fn an_emptied_server_has_no_gate() {
    let scene = Scene::open(1).await;
    scene.take(&event("a", 1, None)).await;
    let _: () = scene.server.run("FLUSHALL").await;
    assert_eq!(scene.take(&event("b", 2, None)).await, MISSING);
    assert_eq!(scene.confirm(&[event("a", 1, None)]).await, [false]);
    scene.install(Epoch(2), 1, &["a"]).await;
    let wish = IssueEvent {
        epoch: Epoch(2),
        ..event("a", 3, None)
    };
    assert_eq!(scene.take(&wish).await, Taken::AlreadyIssued);
}

#[tokio::test]
async fn data_that_was_restored_elsewhere_is_no_gate_but_has_finished_answers() {
    let scene = Scene::on(saving().await).await;
    scene.install(Epoch(1), 5, &[]).await;
    let first = event("a", 1, keyed(1, 1));
    scene.issue(&first).await;
    let _: () = scene.server.run("SAVE").await;
    scene.take(&event("b", 2, None)).await;

    let mut elsewhere = saving().await;
    elsewhere.kill();
    elsewhere.take_snapshot_of(&scene.server);
    elsewhere.restart(&[]).await;
    let restored = Scene::on(elsewhere).await;
    assert_eq!(restored.take(&event("b", 3, None)).await, AT_ONE);
    assert_eq!(restored.confirm(&[event("b", 2, None)]).await, [false]);
    let again = event("a", 4, keyed(1, 1));
    assert_eq!(restored.take(&again).await, Taken::Replay(finished(Ok(()))));
    // A newer epoch can be installed there.
    restored.install(Epoch(2), 3, &["a", "b"]).await;
}

#[tokio::test]
async fn a_restarted_server_is_another_one_with_its_data_and_without() {
    for (setting, expected) in [("appendonly yes", AT_ONE), ("appendonly no", MISSING)] {
        let server = Server::start(&[setting, "appendfsync always"]).await;
        let mut scene = Scene::on(server).await;
        scene.install(Epoch(1), 5, &[]).await;
        scene.take(&event("a", 1, None)).await;
        let before = scene.bound.server().to_owned();
        scene.server.restart(&[]).await;
        // Calls on the old pair fail, and do not reach another server.
        let error = scene
            .bound
            .take(GATE, &event("b", 2, None), None, ANSWERS, now())
            .await;
        let error = error.unwrap_err();
        assert!(
            matches!(
                error,
                StoreError::Unavailable {
                    may_have_happened: true,
                    ..
                }
            ),
            "{error}"
        );
        scene.bound = other_than(&scene.valkey, &before).await;
        assert_eq!(
            scene.take(&event("b", 2, None)).await,
            expected,
            "{setting}"
        );
    }
}

#[tokio::test]
async fn a_gate_is_closed_on_the_old_connection_when_its_server_changes_identity() {
    let scene = Scene::open(5).await;
    assert_eq!(
        scene.take(&event("a", 1, None)).await,
        Taken::Reserved { spent: 1 }
    );
    let _: () = scene.server.run("DEBUG CHANGE-REPL-ID").await;
    // A check is valid for 100 ms, so the gate is closed after that at the latest, and stays closed.
    let wish = event("b", 2, None);
    let closed = async { while scene.take(&wish).await != AT_ONE {} };
    timeout(SOON, closed).await.unwrap();
    assert_eq!(scene.take(&event("c", 3, None)).await, AT_ONE);
    // The pair was given up at once, and the next one has the server's new identity.
    let before = scene.bound.server().to_owned();
    let current = scene.valkey.bound();
    assert!(!current.is_ok_and(|bound| bound.server() == before));
    let bound = other_than(&scene.valkey, &before).await;
    let moved = bound
        .take(GATE, &event("c", 3, None), None, ANSWERS, now())
        .await;
    assert_eq!(moved.unwrap(), AT_ONE);
}

#[tokio::test]
async fn a_check_is_not_valid_if_it_is_old_or_lies_in_the_future() {
    for checked_ms in ["0", "99999999999999"] {
        let scene = Scene::open(5).await;
        let _: () = scene.server.run("DEBUG CHANGE-REPL-ID").await;
        let set = format!("HSET {} checked_ms {checked_ms}", Scene::name("g"));
        let _: i64 = scene.server.run(&set).await;
        let wish = event("a", 1, keyed(1, 1));
        let look = scene.bound.look(GATE, Epoch(1), None, None, now()).await;
        let epoch = Some(Epoch(1));
        assert_eq!(look.unwrap().gate, Err(Closed { epoch }));
        assert_eq!(scene.take(&wish).await, AT_ONE);
        assert_eq!(scene.confirm(&[wish]).await, [false]);
        let age = std::time::Duration::ZERO;
        let pending = scene.bound.pending(GATE, Epoch(1), age, 9).await;
        assert_eq!(pending.unwrap(), Err(Closed { epoch }));
    }
}

#[tokio::test]
async fn nothing_is_loaded_or_installed_on_a_server_that_changed_identity() {
    let scene = Scene::empty().await;
    scene.bound.load(GATE, Epoch(1), &[], &[]).await.unwrap();
    let _: () = scene.server.run("DEBUG CHANGE-REPL-ID").await;
    let loaded = scene.bound.load(GATE, Epoch(1), &[[1; 16]], &[]).await;
    assert_eq!(loaded.unwrap(), InstallResult::WrongServer);
    let installed = scene.bound.install(GATE, Epoch(1), 5, 0, 0).await;
    assert_eq!(installed.unwrap(), InstallResult::WrongServer);
    assert_eq!(scene.names().await, [Scene::name("u:1")]);
}

#[tokio::test]
async fn a_server_demoted_and_promoted_again_is_another_one() {
    let scene = Scene::open(5).await;
    let replica = Server::start(&[]).await;
    // The first replica gives the primary a new replication id, so the gate is opened anew.
    let follow = format!("REPLICAOF 127.0.0.1 {}", scene.server.port);
    let _: () = replica.run(&follow).await;
    await_link(&replica).await;
    let before = scene.bound.server().to_owned();
    let bound = other_than(&scene.valkey, &before).await;
    let scene = Scene { bound, ..scene };
    scene.install(Epoch(2), 5, &[]).await;
    let wish = |user, coupon| IssueEvent {
        epoch: Epoch(2),
        ..event(user, coupon, None)
    };
    scene.take(&wish("a", 1)).await;
    let at_two = Taken::Closed(Closed {
        epoch: Some(Epoch(2)),
    });
    let _: i64 = scene.server.run("WAIT 1 5000").await;

    // The replica is promoted, so there are two primaries.
    let _: () = replica.run("REPLICAOF NO ONE").await;
    let beside = Scene::on(replica).await;
    assert_eq!(beside.take(&wish("b", 2)).await, at_two);

    // The old primary becomes a replica of the other, which has older data, and is promoted again: the same run id, older
    // data.
    let follow = format!("REPLICAOF 127.0.0.1 {}", beside.server.port);
    let _: () = scene.server.run(&follow).await;
    await_link(&scene.server).await;
    let refused = scene
        .bound
        .take(GATE, &wish("c", 3), None, ANSWERS, now())
        .await;
    assert!(
        matches!(
            refused,
            Ok(Taken::Closed(_))
                | Err(StoreError::Unavailable {
                    may_have_happened: false,
                    ..
                })
        ),
        "{refused:?}"
    );
    let _: () = scene.server.run("REPLICAOF NO ONE").await;
    let run = |server: &str| server.split(' ').next().unwrap().to_owned();
    let promoted = other_than(&scene.valkey, scene.bound.server()).await;
    assert_eq!(run(promoted.server()), run(scene.bound.server()));
    let taken = promoted
        .take(GATE, &wish("d", 4), None, ANSWERS, now())
        .await;
    assert_eq!(taken.unwrap(), at_two);
    // On the connection that was made before all that, if it still lives, the gate is closed too.
    let set = format!("HSET {} checked_ms 0", Scene::name("g"));
    let _: i64 = scene.server.run(&set).await;
    match scene
        .bound
        .take(GATE, &wish("e", 5), None, ANSWERS, now())
        .await
    {
        Ok(taken) => assert_eq!(taken, at_two),
        Err(error) => assert!(matches!(error, StoreError::Unavailable { .. }), "{error}"),
    }
}

/// Waits until a replica has all data of its primary.
async fn await_link(replica: &Server) {
    let synced = async {
        loop {
            let info: String = replica.run("INFO replication").await;
            if info.contains("master_link_status:up") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, synced).await.unwrap();
}
