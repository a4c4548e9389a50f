//! The back ends that the suite runs on, and a database and a topic for each server under test.

use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mysql_async::{Opts, OptsBuilder, Pool, prelude::Queryable};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use tokio::sync::oneshot;

/// The time within which an answered issue must be written.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

/// A set of back ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// The embedded database.
    #[default]
    Embedded,
    /// MySQL, Valkey and Kafka.
    Scaled,
}

impl Backend {
    /// Returns the set of this run: `GOODPON_E2E_BACKEND` is `embedded` (also if it is not set) or `scaled`.
    ///
    /// # Panics
    /// The variable is anything else.
    #[must_use]
    pub fn of_this_run() -> Self {
        match std::env::var("GOODPON_E2E_BACKEND").as_deref() {
            Err(_) | Ok("embedded") => Self::Embedded,
            Ok("scaled") => Self::Scaled,
            Ok(other) => panic!("GOODPON_E2E_BACKEND is {other}, not embedded or scaled"),
        }
    }
}

/// Returns the address of a server that the environment gives.
///
/// # Panics
/// The environment gives none.
#[must_use]
pub fn given(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} names no server: run `cargo xtask test`, which brings one up")
    })
}

/// A database and a topic of a test's own on shared servers. Dropping this deletes them.
pub struct Rooms {
    database_url: String,
    env: Vec<(String, String)>,
    questions: mpsc::Sender<Question>,
    _thread: thread::JoinHandle<()>,
}

/// Asks whether a user's coupon of a template is written yet.
struct Question {
    template: i64,
    user: String,
    answer: oneshot::Sender<bool>,
}

impl Rooms {
    /// Makes a database and a topic, migrated.
    ///
    /// # Panics
    /// A server refuses.
    #[must_use]
    pub fn make() -> Self {
        Self::make_by(&crate::program::binary())
    }

    /// Makes a database and a topic, migrated by that program.
    ///
    /// # Panics
    /// A server refuses.
    #[must_use]
    pub fn make_by(program: &Path) -> Self {
        let server = given("GOODPON_DATABASE_URL");
        let name = format!("e2e_{:016x}", rand::random::<u64>());
        let (base, _) = server.rsplit_once('/').expect("a URL with a database");
        let database_url = format!("{base}/{name}");
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let brokers = given("GOODPON_KAFKA_BROKERS");
        let env = vec![
            setting("GOODPON_DATABASE_URL", &database_url),
            setting("GOODPON_DATABASE_CONNECTIONS", "8"),
            setting("GOODPON_VALKEY_URL", &given("GOODPON_VALKEY_URL")),
            setting("GOODPON_KAFKA_BROKERS", &brokers),
            setting("GOODPON_KAFKA_TOPIC", &name),
            setting("GOODPON_KAFKA_PARTITIONS", "2"),
            setting("GOODPON_KAFKA_REPLICATION", "1"),
            setting("GOODPON_KAFKA_ACCEPT_RISKS", "true"),
        ];
        let (questions, asked) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let (url, topic) = (database_url.clone(), name);
        let thread = thread::spawn(move || keep(&server, &url, &brokers, &topic, &ready, asked));
        is_ready
            .recv_timeout(goodpon_waits::DEADLINE)
            .expect("the database is made");
        let rooms = Self {
            database_url,
            env,
            questions,
            _thread: thread,
        };
        rooms.migrate(program);
        rooms
    }

    /// Migrates the database by that program.
    ///
    /// # Panics
    /// It fails.
    pub fn migrate(&self, program: &Path) {
        let migrated = crate::program::command_of(program)
            .arg("migrate")
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .output()
            .expect("goodpon can be run");
        let errors = String::from_utf8_lossy(&migrated.stderr);
        assert!(migrated.status.success(), "goodpon migrate: {errors}");
    }

    /// Returns the settings of goodpon for them.
    #[must_use]
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }

    /// Returns the URL of the database.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Runs a statement in the database.
    ///
    /// # Panics
    /// The statement fails.
    pub fn execute(&self, sql: &str) {
        let (url, sql) = (self.database_url.clone(), sql.to_owned());
        let done = thread::spawn(move || {
            let runtime = runtime();
            runtime.block_on(async {
                let pool = Pool::new(OptsBuilder::from_opts(Opts::from_url(&url).expect("a URL")));
                let mut conn = pool.get_conn().await.expect("the database server");
                conn.query_drop(sql).await.expect("a statement");
                drop(conn);
                let _ = pool.disconnect().await;
            });
        });
        done.join().expect("the statement is run");
    }

    /// Waits until a user's coupon is written.
    ///
    /// # Panics
    /// It is not written within a minute.
    pub async fn written(&self, template: i64, user: &str) {
        let (answer, answered) = oneshot::channel();
        let question = Question {
            template,
            user: user.to_owned(),
            answer,
        };
        self.questions.send(question).expect("the asker lives");
        let written = answered.await.expect("an answer");
        assert!(
            written,
            "the coupon of template {template} for {user:?} was answered and never written"
        );
    }
}

/// Makes the database, answers questions, and deletes all when the last sender of questions is gone. Runs on a runtime of
/// its own: tests that share a server have runtimes that end before it.
fn keep(
    server: &str,
    url: &str,
    brokers: &str,
    topic: &str,
    ready: &mpsc::Sender<()>,
    asked: mpsc::Receiver<Question>,
) {
    runtime().block_on(async {
        let pool =
            |url: &str| Pool::new(OptsBuilder::from_opts(Opts::from_url(url).expect("a URL")));
        let server = pool(server);
        let run = async |statement: String| {
            let mut conn = server.get_conn().await.expect("the database server");
            conn.query_drop(statement).await.expect("a statement");
        };
        run(format!("CREATE DATABASE {topic}")).await;
        let _ = ready.send(());
        let database = pool(url);
        let mut waiting: Vec<(Question, Instant)> = Vec::new();
        loop {
            // This may block while no question waits, for nothing else runs on this runtime.
            let next = match waiting.is_empty() {
                true => asked.recv().map_err(|_| mpsc::TryRecvError::Disconnected),
                false => asked.try_recv(),
            };
            match next {
                Ok(question) => waiting.push((question, Instant::now())),
                Err(mpsc::TryRecvError::Disconnected) if waiting.is_empty() => break,
                Err(_) => {
                    look(&database, &mut waiting).await;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }
        }
        let _ = database.disconnect().await;
        run(format!("DROP DATABASE {topic}")).await;
        let _ = server.disconnect().await;
        let admin: Result<AdminClient<DefaultClientContext>, _> = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .create();
        if let Ok(admin) = admin {
            // A topic that is left behind does no harm.
            let _ = admin.delete_topics(&[topic], &AdminOptions::new()).await;
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

/// Answers the questions whose coupon is there, and those that have waited too long. Tries again later if the database is
/// away.
async fn look(database: &Pool, waiting: &mut Vec<(Question, Instant)>) {
    let Ok(mut conn) = database.get_conn().await else {
        return;
    };
    let mut still = Vec::new();
    for (question, since) in waiting.drain(..) {
        let sql = "SELECT 1 FROM coupons WHERE template_id = ? AND user_id = ?";
        let found: Result<Option<i64>, _> = conn
            .exec_first(sql, (question.template, &question.user))
            .await;
        match found {
            Ok(Some(_)) => drop(question.answer.send(true)),
            _ if since.elapsed() > WRITTEN_WITHIN => drop(question.answer.send(false)),
            _ => still.push((question, since)),
        }
    }
    *waiting = still;
}
