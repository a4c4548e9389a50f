//! Completes the operations of a document by headers and errors that all calls share.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, Paths};
use utoipa::openapi::schema::{ArrayItems, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Components, PathItem, Ref, RefOr, Required, Response};

use super::envelope::add;
use crate::error_code::ErrorCode;

/// Completes each operation, first by what both APIs share, then by `of_api`.
pub(crate) fn complete(paths: &mut Paths, of_api: impl Fn(&mut Operation)) {
    for item in paths.paths.values_mut() {
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

/// Every operation, and whether its method takes a body: a body that is sent is read even where the call needs none, and
/// refused if it is too large.
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

/// Documents the trace id, which is on every answer, and `Retry-After`, which is where another try is worth it.
fn name_headers(response: &mut RefOr<Response>) {
    let RefOr::T(response) = response else { return };
    let trace = "요청의 추적 ID, 32자리 16진수 · the request's trace id, 32 hex digits";
    add_header(response, "X-Goodpon-Trace-Id", Type::String, trace);
    let is_named = |code: &ErrorCode| {
        response
            .description
            .split(", ")
            .any(|name| name == code.code())
    };
    if ErrorCode::ALL
        .iter()
        .any(|code| code.asks_to_retry() && is_named(code))
    {
        let retry = "다시 시도할 때까지의 초 · seconds until another try";
        add_header(response, "Retry-After", Type::Integer, retry);
    }
}

pub(crate) fn add_error(operation: &mut Operation, code: ErrorCode) {
    add(&mut operation.responses.responses, code);
}

pub(crate) fn add_parameter(operation: &mut Operation, parameter: ParameterBuilder) {
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(RefOr::T(parameter.build()));
}

pub(crate) fn header(name: &str, required: bool, description: &str) -> ParameterBuilder {
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

pub(crate) fn add_header(response: &mut Response, name: &str, kind: Type, description: &str) {
    let header = HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(kind)))
        .description(Some(description))
        .build();
    response.headers.insert(name.to_owned(), header.into());
}

/// Documents a parameter as a text: it may be absent, but never null.
fn be_text(parameter: &mut Parameter) {
    if let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema {
        object.schema_type = SchemaType::Type(Type::String);
    }
}

/// Marks all keys of answers as required, for every answer has them; one that may be null says so by its type.
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

/// Replaces the data in the envelope of a success, which utoipa writes out once more, by a reference.
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
