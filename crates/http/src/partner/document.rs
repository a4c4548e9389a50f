//! The OpenAPI document of the partner API.

use serde_json::json;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi, RefOr};
use utoipa_axum::router::UtoipaMethodRouter;

use super::state::Partner;
use crate::error_code::ErrorCode;
use crate::openapi::common::{self, add_error, add_header, add_parameter, header};
use crate::openapi::document::{finish, info, tag};

const INTRODUCTION: &str = include_str!("openapi.md");

/// The statuses that are answered before the merchant is known, when no key is echoed.
const BEFORE_AUTHENTICATION: [&str; 2] = ["401", "413"];

/// The statuses of answers that are stored: successes, and refusals by the operation.
const STORED: [&str; 4] = ["200", "400", "403", "404"];

/// Completes the document of the API's calls.
pub(super) fn complete(mut api: OpenApi) -> OpenApi {
    api.info = info("Goodpon Partner OpenAPI", INTRODUCTION);
    api.tags = Some(vec![tag("Coupon", "쿠폰 · Coupons")]);
    let components = finish(&mut api);
    for (name, header, description) in [
        (
            "clientId",
            "X-Goodpon-Client-Id",
            "상점의 클라이언트 ID · the merchant's client id",
        ),
        (
            "clientSecret",
            "X-Goodpon-Client-Secret",
            "상점의 클라이언트 시크릿 · one of its client secrets",
        ),
    ] {
        let key = ApiKeyValue::with_description(header, description);
        components.add_security_scheme(name, SecurityScheme::ApiKey(ApiKey::Header(key)));
    }
    api
}

/// Documents calls that take no idempotency key.
pub(super) fn plain(mut calls: UtoipaMethodRouter<Partner>) -> UtoipaMethodRouter<Partner> {
    common::complete(&mut calls.1, of_every_call);
    calls
}

/// Documents calls that take an idempotency key.
pub(super) fn keyed(mut calls: UtoipaMethodRouter<Partner>) -> UtoipaMethodRouter<Partner> {
    common::complete(&mut calls.1, |operation| {
        of_every_call(operation);
        take_key(operation);
    });
    calls
}

/// Documents the credentials, which every call takes.
fn of_every_call(operation: &mut Operation) {
    let credentials = SecurityRequirement::new("clientId", [""; 0]).add("clientSecret", [""; 0]);
    operation.security = Some(vec![credentials]);
    for code in [
        ErrorCode::ClientIdMissing,
        ErrorCode::ClientSecretMissing,
        ErrorCode::InvalidCredentials,
        ErrorCode::TooManyRequests,
    ] {
        add_error(operation, code);
    }
    let id = header(
        "X-Goodpon-Client-Id",
        true,
        "발급받은 상점의 클라이언트 ID · the merchant's client id",
    );
    add_parameter(operation, id.example(Some(json!("{client-id}"))));
    let secret = header(
        "X-Goodpon-Client-Secret",
        true,
        "발급받은 상점의 클라이언트 Secret · one of its client secrets",
    );
    add_parameter(operation, secret.example(Some(json!("{client-secret}"))));
}

/// Documents the idempotency key, and the headers of answers to a request with one.
fn take_key(operation: &mut Operation) {
    for code in [
        ErrorCode::InvalidIdempotencyKey,
        ErrorCode::IdempotentRequestProcessing,
        ErrorCode::IdempotentRequestPayloadMismatch,
    ] {
        add_error(operation, code);
    }
    let key = header(
        "Idempotency-Key",
        false,
        "중복 요청 방지를 위한 멱등키(고유) (300자 이하) · tells a retry from another request",
    );
    add_parameter(operation, key.schema(Some(key_schema())));
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else {
            continue;
        };
        if !BEFORE_AUTHENTICATION.contains(&status.as_str()) {
            let description =
                "중복 요청 방지를 위해 사용한 멱등키(고유) · the key that the request bore";
            add_header(response, "Idempotency-Key", Type::String, description);
        }
        if STORED.contains(&status.as_str()) {
            let description = "저장된 응답이면 true · true on an answer given before";
            add_header(response, "Idempotent-Replayed", Type::String, description);
        }
    }
}

fn key_schema() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(300))
}
