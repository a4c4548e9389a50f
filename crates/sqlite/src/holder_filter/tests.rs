//! The filter forgets nobody; that it is asked in the right places is tried with the holders.
#![allow(clippy::unwrap_used)]

use goodpon_domain::template::Limit;

use super::*;
use crate::tests::Scene;

#[test]
fn whoever_was_added_is_found_and_few_others_are() {
    let filter = HolderFilter::default();
    let user = |number: i64| format!("user {number}");
    let template = |number: i64| TemplateId(number % 7);
    for number in 0..200_000 {
        filter.add(template(number), &user(number));
    }
    assert!(!filter.surely_has_none(TemplateId(1), "before it is whole"));
    filter.whole.set(()).unwrap();
    for number in 0..200_000 {
        assert!(!filter.surely_has_none(template(number), &user(number)));
    }
    let strangers = (200_000..400_000)
        .filter(|&number| !filter.surely_has_none(template(number), &user(number)));
    let of_others =
        (0..200_000).filter(|&number| !filter.surely_has_none(template(number + 1), &user(number)));
    let mistaken = strangers.count() + of_others.count();
    assert!(mistaken < 400, "{mistaken} of 400,000");
}

#[tokio::test]
async fn it_is_filled_from_the_index_in_chunks() {
    let scene = Scene::with(0).await;
    let template = scene.template(Limit::None).await;
    let sql = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO coupon_holders (merchant_id, user_id, template_id, coupon_id)
        SELECT i % 3, 'user ' || (i / 2), i % 5, randomblob(16) FROM n WHERE true ON CONFLICT DO NOTHING";
    for count in [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK] {
        let connection = scene.raw();
        connection
            .execute("DELETE FROM coupon_holders", [])
            .unwrap();
        connection
            .execute(sql, [i64::try_from(count).unwrap()])
            .unwrap();
        let filter = Arc::new(HolderFilter::default());
        let filler = Filler::start(
            &scene.folder.path().join(crate::folder::DATABASE_FILE),
            Arc::clone(&filter),
            &Supervisor::new(),
        );
        let filler = filler.unwrap();
        filter.wait();
        let mut all = connection
            .prepare("SELECT template_id, user_id FROM coupon_holders")
            .unwrap();
        let mut rows = all.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (template, user): (i64, String) = (row.get(0).unwrap(), row.get(1).unwrap());
            assert!(!filter.surely_has_none(TemplateId(template), &user));
        }
        assert!(filter.surely_has_none(template, "nobody"));
        drop(filler);
    }
    let plan = crate::schema::query_plan(&scene.raw(), CHUNK_OF_HOLDERS);
    assert!(
        plan.contains("SEARCH coupon_holders USING PRIMARY KEY"),
        "{plan}"
    );
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}
