//! What comes before the router finds a handler or none (contract §1, Order of checks).

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use goodpon_application::account;
use goodpon_application::network::Network;
use goodpon_domain::account::{Account, EmailKey};
use http::header::{AUTHORIZATION, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::{Dashboard, OpenCallLimit};
use crate::error::{ApiError, ErrorCode};
use crate::input::Fields;
use crate::observe::RequestScope;
use crate::rate_limit::client_address;
use crate::{body, docs, verify_page};

const MAX_EMAIL: usize = 255;

const MY_ACCOUNT: &str = "/v1/accounts";
const SIGN_UP: &str = "/v1/accounts/sign-up";
const LOGIN: &str = "/v1/auth/login";
const VERIFY: &str = "/v1/auth/verify";
const RESEND: &str = "/v1/auth/verify/resend";

/// The account whose token a request bears.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Account);

/// A handler that asks for a caller is closed to all others, whatever let the request in.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or(ApiError::new(ErrorCode::Unauthorized))
    }
}

#[derive(Debug, Clone)]
struct Intake {
    body: Bytes,
    address: IpAddr,
}

/// A request that was let in: its head and its whole body.
#[derive(Debug)]
pub(crate) struct Call {
    parts: Parts,
    pub(crate) body: Bytes,
    /// Where it came from, as limits count it.
    pub(crate) address: IpAddr,
}

impl Call {
    /// Its path and query, to be read.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields::of(&self.parts)
    }

    /// Its path, query and body, to be read.
    pub(crate) fn fields_and_body(&self) -> Fields<'_> {
        self.fields().with_body(&self.body)
    }

    /// Notes for the logs whose call it turned out to be.
    pub(crate) fn is_by(&self, account: &Account) {
        if let Some(scope) = self.parts.extensions.get::<RequestScope>() {
            scope.set_account(account.id.0);
        }
    }

    /// Notes for the log of security that it set a password.
    pub(crate) fn sets_password(&self) {
        if let Some(scope) = self.parts.extensions.get::<RequestScope>() {
            scope.set_event("password_set");
        }
    }

    /// Notes for the log of security which e-mail address it names.
    pub(crate) fn names(&self, email: &str) {
        if let Some(scope) = self.parts.extensions.get::<RequestScope>() {
            scope.set_email(email);
        }
    }

    /// The network that it came from.
    pub(crate) fn network(&self) -> Network {
        Network::of(self.address)
    }

    /// Tells the access log which merchant it is about.
    pub(crate) fn is_about(&self, merchant: i64) {
        if let Some(scope) = self.parts.extensions.get::<RequestScope>() {
            scope.set_merchant(merchant);
        }
    }
}

impl<S: Sync> FromRequest<S> for Call {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        let (mut parts, _) = request.into_parts();
        let intake = parts.extensions.remove::<Intake>();
        let (body, address) = match intake {
            Some(intake) => (intake.body, intake.address),
            None => (Bytes::new(), Ipv4Addr::UNSPECIFIED.into()),
        };
        Ok(Self {
            parts,
            body,
            address,
        })
    }
}

/// Reads the body, limits rates, authenticates.
pub(super) async fn front(
    State(dashboard): State<Dashboard>,
    request: Request,
    next: Next,
) -> Response {
    match let_in(&dashboard, request).await {
        Ok(request) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn let_in(dashboard: &Dashboard, request: Request) -> Result<Request, ApiError> {
    let (mut parts, stream) = request.into_parts();
    if let Some(scope) = parts.extensions.get::<RequestScope>() {
        if let Some(route) = parts.extensions.get() {
            scope.set_route(route);
        }
        if parts.uri.path() == verify_page::PATH {
            scope.show_errors_as(verify_page::in_place_of);
        }
    }
    let body = body::read(&parts.headers, stream, dashboard.0.body_timeout).await?;
    let address = client_address(&parts, dashboard.0.trust_forwarded_for);
    if is_open(parts.uri.path()) {
        refuse_foreign_pages(dashboard, &parts)?;
        limit_rate(dashboard, &parts, &body, address)?;
    } else {
        let account = authenticate(dashboard, &parts.headers, address).await?;
        if let Some(scope) = parts.extensions.get::<RequestScope>() {
            scope.set_account(account.id.0);
        }
        if !account.verified && !may_be_unverified(&parts) {
            return Err(ApiError::new(ErrorCode::AccountNotVerified));
        }
        dashboard.0.by_account.check(&account.id.0)?;
        parts.extensions.insert(Caller(account));
    }
    parts.extensions.insert(Intake { body, address });
    Ok(Request::from_parts(parts, Body::empty()))
}

/// Whether a path needs no token. A token sent there is not looked at.
fn is_open(path: &str) -> bool {
    matches!(path, SIGN_UP | LOGIN | VERIFY | RESEND | verify_page::PATH) || docs::is_open(path)
}

fn may_be_unverified(parts: &Parts) -> bool {
    parts.uri.path() == MY_ACCOUNT && matches!(parts.method, Method::GET | Method::HEAD)
}

/// Bodies are read as JSON whatever they claim to be, so any page could have its visitors' browsers make the calls that
/// need no token. A browser says whether a page of another site asks; other clients do not send the header.
fn refuse_foreign_pages(dashboard: &Dashboard, parts: &Parts) -> Result<(), ApiError> {
    if parts.method != Method::POST {
        return Ok(());
    }
    let site = parts.headers.get("sec-fetch-site");
    if site.is_none_or(|site| site != "cross-site") {
        return Ok(());
    }
    let origin = parts.headers.get(ORIGIN);
    match origin.is_some_and(|origin| dashboard.0.cors_origins.contains(origin)) {
        true => Ok(()),
        false => Err(ApiError::new(ErrorCode::Forbidden)),
    }
}

fn limit_rate(
    dashboard: &Dashboard,
    parts: &Parts,
    body: &[u8],
    address: IpAddr,
) -> Result<(), ApiError> {
    let Some(limit) = limit_of(dashboard, parts) else {
        return Ok(());
    };
    limit.by_address.check(&address)?;
    if limit.by_email.is_on()
        && let Some(email) = email(parts, body)
    {
        limit.by_email.check(&email)?;
    }
    Ok(())
}

/// The limit on a call that needs no token. That on logins is another: see [`super::LoginLimit`].
fn limit_of<'a>(dashboard: &'a Dashboard, parts: &Parts) -> Option<&'a OpenCallLimit> {
    if parts.method != Method::POST {
        return None;
    }
    match parts.uri.path() {
        SIGN_UP => Some(&dashboard.0.sign_up),
        VERIFY | verify_page::PATH => Some(&dashboard.0.verify),
        RESEND => Some(&dashboard.0.resend),
        _ => None,
    }
}

/// The address in the body, in the form under which accounts are found, if the body has one.
fn email(parts: &Parts, body: &[u8]) -> Option<String> {
    let mut fields = Fields::new(&parts.uri, "").with_body(body);
    let email = fields.body("email").text(1..=MAX_EMAIL)?;
    Some(EmailKey::of(&email).as_str().to_owned())
}

/// The account of the token of the request. A token that is not good counts as a failure of its address, and
/// beyond the bound of those is answered so; a good one passes all the same.
async fn authenticate(
    dashboard: &Dashboard,
    headers: &HeaderMap,
    address: IpAddr,
) -> Result<Account, ApiError> {
    let unauthorized = ApiError::new(ErrorCode::Unauthorized);
    let Some(token) = bearer(headers) else {
        return Err(unauthorized);
    };
    match account::authenticate(dashboard.app(), token).await? {
        Some(account) => Ok(account),
        None => Err(dashboard
            .0
            .auth_failures
            .check(&address)
            .err()
            .unwrap_or(unauthorized)),
    }
}

/// The token of the one `Authorization` header; of several none is picked.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let value = value.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
