//! The OpenAPI document of the dashboard API.

use serde_json::json;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::access::Access;
use crate::error_code::ErrorCode;
use crate::openapi::common::{add_error, add_parameter, header};
use crate::openapi::document::{finish, info, tag};

const INTRODUCTION: &str = include_str!("openapi.md");

/// Completes the document of the API's calls.
pub(super) fn complete(mut api: OpenApi) -> OpenApi {
    api.info = info("Goodpon Dashboard API", INTRODUCTION);
    api.tags = Some(vec![
        tag("Account", "계정 · Accounts"),
        tag("Auth", "로그인과 이메일 인증 · Login and verification"),
        tag(
            "Merchant",
            "상점, 시크릿, 구성원 · Merchants, secrets, members",
        ),
        tag(
            "Coupon Template",
            "쿠폰 템플릿과 내역 · Coupon templates and history",
        ),
    ]);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some(
            "로그인으로 받은 액세스 토큰 · the access token that a login gave",
        ));
    let components = finish(&mut api);
    components.add_security_scheme("bearerAuth", SecurityScheme::Http(bearer.build()));
    api
}

/// Documents what the access of a call demands, and the errors by which it refuses.
pub(super) fn demand(access: Access, operation: &mut Operation) {
    add_error(operation, ErrorCode::TooManyRequests);
    match access {
        Access::Open(_) => return add_error(operation, ErrorCode::Forbidden),
        Access::AnyAccount => {}
        Access::VerifiedAccount => add_error(operation, ErrorCode::AccountNotVerified),
    }
    add_error(operation, ErrorCode::Unauthorized);
    let description = "인증 토큰 (Bearer {access-token}) · the access token";
    let parameter = header("Authorization", true, description);
    add_parameter(
        operation,
        parameter.example(Some(json!("Bearer {access-token}"))),
    );
}
