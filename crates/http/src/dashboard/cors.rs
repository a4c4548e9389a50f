//! Calls of pages in browsers, from listed origins (contract §1, Browsers).

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn, map_request};
use axum::response::Response;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, CorsLayer};

use goodpon_web::trace::TRACE_HEADER;

/// Parses origins as browsers send them. One that no header can carry is left out, for no browser has it.
pub(super) fn origins(of: &[String]) -> Vec<HeaderValue> {
    of.iter()
        .filter_map(|origin| origin.trim_end_matches('/').parse().ok())
        .collect()
}

/// Lets pages of `origins` call `router`. Without any, preflights are answered all the same, for a browser sends no
/// token with one, but grant nothing.
pub(super) fn allow<S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    origins: Vec<HeaderValue>,
) -> Router<S> {
    if origins.is_empty() {
        return router.layer(from_fn(answer_preflights));
    }
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods(methods)
        .allow_headers(AllowHeaders::mirror_request())
        .allow_credentials(true)
        .expose_headers([TRACE_HEADER]);
    router
        .layer(map_request(unmask))
        .layer(cors)
        .layer(map_request(mask))
}

async fn answer_preflights(request: Request, next: Next) -> Response {
    match request.method() == Method::OPTIONS && is_preflight(request.headers()) {
        true => Response::default(),
        false => next.run(request).await,
    }
}

fn is_preflight(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Marks a request whose method is OPTIONS although it shows another.
#[derive(Debug, Clone, Copy)]
struct PlainOptions;

/// The CORS layer takes every OPTIONS for a preflight and answers it by itself. One that is no preflight passes it under
/// another method; the route was chosen before.
async fn mask(mut request: Request) -> Request {
    if request.method() == Method::OPTIONS && !is_preflight(request.headers()) {
        *request.method_mut() = Method::GET;
        request.extensions_mut().insert(PlainOptions);
    }
    request
}

async fn unmask(mut request: Request) -> Request {
    if request.extensions_mut().remove::<PlainOptions>().is_some() {
        *request.method_mut() = Method::OPTIONS;
    }
    request
}
