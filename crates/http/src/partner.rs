//! The partner API (contract §3): what a merchant's shop calls, from server to server.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use goodpon_application::{App, Failure, credentials};
use goodpon_domain::id::MerchantId;
use http::HeaderMap;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::{ApiError, ErrorCode};
use crate::observe::{ObserveLayer, RequestScope};
use crate::rate_limit::KeyedLimiter;
use crate::time_limit::TimeLimitLayer;
use crate::{body, coupon, docs, openapi};

/// What an operator may set of the partner API.
#[derive(Debug, Clone)]
pub struct PartnerSettings {
    /// How long a request may take in all.
    pub request_timeout: Duration,
    /// How long its body may take to come.
    pub body_timeout: Duration,
    /// Requests a second for each client id; 0 is without limit.
    pub rate_per_second: u32,
}

/// What every partner handler works with.
#[derive(Clone)]
pub struct Partner(Arc<Inner>);

struct Inner {
    app: Arc<App>,
    body_timeout: Duration,
    rate: KeyedLimiter<Box<[u8]>>,
}

impl Partner {
    pub(crate) fn app(&self) -> &App {
        &self.0.app
    }
}

/// The whole API, ready to be served.
pub fn router(app: Arc<App>, settings: &PartnerSettings) -> Router {
    let partner = Partner(Arc::new(Inner {
        app,
        body_timeout: settings.body_timeout,
        rate: KeyedLimiter::per_second(settings.rate_per_second),
    }));
    Router::from(calls())
        .fallback(async || ApiError::new(ErrorCode::NotFound))
        .method_not_allowed_fallback(async || ApiError::new(ErrorCode::MethodNotAllowed))
        .layer(from_fn_with_state(partner.clone(), front))
        // After the front, for the docs need no credentials.
        .merge(docs::router(&openapi::partner()))
        .layer(TimeLimitLayer::new(settings.request_timeout))
        .layer(ObserveLayer::new("partner"))
        .with_state(partner)
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

/// A shop whose request was let in, and the request's body.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) merchant_id: MerchantId,
    pub(crate) client_id: Arc<str>,
    pub(crate) body: Bytes,
}

/// What comes before the router finds a handler or none (contract §1, Order of checks).
async fn front(State(partner): State<Partner>, request: Request, next: Next) -> Response {
    match let_in(&partner, request).await {
        Ok(request) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn let_in(partner: &Partner, request: Request) -> Result<Request, ApiError> {
    let (mut parts, stream) = request.into_parts();
    let body = body::read(&parts.headers, stream, partner.0.body_timeout).await?;
    let client_id = credential(&parts.headers, "x-goodpon-client-id");
    if partner.0.rate.is_on()
        && let Some(client_id) = client_id
    {
        partner.0.rate.check(&client_id.into())?;
    }
    let client_id = client_id.ok_or(ApiError::new(ErrorCode::ClientIdMissing))?;
    let secret = credential(&parts.headers, "x-goodpon-client-secret")
        .ok_or(ApiError::new(ErrorCode::ClientSecretMissing))?;
    let refused = || ApiError::new(ErrorCode::InvalidCredentials);
    let client_id = std::str::from_utf8(client_id).map_err(|_| refused())?;
    let secret = std::str::from_utf8(secret).map_err(|_| refused())?;
    let merchant_id = credentials::authenticate(partner.app(), client_id, secret)
        .await
        .map_err(|failure| match failure {
            Failure::Refused(credentials::InvalidCredentials) => refused(),
            Failure::Store(error) => error.into(),
        })?;
    if let Some(scope) = parts.extensions.get::<RequestScope>() {
        scope.set_merchant(merchant_id.0);
    }
    let client_id = Arc::from(client_id);
    parts.extensions.insert(Caller {
        merchant_id,
        client_id,
        body,
    });
    Ok(Request::from_parts(parts, axum::body::Body::empty()))
}

/// A header's value without the white space around it; `None` if there is nothing else.
fn credential<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let value = headers.get(name)?.as_bytes().trim_ascii();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests;
