//! The partner API (contract §3): what a merchant's shop calls, from server to server.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use goodpon_application::credentials::{Asking, ClientId, GivenSecret, InvalidCredentials};
use goodpon_application::{App, Failure, credentials};
use goodpon_domain::id::MerchantId;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use tower::Layer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::error::{ApiError, ErrorCode};
use crate::input::Fields;
use crate::observe::{ObserveLayer, RequestScope};
use crate::rate_limit::{self, KeyedLimiter};
use crate::time_limit::TimeLimitLayer;
use crate::{body, coupon, docs, idempotency, openapi};

const CLIENT_ID: HeaderName = HeaderName::from_static("x-goodpon-client-id");
const CLIENT_SECRET: HeaderName = HeaderName::from_static("x-goodpon-client-secret");

/// In bytes. Client ids of ours have 35 letters; a longer one is none of ours and would only fill the log.
const LONGEST_LOGGED_ID: usize = 64;

/// What an operator may set of the partner API.
#[derive(Debug, Clone)]
pub struct PartnerSettings {
    /// How long a request may take in all.
    pub request_timeout: Duration,
    /// How long its body may take to come.
    pub body_timeout: Duration,
    /// Whether its documentation is served.
    pub docs: bool,
    /// Max-age of `Strict-Transport-Security` in seconds; 0 sends no such header.
    pub hsts_seconds: u32,
    /// Authenticated requests a second for each client id; 0 is without limit.
    pub rate_per_second: u32,
    /// Refused credentials a minute for each address; 0 is without limit.
    pub auth_failures_per_minute: u32,
    /// Whether the last entry of `X-Forwarded-For` is the client's address.
    pub trust_forwarded_for: bool,
}

/// What every partner handler works with.
#[derive(Clone)]
pub struct Partner(Arc<Inner>);

struct Inner {
    app: Arc<App>,
    body_timeout: Duration,
    rate: KeyedLimiter,
    auth_failures: KeyedLimiter,
    trust_forwarded_for: bool,
}

impl Partner {
    pub(crate) fn app(&self) -> &App {
        &self.0.app
    }
}

/// The whole API, ready to be served.
pub fn service(app: Arc<App>, settings: &PartnerSettings) -> Api {
    let partner = Partner(Arc::new(Inner {
        app,
        body_timeout: settings.body_timeout,
        rate: KeyedLimiter::per_second(settings.rate_per_second),
        auth_failures: KeyedLimiter::per_minute(settings.auth_failures_per_minute),
        trust_forwarded_for: settings.trust_forwarded_for,
    }));
    let router = Router::from(calls())
        .merge(match settings.docs {
            true => docs::router(&openapi::partner()),
            false => Router::new(),
        })
        .fallback(async |_: Caller| ApiError::new(ErrorCode::NotFound))
        .method_not_allowed_fallback(async |_: Caller| ApiError::new(ErrorCode::MethodNotAllowed))
        .with_state(partner);
    let limited = TimeLimitLayer::new(settings.request_timeout).layer(router);
    let observe = ObserveLayer::new("partner")
        .with_hsts(settings.hsts_seconds)
        .trusting_forwarded_for(settings.trust_forwarded_for);
    observe.layer(limited)
}

/// Every call of the API, with its documentation.
pub(crate) fn calls() -> OpenApiRouter<Partner> {
    OpenApiRouter::default()
        .routes(routes!(coupon::get_coupon_template))
        .routes(routes!(coupon::issue_coupon))
        .routes(routes!(coupon::list_user_coupons))
        .routes(routes!(coupon::list_available_user_coupons))
        .routes(routes!(coupon::redeem_coupon))
        .routes(routes!(coupon::cancel_coupon_redemption))
}

/// A shop whose request was let in, and that request. Every handler and fallback asks for it first, so none
/// can be reached without what comes before it (contract §1, Order of checks).
pub(crate) struct Caller {
    pub(crate) merchant_id: MerchantId,
    pub(crate) parts: Parts,
    pub(crate) body: Bytes,
}

impl Caller {
    /// The request's path and query, to be read.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields::of(&self.parts)
    }

    /// The request's path, query and body, to be read.
    pub(crate) fn fields_and_body(&self) -> Fields<'_> {
        self.fields().with_body(&self.body)
    }

    /// The client id that was authenticated.
    pub(crate) fn client_id(&self) -> &[u8] {
        let id = credential(&self.parts.headers, CLIENT_ID);
        id.ok().flatten().unwrap_or_default()
    }
}

impl FromRequest<Partner> for Caller {
    type Rejection = ApiError;

    async fn from_request(request: Request, partner: &Partner) -> Result<Self, ApiError> {
        let (parts, stream) = request.into_parts();
        if let (Some(scope), Some(route)) = (parts.extensions.get(), parts.extensions.get()) {
            RequestScope::set_route(scope, route);
        }
        let body = body::read(&parts.headers, stream, partner.0.body_timeout).await?;
        let scope = parts.extensions.get::<RequestScope>();
        if let Some((scope, client_id)) = scope.zip(parts.headers.get(CLIENT_ID))
            && client_id.len() <= LONGEST_LOGGED_ID
        {
            scope.set_client_id(client_id);
        }
        let merchant_id = authenticate(partner, &parts).await?;
        if let Some(scope) = scope {
            scope.set_merchant(merchant_id.0);
        }
        Ok(Self {
            merchant_id,
            parts,
            body,
        })
    }
}

/// Who asks, by the credentials of the request, as often as that client may.
async fn authenticate(partner: &Partner, parts: &Parts) -> Result<MerchantId, ApiError> {
    let client_id =
        credential(&parts.headers, CLIENT_ID)?.ok_or(ApiError::new(ErrorCode::ClientIdMissing))?;
    let secret = credential(&parts.headers, CLIENT_SECRET)?
        .ok_or(ApiError::new(ErrorCode::ClientSecretMissing))?;
    // What has not the form of credentials is remembered nowhere, and no store is asked about it.
    let (Some(client_id), Some(secret)) = (ClientId::read(client_id), GivenSecret::read(secret))
    else {
        return Err(refuse(partner, client_address(partner, parts)));
    };
    let merchant_id = match credentials::recognise(partner.app(), client_id, &secret) {
        Some(merchant_id) => merchant_id,
        None => look_up(partner, parts, client_id, &secret).await?,
    };
    if partner.0.rate.is_on() {
        let within = partner.0.rate.check(&client_id);
        within.inspect_err(|_| idempotency::echo_unhandled(parts))?;
    }
    Ok(merchant_id)
}

async fn look_up(
    partner: &Partner,
    parts: &Parts,
    client_id: ClientId,
    secret: &GivenSecret,
) -> Result<MerchantId, ApiError> {
    let address = client_address(partner, parts);
    let asking = match partner.0.auth_failures.look(&address) {
        Ok(()) => Asking::Freely,
        Err(_) => Asking::Sparingly,
    };
    credentials::authenticate(partner.app(), client_id, secret, asking)
        .await
        .map_err(|failure| match failure {
            Failure::Refused(InvalidCredentials) => refuse(partner, address),
            Failure::Store(error) => error.into(),
        })
}

/// What bad credentials are answered: beyond the bound of failures, that there are too many.
fn refuse(partner: &Partner, address: IpAddr) -> ApiError {
    let counted = partner.0.auth_failures.check(&address);
    counted
        .err()
        .unwrap_or(ErrorCode::InvalidCredentials.into())
}

fn client_address(partner: &Partner, parts: &Parts) -> IpAddr {
    rate_limit::client_address(parts, partner.0.trust_forwarded_for)
}

/// A header's value without the white space around it; `None` if there is nothing else. One that stands twice names
/// nobody.
fn credential(headers: &HeaderMap, name: HeaderName) -> Result<Option<&[u8]>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value
            .map(|value| value.as_bytes().trim_ascii())
            .filter(|value| !value.is_empty())),
        (_, Some(_)) => Err(ApiError::new(ErrorCode::InvalidCredentials)),
    }
}

#[cfg(test)]
mod tests;
