//! Which adapter stands behind which port: the one place that a further adapter is plugged in.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use goodpon_application::App;
use goodpon_application::credentials::CredentialCache;
use goodpon_application::ports::{Health, Random};
use goodpon_application::turns::Turns;
use goodpon_application::verification_mail::VerificationMail;
use goodpon_http::dashboard::DashboardSettings;
use goodpon_http::partner::PartnerSettings;
use goodpon_http::{Api, admin, dashboard, partner};
use goodpon_supervise::Supervisor;
use goodpon_telemetry::metrics::Metrics;

use crate::backends::Backends;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::failed::Failed;
use crate::passwords::Argon2Passwords;
use crate::random::{SecureRandom, hex};
use crate::secrets;
use crate::tokens::Jwt;

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
