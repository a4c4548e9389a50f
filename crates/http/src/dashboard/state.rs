//! The state of the dashboard API: what its handlers work with.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use goodpon_application::account::LoginRefusal;
use goodpon_application::network::Network;
use goodpon_application::ports::{HashPurpose, HashTurn};
use goodpon_application::{App, Failure};
use goodpon_domain::account::{Account, EmailKey};
use goodpon_web::fault::Fault;
use goodpon_web::login_limit::Attempt;
use http::HeaderValue;

use super::limits::DashboardLimits;
use crate::service::ApiSettings;

/// The state of the dashboard API. Cheap to clone.
#[derive(Clone)]
pub(super) struct Dashboard(Arc<Inner>);

struct Inner {
    app: Arc<App>,
    limits: DashboardLimits,
    body_timeout: Duration,
    trusts_forwarded_for: bool,
    cors_origins: Vec<HeaderValue>,
}

impl Dashboard {
    pub(super) fn new(
        app: Arc<App>,
        limits: DashboardLimits,
        settings: &ApiSettings,
        cors_origins: Vec<HeaderValue>,
    ) -> Self {
        Self(Arc::new(Inner {
            app,
            limits,
            body_timeout: settings.body_timeout,
            trusts_forwarded_for: settings.trusts_forwarded_for,
            cors_origins,
        }))
    }

    pub(super) fn app(&self) -> &App {
        &self.0.app
    }

    pub(super) fn limits(&self) -> &DashboardLimits {
        &self.0.limits
    }

    pub(super) fn body_timeout(&self) -> Duration {
        self.0.body_timeout
    }

    pub(super) fn trusts_forwarded_for(&self) -> bool {
        self.0.trusts_forwarded_for
    }

    /// Returns whether pages of this origin may call.
    pub(super) fn trusts_origin(&self, origin: &HeaderValue) -> bool {
        self.0.cors_origins.contains(origin)
    }

    /// Begins a login from this address. Returns it with the turn in which its password is to be hashed.
    ///
    /// # Errors
    /// [`Fault::TooManyRequests`] where too many failed.
    pub(super) fn begin_login(
        &self,
        address: IpAddr,
        email: &str,
    ) -> Result<(Attempt<Network>, HashTurn), Fault> {
        let (email, network) = (EmailKey::of(email), Network::of(address));
        let limits = self.limits();
        let attempt =
            limits
                .logins
                .begin(address, network, email.as_str(), &limits.auth_failures)?;
        let purpose = match attempt.is_known {
            true => HashPurpose::KnownLogin,
            false => HashPurpose::Login,
        };
        Ok((attempt, HashTurn::new(purpose, network)))
    }

    /// Counts the end of a login.
    pub(super) fn end_login(
        &self,
        attempt: &Attempt<Network>,
        outcome: &Result<(Account, String), Failure<LoginRefusal>>,
    ) {
        let limits = self.limits();
        match outcome {
            Ok((account, _)) => limits.logins.succeeded(attempt, account.verified),
            Err(Failure::Store(_)) => limits.logins.abandoned(attempt),
            Err(Failure::Refused(_)) => limits.logins.failed(attempt, &limits.auth_failures),
        }
    }
}
