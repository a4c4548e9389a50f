//! Which adapter stands behind which port: the one place that a further adapter is plugged in.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use goodpon_application::App;
use goodpon_application::credentials::CredentialCache;
use goodpon_application::mail::VerificationMail;
use goodpon_application::ports::{Clock, Random};
use goodpon_http::dashboard::DashboardSettings;
use goodpon_http::partner::PartnerSettings;
use goodpon_http::{Api, admin, dashboard, partner};
use goodpon_sqlite::{DATABASE_FILE, OpenError, Store};
use goodpon_telemetry::metrics::Metrics;
use rustix::fs::{Access, access};
use rustix::io::Errno;

use crate::clock::SystemClock;
use crate::config::Settings;
use crate::failed::Failed;
use crate::passwords::Argon2Passwords;
use crate::random::SecureRandom;
use crate::secrets;
use crate::tokens::Jwt;

/// Opens the data folder to serve it; no other process may.
///
/// # Errors
/// It cannot be used: see [`goodpon_sqlite::OpenError`].
pub fn open(settings: &Settings) -> Result<Store, Failed> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let random: Arc<dyn Random> = Arc::new(SecureRandom);
    Store::open(&settings.data_dir, clock, random, settings.zone.clone()).map_err(Failed::new)
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

/// The use cases' context over an open store. `dashboard` is where the dashboard API listens.
///
/// # Errors
/// The secret for access tokens cannot be had.
pub fn app(store: &Store, settings: &Settings, dashboard: SocketAddr) -> Result<App, Failed> {
    let random: Arc<dyn Random> = Arc::new(SecureRandom);
    let jwt_secret = match &settings.jwt_secret {
        Some(given) => given.clone(),
        None => secrets::jwt_secret(&settings.data_dir, random.as_ref())?,
    };
    let link_base = match &settings.verify_link_base {
        Some(given) => given.clone(),
        None => format!("http://localhost:{}", dashboard.port()),
    };
    let store = Arc::new(store.clone());
    Ok(App {
        accounts: store.clone(),
        merchants: store.clone(),
        templates: store.clone(),
        gate: store.clone(),
        coupons: store.clone(),
        histories: store.clone(),
        outbox: store.clone(),
        upkeep: store.clone(),
        health: store,
        passwords: Arc::new(Argon2Passwords::new(Arc::clone(&random)).map_err(Failed::new)?),
        tokens: Arc::new(Jwt::new(&jwt_secret)),
        clock: Arc::new(SystemClock),
        random,
        zone: settings.zone.clone(),
        verification_mail: VerificationMail {
            link_base,
            compose: goodpon_mail::verification,
        },
        credentials: CredentialCache::default(),
    })
}

/// What each port serves.
pub struct Services {
    /// For merchants.
    pub dashboard: Api,
    /// For shops.
    pub partner: Api,
    /// For operators.
    pub admin: Router,
}

/// The services over the use cases.
pub fn services(
    app: &Arc<App>,
    settings: &Settings,
    metrics: Metrics,
    is_stopping: impl Fn() -> bool + Clone + Send + Sync + 'static,
) -> Services {
    let for_dashboard = DashboardSettings {
        request_timeout: settings.request_timeout,
        body_timeout: settings.body_timeout,
        sign_ups_per_minute: settings.rate_sign_up_per_min,
        logins_per_minute: settings.rate_login_per_min,
        verifications_per_minute: settings.rate_verify_per_min,
        resends_per_minute: settings.rate_resend_per_min,
        trust_forwarded_for: settings.trust_forwarded_for,
        cors_origins: settings.cors_origins.clone(),
    };
    let for_partner = PartnerSettings {
        request_timeout: settings.request_timeout,
        body_timeout: settings.body_timeout,
        rate_per_second: settings.rate_partner_per_sec,
    };
    Services {
        dashboard: dashboard::service(Arc::clone(app), &for_dashboard),
        partner: partner::service(Arc::clone(app), &for_partner),
        admin: admin::router(Arc::clone(app), is_stopping, move || metrics.render()),
    }
}

#[cfg(test)]
mod tests;
