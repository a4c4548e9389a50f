//! The audit of gates, which `goodpon verify` reports.

use goodpon_application::ports::StoreError;
use goodpon_domain::template::Limit;
use goodpon_kafka::Cluster;

use super::{Scene, ran};

impl Scene {
    async fn differences(&self) -> Vec<String> {
        self.settled().await;
        let differences = self.scaled.audit_gates().await.unwrap();
        differences.into_iter().map(|one| one.to_string()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_does_not_know_a_holder_is_reported() {
    let scene = Scene::new().await;
    let _issuer = scene.issuer();
    let template = scene.template(Limit::IssueCount(5)).await;
    for user in ["a", "b"] {
        assert_eq!(ran(scene.issue(template, user).await.unwrap()), Ok(()));
    }
    assert!(scene.differences().await.is_empty());
    scene.replace_holder(template, "a").await;
    let found = scene.differences().await;
    assert_eq!(
        found,
        [format!(
            "template {template} gate users: expected every holder, found -1"
        )]
    );
}

/// A gate that has lost a part is deleted and opened anew, so there is no damage to report.
#[tokio::test(flavor = "multi_thread")]
async fn a_gate_that_lost_a_part_is_no_difference() {
    for letter in ["g", "u"] {
        let scene = Scene::new().await;
        let _issuer = scene.issuer();
        let template = scene.template(Limit::IssueCount(5)).await;
        for user in ["a", "b"] {
            assert_eq!(ran(scene.issue(template, user).await.unwrap()), Ok(()));
        }
        scene.settled().await;
        scene.forget_part(template, letter).await;
        assert_eq!(scene.differences().await, [""; 0], "without {letter}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_counts_are_reported() {
    for (field, value, subject) in [
        ("spent", 9, "gate spent"),
        ("conf", 3, "gate confirmed"),
        ("cap", 6, "gate places"),
        ("base", 3, "coupons"),
        ("spent", 1, "gate confirmed"),
    ] {
        let scene = Scene::new().await;
        let _issuer = scene.issuer();
        let template = scene.template(Limit::IssueCount(5)).await;
        for user in ["a", "b"] {
            assert_eq!(ran(scene.issue(template, user).await.unwrap()), Ok(()));
        }
        scene.settled().await;
        scene.set_in_gate(template, field, value).await;
        let found = scene.differences().await;
        let start = format!("template {template} {subject}: ");
        assert!(
            found.iter().any(|one| one.starts_with(&start)),
            "{field} {value}: {found:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn coupons_that_are_not_yet_written_are_an_error_and_no_difference() {
    let mut scene = Scene::new().await;
    let template = scene.template(Limit::IssueCount(5)).await;
    assert_eq!(ran(scene.issue(template, "a").await.unwrap()), Ok(()));
    scene.scaled.partner.confirmer.flush_all().await;
    let audit_error = async |scene: &Scene| match scene.scaled.audit_gates().await {
        Err(StoreError::Unavailable { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let error = audit_error(&scene).await;
    assert!(error.contains("no issuer has worked through"), "{error}");
    let cluster = scene.cluster.clone();
    scene
        .publish_to(&Cluster {
            brokers: "127.0.0.1:1".into(),
            ..cluster.clone()
        })
        .await;
    let error = audit_error(&scene).await;
    assert!(error.contains("no Kafka broker answers"), "{error}");
    scene.publish_to(&cluster).await;
    let _issuer = scene.issuer();
    assert!(scene.scaled.audit_gates().await.unwrap().is_empty());
}
