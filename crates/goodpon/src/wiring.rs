//! Which adapter stands behind which port: the one place that a further adapter is plugged in.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use goodpon_application::App;
use goodpon_application::credentials::CredentialCache;
use goodpon_application::ports::{Clock, Health, Random};
use goodpon_application::turns::Turns;
use goodpon_application::verification_mail::VerificationMail;
use goodpon_domain::business_time::BusinessZone;
use goodpon_http::dashboard::DashboardSettings;
use goodpon_http::partner::PartnerSettings;
use goodpon_http::{Api, admin, dashboard, partner};
use goodpon_scaled::Scaled;
use goodpon_sqlite::{DATABASE_FILE, OpenError, Store};
use goodpon_supervise::Supervisor;
use goodpon_telemetry::metrics::Metrics;
use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::backends::Backends;
use crate::clock::SystemClock;
use crate::config::{Servers, Settings};
use crate::failed::Failed;
use crate::passwords::Argon2Passwords;
use crate::random::{SecureRandom, hex};
use crate::secrets;
use crate::tokens::Jwt;

/// Opens the data folder to serve it; no other process may.
///
/// # Errors
/// It cannot be used: see [`goodpon_sqlite::OpenError`].
pub fn open(settings: &Settings, supervisor: &Supervisor) -> Result<Store, Failed> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SecureRandom);
    Store::open(
        &settings.data_dir,
        clock,
        random,
        settings.zone.clone(),
        supervisor,
    )
    .map_err(Failed::new)
}

/// Opens the data folder to read it, also while it is served.
///
/// # Errors
/// As [`open`].
pub fn open_read_only(data_dir: &Path) -> Result<Store, Failed> {
    Store::open_read_only(data_dir, Arc::new(SystemClock)).map_err(|error| {
        match denied_to_this_user(&error, data_dir) {
            true => Failed::new(format!(
                "the data folder {} is closed to this user: run this as the user that runs `goodpon serve`",
                data_dir.display()
            )),
            false => Failed::new(error),
        }
    })
}

/// Whether a lack of permissions is behind it. SQLite does not tell it from other causes, and needs to write beside
/// the database even to read it.
fn denied_to_this_user(error: &OpenError, data_dir: &Path) -> bool {
    let database = data_dir.join(DATABASE_FILE);
    let denied = |path: &Path, wanted| access(path, wanted) == Err(Errno::ACCESS);
    match error {
        // Not to be seen is as good as missing.
        OpenError::Missing(_) => denied(&database, Access::EXISTS),
        OpenError::Database(_) => {
            denied(&database, Access::READ_OK | Access::WRITE_OK)
                || denied(data_dir, Access::WRITE_OK | Access::EXEC_OK)
        }
        _ => false,
    }
}

/// A store on the MySQL of the settings. Nothing is connected yet.
///
/// # Errors
/// The URL is none of MySQL's.
pub fn records(servers: &Servers, zone: &BusinessZone) -> Result<goodpon_mysql::Store, Failed> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SecureRandom));
    let connections = servers.database_connections;
    goodpon_mysql::Store::new(
        &servers.database_url,
        connections,
        clock,
        random,
        zone.clone(),
    )
    .map_err(Failed::new)
}

/// The issue path over a store that was found to be ready.
///
/// # Errors
/// A setting is wrong, or the database went away.
pub async fn scaled(store: &goodpon_mysql::Store, servers: &Servers) -> Result<Scaled, Failed> {
    let (clock, random) = (Arc::new(SystemClock), Arc::new(SecureRandom));
    Scaled::open(
        store.clone(),
        &servers.valkey_url,
        &servers.cluster,
        servers.accept_risks,
        clock,
        random,
    )
    .await
    .map_err(Failed::new)
}

/// The use cases' context. `dashboard` is where the dashboard API listens, if it does; only then access tokens are
/// signed.
///
/// # Errors
/// The secret for access tokens cannot be had.
pub fn app(
    backends: &Backends,
    settings: &Settings,
    dashboard: Option<SocketAddr>,
) -> Result<App, Failed> {
    let random: Arc<dyn Random> = Arc::new(SecureRandom);
    let jwt_secret = match (&settings.jwt_secret, dashboard) {
        (Some(given), _) => given.clone(),
        // Nobody asks for a token.
        (None, None) => hex::<32>(random.as_ref()).into_bytes(),
        (None, Some(_)) => secrets::jwt_secret(&settings.data_dir, random.as_ref())?,
    };
    let link_base = match (&settings.verify_link_base, dashboard) {
        (Some(given), _) => given.clone(),
        (None, dashboard) => {
            let port = dashboard.map_or(0, |address| address.port());
            format!("http://localhost:{port}")
        }
    };
    let (passwords, tokens) = (
        Argon2Passwords::new(Arc::clone(&random)).map_err(Failed::new)?,
        Jwt::new(&jwt_secret),
    );
    let verification_mail = VerificationMail {
        link_base,
        compose: goodpon_mail::verification,
    };
    Ok(App {
        stores: backends.stores(),
        passwords: Arc::new(passwords),
        tokens: Arc::new(tokens),
        clock: Arc::new(SystemClock),
        random,
        zone: settings.zone.clone(),
        turns: Turns::on(cores()),
        quotas: settings.quotas,
        verification_mail,
        credentials: CredentialCache::default(),
    })
}

/// How many cores this process has.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What each port serves.
pub struct Services {
    /// For merchants.
    pub dashboard: Api,
    /// For shops.
    pub partner: Api,
}

/// What operators are served.
pub fn admin(
    hosts: &[String],
    health: Arc<dyn Health>,
    metrics: Metrics,
    is_stopping: impl Fn() -> bool + Clone + Send + Sync + 'static,
    supervisor: Supervisor,
) -> Router {
    admin::router(hosts.to_vec(), health, is_stopping, supervisor, move || {
        metrics.render()
    })
}

/// The services over the use cases.
pub fn services(app: &Arc<App>, settings: &Settings) -> Services {
    let for_dashboard = DashboardSettings {
        request_timeout: settings.request_timeout,
        body_timeout: settings.body_timeout,
        docs: settings.docs,
        hsts_seconds: settings.hsts_max_age_secs,
        sign_ups_per_minute: settings.rate_sign_up_per_min,
        failed_logins_per_minute: settings.rate_login_per_min,
        verifications_per_minute: settings.rate_verify_per_min,
        resends_per_minute: settings.rate_resend_per_min,
        calls_per_minute: settings.rate_dashboard_per_min,
        auth_failures_per_minute: settings.rate_auth_failures_per_min,
        trust_forwarded_for: settings.trust_forwarded_for,
        cors_origins: settings.cors_origins.clone(),
    };
    let for_partner = PartnerSettings {
        request_timeout: settings.request_timeout,
        body_timeout: settings.body_timeout,
        docs: settings.docs,
        hsts_seconds: settings.hsts_max_age_secs,
        rate_per_second: settings.rate_partner_per_sec,
        auth_failures_per_minute: settings.rate_auth_failures_per_min,
        trust_forwarded_for: settings.trust_forwarded_for,
    };
    Services {
        dashboard: dashboard::service(Arc::clone(app), &for_dashboard),
        partner: partner::service(Arc::clone(app), &for_partner),
    }
}

#[cfg(test)]
mod tests;
