//! `goodpon serve`: everything in one process, from the open store to the last answered request.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use goodpon_application::mail::MailTransport;
use goodpon_http::serve::{Limits, Serve, serve};
use goodpon_mail::Smtp;
use goodpon_sqlite::Store;
use goodpon_telemetry::metrics::Metrics;
use goodpon_telemetry::{logs, metrics};
use goodpon_worker::Worker;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::config::{ListenAddr, Settings};
use crate::failed::Failed;
use crate::{clock, demo, open_files, wiring};

/// Operators' tools keep few connections open; whoever opens more is none of them.
const ADMIN_CONNECTIONS: usize = 100;

/// How long an operator's request may take at the end.
const ADMIN_SHUTDOWN: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT, then finishes what runs.
///
/// # Errors
/// It cannot start: data folder, port or logging; or a part of it broke down.
pub fn run(settings: Settings, with_demo: bool) -> Result<(), Failed> {
    let logs = logs::install(settings.log_format, &settings.log_level, clock::system_time)
        .map_err(Failed::new)?;
    let version = env!("CARGO_PKG_VERSION");
    let metrics = metrics::install(version, clock::system_time(), logs.dropped_lines())
        .map_err(Failed::new)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::new(format!("no threads to run on: {error}")))?;
    let store = wiring::open(&settings)?;
    let served = runtime.block_on(serve_all(&store, settings, metrics, with_demo));
    // Hashes that nobody waits for any more, above all.
    runtime.shutdown_timeout(Duration::from_secs(1));
    store.close();
    if served.is_ok() {
        tracing::info!("stopped");
    }
    served
}

async fn serve_all(
    store: &Store,
    mut settings: Settings,
    metrics: Metrics,
    with_demo: bool,
) -> Result<(), Failed> {
    let (dashboard, dashboard_addr) = bind("dashboard-addr", &settings.dashboard_addr).await?;
    let (partner, partner_addr) = bind("partner-addr", &settings.partner_addr).await?;
    let (admin, admin_addr) = bind("admin-addr", &settings.admin_addr).await?;
    let mut signals = Signals::listen()?;

    let app = Arc::new(wiring::app(store, &settings, dashboard_addr)?);
    let demo = match with_demo {
        true => Some(demo::prepare(&app, &settings.data_dir).await?),
        false => None,
    };
    tokio::spawn(metrics.clone().upkeep_forever());
    let (stop, stopping) = watch::channel(false);
    let is_stopping = {
        let stopping = stopping.clone();
        move || *stopping.borrow()
    };
    let services = wiring::services(&app, &settings, metrics, is_stopping);
    let limits = Limits {
        max_connections: open_files::connections_per_port(
            settings.max_connections,
            ADMIN_CONNECTIONS,
        ),
        header_timeout: settings.header_timeout,
        shutdown_timeout: settings.shutdown_timeout,
    };
    let admin_limits = Limits {
        max_connections: ADMIN_CONNECTIONS,
        shutdown_timeout: ADMIN_SHUTDOWN,
        ..limits
    };
    let (stop_admin, stopping_admin) = watch::channel(false);
    let apis = [
        start(
            "dashboard",
            dashboard,
            services.dashboard,
            limits,
            stopping.clone(),
        ),
        start(
            "partner",
            partner,
            services.partner,
            limits,
            stopping.clone(),
        ),
    ];
    let admin = start("admin", admin, services.admin, admin_limits, stopping_admin);
    let smtp = settings.smtp.take();
    if smtp.as_ref().is_some_and(Smtp::password_in_clear) {
        tracing::warn!("smtp-url lets its password go unencrypted: use smtps:// or ?tls=required");
    }
    let transport = smtp.map(|smtp| Arc::new(smtp) as Arc<dyn MailTransport>);
    let worker = Worker::start(&app, transport, settings.sweep_interval, &stopping);

    if let Some(demo) = demo {
        let addresses = demo::Addresses {
            dashboard: dashboard_addr,
            partner: partner_addr,
        };
        print(&demo::commands(&demo, addresses));
    }
    tracing::info!(%dashboard_addr, %partner_addr, %admin_addr, "ready");

    signals.next().await;
    tracing::info!("stopping: finishing what runs");
    tokio::spawn(async move {
        signals.next().await;
        // What was answered is durable; what was not is open to its client.
        std::process::exit(130);
    });
    let deadline = Instant::now() + settings.shutdown_timeout;
    // A receiver that is gone has nothing left to stop.
    let _ = stop.send(true);
    let mut ended = Ok(());
    for api in apis {
        ended = ended.and(joined(api).await);
    }
    if tokio::time::timeout_at(deadline, worker.finished())
        .await
        .is_err()
    {
        tracing::warn!("background work was cut off; the next start goes on with it");
    }
    let _ = stop_admin.send(true);
    ended.and(joined(admin).await)
}

async fn bind(setting: &str, address: &ListenAddr) -> Result<(TcpListener, SocketAddr), Failed> {
    let refuse = |error: std::io::Error| {
        let what_to_do = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another program has it: stop that one or choose another port"
            }
            std::io::ErrorKind::PermissionDenied => "choose a port above 1023",
            _ => "choose an address of this machine",
        };
        Failed::new(format!(
            "cannot listen at {} ({setting}): {error}; {what_to_do}",
            address.as_str()
        ))
    };
    let listener = TcpListener::bind(address.as_str()).await.map_err(refuse)?;
    let bound = listener.local_addr().map_err(refuse)?;
    Ok((listener, bound))
}

/// Serves one port on a task of its own until `stop` is true and what runs there has ended.
fn start(
    name: &'static str,
    listener: TcpListener,
    service: impl Serve,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let stopped = async move {
            // An error means that nobody is left to say stop.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let dropped = serve(listener, service, limits, stopped).await;
        if dropped > 0 {
            tracing::warn!(
                name,
                dropped,
                "connections were cut off at the shutdown timeout"
            );
        }
    })
}

async fn joined(task: JoinHandle<()>) -> Result<(), Failed> {
    task.await
        .map_err(|error| Failed::new(format!("a listener broke down: {error}")))
}

/// Results go to stdout; a reader that has gone is no reason not to serve.
fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failed> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(Failed::new);
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
