//! Measures the floors with which `cargo xtask bench --backend scaled` compares issues: the least that an issue costs on
//! these servers.
//!
//! `issue_floor script TASKS SECONDS`: TASKS tasks ask the gate for places, each for one user after another.
//! `issue_floor publish TASKS SECONDS`: they also append the event to the log, and wait for the acknowledgement.
//! `issue_floor http`: does both behind bare HTTP (the product's own serve loop without layers), which reads a POST with
//! JSON and answers the envelope of success, until SIGTERM.
//!
//! `GOODPON_VALKEY_URL` and `GOODPON_KAFKA_BROKERS` name the servers. The gates are installed by the product's own script
//! under a separate installation name, and deleted with the topic at the end.

#[path = "shared/clear.rs"]
mod clear;

use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use goodpon_domain::{
    gate::{
        Epoch, GateId, InstallResult, IssueEvent, RefusalAnswers, Taken, UNLIMITED, valid_until,
    },
    id::{CouponId, TemplateId},
};
use goodpon_http::error::Enveloped;
use goodpon_kafka::{Cluster, Publisher, partition_of, topic};
use goodpon_valkey::Valkey;
use goodpon_web::serve::{Draining, Limits, Unobserved, serve};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The number of partitions of the measured sets.
const PARTITIONS: i32 = 4;
const WARM_UP: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(4);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The gate, and the log if it is measured too.
struct Floor {
    valkey: Valkey,
    publisher: Option<Publisher>,
    /// The template whose gate is open. Later templates have greater ids.
    open: AtomicI64,
    opening: Mutex<()>,
    numbers: AtomicU64,
}

impl Floor {
    /// Opens the gate of a template, and closes that of the template before it.
    async fn switch_to(&self, template: i64) -> Outcome<()> {
        let _alone = self.opening.lock().await;
        let before = self.open.load(Ordering::SeqCst);
        if before >= template {
            return Ok(());
        }
        self.install(template, Epoch(1), UNLIMITED).await?;
        self.open.store(template, Ordering::SeqCst);
        if before > 0 {
            // The next epoch drops its pending reservations.
            self.install(before, Epoch(2), 0).await?;
        }
        Ok(())
    }

    async fn install(&self, template: i64, epoch: Epoch, places: i64) -> Outcome<()> {
        let bound = self.valkey.bound()?;
        let gate = gate_of(template);
        let loaded = bound.load(gate, epoch, &[], &[]).await?;
        let installed = bound.install(gate, epoch, places, 0, 0).await?;
        match (loaded, installed) {
            (InstallResult::Done, InstallResult::Done) => Ok(()),
            other => Err(format!("no gate: {other:?}").into()),
        }
    }

    /// Issues a coupon: takes a place, and appends its event to the log if that is measured.
    async fn issue(&self, template: i64, user_id: String) -> Outcome<()> {
        let now = now();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let event = IssueEvent {
            coupon_id: CouponId::new(now, number),
            template_id: TemplateId(template),
            epoch: Epoch(1),
            user_id,
            accepted_at: now,
            keyed: None,
            valid_until: valid_until(now),
        };
        let bound = self.valkey.bound()?;
        match bound
            .take(
                gate_of(template),
                &event,
                None,
                RefusalAnswers::default(),
                now,
            )
            .await?
        {
            Taken::Reserved { .. } => {}
            other => return Err(format!("no place: {other:?}").into()),
        }
        if let Some(publisher) = &self.publisher {
            let partition = partition_of(&event.user_id, PARTITIONS);
            publisher
                .publish(&event, partition, PUBLISH_TIMEOUT)
                .await?;
        }
        Ok(())
    }
}

fn gate_of(template: i64) -> GateId {
    GateId {
        template: TemplateId(template),
        shard: 0,
    }
}

#[allow(clippy::disallowed_methods, reason = "this is where the time comes in")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn setting(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("run `cargo xtask services up` and set {name}"))
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mode = match words[..] {
        ["http"] => "http",
        [mode @ ("script" | "publish"), _, _] => mode,
        _ => {
            return Err("usage: script TASKS SECONDS, publish TASKS SECONDS, or http".into());
        }
    };
    let name = format!("goodpon-bench-floor-{mode}");
    let (valkey_url, brokers) = (
        setting("GOODPON_VALKEY_URL")?,
        setting("GOODPON_KAFKA_BROKERS")?,
    );
    // An interrupted run may have left keys.
    clear::keys(&valkey_url, &name).await?;
    let cluster = Cluster {
        brokers: brokers.clone(),
        topic: name.clone(),
        extra: Vec::new(),
    };
    let publisher = match mode {
        "script" => None,
        _ => {
            topic::create(&cluster, PARTITIONS, 1).await?;
            let publisher = Publisher::start(&cluster, &name)?;
            publisher.wait_until_up(CONNECT_TIMEOUT).await?;
            Some(publisher)
        }
    };
    let has_log = publisher.is_some();
    let valkey = Valkey::open(&valkey_url, &name)?;
    valkey.bound_within(CONNECT_TIMEOUT).await?;
    let floor = Arc::new(Floor {
        valkey,
        publisher,
        open: AtomicI64::new(0),
        opening: Mutex::new(()),
        numbers: AtomicU64::new(0),
    });
    let measured = match words[..] {
        [_, tasks, seconds] => {
            let seconds = Duration::from_secs(seconds.parse()?);
            measure(&floor, tasks.parse()?, seconds).await
        }
        _ => serve_http(&floor).await,
    };
    clear::keys(&valkey_url, &name).await?;
    if has_log {
        clear::topic(&brokers, &name).await?;
    }
    measured
}

/// Measures `tasks` tasks for `time`, and prints the figures in the format of the load generator's scripts.
async fn measure(floor: &Arc<Floor>, tasks: u64, time: Duration) -> Outcome<()> {
    floor.switch_to(1).await?;
    run(floor, tasks, WARM_UP).await?;
    let began = Instant::now();
    let mut waits = run(floor, tasks, time).await?;
    let took = began.elapsed();
    waits.sort_unstable();
    let at = |percent: usize| {
        let wait = waits.get(waits.len().saturating_sub(1) * percent / 100);
        wait.map_or(0, Duration::as_micros)
    };
    println!(
        r#"FIGURES {{"requests":{},"duration_us":{},"refused":0,"broken":0,"p50_us":{},"p99_us":{}}}"#,
        waits.len(),
        took.as_micros(),
        at(50),
        at(99)
    );
    Ok(())
}

/// Runs issues for `time`, and returns the duration of each.
async fn run(floor: &Arc<Floor>, tasks: u64, time: Duration) -> Outcome<Vec<Duration>> {
    let end = Instant::now() + time;
    let running: Vec<_> = (0..tasks)
        .map(|_| {
            let floor = Arc::clone(floor);
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while Instant::now() < end {
                    let user = floor.numbers.fetch_add(1, Ordering::Relaxed);
                    let began = Instant::now();
                    floor.issue(1, format!("user-{user:08x}")).await?;
                    waits.push(began.elapsed());
                }
                Outcome::Ok(waits)
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in running {
        waits.extend(task.await??);
    }
    Ok(waits)
}

/// Serves issues until SIGTERM. The first issue of a template with a greater id than all before opens its gate and closes
/// the others.
async fn serve_http(floor: &Arc<Floor>) -> Outcome<()> {
    let router = Router::new()
        .route("/v1/coupon-templates/{couponTemplateId}/issue", post(issue))
        .with_state(Arc::clone(floor));
    let mut end = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    // The product's own line, so that both can be started in the same way.
    eprintln!(
        r#"{{"message":"ready","partner_addr":"{}"}}"#,
        listener.local_addr()?
    );
    let limits = Limits {
        max_connections: 10_000,
        max_per_address: 10_000,
        header_timeout: Duration::from_secs(10),
        keep_alive: Duration::from_secs(10),
        shutdown_timeout: Duration::ZERO,
    };
    let ended = async move {
        end.recv().await;
    };
    let service = Unobserved::new(router, "floor", Enveloped::shared());
    serve(listener, service, limits, Draining::default(), ended).await;
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    user_id: String,
}

#[derive(Serialize)]
struct Envelope {
    result: &'static str,
    data: &'static str,
    error: Option<()>,
}

async fn issue(
    State(floor): State<Arc<Floor>>,
    Path(template): Path<i64>,
    body: Bytes,
) -> Response {
    let Ok(body) = serde_json::from_slice::<Body>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if floor.open.load(Ordering::Relaxed) < template
        && let Err(error) = floor.switch_to(template).await
    {
        eprintln!("{error}");
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if let Err(error) = floor.issue(template, body.user_id).await {
        eprintln!("{error}");
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let envelope = Envelope {
        result: "SUCCESS",
        data: "쿠폰이 정상적으로 발급되었습니다.",
        error: None,
    };
    match serde_json::to_vec(&envelope) {
        Ok(json) => ([(CONTENT_TYPE, "application/json")], json).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
