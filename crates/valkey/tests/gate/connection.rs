//! Servers that cannot be used, and the errors of calls that fail.

use std::time::Duration;

use goodpon_application::ports::StoreError;
use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Epoch, Taken},
};
use goodpon_valkey::Valkey;
use tokio::time::timeout;

use crate::{
    scene::{ANSWERS, GATE, SOON, Scene, answer_of, event, keyed, minutes, now},
    server::{Server, shared_url},
};

/// Waits until a server is unusable for a reason that contains `word`, and returns the reason.
async fn reason(url: &str, word: &str) -> String {
    let valkey = Valkey::open(url, "test").unwrap();
    let reported = async {
        loop {
            match valkey.bound() {
                Ok(bound) => panic!("{bound:?} can be used"),
                Err(StoreError::Unavailable {
                    reason,
                    may_have_happened: false,
                }) if reason.contains(word) => return reason,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    timeout(SOON, reported)
        .await
        .unwrap_or_else(|_| panic!("no {word} in {:?}", valkey.bound()))
}

#[tokio::test]
async fn the_shared_server_can_be_used() {
    let valkey = Valkey::open(&shared_url(), "goodpon-valkey-tests").unwrap();
    let bound = valkey.bound_within(SOON).await.unwrap();
    bound.prove_writable().await.unwrap();
}

#[tokio::test]
async fn a_password_is_checked_and_never_shown() {
    let server = Server::start(&["requirepass se/cret"]).await;
    let url = |user: &str| format!("valkey://{user}127.0.0.1:{}", server.port);
    reason(&url(""), "asks for a password").await;
    let wrong = reason(&url(":hidden@"), "wrong user or password").await;
    assert!(!wrong.contains("hidden"), "{wrong}");
    let wrong = reason(&url("somebody:hidden@"), "wrong user or password").await;
    assert!(!wrong.contains("hidden"), "{wrong}");
    for user in [":se%2Fcret@", "default:se%2Fcret@"] {
        let valkey = Valkey::open(&url(user), "test").unwrap();
        valkey.bound_within(SOON).await.unwrap();
        assert!(!format!("{valkey:?}").contains("cret"), "{valkey:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_down_or_speaks_no_tls_is_refused() {
    let mut server = Server::start(&[]).await;
    // A server without TLS takes the handshake for a command, and waits for its end.
    let tls = format!("valkeys://127.0.0.1:{}", server.port);
    reason(&tls, "does not answer in time").await;
    server.kill();
    reason(&server.url(), "refused").await;
}

#[tokio::test]
async fn a_replica_is_refused_until_it_is_promoted() {
    let primary = Server::start(&[]).await;
    let replica = Server::start(&[]).await;
    let follow = format!("REPLICAOF 127.0.0.1 {}", primary.port);
    let _: () = replica.run(&follow).await;
    reason(&replica.url(), "read-only replica").await;
    let valkey = Valkey::open(&replica.url(), "test").unwrap();
    let _: () = replica.run("REPLICAOF NO ONE").await;
    let bound = valkey.bound_within(SOON).await.unwrap();
    bound.prove_writable().await.unwrap();
}

#[tokio::test]
async fn a_primary_that_is_demoted_is_given_up_and_its_refused_call_has_no_effect() {
    let scene = Scene::open(5).await;
    let other = Server::start(&[]).await;
    let follow = format!("REPLICAOF 127.0.0.1 {}", other.port);
    let _: () = scene.server.run(&follow).await;
    let error = scene.bound.prove_writable().await.unwrap_err();
    let StoreError::Unavailable {
        reason,
        may_have_happened: false,
    } = error
    else {
        panic!("{error}");
    };
    assert!(reason.contains("READONLY"), "{reason}");
    assert!(scene.valkey.bound().is_err());
}

#[tokio::test]
async fn a_server_that_evicts_keys_is_refused() {
    let server = Server::start(&["maxmemory-policy allkeys-lru"]).await;
    reason(&server.url(), "noeviction").await;
}

#[tokio::test]
async fn a_server_that_is_loading_its_data_is_waited_for() {
    let mut server = Server::start(&[]).await;
    let _: () = server.run("DEBUG POPULATE 2000").await;
    let _: () = server.run("SAVE").await;
    server
        .restart(&[
            "key-load-delay 1000",
            "loading-process-events-interval-bytes 1024",
        ])
        .await;
    reason(&server.url(), "LOADING").await;
    let valkey = Valkey::open(&server.url(), "test").unwrap();
    valkey.bound_within(SOON).await.unwrap();
}

#[tokio::test]
async fn out_of_memory_no_place_is_given_but_reservations_are_helped_and_confirmed() {
    let scene = Scene::open(5).await;
    let first = event("a", 1, keyed(1, 1));
    scene.take(&first).await;
    let _: () = scene.server.run("CONFIG SET maxmemory 1").await;
    for wish in [event("b", 2, None), event("c", 3, keyed(3, 3))] {
        let error = scene
            .bound
            .take(GATE, &wish, None, ANSWERS, now())
            .await
            .unwrap_err();
        let StoreError::Unavailable {
            reason,
            may_have_happened: false,
        } = error
        else {
            panic!("{error}");
        };
        assert!(reason.contains("OOM"), "{reason}");
    }
    let verdict = IssueRefusal::NotIssuable;
    let keyed = keyed(4, 4).unwrap();
    assert!(
        scene
            .bound
            .remember(
                GATE,
                Epoch(0),
                keyed,
                verdict,
                answer_of(Err(verdict)),
                now()
            )
            .await
            .is_err()
    );
    assert!(scene.bound.load(GATE, Epoch(2), &[], &[]).await.is_err());
    assert!(scene.bound.install(GATE, Epoch(2), 1, 0, 0).await.is_err());
    // A reservation is still helped and confirmed, and the connection is kept.
    let _: () = scene.server.run("CONFIG SET maxmemory 0").await;
    scene.make_due("a", minutes(1)).await;
    let _: () = scene.server.run("CONFIG SET maxmemory 1").await;
    let pending = scene.bound.pending(GATE, Epoch(1), Duration::ZERO, 9);
    let pending = pending.await.unwrap().unwrap().events;
    assert_eq!(pending.len(), 1);
    assert_eq!(pending[0].coupon_id, first.coupon_id);
    assert_eq!(scene.confirm(&[first]).await, [true]);
    assert_eq!(scene.counts().await, (1, 1));
    assert_eq!(scene.valkey.bound().unwrap().server(), scene.bound.server());
    let _: () = scene.server.run("CONFIG SET maxmemory 0").await;
    assert_eq!(
        scene.take(&event("b", 2, None)).await,
        Taken::Reserved { spent: 2 }
    );
}

#[tokio::test]
async fn a_call_that_times_out_may_have_happened_and_its_connection_is_given_up() {
    let scene = Scene::open(5).await;
    let mut asleep = scene.server.connect().await;
    let sleeping = tokio::spawn(async move {
        let mut sleep = redis::cmd("DEBUG");
        sleep.arg("SLEEP").arg("2");
        let _ = sleep.query_async::<()>(&mut asleep).await;
    });
    let wish = event("a", 1, None);
    let failed = async {
        loop {
            if let Err(error) = scene.bound.take(GATE, &wish, None, ANSWERS, now()).await {
                return error;
            }
        }
    };
    let error = timeout(SOON, failed).await.unwrap();
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
    sleeping.await.unwrap();
    // The same event finds its place on the next connection, if it had got one.
    let bound = scene.valkey.bound_within(SOON).await.unwrap();
    assert_eq!(bound.server(), scene.bound.server());
    let again = bound.take(GATE, &wish, None, ANSWERS, now()).await.unwrap();
    assert_eq!(again, Taken::Reserved { spent: 1 });
}

#[tokio::test]
async fn a_task_that_takes_the_connection_over_keeps_the_pair_and_makes_the_next() {
    let mut server = Server::start(&[]).await;
    let valkey = Valkey::open(&server.url(), "test").unwrap();
    let before = valkey.bound_within(SOON).await.unwrap().server().to_owned();
    let (checks, mut checked) = tokio::sync::watch::channel(0);
    let kept = valkey.clone();
    let keeper = tokio::spawn(async move {
        kept.keep(|| checks.send_modify(|count| *count += 1)).await;
    });
    let first_check = timeout(SOON, checked.wait_for(|count| *count > 0));
    assert!(first_check.await.unwrap().is_ok());
    assert_eq!(valkey.bound().unwrap().server(), before);
    server.restart(&[]).await;
    let reconnected = async {
        while valkey.bound_within(SOON).await.unwrap().server() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, reconnected).await.unwrap();
    keeper.abort();
}

#[tokio::test]
async fn scripts_are_loaded_again_into_a_server_that_forgot_them() {
    let scene = Scene::open(5).await;
    scene.take(&event("a", 1, None)).await;
    let _: () = scene.server.run("SCRIPT FLUSH").await;
    assert_eq!(
        scene.take(&event("b", 2, None)).await,
        Taken::Reserved { spent: 2 }
    );
}

#[tokio::test]
async fn installations_on_one_server_do_not_see_each_others_gates() {
    let scene = Scene::open(1).await;
    let other = Valkey::open(&scene.server.url(), "other").unwrap();
    let bound = other.bound_within(SOON).await.unwrap();
    let closed = bound
        .take(GATE, &event("a", 1, None), None, ANSWERS, now())
        .await;
    assert!(matches!(closed, Ok(Taken::Closed(closed)) if closed.epoch.is_none()));
}
