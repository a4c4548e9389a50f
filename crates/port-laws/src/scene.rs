//! The scenes that laws set up before they try something, and their looks at the outcome afterwards.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use goodpon_application::{
    idempotency::Outcome,
    ports::{
        CancelOutcome, CancelRequest, Direction, HistoryFilter, IssueOutcome, IssueRequest,
        MailContent, NewAccount, NewSecret, NewVerification, RedeemOutcome, RedeemRequest,
    },
};
use goodpon_domain::{
    account::Account,
    coupon::{Coupon, CouponStatus, IssueRefusal, Issued},
    generation::Generation,
    history::HistoryEntry,
    id::{AccountId, CouponId, MerchantId, TemplateId},
    ledger::HistoryAction,
    quota::Quota,
    redemption::Order,
    template::{Discount, Limit, Owned, Period, Template, Terms},
    wallet::HeldCoupon,
};
use jiff::SignedDuration;
use tokio::sync::Barrier;

use crate::World;

/// The finest step of time that stores keep.
pub(crate) const MICRO: SignedDuration = SignedDuration::from_micros(1);
/// A limit that no list reaches: more entries than any law writes.
pub(crate) const ALL: usize = 100_000;

/// Texts that a careless comparison takes for each other: by case, accents, normalisation, blanks or width.
pub(crate) const LOOKALIKES: [&str; 24] = [
    "user",
    "User",
    "USER",
    "us\u{e9}r",
    "use\u{301}r",
    "use\u{301}\u{301}r",
    "user ",
    " user",
    "user  ",
    "user\t",
    "user\u{a0}",
    "ｕｓｅｒ",
    "stra\u{df}e",
    "strasse",
    "i",
    "I",
    "ı",
    "İ",
    "\u{ac00}",
    "\u{1100}\u{1161}",
    "🎟",
    "🎟\u{fe0f}",
    "🎫",
    "user\u{200b}",
];

/// Makes a text that no other law and no other process uses.
pub(crate) fn unique() -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(
        "{:016x}{:08x}",
        *PROCESS,
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Makes 32 bytes that no other law and no other process uses.
pub(crate) fn unique_digest() -> [u8; 32] {
    let text = unique() + "digest!!";
    text.as_bytes().try_into().expect("32 bytes")
}

/// Makes 16 bytes that no other law and no other process uses.
pub(crate) fn unique_key() -> [u8; 16] {
    let text = unique();
    text.as_bytes()[8..].try_into().expect("16 bytes")
}

/// A small generator for repeatable choices.
pub(crate) struct Choices(pub(crate) u64);

impl Choices {
    /// Draws a number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 1).expect("a 64-bit machine") % bound
    }
}

/// A merchant with its owner.
pub(crate) struct Shop {
    pub(crate) id: MerchantId,
    pub(crate) owner: AccountId,
    pub(crate) client_id: String,
}

pub(crate) fn new_account(email: &str) -> NewAccount {
    NewAccount {
        email: email.into(),
        name: "  홍길동 🎟 ".into(),
        password_hash: format!("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA${}", unique()),
        generation: unique_generation(),
    }
}

/// Makes a generation that no other account has.
pub(crate) fn unique_generation() -> Generation {
    let bits = unique_key()[8..].try_into().expect("8 bytes");
    Generation::of_random(u64::from_be_bytes(bits) ^ RandomState::new().hash_one(0))
}

/// Makes a link as the mail carries it, with a token that depends on the digest.
fn link(token_digest: [u8; 32]) -> String {
    let half = token_digest[16..].try_into().expect("16 bytes");
    format!("https://x/verify?token={:032x}", u128::from_be_bytes(half))
}

pub(crate) fn new_verification(token_digest: [u8; 32]) -> NewVerification {
    NewVerification {
        token_digest,
        mail: MailContent {
            subject: "이메일 인증 🎟".into(),
            text: format!("line\r\n{}", link(token_digest)),
            html: format!("<p>&lt;홍길동&gt; {}</p>", link(token_digest)),
        },
        origin: Some("2001:db8:1:2::".into()),
    }
}

pub(crate) fn new_secret() -> NewSecret {
    let digest = unique_digest();
    NewSecret {
        digest,
        head: "0a1b".into(),
        tail: "2c3d".into(),
    }
}

pub(crate) fn order(user: &str, id: &str, amount: i64) -> Order {
    Order {
        user_id: user.into(),
        amount,
        id: id.into(),
    }
}

/// Returns the outcome of a request that ran now.
///
/// # Panics
/// It did not run.
pub(crate) fn ran<T: std::fmt::Debug>(outcome: Outcome<T>) -> T {
    match outcome {
        Outcome::Ran(outcome) => outcome,
        other => panic!("expected the request to run, got {other:?}"),
    }
}

/// Runs `count` calls that all begin at once, and returns their results in the order of their numbers.
pub(crate) async fn at_once<T, F>(
    world: &World,
    count: usize,
    call: impl Fn(World, usize) -> F,
) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(count));
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let (barrier, call) = (Arc::clone(&barrier), call(world.clone(), number));
            tokio::spawn(async move {
                barrier.wait().await;
                call.await
            })
        })
        .collect();
    let mut results = Vec::with_capacity(count);
    for task in tasks {
        results.push(task.await.expect("a call that ends"));
    }
    results
}

impl World {
    /// Waits until all that was accepted can be seen.
    pub(crate) async fn settled(&self) {
        (self.settle)().await;
    }

    /// Makes a verified account.
    pub(crate) async fn account(&self) -> Account {
        let (account, token) = self.unverified().await;
        let verified = self.stores.accounts.verify(token, None).await.unwrap();
        assert_eq!(verified.as_ref().map(|account| account.verified), Ok(true));
        Account {
            verified: true,
            ..account
        }
    }

    /// Makes an account that is not verified, and returns it with the digest of its token.
    pub(crate) async fn unverified(&self) -> (Account, [u8; 32]) {
        let email = format!("Law-{}@Example.COM", unique());
        let token = unique_digest();
        let signed_up = self
            .stores
            .accounts
            .sign_up(new_account(&email), new_verification(token))
            .await;
        (signed_up.unwrap().expect("a new address"), token)
    }

    /// Makes a merchant of a new owner.
    pub(crate) async fn shop(&self) -> Shop {
        let owner = self.account().await.id;
        let client_id = format!("ck_{}", unique());
        let created = self
            .stores
            .merchants
            .create(
                owner,
                "상점".into(),
                client_id.clone(),
                new_secret(),
                Quota::UNLIMITED,
            )
            .await
            .unwrap()
            .unwrap();
        Shop {
            id: created.merchant.id,
            owner,
            client_id,
        }
    }

    /// Makes terms without limit and end, by which coupons are issued from a day ago on.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            name: "여름 할인 🎟".into(),
            description: String::new(),
            min_order_amount: None,
            discount: Discount::FixedAmount { amount: 1_000 },
            period: Period {
                issue_start_at: self.now() - SignedDuration::from_hours(24),
                issue_end_at: None,
                validity_days: None,
                absolute_expires_at: None,
            },
            limit: Limit::None,
        }
    }

    /// Makes such terms with a limit.
    pub(crate) fn limited(&self, limit: Limit) -> Terms {
        Terms {
            limit,
            ..self.terms()
        }
    }

    /// Makes such terms whose coupons all end when `duration` has passed.
    pub(crate) fn ending_in(&self, duration: SignedDuration) -> Terms {
        let mut terms = self.terms();
        terms.period.absolute_expires_at = Some(self.now() + duration);
        terms
    }

    /// Writes a draft.
    pub(crate) async fn draft(&self, shop: &Shop, terms: Terms) -> Arc<Template> {
        let created = self
            .stores
            .templates
            .create(shop.id, shop.owner, terms, Quota::UNLIMITED);
        created.await.unwrap().expect("an owner can write a draft")
    }

    /// Writes and publishes a template.
    pub(crate) async fn published(&self, shop: &Shop, terms: Terms) -> TemplateId {
        let draft = self.draft(shop, terms).await;
        let published = self
            .stores
            .templates
            .publish(shop.id, shop.owner, draft.id)
            .await
            .unwrap();
        published.expect("a draft can be published").id
    }

    /// Reads a template of the shop as it is now.
    pub(crate) async fn template(&self, shop: &Shop, id: TemplateId) -> Arc<Template> {
        self.settled().await;
        match self.stores.templates.find(shop.id, id).await.unwrap() {
            Owned::Mine(template) => template,
            other => panic!("expected the shop's template {id}, got {other:?}"),
        }
    }

    /// Tries to issue, without a key.
    pub(crate) async fn issue(
        &self,
        merchant: MerchantId,
        template: TemplateId,
        user: &str,
    ) -> Result<(), IssueRefusal> {
        let request = issue_request(merchant, template, user);
        without_id(ran(self.stores.gate.issue(request, None).await.unwrap()))
    }

    /// Issues, and returns the coupon.
    pub(crate) async fn issued(&self, shop: &Shop, template: TemplateId, user: &str) -> Coupon {
        assert_eq!(
            self.issue(shop.id, template, user).await,
            Ok(()),
            "an issue to {user:?}"
        );
        self.settled().await;
        let held = self.in_hand(shop.id, user).await;
        let coupon = held
            .into_iter()
            .find(|coupon| coupon.template_id == template);
        coupon.expect("an issued coupon is held")
    }

    /// Reads the coupons of a user, at least those in state ISSUED, with their templates.
    pub(crate) async fn held(&self, merchant: MerchantId, user: &str) -> Vec<HeldCoupon> {
        let held = self
            .stores
            .coupons
            .held(merchant, user, usize::MAX)
            .await
            .unwrap();
        held.expect("no limit")
    }

    /// Reads the coupons of a user that are in state ISSUED.
    pub(crate) async fn in_hand(&self, merchant: MerchantId, user: &str) -> Vec<Coupon> {
        let held = self.held(merchant, user).await;
        held.into_iter()
            .map(|held| held.coupon)
            .filter(|coupon| coupon.status == CouponStatus::Issued)
            .collect()
    }

    /// Tries to redeem, without a key.
    pub(crate) async fn redeem(
        &self,
        merchant: MerchantId,
        coupon_id: CouponId,
        order: Order,
    ) -> RedeemOutcome {
        let request = RedeemRequest {
            merchant_id: merchant,
            coupon_id,
            order,
        };
        ran(self.stores.coupons.redeem(request, None).await.unwrap())
    }

    /// Tries to cancel, without a key.
    pub(crate) async fn cancel(
        &self,
        merchant: MerchantId,
        coupon_id: CouponId,
        order_id: &str,
    ) -> CancelOutcome {
        let request = cancel_request(merchant, coupon_id, order_id);
        ran(self.stores.coupons.cancel(request, None).await.unwrap())
    }

    /// Issues a coupon to a new user and redeems it for the order `order_id`.
    pub(crate) async fn redeemed(
        &self,
        shop: &Shop,
        template: TemplateId,
        order_id: &str,
    ) -> Coupon {
        let user = unique();
        let coupon = self.issued(shop, template, &user).await;
        let redeemed = self
            .redeem(shop.id, coupon.id, order(&user, order_id, 5_000))
            .await;
        redeemed.expect("an issued coupon can be redeemed");
        coupon
    }

    /// Reads all entries of the merchant, oldest first.
    pub(crate) async fn ledger(&self, merchant: MerchantId) -> Vec<HistoryEntry> {
        self.settled().await;
        let filter = HistoryFilter::default();
        let page = self
            .stores
            .histories
            .page(merchant, &filter, Direction::Ascending, None, ALL);
        page.await.unwrap()
    }

    /// Reads the actions that a coupon went through, oldest first.
    pub(crate) async fn actions(
        &self,
        merchant: MerchantId,
        coupon: CouponId,
    ) -> Vec<HistoryAction> {
        let entries = self.ledger(merchant).await.into_iter();
        entries
            .filter(|entry| entry.coupon_id == coupon)
            .map(|entry| entry.action)
            .collect()
    }

    /// Sweeps all coupons and templates whose time has come.
    pub(crate) async fn swept(&self) {
        while self.stores.upkeep.expire_coupons(100).await.unwrap() > 0 {}
        while self.stores.upkeep.discard_coupons(100).await.unwrap() > 0 {}
        while self.stores.upkeep.expire_templates(100).await.unwrap() > 0 {}
    }

    /// Asserts that everything stored agrees with the ledger.
    pub(crate) async fn audited(&self) {
        self.settled().await;
        let differences = self.stores.audit.audit().await.unwrap();
        assert!(differences.is_empty(), "the audit finds {differences:#?}");
    }
}

pub(crate) fn issue_request(
    merchant: MerchantId,
    template: TemplateId,
    user: &str,
) -> IssueRequest {
    IssueRequest {
        merchant_id: merchant,
        template_id: template,
        user_id: user.into(),
    }
}

pub(crate) fn cancel_request(
    merchant: MerchantId,
    coupon_id: CouponId,
    order_id: &str,
) -> CancelRequest {
    CancelRequest {
        merchant_id: merchant,
        coupon_id,
        order_id: order_id.into(),
        reason: "단순 변심".into(),
    }
}

/// Returns an issue's outcome without the coupon's id, so that all successes are equal.
pub fn without_id(outcome: IssueOutcome) -> Result<(), IssueRefusal> {
    outcome.map(|Issued { .. }| ())
}

/// Returns a call's outcome without the coupon's id, so that all successes are equal.
pub fn without_ids(outcome: Outcome<IssueOutcome>) -> Outcome<Result<(), IssueRefusal>> {
    match outcome {
        Outcome::Ran(outcome) => Outcome::Ran(without_id(outcome)),
        Outcome::Replayed(answer) => Outcome::Replayed(answer),
        Outcome::PayloadMismatch => Outcome::PayloadMismatch,
        Outcome::Processing => Outcome::Processing,
    }
}
