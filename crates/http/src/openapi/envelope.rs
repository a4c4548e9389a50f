//! The envelope of answers as schemas, and the answers with errors (contract §1, §6).

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};

use crate::error::ApiError;
use crate::error_code::{ErrorCode, FieldError, INVALID_VALUE};

const JSON: &str = "application/json";

/// Declares the refusals of one call, beside the common ones, for its document.
macro_rules! errors {
    ($name:ident: $($code:ident),+ $(,)?) => {
        enum $name {}

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::Response>,
            > {
                crate::openapi::envelope::error_responses(&[$(crate::error_code::ErrorCode::$code),+])
            }
        }
    };
}
pub(crate) use errors;

/// The answer to a call that succeeded.
#[derive(Debug, ToSchema)]
pub struct Success<T> {
    /// SUCCESS.
    #[schema(schema_with = result)]
    pub result: &'static str,
    /// 응답 데이터 · what the call gives.
    pub data: T,
    /// 성공이면 null · null on success.
    pub error: Option<ErrorBody>,
}

/// The answer to a call that failed.
#[derive(Debug, ToSchema)]
pub struct Failed {
    /// ERROR.
    #[schema(schema_with = result)]
    pub result: &'static str,
    /// 실패이면 null · null on failure.
    #[schema(schema_with = null)]
    pub data: Option<()>,
    /// 오류 정보 · what went wrong.
    pub error: ErrorBody,
}

/// The reason of a refusal or failure.
#[derive(Debug, ToSchema)]
pub struct ErrorBody {
    /// 오류 코드 · its code, for programs.
    pub code: String,
    /// 오류 메시지 · its message, for people.
    pub message: String,
    /// 오류 세부 정보 · the fields at fault, if it is about fields.
    pub data: Option<Vec<FailedField>>,
}

/// A field at fault.
#[derive(Debug, ToSchema)]
pub struct FailedField {
    /// 오류가 발생한 필드 · JSON key, path variable or query parameter.
    pub field: String,
    /// 오류 메시지 · what is wrong with it.
    pub message: String,
}

fn result() -> Object {
    let schema = ObjectBuilder::new().schema_type(Type::String);
    schema.enum_values(Some(["SUCCESS", "ERROR"])).build()
}

fn null() -> Object {
    ObjectBuilder::new().schema_type(Type::Null).build()
}

/// Responses by status.
pub(super) type ByStatus = BTreeMap<String, RefOr<Response>>;

/// The responses with these codes.
pub(crate) fn error_responses(codes: &[ErrorCode]) -> ByStatus {
    let mut responses = ByStatus::new();
    for &code in codes {
        add(&mut responses, code);
    }
    responses
}

/// Names `code` in the response of its status, with an example that is rendered as the answer is.
pub(super) fn add(responses: &mut ByStatus, code: ErrorCode) {
    let status = code.status().as_str().to_owned();
    let response = responses.entry(status).or_insert_with(|| RefOr::T(empty()));
    let RefOr::T(response) = response else { return };
    let Some(RefOr::T(content)) = response.content.get_mut(JSON) else {
        return;
    };
    let example = ExampleBuilder::new()
        .summary(code.message())
        .value(Some(example(code)))
        .build();
    content
        .examples
        .insert(code.code().to_owned(), example.into());
    let codes: Vec<_> = content.examples.keys().map(String::as_str).collect();
    response.description = codes.join(", ");
}

fn empty() -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Failed")));
    ResponseBuilder::new().content(JSON, content).build()
}

fn example(code: ErrorCode) -> Value {
    let field = |field, message| FieldError { field, message };
    let error = match code {
        ErrorCode::BadRequest => ApiError::with_fields(code, vec![field("field", INVALID_VALUE)]),
        ErrorCode::CouponTemplateValidationFailed => ApiError::with_fields(
            code,
            vec![field(
                "discountValue",
                "백분율 할인 값은 1~100 사이여야 합니다.",
            )],
        ),
        _ => ApiError::new(code),
    };
    serde_json::from_slice(error.answer().body()).unwrap_or_default()
}
