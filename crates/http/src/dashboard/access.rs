//! The checks before a handler of the dashboard API (contract §1, Order of checks): each route states which hold for it.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use goodpon_application::account;
use goodpon_domain::account::{Account, EmailKey};
use goodpon_web::address::client_address;
use goodpon_web::body;
use goodpon_web::input::Fields;
use goodpon_web::scope::RequestScope;
use http::header::{AUTHORIZATION, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method};

use super::caller::{Admitted, Session};
use super::limits::{DashboardLimits, OpenCallLimit};
use super::state::Dashboard;
use crate::contract_values::ContractValues;
use crate::error::ApiError;
use crate::error_code::ErrorCode;

/// Picks the limit of an open call.
pub(super) type PickLimit = fn(&DashboardLimits) -> &OpenCallLimit;

/// The requests that a route lets in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Access {
    /// Requests without a token, changes only within the limit, if there is one. A token is not looked at.
    Open(Option<PickLimit>),
    /// Requests with the token of any account, within the account's limit.
    AnyAccount,
    /// Requests with the token of a verified account, within the account's limit.
    VerifiedAccount,
}

/// The guard of a route: a middleware around its handlers.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) dashboard: Dashboard,
    pub(super) access: Access,
    /// The event of the security log as which changes on the route are logged.
    pub(super) event: Option<&'static str>,
    /// Renders a refusal: in the envelope, or as a page.
    pub(super) refuse: fn(ApiError) -> Response,
}

/// Reads the body of a request, limits rates and authenticates, as the guard says.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.let_in(request).await {
        Ok(request) => next.run(request).await,
        Err(error) => (guard.refuse)(error),
    }
}

impl Guard {
    async fn let_in(&self, request: Request) -> Result<Request, ApiError> {
        let (mut parts, stream) = request.into_parts();
        self.note_route(&parts);
        let timeout = self.dashboard.body_timeout();
        let body = body::read(&parts.headers, stream, timeout).await?;
        let address = client_address(&parts, self.dashboard.trusts_forwarded_for());
        if let Access::Open(limit) = self.access {
            self.refuse_foreign_pages(&parts)?;
            if let Some(limit) = limit
                && !parts.method.is_safe()
            {
                limit_rate(limit(self.dashboard.limits()), &parts, &body, address)?;
            }
        } else {
            let session = self.authenticate(&parts, address).await?;
            parts.extensions.insert(session);
        }
        parts.extensions.insert(Admitted { body, address });
        Ok(Request::from_parts(parts, Body::empty()))
    }

    /// Notes route and event before anything can be refused.
    fn note_route(&self, parts: &Parts) {
        let Some(scope) = parts.extensions.get::<RequestScope>() else {
            return;
        };
        if let Some(route) = parts.extensions.get::<MatchedPath>() {
            scope.set_route(route);
        }
        if let Some(event) = self.event
            && !parts.method.is_safe()
        {
            scope.set_route_event(event);
        }
    }

    /// Bodies are read as JSON whatever media type they claim, so any page could have its visitors' browsers make the calls
    /// that need no token. A browser says whether a page of another site asks; other clients do not send the header.
    fn refuse_foreign_pages(&self, parts: &Parts) -> Result<(), ApiError> {
        if parts.method != Method::POST {
            return Ok(());
        }
        let site = parts.headers.get("sec-fetch-site");
        if site.is_none_or(|site| site != "cross-site") {
            return Ok(());
        }
        let origin = parts.headers.get(ORIGIN);
        match origin.is_some_and(|origin| self.dashboard.trusts_origin(origin)) {
            true => Ok(()),
            false => Err(ApiError::new(ErrorCode::Forbidden)),
        }
    }

    async fn authenticate(&self, parts: &Parts, address: IpAddr) -> Result<Session, ApiError> {
        let account = authenticate(&self.dashboard, &parts.headers, address).await?;
        if let Some(scope) = parts.extensions.get::<RequestScope>() {
            scope.set_account(account.id.0);
        }
        if !account.verified && !matches!(self.access, Access::AnyAccount) {
            return Err(ApiError::new(ErrorCode::AccountNotVerified));
        }
        self.dashboard.limits().calls.check(&account.id.0)?;
        Ok(Session(account))
    }
}

fn limit_rate(
    limit: &OpenCallLimit,
    parts: &Parts,
    body: &[u8],
    address: IpAddr,
) -> Result<(), ApiError> {
    limit.by_address.check(&address)?;
    if limit.by_email.is_on()
        && let Some(email) = email(parts, body)
    {
        limit.by_email.check(&email)?;
    }
    Ok(())
}

/// The e-mail address in the body, in the form under which accounts are found, if the body has one. An empty one is
/// nobody's: counted, it would be a limit that all callers share.
fn email(parts: &Parts, body: &[u8]) -> Option<String> {
    let mut fields = Fields::new(&parts.uri, "").with_body(body);
    let email = fields
        .body("email")
        .email()
        .filter(|email| !email.is_empty())?;
    Some(EmailKey::of(&email).as_str().to_owned())
}

/// Finds the account of the request's token. A token that is not good is a failure of its address, and is answered
/// TOO_MANY_REQUESTS once those are beyond their limit; a good token passes all the same.
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
        None => {
            dashboard.limits().auth_failures.check(&address)?;
            Err(unauthorized)
        }
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
