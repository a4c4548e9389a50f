//! `goodpon serve` and its parts `dashboard`, `partner` and `issuer`: from the settings to the last answered request.

mod handover;
mod listen;
mod notify;
mod signals;
mod sockets;
mod stop;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use goodpon_scaled::IssuerHealth;
use goodpon_supervise::{Loop, Supervisor, Task};
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
use crate::{admin_address, clock, demo, maintenance, metric, open_files};

use listen::{Port, start, start_until};
use signals::Signals;
use sockets::{HandedOver, Kept};

/// The most connections to the admin port. Operators' tools keep few open.
const MAX_ADMIN_CONNECTIONS: usize = 100;

/// Without a setting, one address may have an eighth of a port's connections, and at least as many as a busy shop needs.
const ADDRESSES_THAT_FILL_A_PORT: usize = 8;
const MIN_CONNECTIONS_PER_ADDRESS: usize = 64;

/// The longest time for which the stop waits for an operator's request.
const ADMIN_SHUTDOWN: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or SIGINT, then finishes running requests; or until SIGHUP, and then executes the program's file
/// in place of this process, provided that it says that it can serve.
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
    metric::introduce(role, settings.servers.is_some());
    caution(&settings, role);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::new(format!("no threads to run on: {error}")))?;
    let supervisor = Supervisor::new();
    let handed = HandedOver::take_all()?;
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
        handed,
        &supervisor,
    ));
    // Blocking work may still run, mostly password hashes whose requests have ended.
    runtime.shutdown_timeout(Duration::from_secs(1));
    if let Some(store) = embedded {
        store.close();
    }
    match served? {
        None => {
            tracing::info!("stopped");
            Ok(())
        }
        Some(sockets) => {
            tracing::info!("stopped, and handing over");
            // Writes the lines that wait.
            drop(logs);
            Err(handover::execute(sockets))
        }
    }
}

/// Says whether this program could serve with these settings, also while another one serves with them.
///
/// # Errors
/// A setting is wrong, or the database was changed by a newer program so that this one does not work on it any more.
pub fn check(settings: &Settings, role: Role) -> Result<String, Failed> {
    check_role(settings, role)?;
    maintenance::wait_for(backends::check(settings))?;
    Ok("This program can serve with these settings.\n".to_owned())
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
struct Ports {
    dashboard: Option<Port>,
    partner: Option<Port>,
    admin: Port,
}

impl Ports {
    async fn open(settings: &Settings, role: Role, mut handed: HandedOver) -> Result<Self, Failed> {
        let mut open = async |name, setting, address| {
            let socket = handed.take(name);
            Port::open(setting, address, socket).await
        };
        let dashboard = match role.has_dashboard() {
            true => {
                let address = &settings.dashboard_addr;
                Some(open(sockets::DASHBOARD, "dashboard-addr", address).await?)
            }
            false => None,
        };
        let partner = match role.has_partner() {
            true => {
                let address = &settings.partner_addr;
                Some(open(sockets::PARTNER, "partner-addr", address).await?)
            }
            false => None,
        };
        let admin = open(sockets::ADMIN, "admin-addr", &settings.admin_addr).await?;
        handed.close_rest();
        Ok(Self {
            dashboard,
            partner,
            admin,
        })
    }

    /// Makes second handles of the sockets, for the program that may take over.
    fn keep(&self) -> Result<Kept, Failed> {
        let mut kept = Kept::default();
        let ports = [
            (sockets::DASHBOARD, self.dashboard.as_ref()),
            (sockets::PARTNER, self.partner.as_ref()),
            (sockets::ADMIN, Some(&self.admin)),
        ];
        for (name, port) in ports {
            if let Some(port) = port {
                kept.add(name, port.second_handle()?);
            }
        }
        Ok(kept)
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            dashboard: self.dashboard.as_ref().map(|port| port.address),
            partner: self.partner.as_ref().map(|port| port.address),
            admin: self.admin.address,
        }
    }
}

async fn serve_role(
    embedded: Option<&goodpon_sqlite::Store>,
    mut settings: Settings,
    role: Role,
    metrics: Metrics,
    with_demo: bool,
    handed: HandedOver,
    supervisor: &Supervisor,
) -> Result<Option<Kept>, Failed> {
    let ports = Ports::open(&settings, role, handed).await?;
    let kept = ports.keep()?;
    let addresses = ports.addresses();
    let _note = admin_address::Note::write(&settings.data_dir, addresses.admin);
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
    let admin = start_admin(supervisor, ports.admin, service, limits, stopping_admin);

    // The wait for servers may be long, and a stop must end it.
    let opened = tokio::select! {
        opened = Backends::open(embedded, &settings, &health) => Some(opened?),
        () = signals.end() => None,
        failure = supervisor.failed() => return Err(Failed::new(failure)),
    };
    let Some(backends) = opened else {
        supervisor.stop();
        let _ = stop_admin.send(true);
        admin.ended().await;
        return Ok(None);
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
    if let Some(port) = ports.dashboard {
        let task = Task::exit("dashboard_listener");
        apis.push(start(
            supervisor,
            task,
            port,
            services.dashboard,
            limits,
            &draining,
        ));
    }
    if let Some(port) = ports.partner {
        let task = Task::exit("partner_listener");
        apis.push(start(
            supervisor,
            task,
            port,
            services.partner,
            limits,
            &draining,
        ));
    }
    addresses.announce(demo.as_ref());
    notify::ready();
    notify::feed_watchdog(supervisor, writer_is_alive(embedded));

    let stop = stop::wanted(signals, supervisor, &draining, settings.drain).await;
    let kept = stop.hands_over.then_some(kept);
    let deadline = Instant::now() + settings.shutdown_timeout;
    supervisor.stop();
    for api in apis {
        api.ended().await;
    }
    work.finished_by(deadline, supervisor).await;
    let _ = stop_admin.send(true);
    admin.ended().await;
    match stop.failure.or_else(|| supervisor.failure()) {
        None => Ok(kept),
        Some(failure) => Err(Failed::new(failure)),
    }
}

/// Says whether the writer of the embedded store does not hang; elsewhere it is enough that the process runs tasks.
fn writer_is_alive(
    embedded: Option<&goodpon_sqlite::Store>,
) -> impl Fn() -> bool + Clone + Send + Sync + 'static {
    let store = embedded.cloned();
    move || store.as_ref().is_none_or(|store| !store.is_stuck())
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
    port: Port,
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
    start_until(supervisor, task, port, service, limits, ending)
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
