//! The setup of tests of coupons, sweeps and the audit: a store with one merchant.

use std::sync::Arc;

use bytes::Bytes;
use goodpon_application::{
    idempotency::{Answer, Idempotency, Outcome},
    ports::{
        Audit, CancelOutcome, CancelRequest, Coupons, IssueGate, IssueRequest, RedeemOutcome,
        RedeemRequest, Templates,
    },
};
use goodpon_domain::{
    id::{AccountId, CouponId, MerchantId, TemplateId},
    quota::Quota,
    redemption::Order,
    template::{Discount, Limit, Period, Terms},
};
use goodpon_port_laws::ManualClock;
use jiff::{SignedDuration, Timestamp};
use mysql_async::{Conn, Opts, prelude::Queryable};

use super::{Database, direct_gate::DirectGate, store};
use crate::Store;

pub(super) const MERCHANT: MerchantId = MerchantId(1);
pub(super) const OWNER: AccountId = AccountId(1);
pub(super) const HOUR: SignedDuration = SignedDuration::from_hours(1);
pub(super) const MICRO: SignedDuration = SignedDuration::from_micros(1);

/// A store with a merchant, and its templates and coupons as a test adds them.
pub(super) struct Scene {
    pub(super) store: Store,
    pub(super) clock: Arc<ManualClock>,
    pub(super) database: Database,
}

impl Scene {
    pub(super) async fn new() -> Self {
        let (store, clock, database) = store().await;
        let scene = Self {
            store,
            clock,
            database,
        };
        scene
            .sql(
                "INSERT INTO merchants (id, name, client_id, created_at, updated_at) VALUES (1, 'm', 'ck_1', 0, 0);
                 INSERT INTO merchant_members (merchant_id, account_id, role, created_at) VALUES (1, 1, 0, 0)",
            )
            .await;
        scene
    }

    /// Opens a connection beside the store's.
    pub(super) async fn conn(&self) -> Conn {
        let opts = Opts::from_url(&self.database.url()).unwrap();
        Conn::new(opts).await.unwrap()
    }

    /// Runs statements beside the store.
    pub(super) async fn sql(&self, statements: &str) {
        self.conn().await.query_drop(statements).await.unwrap();
    }

    /// Publishes a template whose coupons end in two hours.
    pub(super) async fn template(&self, limit: Limit) -> TemplateId {
        let now = goodpon_application::ports::Clock::now(&*self.clock);
        let terms = Terms {
            name: "t".into(),
            description: String::new(),
            min_order_amount: None,
            discount: Discount::FixedAmount { amount: 1_000 },
            period: Period {
                issue_start_at: now - HOUR,
                issue_end_at: None,
                validity_days: None,
                absolute_expires_at: Some(now + HOUR * 2),
            },
            limit,
        };
        let id = Templates::create(&self.store, MERCHANT, OWNER, terms, Quota::UNLIMITED)
            .await
            .unwrap()
            .unwrap()
            .id;
        let published = self.store.publish(MERCHANT, OWNER, id).await.unwrap();
        published.unwrap().id
    }

    pub(super) async fn discard(&self, template: TemplateId) {
        let discarded = self
            .store
            .discard(MERCHANT, OWNER, template, "r".into())
            .await;
        discarded.unwrap().unwrap();
    }

    pub(super) async fn coupon(&self, template: TemplateId, user: &str) -> CouponId {
        let request = IssueRequest {
            merchant_id: MERCHANT,
            template_id: template,
            user_id: user.into(),
        };
        let gate = DirectGate(self.store.clone());
        let issued = gate.issue(request, None).await.unwrap();
        assert!(matches!(issued, Outcome::Ran(Ok(_))));
        let held = self.store.held(MERCHANT, user, usize::MAX).await;
        let held = held.unwrap().unwrap();
        let coupon = held.iter().find(|held| held.template.id == template);
        coupon.expect("the coupon").coupon.id
    }

    /// Issues a coupon to a user, and redeems it for the order `o` a microsecond later.
    pub(super) async fn redeemed(&self, template: TemplateId, user: &str) -> CouponId {
        let id = self.coupon(template, user).await;
        self.clock.advance(MICRO);
        redeem(&self.store, id, user, "o").await.unwrap();
        id
    }

    /// Runs the audit, and returns the differences, one line each.
    pub(super) async fn audit(&self) -> Vec<String> {
        let differences = self.store.audit().await.unwrap();
        differences.iter().map(ToString::to_string).collect()
    }
}

pub(super) fn redeem_request(coupon_id: CouponId, user: &str, order: &str) -> RedeemRequest {
    RedeemRequest {
        merchant_id: MERCHANT,
        coupon_id,
        order: Order {
            user_id: user.into(),
            amount: 5_000,
            id: order.into(),
        },
    }
}

pub(super) fn cancel_request(coupon_id: CouponId) -> CancelRequest {
    CancelRequest {
        merchant_id: MERCHANT,
        coupon_id,
        order_id: "o".into(),
        reason: String::new(),
    }
}

pub(super) async fn redeem(store: &Store, id: CouponId, user: &str, order: &str) -> RedeemOutcome {
    match store
        .redeem(redeem_request(id, user, order), None)
        .await
        .unwrap()
    {
        Outcome::Ran(outcome) => outcome,
        other => panic!("it did not run: {other:?}"),
    }
}

pub(super) async fn cancel(store: &Store, id: CouponId) -> CancelOutcome {
    match store.cancel(cancel_request(id), None).await.unwrap() {
        Outcome::Ran(outcome) => outcome,
        other => panic!("it did not run: {other:?}"),
    }
}

/// Makes an idempotency key whose answer is the outcome's debug text.
pub(super) fn key<T: std::fmt::Debug>(key: u8, body: u8) -> Idempotency<T> {
    Idempotency {
        key: [key; 16],
        body: [body; 16],
        render: Arc::new(|outcome| Answer {
            status: 200,
            body: Bytes::from(format!("{outcome:?}")),
        }),
    }
}

/// Returns the time and the action's code of each entry of a coupon, in order.
pub(super) async fn entries(scene: &Scene, coupon: CouponId) -> Vec<(Timestamp, i64)> {
    let sql = "SELECT recorded_at, action FROM coupon_histories WHERE coupon_id = ? ORDER BY recorded_at, id";
    let rows: Vec<(i64, i64)> = scene
        .conn()
        .await
        .exec(sql, (coupon.to_bytes(),))
        .await
        .unwrap();
    rows.into_iter()
        .map(|(at, action)| (Timestamp::from_microsecond(at).unwrap(), action))
        .collect()
}
