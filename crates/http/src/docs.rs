//! The OpenAPI document and the interactive docs of one API, all from the program itself.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::middleware::{from_fn, map_request_with_state, map_response};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get};
use goodpon_web::asset::{Asset, Lifetime};
use goodpon_web::body;
use goodpon_web::observe::note_route;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderMap, HeaderValue};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerFile};

use crate::error::ApiError;
use crate::error_code::ErrorCode;

const DOCUMENT: &str = "/openapi.json";
const DOCS: &str = "/docs";
const DOCS_FOLDER: &str = "/docs/";
const DOCS_FILE: &str = "/docs/{*file}";
const START_PAGE: &str = "index.html";

/// The files of the docs, and the time for which a browser may use one without asking whether it has changed. The last of
/// them names the document and so is ours.
const FILES: [(&str, Lifetime); 8] = [
    (START_PAGE, Lifetime::Asked),
    ("index.css", Lifetime::AnHour),
    ("swagger-ui.css", Lifetime::AnHour),
    ("swagger-ui-bundle.js", Lifetime::AnHour),
    ("swagger-ui-standalone-preset.js", Lifetime::AnHour),
    ("favicon-16x16.png", Lifetime::AnHour),
    ("favicon-32x32.png", Lifetime::AnHour),
    ("swagger-initializer.js", Lifetime::Asked),
];

/// The page writes styles into its elements, and pictures into its styles. Its scripts are all files of ours.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'",
);

type Files = HashMap<&'static str, Asset>;

/// Loaded at the first request for one, and the same for both APIs.
static PAGES: LazyLock<Result<Files, String>> = LazyLock::new(|| {
    // Without this name a browser would ask a validator on the internet.
    let config = Arc::new(Config::from(DOCUMENT).validator_url("none"));
    let mut files = Files::new();
    for (name, lifetime) in FILES {
        let found = utoipa_swagger_ui::serve(name, Arc::clone(&config));
        match found.map_err(|error| error.to_string())? {
            Some(file) => files.insert(name, asset_of(file, lifetime)?),
            None => return Err(format!("the program holds no {name}")),
        };
    }
    Ok(files)
});

fn asset_of(file: SwaggerFile<'static>, lifetime: Lifetime) -> Result<Asset, String> {
    let kind = match file.content_type.starts_with("text/") {
        true => format!("{}; charset=utf-8", file.content_type),
        false => file.content_type,
    };
    match file.gzpipped {
        true => Asset::of_gzip(&kind, file.bytes, lifetime),
        false => Asset::of_plain(&kind, file.bytes, lifetime),
    }
}

/// `/openapi.json` and `/docs`, which need no credentials. The body of a request to them may take `body_timeout` to arrive.
pub(crate) fn router<S: Clone + Send + Sync + 'static>(
    openapi: &OpenApi,
    body_timeout: Duration,
) -> Router<S> {
    let document = openapi.to_json().map_err(|error| error.to_string());
    let document = document
        .and_then(|json| Asset::of_plain("application/json", json.into_bytes(), Lifetime::Asked));
    let document = Arc::new(document);
    Router::new()
        .route(
            DOCUMENT,
            get(async move |headers: HeaderMap| match &*document {
                Ok(document) => answer(document, &headers),
                Err(error) => ApiError::internal(error).into_response(),
            }),
        )
        .route(DOCS, get(async || Redirect::to(DOCS_FOLDER)))
        .route(
            DOCS_FOLDER,
            get(async |headers: HeaderMap| page(START_PAGE, &headers)),
        )
        .route(
            DOCS_FILE,
            get(async |Path(file): Path<String>, headers: HeaderMap| page(&file, &headers)),
        )
        .method_not_allowed_fallback(async || ApiError::new(ErrorCode::MethodNotAllowed))
        .route_layer(map_request_with_state(body_timeout, read_body))
        .route_layer(map_response(guard))
        .route_layer(from_fn(note_route))
}

/// The same paths where an operator leaves the docs out: not found, without credentials too.
pub(crate) fn left_out<S: Clone + Send + Sync + 'static>(body_timeout: Duration) -> Router<S> {
    let paths = [DOCUMENT, DOCS, DOCS_FOLDER, DOCS_FILE];
    let router = paths.into_iter().fold(Router::new(), |router, path| {
        router.route(path, any(async || ApiError::new(ErrorCode::NotFound)))
    });
    router.route_layer(map_request_with_state(body_timeout, read_body))
}

/// Reads and drops the body of a request, of which no page makes use: its limits hold on every path (contract §1, Limits),
/// and the connection can only be used again once it has been read.
async fn read_body(State(timeout): State<Duration>, request: Request) -> Result<Request, ApiError> {
    let (parts, stream) = request.into_parts();
    body::read(&parts.headers, stream, timeout).await?;
    Ok(Request::from_parts(parts, Body::empty()))
}

fn page(name: &str, headers: &HeaderMap) -> Response {
    match PAGES.as_ref().map(|files| files.get(name)) {
        Ok(Some(file)) => answer(file, headers),
        Ok(None) => ApiError::new(ErrorCode::NotFound).into_response(),
        Err(error) => ApiError::internal(error).into_response(),
    }
}

fn answer(asset: &Asset, headers: &HeaderMap) -> Response {
    let answered = asset.answer(headers);
    answered.unwrap_or_else(|error| ApiError::internal(error).into_response())
}

/// Limits what the pages may do in a browser.
async fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
