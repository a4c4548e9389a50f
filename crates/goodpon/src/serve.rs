//! `goodpon serve` and its parts `dashboard`, `partner` and `issuer`: from the settings to the last answered request.

mod listen;
mod signals;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use goodpon_scaled::IssuerHealth;
use goodpon_supervise::{Failure, Loop, Supervisor, Task};
use goodpon_telemetry::metrics::Metrics;
use goodpon_telemetry::{logs, metrics};
use goodpon_web::serve::{Draining, Limits, Unobserved};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backends::{self, Backends};
use crate::config::Settings;
use crate::failed::Failed;
use crate::health::{Present, Starting};
use crate::role::Role;
use crate::wiring;
use crate::work::BackgroundWork;
use crate::{clock, demo, open_files};

use listen::{bind, start, start_until};
use signals::Signals;

/// The most connections to the admin port. Operators' tools keep few open.
const MAX_ADMIN_CONNECTIONS: usize = 100;

/// Without a setting, one address may have an eighth of a port's connections, and at least as many as a busy shop needs.
const ADDRESSES_THAT_FILL_A_PORT: usize = 8;
const MIN_CONNECTIONS_PER_ADDRESS: usize = 64;

/// The longest time for which the stop waits for an operator's request.
const ADMIN_SHUTDOWN: Duration = Duration::from_secs(1);

/// Serves until SIGTERM, SIGINT or SIGHUP, then finishes running requests.
///
/// # Errors
/// Settings, data folder, port or logging do not allow a start; or a part without which the process cannot serve failed.
pub fn run(settings: Settings, role: Role, with_demo: bool) -> Result<(), Failed> {
    check_role(&settings, role)?;
    let logs = logs::install(settings.log_format, &settings.log_level, clock::system_time)
        .map_err(Failed::new)?;
    let version = env!("CARGO_PKG_VERSION");
    let metrics = metrics::install(version, clock::system_time(), logs.dropped_lines())
        .map_err(Failed::new)?;
    caution(&settings, role);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::new(format!("no threads to run on: {error}")))?;
    let supervisor = Supervisor::new();
    let embedded = match settings.servers {
        None => Some(backends::open_embedded(&settings, &supervisor)?),
        Some(_) => None,
    };
    let served = runtime.block_on(serve_role(
        embedded.as_ref(),
        settings,
        role,
        metrics,
        with_demo,
        &supervisor,
    ));
    // Blocking work may still run, mostly password hashes whose requests have ended.
    runtime.shutdown_timeout(Duration::from_secs(1));
    if let Some(store) = embedded {
        store.close();
    }
    if served.is_ok() {
        tracing::info!("stopped");
    }
    served
}

/// Warns of settings that are allowed and dangerous.
fn caution(settings: &Settings, role: Role) {
    for line in &settings.cautions {
        tracing::warn!("{line}");
    }
    if settings.tls_in_front || settings.trust_forwarded_for {
        return;
    }
    let ports = [
        (
            "dashboard-addr",
            role.has_dashboard(),
            &settings.dashboard_addr,
        ),
        ("partner-addr", role.has_partner(), &settings.partner_addr),
    ];
    for (name, is_served, address) in ports {
        if is_served && !address.is_loopback() {
            tracing::warn!(
                "{name} ({}) can be reached from other machines, and passwords and secrets cross the network in clear: \
                 put a proxy with TLS in front and set tls-in-front, or listen on 127.0.0.1",
                address.as_str()
            );
        }
    }
}

fn check_role(settings: &Settings, role: Role) -> Result<(), Failed> {
    if role != Role::All && settings.servers.is_none() {
        return Err(Failed::new(
            "a part apart needs the scaled-out set: give database-url, valkey-url and kafka-brokers, or run `goodpon serve`",
        ));
    }
    if role == Role::Dashboard && settings.jwt_secret.is_none() {
        return Err(Failed::new(
            "jwt-secret is missing: all dashboards must have the same, so that each knows the others' tokens",
        ));
    }
    Ok(())
}

/// The ports that a role listens at.
struct Listeners {
    dashboard: Option<(tokio::net::TcpListener, SocketAddr)>,
    partner: Option<(tokio::net::TcpListener, SocketAddr)>,
    admin: (tokio::net::TcpListener, SocketAddr),
}

impl Listeners {
    async fn bind(settings: &Settings, role: Role) -> Result<Self, Failed> {
        Ok(Self {
            dashboard: match role.has_dashboard() {
                true => Some(bind("dashboard-addr", &settings.dashboard_addr).await?),
                false => None,
            },
            partner: match role.has_partner() {
                true => Some(bind("partner-addr", &settings.partner_addr).await?),
                false => None,
            },
            admin: bind("admin-addr", &settings.admin_addr).await?,
        })
    }
}

async fn serve_role(
    embedded: Option<&goodpon_sqlite::Store>,
    mut settings: Settings,
    role: Role,
    metrics: Metrics,
    with_demo: bool,
    supervisor: &Supervisor,
) -> Result<(), Failed> {
    let listeners = Listeners::bind(&settings, role).await?;
    let mut signals = Signals::listen()?;
    let upkeep = metrics.clone();
    supervisor.spawn(Task::restart("metrics").dropped_at_stop(), move |_, _| {
        let upkeep = upkeep.clone();
        async move {
            upkeep.upkeep_forever().await;
            Ok(())
        }
    });
    // Begins with the signal: new requests should be sent elsewhere, those that arrive all the same are served.
    let draining = Draining::default();
    let limits = limits(&settings);
    let health = Present::new(Arc::new(Starting));
    let (stop_admin, stopping_admin) = watch::channel(false);
    let (admin, admin_addr) = listeners.admin;
    let is_stopping = {
        let draining = draining.clone();
        move || draining.has_begun()
    };
    let service = wiring::admin(
        &settings.admin_hosts,
        Arc::clone(&health) as _,
        metrics,
        is_stopping,
        supervisor.clone(),
    );
    let admin = start_admin(supervisor, admin, service, limits, stopping_admin);

    // The wait for servers may be long, and a stop must end it.
    let opened = tokio::select! {
        opened = Backends::open(embedded, &settings, &health) => Some(opened?),
        () = signals.next() => None,
        failure = supervisor.failed() => return Err(Failed::new(failure)),
    };
    let Some(backends) = opened else {
        supervisor.stop();
        let _ = stop_admin.send(true);
        admin.ended().await;
        return Ok(());
    };
    let addresses = Addresses {
        dashboard: listeners.dashboard.as_ref().map(|(_, address)| *address),
        partner: listeners.partner.as_ref().map(|(_, address)| *address),
        admin: admin_addr,
    };
    let app = Arc::new(wiring::app(&backends, &settings, addresses.dashboard)?);
    health.replace(match &backends {
        Backends::Scaled(scaled) if role == Role::Issuer => Arc::new(IssuerHealth(scaled.clone())),
        _ => Arc::clone(&app.stores.health),
    });
    let work = BackgroundWork::start(&backends, &app, &mut settings, role, supervisor)?;
    let demo = match with_demo {
        true => Some(demo::prepare(&app, &settings.data_dir).await?),
        false => None,
    };
    let services = wiring::services(&app, &settings);
    let mut apis = Vec::new();
    if let Some((listener, _)) = listeners.dashboard {
        let task = Task::exit("dashboard_listener");
        apis.push(start(
            supervisor,
            task,
            listener,
            services.dashboard,
            limits,
            &draining,
        ));
    }
    if let Some((listener, _)) = listeners.partner {
        let task = Task::exit("partner_listener");
        apis.push(start(
            supervisor,
            task,
            listener,
            services.partner,
            limits,
            &draining,
        ));
    }
    addresses.announce(demo.as_ref());

    let failure = until_the_end(signals, supervisor, &draining, settings.drain).await;
    let deadline = Instant::now() + settings.shutdown_timeout;
    supervisor.stop();
    for api in apis {
        api.ended().await;
    }
    work.finished_by(deadline, supervisor).await;
    let _ = stop_admin.send(true);
    admin.ended().await;
    match failure.or_else(|| supervisor.failure()) {
        None => Ok(()),
        Some(failure) => Err(Failed::new(failure)),
    }
}

/// Waits for a signal and then for the time of draining, or for the failure of a part without which the process cannot
/// serve. A second signal ends the process at once.
async fn until_the_end(
    mut signals: Signals,
    supervisor: &Supervisor,
    draining: &Draining,
    drain_for: Duration,
) -> Option<Failure> {
    let failure = tokio::select! {
        () = signals.next() => None,
        failure = supervisor.failed() => Some(failure),
    };
    draining.begin();
    tokio::spawn(async move {
        signals.next().await;
        // Every answered success is durable; the effect of other requests is open to their clients.
        std::process::exit(130);
    });
    if failure.is_none() && !drain_for.is_zero() {
        let drain_s = drain_for.as_secs();
        tracing::info!(drain_s, "draining: not ready any more, and still serving");
        tokio::select! {
            () = tokio::time::sleep(drain_for) => {}
            failure = supervisor.failed() => return Some(failure),
        }
    }
    tracing::info!("stopping: finishing what runs");
    failure
}

/// The limits of the listener of either API.
fn limits(settings: &Settings) -> Limits {
    let max_connections =
        open_files::connections_per_port(settings.max_connections, MAX_ADMIN_CONNECTIONS);
    let share = match settings.max_connections_per_address {
        Some(given) => given,
        // All clients come from the proxy's address.
        None if settings.trust_forwarded_for => max_connections,
        None => (max_connections / ADDRESSES_THAT_FILL_A_PORT).max(MIN_CONNECTIONS_PER_ADDRESS),
    };
    Limits {
        max_connections,
        max_per_address: share.min(max_connections),
        header_timeout: settings.header_timeout,
        keep_alive: settings.keep_alive,
        shutdown_timeout: settings.shutdown_timeout,
    }
}

fn start_admin(
    supervisor: &Supervisor,
    listener: tokio::net::TcpListener,
    service: Unobserved,
    limits: Limits,
    stop: watch::Receiver<bool>,
) -> Loop {
    let limits = Limits {
        max_connections: MAX_ADMIN_CONNECTIONS,
        max_per_address: MAX_ADMIN_CONNECTIONS,
        shutdown_timeout: ADMIN_SHUTDOWN,
        ..limits
    };
    // It answers until all else has ended.
    let task = Task::exit("admin_listener").ends_by_itself();
    let ending = (Draining::default(), stop);
    start_until(supervisor, task, listener, service, limits, ending)
}

/// The addresses at which this process listens.
struct Addresses {
    dashboard: Option<SocketAddr>,
    partner: Option<SocketAddr>,
    admin: SocketAddr,
}

impl Addresses {
    /// Logs that the process is ready, and prints the commands of the demo.
    fn announce(&self, demo: Option<&demo::Demo>) {
        if let (Some(demo), Some(dashboard), Some(partner)) = (demo, self.dashboard, self.partner) {
            let addresses = demo::Addresses { dashboard, partner };
            listen::print(&demo::commands(demo, addresses));
        }
        let dashboard_addr = self.dashboard.map(tracing::field::display);
        let partner_addr = self.partner.map(tracing::field::display);
        tracing::info!(dashboard_addr, partner_addr, admin_addr = %self.admin, "ready");
    }
}
