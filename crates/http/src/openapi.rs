//! The OpenAPI 3.1 documents of both APIs, made of the code that answers: each route brings its
//! documentation with it, and what all calls of an API have in common is added here.

mod common;
mod envelope;
pub mod requests;

use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, ContactBuilder, Info, InfoBuilder, OpenApi, Server, Tag};
use utoipa::{PartialSchema, ToSchema};

pub(crate) use envelope::error_responses;
pub(crate) use envelope::errors;
pub use envelope::{ErrorBody, Failed, FailedField, Success};

/// The version of both APIs: that of the published ones.
const VERSION: &str = "1.0.0";

const DASHBOARD: &str = include_str!("openapi/dashboard.md");
const PARTNER: &str = include_str!("openapi/partner.md");

/// The document of the dashboard API.
pub fn dashboard() -> OpenApi {
    let mut api = crate::dashboard::calls().into_openapi();
    api.info = info("Goodpon Dashboard API", DASHBOARD);
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
    common::complete(&mut api, common::of_dashboard);
    api
}

/// The document of the partner API.
pub fn partner() -> OpenApi {
    let mut api = crate::partner::calls().into_openapi();
    api.info = info("Goodpon Partner OpenAPI", PARTNER);
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
    common::complete(&mut api, common::of_partner);
    api
}

fn info(title: &str, description: &str) -> Info {
    // Whom to ask is who runs it: the program knows no address of theirs but its own documentation.
    let contact = ContactBuilder::new()
        .name(Some("Goodpon"))
        .url(Some("/docs/"))
        .build();
    InfoBuilder::new()
        .title(title)
        .version(VERSION)
        .description(Some(description))
        .contact(Some(contact))
        .build()
}

fn tag(name: &str, description: &str) -> Tag {
    let mut tag = Tag::new(name);
    tag.description = Some(description.to_owned());
    tag
}

/// Adds what both documents have, and gives the components to add more.
fn finish(api: &mut OpenApi) -> &mut Components {
    api.servers = Some(vec![Server::new("/")]);
    let components = api.components.get_or_insert_default();
    let mut schemas = vec![(Failed::name().into_owned(), Failed::schema())];
    Failed::schemas(&mut schemas);
    components.schemas.extend(schemas);
    common::require_every_key(components);
    common::refer_to_data(components);
    components
}

#[cfg(test)]
mod tests;
