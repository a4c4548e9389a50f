//! The state of the partner API: what its handlers work with.

use std::sync::Arc;
use std::time::Duration;

use goodpon_application::App;
use goodpon_web::rate_limit::KeyedLimiter;

use crate::service::ApiSettings;

/// The rate limits of the partner API.
pub struct PartnerLimits {
    /// Authenticated requests, by client id.
    pub calls: KeyedLimiter,
    /// Refused credentials, by address.
    pub auth_failures: KeyedLimiter,
}

/// The state of the partner API. Cheap to clone.
#[derive(Clone)]
pub(super) struct Partner(Arc<Inner>);

struct Inner {
    app: Arc<App>,
    limits: PartnerLimits,
    body_timeout: Duration,
    trusts_forwarded_for: bool,
}

impl Partner {
    pub(super) fn new(app: Arc<App>, limits: PartnerLimits, settings: &ApiSettings) -> Self {
        Self(Arc::new(Inner {
            app,
            limits,
            body_timeout: settings.body_timeout,
            trusts_forwarded_for: settings.trusts_forwarded_for,
        }))
    }

    pub(super) fn app(&self) -> &App {
        &self.0.app
    }

    pub(super) fn limits(&self) -> &PartnerLimits {
        &self.0.limits
    }

    pub(super) fn body_timeout(&self) -> Duration {
        self.0.body_timeout
    }

    pub(super) fn trusts_forwarded_for(&self) -> bool {
        self.0.trusts_forwarded_for
    }
}
