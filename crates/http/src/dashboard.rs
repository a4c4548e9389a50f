//! The dashboard API (contract §2, §5): people who run merchants call it, from browsers.

mod access;
mod account;
mod caller;
mod cors;
mod document;
mod history;
mod limits;
mod merchant;
mod route;
mod state;
mod template;
mod verify_page;

use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use goodpon_application::App;
use goodpon_web::fault::{Fault, Faults};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::docs;
use crate::error::{ApiError, Enveloped};
use crate::error_code::ErrorCode;
use crate::service::{Api, ApiProfile, ApiSettings, around};
use route::{Policy, Route, any_account, open, open_within, verified};
use state::Dashboard;

pub use limits::{DashboardLimits, OpenCallLimit};

/// The table of routes: every call, with the policy of its path.
fn routes() -> Vec<Route> {
    vec![
        open_within(|limits| &limits.sign_ups)
            .audited("sign_up")
            .on(routes!(account::sign_up)),
        any_account().on(routes!(account::get_my_account)),
        // Its limit is on failures, which only the handler knows.
        open().audited("login").on(routes!(account::login)),
        open_within(|limits| &limits.verifications)
            .audited("verification")
            .on(routes!(account::verify_email)),
        open_within(|limits| &limits.resends)
            .audited("verification_resent")
            .on(routes!(account::resend_verification_email)),
        verified()
            .audited("merchant_created")
            .on(routes!(merchant::create_merchant, merchant::list_merchants)),
        verified().on(routes!(merchant::get_merchant)),
        verified()
            .audited("client_secret_added")
            .on(routes!(merchant::create_client_secret)),
        verified()
            .audited("client_secret_expired")
            .on(routes!(merchant::expire_client_secret)),
        verified()
            .audited("member_added")
            .on(routes!(merchant::add_member)),
        verified()
            .audited("member_removed")
            .on(routes!(merchant::remove_member)),
        verified().on(routes!(
            template::create_coupon_template,
            template::list_coupon_templates
        )),
        verified().on(routes!(template::get_coupon_template)),
        verified()
            .audited("template_published")
            .on(routes!(template::publish_coupon_template)),
        verified()
            .audited("template_discarded")
            .on(routes!(template::discard_coupon_template)),
        verified().on(routes!(history::list_coupon_histories)),
    ]
}

/// The policy of the page behind the verification link.
fn verify_page_policy() -> Policy {
    open_within(|limits| &limits.verifications).audited("verification")
}

/// The whole API with its docs and the page behind the verification link, ready to be served. Pages of `cors_origins`
/// (`https://console.example.com`) may call it; without any there is no CORS at all.
pub fn service(
    app: Arc<App>,
    limits: DashboardLimits,
    settings: &ApiSettings,
    cors_origins: &[String],
) -> Api {
    let cors_origins = cors::origins(cors_origins);
    let dashboard = Dashboard::new(app, limits, settings, cors_origins.clone());
    let calls = routes()
        .into_iter()
        .fold(OpenApiRouter::default(), |router, route| {
            router.routes(route.guarded(&dashboard))
        });
    let page = get(verify_page::show).post(verify_page::complete);
    let page = verify_page_policy().guard(page, &dashboard, verify_page::refusal);
    let unknown_path = async || ApiError::new(ErrorCode::NotFound);
    let guard = verified().guard_of(&dashboard, ApiError::into_response);
    let router = Router::from(calls)
        .route(verify_page::PATH, page)
        .merge(match settings.docs {
            true => docs::router(&document(), settings.body_timeout),
            false => docs::left_out(settings.body_timeout),
        })
        .fallback(unknown_path.layer(from_fn_with_state(guard, access::guard)));
    let router = cors::allow(router, cors_origins).with_state(dashboard);
    let profile = ApiProfile {
        name: "dashboard",
        faults: Arc::new(DashboardFaults),
        event_of_code,
        logs_paths: true,
    };
    around(router, settings, profile)
}

/// The OpenAPI document of the API.
pub fn document() -> OpenApi {
    let calls = routes()
        .into_iter()
        .fold(OpenApiRouter::default(), |router, route| {
            router.routes(route.documented())
        });
    document::complete(calls.into_openapi())
}

fn event_of_code(code: &str) -> Option<&'static str> {
    (code == ErrorCode::Unauthorized.code()).then_some("token_refused")
}

/// Renders faults as a page to a person's browser, and in the envelope to all others.
struct DashboardFaults;

impl Faults for DashboardFaults {
    fn render(&self, fault: Fault, route: Option<&str>) -> Response {
        match route {
            Some(verify_page::PATH) => verify_page::refusal(fault.into()),
            _ => Enveloped.render(fault, route),
        }
    }
}

#[cfg(test)]
mod tests;
