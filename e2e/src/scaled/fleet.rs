//! All processes of a scaled-out set, the ways between them and to the servers, and a merchant's shop on it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use mysql_async::{Opts, OptsBuilder, Pool, prelude::Queryable};
use serde_json::{Value, json};

use super::process::{Process, Role};
use super::proxy::{Callers, Link, Proxy};
use super::servers::{Kind, Servers, output_of};
use crate::server::token_in;
use crate::template::Template;

/// The time after the last fault within which all must be well again.
const WELL_WITHIN: Duration = Duration::from_secs(60);

const NAME: &str = "torture";
const EMAIL: &str = "torture@example.com";
const PASSWORD: &str = "correct horse battery";

/// Processes, ways and servers.
pub struct Fleet {
    /// The processes that run usually.
    pub processes: Vec<Process>,
    /// An issuer that runs only where a fault says so.
    pub spare: Process,
    /// The ways of customers to each partner.
    pub doors: Vec<(Link, Proxy)>,
    /// The servers.
    pub servers: Servers,
    /// Connections to the database, past the proxies.
    pub database: Pool,
    _kafka: Proxy,
    env: Vec<(String, String)>,
    folder: PathBuf,
}

impl Fleet {
    /// Starts all of it on fresh servers, and waits until it is ready.
    ///
    /// # Errors
    /// A process is not ready in time.
    pub async fn start(set: &str) -> Result<Self, String> {
        let servers = Servers::up(set).await;
        let folder = tempfile::Builder::new()
            .prefix(&format!("goodpon-torture-{set}-"))
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let url = &servers.location(Kind::Database).url;
        let (base, _) = url.rsplit_once('/').expect("a URL with a database");
        make_database(url).await;
        let database_url = format!("{base}/{NAME}");
        let common = settings(&servers, &database_url);
        let prepare =
            async |name: &str, role| Process::prepare(name, role, &servers, &common, &folder).await;
        let processes = vec![
            prepare("dashboard", Role::Dashboard).await,
            prepare("partner1", Role::Partner).await,
            prepare("partner2", Role::Partner).await,
            prepare("issuer1", Role::Issuer).await,
            prepare("issuer2", Role::Issuer).await,
        ];
        let spare = prepare("issuer3", Role::Issuer).await;
        let links = processes.iter().chain([&spare]);
        let links = links.map(|one| (one.name.clone(), one.kafka.clone()));
        let (front, behind) = {
            let location = servers.location(Kind::Kafka);
            (location.front, location.behind)
        };
        let kafka = Proxy::start(front, behind, Callers::KafkaClients(links.collect())).await;
        let mut doors = Vec::new();
        for partner in processes.iter().filter(|one| one.role == Role::Partner) {
            let (link, any) = (Link::default(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
            let proxy = Proxy::start(any, partner.api, Callers::Any(link.clone())).await;
            doors.push((link, proxy));
        }
        let fleet = Self {
            processes,
            spare,
            doors,
            servers,
            database: pool(&database_url),
            _kafka: kafka,
            env: common,
            folder,
        };
        let migrated = fleet.run(&["migrate"]).await;
        if !migrated.status.success() {
            let errors = String::from_utf8_lossy(&migrated.stderr);
            return Err(format!("goodpon migrate: {errors}"));
        }
        fleet.processes.iter().for_each(Process::start);
        fleet.well().await?;
        Ok(fleet)
    }

    /// Finds the process of that name.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn process(&self, name: &str) -> &Process {
        let mut all = self.processes.iter().chain([&self.spare]);
        let found = all.find(|process| process.name == name);
        found.unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// Waits until every process answers that it is ready.
    ///
    /// # Errors
    /// A process has ended by itself, or is not ready in time.
    pub async fn well(&self) -> Result<(), String> {
        let client = client(Duration::from_secs(3));
        let deadline = Instant::now() + WELL_WITHIN;
        for process in &self.processes {
            let url = format!("http://{}/readyz", process.admin);
            loop {
                if let Some(why) = process.is_lost() {
                    return Err(why);
                }
                let reply = match client.get(&url).send().await {
                    Ok(answer) => answer.text().await.unwrap_or_default(),
                    Err(error) => format!("{error:?}"),
                };
                let json: Value = serde_json::from_str(&reply).unwrap_or_default();
                if json["status"] == "ok" {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(format!("{} does not get well: {reply}", process.name));
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// Runs a command of goodpon's on the servers, past the proxies.
    pub async fn run(&self, words: &[&str]) -> Output {
        let mut command = crate::program::command();
        command
            .args(words)
            .envs(self.env.iter().cloned())
            .stdin(std::process::Stdio::null());
        output_of(command).await
    }

    /// Returns the last lines of all logs, and their paths.
    #[must_use]
    pub fn last_words(&self) -> String {
        let processes = self.processes.iter().chain([&self.spare]);
        let logs = processes.map(|process| process.log().to_owned());
        let logs = logs.chain(Kind::ALL.map(|kind| self.servers.log(kind)));
        let mut text = format!("all logs of goodpon are in {}\n", self.folder.display());
        for log in logs {
            text.push_str(&format!(
                "--- the end of {}\n{}\n",
                log.display(),
                tail(&log)
            ));
        }
        text
    }

    /// Deletes the logs, of a run without violations.
    pub fn forget(&self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // Requests are in the stories already.
    let requests = ["\"target\":\"access\"", "\"message\":\"request refused\""];
    let is_request = |line: &&str| requests.iter().any(|words| line.contains(words));
    let lines: Vec<&str> = text.lines().filter(|line| !is_request(line)).collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

fn pool(url: &str) -> Pool {
    Pool::new(OptsBuilder::from_opts(Opts::from_url(url).expect("a URL")))
}

async fn make_database(url: &str) {
    let pool = pool(url);
    let mut conn = pool.get_conn().await.expect("the database server");
    let done = conn.query_drop(format!("CREATE DATABASE {NAME}")).await;
    done.expect("a database");
    drop(conn);
    let _ = pool.disconnect().await;
}

/// Returns the settings of all processes and commands.
fn settings(servers: &Servers, database_url: &str) -> Vec<(String, String)> {
    let url = |kind| servers.location(kind).url.clone();
    let levels =
        "info,goodpon_scaled=debug,goodpon_valkey=debug,goodpon_mysql=debug,goodpon_kafka=debug";
    let settings = [
        ("DATABASE_URL", database_url.to_owned()),
        ("DATABASE_CONNECTIONS", "12".into()),
        ("VALKEY_URL", url(Kind::Valkey)),
        ("KAFKA_BROKERS", url(Kind::Kafka)),
        ("KAFKA_TOPIC", NAME.into()),
        ("KAFKA_PARTITIONS", "4".into()),
        ("KAFKA_REPLICATION", "1".into()),
        ("KAFKA_ACCEPT_RISKS", "true".into()),
        ("JWT_SECRET", "thirty-two bytes and some more of it".into()),
        ("LOG_FORMAT", "json".into()),
        ("LOG_LEVEL", levels.into()),
    ];
    let named = settings.into_iter();
    named
        .map(|(name, value)| (format!("GOODPON_{name}"), value))
        .collect()
}

/// Makes a client that waits for an answer for the time `patience`.
#[must_use]
pub fn client(patience: Duration) -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(patience)
        .connect_timeout(Duration::from_secs(2))
        .build()
        .expect("a client")
}

/// A merchant of a fleet: makes templates, and has a shop.
pub struct Merchant {
    http: reqwest::Client,
    base: String,
    token: String,
    id: i64,
    /// `X-Goodpon-Client-Id`
    pub client_id: String,
    /// `X-Goodpon-Client-Secret`
    pub secret: String,
}

impl Merchant {
    /// Makes a merchant of a new account.
    ///
    /// # Panics
    /// It is refused.
    pub async fn make(fleet: &Fleet) -> Self {
        let mut merchant = Self {
            http: client(Duration::from_secs(20)),
            base: format!("http://{}/v1", fleet.process("dashboard").api),
            token: String::new(),
            id: 0,
            client_id: String::new(),
            secret: String::new(),
        };
        let account = json!({"email": EMAIL, "password": PASSWORD, "name": "김사장"});
        merchant.post("/accounts/sign-up", &account).await;
        let mails = fleet.run(&["mailbox", "--to", EMAIL, "--json"]).await;
        let mails: Value = serde_json::from_slice(&mails.stdout).expect("a JSON array");
        let token = token_in(mails[0]["text"].as_str().expect("a mail"));
        merchant
            .post("/auth/verify", &json!({"token": token}))
            .await;
        let login = json!({"email": EMAIL, "password": PASSWORD});
        let login = merchant.post("/auth/login", &login).await;
        merchant.token = text(&login["accessToken"]);
        let made = merchant.post("/merchants", &json!({"name": "상점"})).await;
        merchant.id = made["id"].as_i64().expect("an id");
        merchant.client_id = text(&made["clientId"]);
        merchant.secret = text(&made["clientSecrets"][0]["secret"]);
        merchant
    }

    /// Makes and publishes a template.
    ///
    /// # Panics
    /// It is refused.
    pub async fn publish(&self, template: &Template) -> i64 {
        let path = format!("/merchants/{}/coupon-templates", self.id);
        let made = self.post(&path, template.body()).await;
        let id = made["id"].as_i64().expect("an id");
        self.post(&format!("{path}/{id}/publish"), &Value::Null)
            .await;
        id
    }

    /// Makes one more secret.
    ///
    /// # Panics
    /// It is refused.
    pub async fn add_secret(&self) -> String {
        let path = format!("/merchants/{}/client-secrets", self.id);
        text(&self.post(&path, &json!({})).await["secret"])
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let mut request = self.http.post(format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status();
        let mut reply: Value = answer.json().await.expect("JSON");
        assert!(status.is_success(), "{path}: {status} {reply}");
        reply["data"].take()
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
