//! What all calls of an API have in common in its document: credentials, headers, common errors.

use serde_json::json;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ArrayItems, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Components, OpenApi, PathItem, Ref, RefOr, Required, Response};

use super::envelope::add;
use crate::error::ErrorCode;

/// The calls that take an `Idempotency-Key`.
const IDEMPOTENT: [&str; 3] = ["issueCoupon", "redeemCoupon", "cancelCouponRedemption"];

/// The statuses of these calls that are told before the caller is known, when no key is echoed.
const BEFORE_AUTHENTICATION: [&str; 2] = ["401", "413"];

/// The statuses of answers that are stored: successes, and refusals by the operation.
const STORED: [&str; 4] = ["200", "400", "403", "404"];

/// The calls that need no token.
pub(super) const OPEN: [&str; 4] = ["signUp", "login", "verifyEmail", "resendVerificationEmail"];

/// Completes each operation, first by what both APIs have, then by `of_api`.
pub(super) fn complete(api: &mut OpenApi, of_api: fn(&mut Operation)) {
    for item in api.paths.paths.values_mut() {
        for (takes_body, operation) in operations(item) {
            if takes_body {
                add_error(operation, ErrorCode::PayloadTooLarge);
            }
            of_both(operation);
            of_api(operation);
            for response in operation.responses.responses.values_mut() {
                name_headers(response);
            }
        }
    }
}

/// Every operation, and whether its method is one that takes a body: even where the call needs none, one
/// that is sent is read, and refused if it is too large.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (bool, &mut Operation)> {
    [
        (false, &mut item.get),
        (true, &mut item.post),
        (true, &mut item.put),
        (true, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(takes_body, operation)| Some((takes_body, operation.as_mut()?)))
}

fn of_both(operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    for parameter in parameters.iter_mut() {
        if let RefOr::T(parameter) = parameter {
            be_text(parameter);
        }
    }
    let takes_fields = !parameters.is_empty() || operation.request_body.is_some();
    if takes_fields {
        add_error(operation, ErrorCode::BadRequest);
    }
    add_error(operation, ErrorCode::InternalServerError);
    add_error(operation, ErrorCode::ServiceUnavailable);
}

pub(super) fn of_dashboard(operation: &mut Operation) {
    let id = operation.operation_id.clone().unwrap_or_default();
    add_error(operation, ErrorCode::TooManyRequests);
    if OPEN.contains(&id.as_str()) {
        add_error(operation, ErrorCode::Forbidden);
        return;
    }
    add_error(operation, ErrorCode::Unauthorized);
    if id != "getMyAccount" {
        add_error(operation, ErrorCode::AccountNotVerified);
    }
    let description = "인증 토큰 (Bearer {access-token}) · the access token";
    let parameter = header("Authorization", true, description);
    add_parameter(
        operation,
        parameter.example(Some(json!("Bearer {access-token}"))),
    );
}

pub(super) fn of_partner(operation: &mut Operation) {
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
    let id = operation.operation_id.as_deref().unwrap_or_default();
    if IDEMPOTENT.contains(&id) {
        be_idempotent(operation);
    }
}

fn be_idempotent(operation: &mut Operation) {
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

/// The trace id is on every answer, and `Retry-After` where another try is worth it.
fn name_headers(response: &mut RefOr<Response>) {
    let RefOr::T(response) = response else { return };
    let trace = "요청의 추적 ID, 32자리 16진수 · the request's trace id, 32 hex digits";
    add_header(response, "X-Goodpon-Trace-Id", Type::String, trace);
    let told = |code: &ErrorCode| {
        response
            .description
            .split(", ")
            .any(|name| name == code.code())
    };
    if ErrorCode::ALL
        .iter()
        .any(|code| code.asks_to_retry() && told(code))
    {
        let retry = "다시 시도할 때까지의 초 · seconds until another try";
        add_header(response, "Retry-After", Type::Integer, retry);
    }
}

fn add_error(operation: &mut Operation, code: ErrorCode) {
    add(&mut operation.responses.responses, code);
}

fn add_parameter(operation: &mut Operation, parameter: ParameterBuilder) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(RefOr::T(parameter.build()));
}

fn header(name: &str, required: bool, description: &str) -> ParameterBuilder {
    let required = if required {
        Required::True
    } else {
        Required::False
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .required(required)
        .description(Some(description))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
}

fn add_header(response: &mut Response, name: &str, kind: Type, description: &str) {
    let header = HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(kind)))
        .description(Some(description))
        .build();
    response.headers.insert(name.to_owned(), header.into());
}

/// A parameter is a text or absent, never null.
fn be_text(parameter: &mut Parameter) {
    if let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema {
        object.schema_type = SchemaType::Type(Type::String);
    }
}

/// Answers have all their keys always; one that may be null says so by its type.
pub(super) fn require_every_key(components: &mut Components) {
    for (name, schema) in &mut components.schemas {
        if !name.ends_with("Request") {
            require_keys(schema);
        }
    }
}

fn require_keys(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            object.required = object.properties.keys().cloned().collect();
            object.properties.values_mut().for_each(require_keys);
        }
        RefOr::T(Schema::Array(array)) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                require_keys(items);
            }
        }
        RefOr::T(Schema::OneOf(choice)) => choice.items.iter_mut().for_each(require_keys),
        _ => {}
    }
}

/// Has the envelope of a success refer to its data, where utoipa writes them out once more.
pub(super) fn refer_to_data(components: &mut Components) {
    let known: Vec<_> = components.schemas.keys().cloned().collect();
    for name in &known {
        if let Some(RefOr::T(Schema::Object(success))) =
            components.schemas.get_mut(&format!("Success_{name}"))
        {
            let data = Ref::from_schema_name(name.as_str());
            success.properties.insert("data".to_owned(), data.into());
        }
    }
}
