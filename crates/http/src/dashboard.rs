//! The dashboard API (contract §2, §5): what people who run merchants call, from browsers.

mod cors;
mod front;
mod login_limit;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use goodpon_application::account::LoginRefusal;
use goodpon_application::ports::{HashPurpose, HashTurn};
use goodpon_application::{App, Failure};
use goodpon_domain::account::{Account, EmailKey};
use http::HeaderValue;
use tower::Layer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::error::{ApiError, ErrorCode};
use crate::observe::ObserveLayer;
use crate::rate_limit::KeyedLimiter;
use crate::time_limit::TimeLimitLayer;
use crate::{account, docs, history, merchant, openapi, template, verify_page};

pub(crate) use front::{Call, Caller};
use login_limit::{Attempt, LoginLimit};

/// What an operator may set of the dashboard API.
#[derive(Debug, Clone)]
pub struct DashboardSettings {
    /// Origins (`https://console.example.com`) whose pages may call; empty is no CORS at all.
    pub cors_origins: Vec<String>,
    /// How long a request may take in all.
    pub request_timeout: Duration,
    /// How long its body may take to come.
    pub body_timeout: Duration,
    /// Whether its documentation is served.
    pub docs: bool,
    /// Max-age of `Strict-Transport-Security` in seconds; 0 sends no such header.
    pub hsts_seconds: u32,
    /// Sign-ups a minute, for each address and each e-mail; 0 is without limit.
    pub sign_ups_per_minute: u32,
    /// Failed logins a minute, for an address and an e-mail together; 0 is without limit. An e-mail may have ten times
    /// as many an hour from all addresses.
    pub failed_logins_per_minute: u32,
    /// Verifications a minute, for each address; 0 is without limit.
    pub verifications_per_minute: u32,
    /// Further verification mails a minute, for each address and each e-mail; 0 is without limit.
    pub resends_per_minute: u32,
    /// Calls a minute for each account; 0 is without limit.
    pub calls_per_minute: u32,
    /// Refused tokens and passwords a minute for each address; 0 is without limit.
    pub auth_failures_per_minute: u32,
    /// Whether the last entry of `X-Forwarded-For` is the client's address.
    pub trust_forwarded_for: bool,
}

/// What every dashboard handler works with. Cheap to clone.
#[derive(Clone)]
pub struct Dashboard(Arc<Inner>);

struct Inner {
    app: Arc<App>,
    body_timeout: Duration,
    trust_forwarded_for: bool,
    cors_origins: Vec<HeaderValue>,
    by_account: KeyedLimiter,
    auth_failures: KeyedLimiter,
    login: LoginLimit,
    sign_up: OpenCallLimit,
    verify: OpenCallLimit,
    resend: OpenCallLimit,
}

/// How often one of the calls that need no token may be made.
struct OpenCallLimit {
    by_address: KeyedLimiter,
    by_email: KeyedLimiter,
}

impl OpenCallLimit {
    fn per_minute(count: u32) -> Self {
        Self {
            by_address: KeyedLimiter::per_minute(count),
            by_email: KeyedLimiter::per_minute(count),
        }
    }
}

impl Dashboard {
    pub(crate) fn app(&self) -> &App {
        &self.0.app
    }

    /// Begins a login, and says where its password is to wait.
    ///
    /// # Errors
    /// TOO_MANY_REQUESTS where too many failed.
    pub(crate) fn begin_login(
        &self,
        call: &Call,
        email: &str,
    ) -> Result<(Attempt, HashTurn), ApiError> {
        let email = EmailKey::of(email);
        let (login, failures) = (&self.0.login, &self.0.auth_failures);
        let attempt = login.begin(call.address, email.as_str(), failures)?;
        let purpose = match attempt.is_known {
            true => HashPurpose::KnownLogin,
            false => HashPurpose::Login,
        };
        Ok((attempt, HashTurn::new(purpose, call.network())))
    }

    /// Counts how a login ended.
    pub(crate) fn end_login(
        &self,
        attempt: &Attempt,
        outcome: &Result<(Account, String), Failure<LoginRefusal>>,
    ) {
        match outcome {
            Ok((account, _)) => self.0.login.succeeded(attempt, account.verified),
            Err(Failure::Store(_)) => self.0.login.came_to_nothing(attempt),
            Err(Failure::Refused(_)) => self.0.login.failed(attempt, &self.0.auth_failures),
        }
    }
}

/// The whole API with its docs and the page behind the verification link, ready to be served.
pub fn service(app: Arc<App>, settings: &DashboardSettings) -> Api {
    let cors_origins = cors::origins(&settings.cors_origins);
    let dashboard = Dashboard(Arc::new(Inner {
        app,
        body_timeout: settings.body_timeout,
        trust_forwarded_for: settings.trust_forwarded_for,
        cors_origins: cors_origins.clone(),
        by_account: KeyedLimiter::per_minute(settings.calls_per_minute),
        auth_failures: KeyedLimiter::per_minute(settings.auth_failures_per_minute),
        sign_up: OpenCallLimit::per_minute(settings.sign_ups_per_minute),
        login: LoginLimit::per_minute(settings.failed_logins_per_minute),
        verify: OpenCallLimit::per_minute(settings.verifications_per_minute),
        resend: OpenCallLimit::per_minute(settings.resends_per_minute),
    }));
    let router = Router::from(calls())
        .merge(verify_page::router())
        .merge(match settings.docs {
            true => docs::router(&openapi::dashboard()),
            false => Router::new(),
        })
        .fallback(async || ApiError::new(ErrorCode::NotFound))
        .method_not_allowed_fallback(async || ApiError::new(ErrorCode::MethodNotAllowed))
        .layer(from_fn_with_state(dashboard.clone(), front::front));
    let router = cors::allow(router, cors_origins);
    let limited = TimeLimitLayer::new(settings.request_timeout).layer(router.with_state(dashboard));
    let observe = ObserveLayer::new("dashboard")
        .with_hsts(settings.hsts_seconds)
        .trusting_forwarded_for(settings.trust_forwarded_for);
    observe.layer(limited)
}

/// Every call of the API, with its documentation.
pub(crate) fn calls() -> OpenApiRouter<Dashboard> {
    OpenApiRouter::default()
        .routes(routes!(account::sign_up))
        .routes(routes!(account::get_my_account))
        .routes(routes!(account::login))
        .routes(routes!(account::verify_email))
        .routes(routes!(account::resend_verification_email))
        .routes(routes!(merchant::create_merchant, merchant::list_merchants))
        .routes(routes!(merchant::get_merchant))
        .routes(routes!(merchant::create_client_secret))
        .routes(routes!(merchant::expire_client_secret))
        .routes(routes!(merchant::add_member))
        .routes(routes!(merchant::remove_member))
        .routes(routes!(
            template::create_coupon_template,
            template::list_coupon_templates
        ))
        .routes(routes!(template::get_coupon_template))
        .routes(routes!(template::publish_coupon_template))
        .routes(routes!(template::discard_coupon_template))
        .routes(routes!(history::list_coupon_histories))
}

#[cfg(test)]
mod tests;
