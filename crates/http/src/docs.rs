//! The OpenAPI document and the interactive docs of one API, all from the program itself.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderName, HeaderValue};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::Config;

use crate::error::{ApiError, ErrorCode};
use crate::observe::tell_route;

const DOCUMENT: &str = "/openapi.json";
const DOCS: &str = "/docs";

/// Whether a path belongs to the docs, which need no credentials.
pub(crate) fn is_open(path: &str) -> bool {
    let below = path.strip_prefix(DOCS);
    path == DOCUMENT || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `/openapi.json` and `/docs`.
pub(crate) fn router<S: Clone + Send + Sync + 'static>(openapi: &OpenApi) -> Router<S> {
    let document = openapi.to_json().map(Bytes::from);
    let document = document.map_err(|error| error.to_string());
    // Without this a browser asks a validator on the internet.
    let config = Arc::new(Config::from(DOCUMENT).validator_url("none"));
    let page = move |path: Option<Path<String>>| {
        let file = path.map_or_else(String::new, |Path(path)| path);
        let config = Arc::clone(&config);
        async move { page(&file, config) }
    };
    Router::new()
        .route(
            DOCUMENT,
            get(async move || match document.clone() {
                Ok(json) => file("application/json", None, json),
                Err(error) => ApiError::internal(error).into_response(),
            }),
        )
        .route(DOCS, get(async || Redirect::to("/docs/")))
        .route("/docs/", get(page.clone()))
        .route("/docs/{*file}", get(page))
        .method_not_allowed_fallback(async || ApiError::new(ErrorCode::MethodNotAllowed))
        .route_layer(from_fn(tell_route))
}

fn page(path: &str, config: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(path, config) {
        Ok(Some(found)) => {
            let encoding = found.gzpipped.then_some("gzip");
            let bytes = Bytes::from(found.bytes.into_owned());
            file(&found.content_type, encoding, bytes)
        }
        Ok(None) => ApiError::new(ErrorCode::NotFound).into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    }
}

fn file(content_type: &str, encoding: Option<&'static str>, bytes: Bytes) -> Response {
    let nosniff = HeaderName::from_static("x-content-type-options");
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(nosniff, HeaderValue::from_static("nosniff"));
    if let Ok(content_type) = content_type.parse() {
        headers.insert(CONTENT_TYPE, content_type);
    }
    if let Some(encoding) = encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}
