//! Puts an adapter behind each port and limits before each API: the one place where a further adapter is plugged in.

use std::net::SocketAddr;
use std::sync::Arc;

use goodpon_application::App;
use goodpon_application::credentials::CredentialCache;
use goodpon_application::ports::{Health, Random};
use goodpon_application::turns::Turns;
use goodpon_application::verification_mail::VerificationMail;
use goodpon_http::dashboard::{DashboardLimits, OpenCallLimit};
use goodpon_http::partner::PartnerLimits;
use goodpon_http::service::{Api, ApiSettings};
use goodpon_http::{admin, dashboard, partner};
use goodpon_supervise::Supervisor;
use goodpon_telemetry::metrics::Metrics;
use goodpon_web::login_limit::LoginLimit;
use goodpon_web::rate_limit::KeyedLimiter;
use goodpon_web::serve::Unobserved;

use crate::backends::Backends;
use crate::clock::SystemClock;
use crate::config::Settings;
use crate::failed::Failed;
use crate::passwords::Argon2Passwords;
use crate::random::{SecureRandom, hex};
use crate::secrets;
use crate::tokens::Jwt;

/// The context of the use cases. `dashboard` is the address of the dashboard API, if this process serves it; only then
/// access tokens are signed.
///
/// # Errors
/// The secret for access tokens can neither be read nor made.
pub fn app(
    backends: &Backends,
    settings: &Settings,
    dashboard: Option<SocketAddr>,
) -> Result<App, Failed> {
    let random: Arc<dyn Random> = Arc::new(SecureRandom);
    let jwt_secret = match (&settings.jwt_secret, dashboard) {
        (Some(given), _) => given.clone(),
        // Without a dashboard, no token is ever issued or read.
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

/// The number of cores of this process, at least 1.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The two APIs.
pub struct Services {
    /// For people who run merchants.
    pub dashboard: Api,
    /// For shops.
    pub partner: Api,
}

/// The service of the admin port.
pub fn admin(
    hosts: &[String],
    health: Arc<dyn Health>,
    metrics: Metrics,
    is_stopping: impl Fn() -> bool + Clone + Send + Sync + 'static,
    supervisor: Supervisor,
) -> Unobserved {
    admin::service(hosts.to_vec(), health, is_stopping, supervisor, move || {
        metrics.render()
    })
}

/// Both APIs over the use cases.
pub fn services(app: &Arc<App>, settings: &Settings) -> Services {
    let of_both = ApiSettings {
        request_timeout: settings.request_timeout,
        body_timeout: settings.body_timeout,
        docs: settings.docs,
        hsts_seconds: settings.hsts_max_age_secs,
        trusts_forwarded_for: settings.trust_forwarded_for,
    };
    let (for_dashboard, for_partner) = (dashboard_limits(settings), partner_limits(settings));
    let cors_origins = &settings.cors_origins;
    Services {
        dashboard: dashboard::service(Arc::clone(app), for_dashboard, &of_both, cors_origins),
        partner: partner::service(Arc::clone(app), for_partner, &of_both),
    }
}

/// The limits of the dashboard API. Another service for the same accounts has to share those on logins and failures, so
/// that passwords cannot be guessed twice as often.
fn dashboard_limits(settings: &Settings) -> DashboardLimits {
    DashboardLimits {
        calls: KeyedLimiter::per_minute(settings.rate_dashboard_per_min),
        auth_failures: Arc::new(KeyedLimiter::per_minute(
            settings.rate_auth_failures_per_min,
        )),
        logins: Arc::new(LoginLimit::per_minute(settings.rate_login_per_min)),
        sign_ups: OpenCallLimit::per_minute(settings.rate_sign_up_per_min),
        verifications: OpenCallLimit::per_minute(settings.rate_verify_per_min),
        resends: OpenCallLimit::per_minute(settings.rate_resend_per_min),
    }
}

fn partner_limits(settings: &Settings) -> PartnerLimits {
    PartnerLimits {
        calls: KeyedLimiter::per_second(settings.rate_partner_per_sec),
        auth_failures: KeyedLimiter::per_minute(settings.rate_auth_failures_per_min),
    }
}

#[cfg(test)]
mod tests;
