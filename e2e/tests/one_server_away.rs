//! Scaled out, with one server away: requests that do not need it go on, and readiness names what is missing. Runs on
//! servers and processes of its own, on whatever set the suite runs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use goodpon_e2e::Template;
use goodpon_e2e::scaled::fleet::{Fleet, Merchant, client};
use goodpon_e2e::scaled::process::Process;
use goodpon_e2e::scaled::proxy::Mode;
use goodpon_e2e::scaled::servers::Kind;
use goodpon_waits::eventually;
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};

/// The shop of a merchant, at one partner.
struct Shop<'a> {
    http: reqwest::Client,
    partner: &'a Process,
    merchant: &'a Merchant,
    secret: String,
}

impl Shop<'_> {
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("http://{}/v1{path}", self.partner.api);
        let method = method.parse().unwrap();
        let mut request = self.http.request(method, url);
        request = request
            .header("X-Goodpon-Client-Id", &self.merchant.client_id)
            .header("X-Goodpon-Client-Secret", &self.secret);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.expect("JSON"))
    }

    async fn issue(&self, template: i64, user: &str) -> (u16, Value) {
        let path = format!("/coupon-templates/{template}/issue");
        self.call("POST", &path, Some(json!({"userId": user})))
            .await
    }

    async fn coupons(&self, user: &str) -> (u16, Vec<String>) {
        let path = format!("/user-coupons?userId={user}");
        let (status, reply) = self.call("GET", &path, None).await;
        let coupons = reply["data"]["coupons"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let ids = coupons
            .iter()
            .map(|one| one["userCouponId"].as_str().unwrap().to_owned());
        (status, ids.collect())
    }

    async fn redeem(&self, coupon: &str, user: &str) -> u16 {
        let path = format!("/user-coupons/{coupon}/redeem");
        let body = json!({"userId": user, "orderAmount": 5000, "orderId": format!("order-{user}")});
        self.call("POST", &path, Some(body)).await.0
    }

    async fn template(&self, template: i64) -> u16 {
        self.call("GET", &format!("/coupon-templates/{template}"), None)
            .await
            .0
    }

    async fn readiness(&self) -> (u16, Value) {
        readiness(&self.http, self.partner).await
    }

    /// Issues, and returns the coupon once it is listed.
    async fn issued(&self, template: i64, user: &str) -> String {
        eventually("a coupon is issued", || async {
            [200, 400].contains(&self.issue(template, user).await.0)
        })
        .await;
        eventually("a coupon is listed", || async {
            !self.coupons(user).await.1.is_empty()
        })
        .await;
        self.coupons(user).await.1.remove(0)
    }
}

async fn readiness(http: &reqwest::Client, process: &Process) -> (u16, Value) {
    let answer = http
        .get(format!("http://{}/readyz", process.admin))
        .send()
        .await
        .expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

/// Makes a shop by the dashboard, and waits until the partner knows the merchant's secrets.
async fn a_new_secret_is_good_at_once(shop: &Shop<'_>, template: i64) {
    assert_eq!(shop.template(template).await, 200);
    let renewed = Shop {
        http: shop.http.clone(),
        secret: shop.merchant.add_secret().await,
        ..*shop
    };
    assert_eq!(renewed.template(template).await, 200);
}

/// Makes the database server take no more prepared statements, as when too many processes have theirs there.
async fn all_goes_on_without_prepared_statements(fleet: &Fleet, shop: &Shop<'_>) {
    let take = async |count: u32| {
        let mut conn = fleet.database.get_conn().await.unwrap();
        let sql = format!("SET GLOBAL max_prepared_stmt_count = {count}");
        conn.query_drop(sql).await.unwrap();
    };
    take(0).await;
    let template = shop.merchant.publish(&Template::default()).await;
    assert_eq!(shop.template(template).await, 200);
    let coupon = shop.issued(template, "unprepared").await;
    assert_eq!(shop.redeem(&coupon, "unprepared").await, 200);
    assert_eq!(shop.readiness().await.0, 200);
    take(16_382).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_need_it_goes_on() {
    let fleet = Fleet::start("away").await.expect("a fleet");
    let merchant = Merchant::make(&fleet).await;
    let template = merchant.publish(&Template::default()).await;
    let shop = Shop {
        http: client(Duration::from_secs(20)),
        partner: fleet.process("partner1"),
        merchant: &merchant,
        secret: merchant.secret.clone(),
    };
    a_new_secret_is_good_at_once(&shop, template).await;
    all_goes_on_without_prepared_statements(&fleet, &shop).await;
    for (kind, name) in [(Kind::Kafka, "kafka"), (Kind::Valkey, "valkey")] {
        let users = [format!("{name}-1"), format!("{name}-2")];
        let coupon = shop.issued(template, &users[0]).await;
        fleet.process("partner1").link(kind).set(Mode::Cut);
        eventually("readiness shows it", || async {
            shop.readiness().await.1["status"] == "degraded"
        })
        .await;
        let (status, reply) = shop.readiness().await;
        assert_eq!(status, 200, "{reply}");
        assert_ne!(reply["dependencies"][name], "ok", "{reply}");
        assert_eq!(reply["dependencies"]["mysql"], "ok", "{reply}");
        let (status, reply) = shop.issue(template, &users[1]).await;
        assert_eq!(
            (status, &reply["error"]["code"]),
            (503, &json!("SERVICE_UNAVAILABLE"))
        );
        assert_eq!(
            shop.coupons(&users[0]).await.1,
            [coupon.as_str()],
            "lists go on without {name}"
        );
        assert_eq!(
            shop.template(template).await,
            200,
            "details go on without {name}"
        );
        assert_eq!(
            shop.redeem(&coupon, &users[0]).await,
            200,
            "redemptions go on without {name}"
        );
        let (status, _) = readiness(&shop.http, fleet.process("partner2")).await;
        assert_eq!(status, 200, "others are well");
        fleet.process("partner1").link(kind).set(Mode::Pass);
        shop.issued(template, &users[1]).await;
    }
    let link = fleet.process("partner1").link(Kind::Database);
    link.set(Mode::Cut);
    eventually("readiness shows it", || async {
        shop.readiness().await.0 == 503
    })
    .await;
    let (_, reply) = shop.readiness().await;
    assert_ne!(reply["dependencies"]["mysql"], "ok", "{reply}");
    eventually("nothing is believed for long", || async {
        shop.issue(template, "nobody").await.0 == 503
    })
    .await;
    assert_eq!(shop.coupons("nobody").await.0, 503);
    link.set(Mode::Pass);
    shop.issued(template, "somebody").await;
    let verified = fleet.run(&["verify"]).await;
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
    fleet.forget();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_starts_does_not_matter() {
    let fleet = Fleet::start("order").await.expect("a fleet");
    let partner = fleet.process("partner1");
    let http = client(Duration::from_secs(20));
    for kind in Kind::ALL {
        partner.kill();
        partner.link(kind).set(Mode::Cut);
        partner.start();
        let answers = async || {
            let url = format!("http://{}/readyz", partner.admin);
            let answer = http.get(url).send().await.ok()?;
            answer.json::<Value>().await.ok()
        };
        eventually("it says what it waits for", || async {
            let reply = answers().await.unwrap_or_default();
            ["unavailable", "degraded"]
                .iter()
                .any(|word| reply["status"] == *word)
        })
        .await;
        assert!(partner.is_lost().is_none(), "it waits for {kind:?}");
        partner.link(kind).set(Mode::Pass);
        eventually("it goes on by itself", || async {
            answers().await.unwrap_or_default()["status"] == "ok"
        })
        .await;
    }
    fleet.forget();
}
