//! A set tells the truth or nothing.
#![allow(clippy::unwrap_used)]

use goodpon_application::{idempotency::Outcome, ports::Templates};
use goodpon_domain::{
    coupon::IssueRefusal,
    template::{Limit, Owned},
};

use super::*;
use crate::tests::Scene;

async fn template(scene: &Scene, id: TemplateId) -> Arc<Template> {
    match scene.store.find(scene.merchant, id).await.unwrap() {
        Owned::Mine(template) => template,
        _ => panic!("the template is gone"),
    }
}

/// Looks until the holders are read, and tells how often.
fn look_until_read(scene: &Scene, template: &Template) -> i64 {
    let sets = &scene.store.inner.holder_sets;
    let looks = (1..1_000).find(|_| sets.note_look(template)).unwrap();
    sets.read(&scene.raw(), template).unwrap();
    looks
}

#[tokio::test]
async fn a_sold_out_template_knows_its_holders() {
    let scene = Scene::new().await;
    let id = scene.template(Limit::IssueCount(40)).await;
    for user in 0..40 {
        scene.issued(id, &format!("user {user}")).await;
    }
    let template = template(&scene, id).await;
    let sets = &scene.store.inner.holder_sets;
    assert_eq!(sets.has_one(&template, "user 7"), None);
    assert_eq!(look_until_read(&scene, &template), 12);
    for user in 0..80 {
        let name = format!("user {user}");
        assert_eq!(sets.has_one(&template, &name), Some(user < 40));
        let refusal = match user {
            ..40 => IssueRefusal::AlreadyIssued,
            _ => IssueRefusal::SoldOut,
        };
        let outcome = scene.issue(id, &name).await.unwrap();
        assert_eq!(outcome, Outcome::Ran(Err(refusal)));
    }
}

#[tokio::test]
async fn enough_refusals_have_the_holders_read() {
    let scene = Scene::new().await;
    let id = scene.template(Limit::IssueCount(1)).await;
    scene.issued(id, "holder").await;
    let template = template(&scene, id).await;
    while scene.store.inner.holder_sets.has_one(&template, "late") != Some(false) {
        let outcome = scene.issue(id, "late").await.unwrap();
        assert_eq!(outcome, Outcome::Ran(Err(IssueRefusal::SoldOut)));
    }
}

#[tokio::test]
async fn a_set_tells_nothing_once_more_is_issued() {
    let scene = Scene::new().await;
    let (id, other) = (
        scene.template(Limit::None).await,
        scene.template(Limit::None).await,
    );
    for user in ["one", "two", "three"] {
        scene.issued(id, user).await;
    }
    let of_three = template(&scene, id).await;
    look_until_read(&scene, &of_three);
    scene.issued(other, "four").await;
    let sets = &scene.store.inner.holder_sets;
    assert_eq!(sets.has_one(&of_three, "four"), Some(false));
    assert_eq!(sets.has_one(&*template(&scene, other).await, "four"), None);
    scene.issued(id, "four").await;
    assert_eq!(sets.has_one(&*template(&scene, id).await, "four"), None);
    let again = scene.issue(id, "four").await.unwrap();
    assert_eq!(again, Outcome::Ran(Err(IssueRefusal::AlreadyIssued)));
}

#[tokio::test]
async fn what_was_issued_while_it_was_read_makes_no_set() {
    let scene = Scene::new().await;
    let id = scene.template(Limit::None).await;
    scene.issued(id, "one").await;
    let of_one = template(&scene, id).await;
    scene.issued(id, "two").await;
    look_until_read(&scene, &of_one);
    assert_eq!(scene.store.inner.holder_sets.has_one(&of_one, "two"), None);
}
