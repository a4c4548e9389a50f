//! The filler reads all holders, however many chunks they take.
#![allow(clippy::unwrap_used)]

use goodpon_domain::template::Limit;

use super::*;
use crate::tests::Scene;

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
