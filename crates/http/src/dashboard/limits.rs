//! The rate limits of the dashboard API, which the program makes and may share with other services.

use std::sync::Arc;

use goodpon_application::network::Network;
use goodpon_web::login_limit::LoginLimit;
use goodpon_web::rate_limit::KeyedLimiter;

/// The rate limits of the dashboard API.
pub struct DashboardLimits {
    /// Calls with a token, by account.
    pub calls: KeyedLimiter,
    /// Refused tokens and passwords, by address.
    pub auth_failures: Arc<KeyedLimiter>,
    /// Failed logins.
    pub logins: Arc<LoginLimit<Network>>,
    /// Sign-ups.
    pub sign_ups: OpenCallLimit,
    /// Verifications, by the call and by the page.
    pub verifications: OpenCallLimit,
    /// Further verification mails.
    pub resends: OpenCallLimit,
}

/// The limit of a call that needs no token.
pub struct OpenCallLimit {
    pub(super) by_address: KeyedLimiter,
    /// By the e-mail address in the body, if it has one.
    pub(super) by_email: KeyedLimiter,
}

impl OpenCallLimit {
    /// `count` a minute for each address, and as many for each e-mail address; 0 is without limit.
    pub fn per_minute(count: u32) -> Self {
        Self {
            by_address: KeyedLimiter::per_minute(count),
            by_email: KeyedLimiter::per_minute(count),
        }
    }
}
