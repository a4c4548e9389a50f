//! The partner API (contract §3): a merchant's shop calls it, from server to server.

mod caller;
mod coupon;
mod document;
mod keyed_call;
mod state;

use std::sync::Arc;

use axum::Router;
use goodpon_application::App;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::docs;
use crate::error::{ApiError, Enveloped};
use crate::error_code::ErrorCode;
use crate::service::{Api, ApiProfile, ApiSettings, around};
use caller::ShopRequest;
use document::{keyed, plain};
use state::Partner;

pub use state::PartnerLimits;

/// The table of routes: every call, `keyed` where it takes an idempotency key. Each handler asks for a [`ShopRequest`], which
/// only an authenticated shop within its rate can make; a keyed one for a `KeyedRequest`.
fn routes() -> OpenApiRouter<Partner> {
    OpenApiRouter::default()
        .routes(plain(routes!(coupon::get_coupon_template)))
        .routes(keyed(routes!(coupon::issue_coupon)))
        .routes(plain(routes!(coupon::list_user_coupons)))
        .routes(plain(routes!(coupon::list_available_user_coupons)))
        .routes(keyed(routes!(coupon::redeem_coupon)))
        .routes(keyed(routes!(coupon::cancel_coupon_redemption)))
}

/// The whole API with its docs, ready to be served.
pub fn service(app: Arc<App>, limits: PartnerLimits, settings: &ApiSettings) -> Api {
    let partner = Partner::new(app, limits, settings);
    let router = Router::from(routes())
        .merge(match settings.docs {
            true => docs::router(&document(), settings.body_timeout),
            false => Router::new(),
        })
        .fallback(async |_: ShopRequest| ApiError::new(ErrorCode::NotFound))
        .method_not_allowed_fallback(async |_: ShopRequest| {
            ApiError::new(ErrorCode::MethodNotAllowed)
        })
        .with_state(partner);
    let profile = ApiProfile {
        name: "partner",
        faults: Enveloped::shared(),
        event_of_code,
        // Its events are refused secrets, which the client id names.
        logs_paths: false,
    };
    around(router, settings, profile)
}

/// The OpenAPI document of the API.
pub fn document() -> OpenApi {
    document::complete(routes().into_openapi())
}

fn event_of_code(code: &str) -> Option<&'static str> {
    (code == ErrorCode::InvalidCredentials.code()).then_some("client_secret_refused")
}

#[cfg(test)]
mod tests;
