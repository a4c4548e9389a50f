//! The world of a test: one server per test file, one merchant per test.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};

use crate::actors::{Account, Anonymous, OtherShop, Owner, Shop, Staff, Stranger, Unverified};
use crate::client::Client;
use crate::server::{Options, Server};
use crate::template::Template;

/// The password of every account that the suite makes.
pub const PASSWORD: &str = "correct horse battery";

/// The server that the tests of one file share, and accounts that take long to make. Ends with its last user.
#[derive(Default)]
struct Site {
    server: OnceCell<Arc<Server>>,
    owner: OnceCell<Identity>,
    staff: OnceCell<Identity>,
    unverified: OnceCell<Identity>,
    stranger: OnceCell<Identity>,
}

/// An account without a client, so that tests on different runtimes can share it.
#[derive(Clone)]
struct Identity {
    token: String,
    id: i64,
    email: String,
    name: String,
}

impl Identity {
    fn with(&self, client: &Client) -> Account {
        Account {
            client: client.clone(),
            token: Some(self.token.clone()),
            id: self.id,
            email: self.email.clone(),
            name: self.name.clone(),
        }
    }
}

/// The shared server of a test file: `static SHARED: Shared = Shared::new();`
pub struct Shared(Mutex<Weak<Site>>);

impl Shared {
    /// Makes it; no server runs yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::const_new(Weak::new()))
    }

    /// Makes a world on the shared server, which is started if none runs.
    pub async fn world(&self) -> World {
        let mut shared = self.0.lock().await;
        let site = shared.upgrade().unwrap_or_default();
        *shared = Arc::downgrade(&site);
        drop(shared);
        let server = site
            .server
            .get_or_init(|| async { Arc::new(Server::start(Options::default())) })
            .await;
        let client = Client::new(server);
        World::build(site, client).await
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}

/// A verified owner with a merchant of this test's own, and its shop.
pub struct World {
    /// The client by which all callers call.
    pub client: Client,
    /// A caller without a token.
    pub anonymous: Anonymous,
    /// The owner of the merchant.
    pub owner: Owner,
    /// The merchant's id.
    pub merchant: i64,
    /// The answer data of the merchant's creation.
    pub created: Value,
    /// The merchant's shop.
    pub shop: Shop,
    site: Arc<Site>,
}

impl World {
    /// Makes a world on a server of its own.
    pub async fn on(server: &Arc<Server>) -> Self {
        let site = Arc::new(Site {
            server: OnceCell::new_with(Some(Arc::clone(server))),
            ..Site::default()
        });
        Self::build(site, Client::new(server)).await
    }

    /// Makes a world on a fresh server with these options.
    pub async fn with(options: Options) -> Self {
        Self::on(&Arc::new(Server::start(options))).await
    }

    async fn build(site: Arc<Site>, client: Client) -> Self {
        let owner = site
            .owner
            .get_or_init(|| verified(&client, "김사장"))
            .await
            .with(&client);
        let answer = owner.create_merchant("테스트 상점").await;
        let created = answer.ok().clone();
        let merchant = created["id"].as_i64().expect("an id");
        Self {
            anonymous: Anonymous {
                client: client.clone(),
            },
            shop: shop(&client, &created),
            owner: Owner(owner),
            merchant,
            created,
            client,
            site,
        }
    }

    /// Returns the server.
    #[must_use]
    pub fn server(&self) -> &Arc<Server> {
        self.client.server()
    }

    /// Returns an account that is staff of this world's merchant.
    pub async fn staff(&self) -> Staff {
        let staff = self
            .site
            .staff
            .get_or_init(|| verified(&self.client, "박직원"))
            .await
            .with(&self.client);
        let answer = self.owner.add_member(self.merchant, &staff.email).await;
        assert!(
            answer.status == 200 || answer.code() == Some("ALREADY_A_MEMBER"),
            "{answer}"
        );
        Staff(staff)
    }

    /// Returns an account that never verified its address.
    pub async fn unverified(&self) -> Unverified {
        let make = || async {
            let (email, name) = (fresh_email(), "미인증".to_owned());
            Anonymous {
                client: self.client.clone(),
            }
            .sign_up(&email, PASSWORD, &name)
            .await
            .ok();
            login(&self.client, &email, &name).await
        };
        Unverified(
            self.site
                .unverified
                .get_or_init(make)
                .await
                .with(&self.client),
        )
    }

    /// Returns the owner of other merchants.
    pub async fn stranger(&self) -> Stranger {
        Stranger(
            self.site
                .stranger
                .get_or_init(|| verified(&self.client, "이웃"))
                .await
                .with(&self.client),
        )
    }

    /// Makes a fresh merchant of the stranger, and returns its id and its shop.
    pub async fn other_merchant(&self) -> (i64, OtherShop) {
        let answer = self.stranger().await.create_merchant("이웃 상점").await;
        let created = answer.ok();
        (
            created["id"].as_i64().expect("an id"),
            OtherShop(shop(&self.client, created)),
        )
    }

    /// Makes a verified account of this test's own.
    pub async fn fresh_account(&self) -> Account {
        verified(&self.client, "새 계정").await.with(&self.client)
    }

    /// Creates a template of this merchant and returns its id.
    ///
    /// # Panics
    /// It is refused.
    pub async fn draft(&self, template: &Template) -> i64 {
        let answer = self
            .owner
            .create_template(self.merchant, template.body())
            .await;
        answer.ok()["id"].as_i64().expect("an id")
    }

    /// Creates and publishes a template of this merchant and returns its id.
    ///
    /// # Panics
    /// It is refused.
    pub async fn publish(&self, template: &Template) -> i64 {
        let id = self.draft(template).await;
        self.owner.publish(self.merchant, id).await.ok();
        id
    }

    /// Reads all history entries of this merchant that match, oldest first, page by page.
    ///
    /// # Panics
    /// A page is refused.
    pub async fn ledger(&self, filters: &[(&str, &str)]) -> Vec<Value> {
        crate::ledger::read(&self.owner, self.merchant, filters).await
    }
}

/// Returns the shop of a merchant, from the answer that created it.
///
/// # Panics
/// The answer has no credentials.
#[must_use]
pub fn shop(client: &Client, created: &Value) -> Shop {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    Shop {
        client: client.clone(),
        client_id: text(&created["clientId"]),
        secret: text(&created["clientSecrets"][0]["secret"]),
    }
}

/// Makes an e-mail address that no other test has.
#[must_use]
pub fn fresh_email() -> String {
    format!("user{}@example.com", fresh_number())
}

/// Returns a number that this process has not given out before.
#[must_use]
pub fn fresh_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn verified(client: &Client, name: &str) -> Identity {
    let anonymous = Anonymous {
        client: client.clone(),
    };
    let email = fresh_email();
    anonymous.sign_up(&email, PASSWORD, name).await.ok();
    anonymous
        .verify(&client.server().verification_token(&email))
        .await
        .ok();
    login(client, &email, name).await
}

async fn login(client: &Client, email: &str, name: &str) -> Identity {
    let answer = Anonymous {
        client: client.clone(),
    }
    .login(email, PASSWORD)
    .await;
    let data = answer.ok();
    Identity {
        token: data["accessToken"].as_str().expect("a token").to_owned(),
        id: data["id"].as_i64().expect("an id"),
        email: email.to_owned(),
        name: name.to_owned(),
    }
}
