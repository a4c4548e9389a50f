//! Requests as the handlers of the dashboard API get them, once the access of their route has let them in.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::Bytes;
use goodpon_application::network::Network;
use goodpon_domain::account::Account;
use goodpon_web::input::Fields;
use goodpon_web::scope::RequestScope;
use http::request::Parts;

use crate::error::ApiError;
use crate::error_code::ErrorCode;

/// The account whose token a request has: an extension of requests that were let in by one.
#[derive(Debug, Clone)]
pub(super) struct Session(pub(super) Account);

/// A handler that asks for a session is closed to requests without one, even if its route were open.
impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let session = parts.extensions.get::<Self>().cloned();
        session.ok_or(ApiError::new(ErrorCode::Unauthorized))
    }
}

/// The body and the address of a request that was let in: an extension of that request.
#[derive(Debug, Clone)]
pub(super) struct Admitted {
    pub(super) body: Bytes,
    pub(super) address: IpAddr,
}

/// A request that was let in: its head and its whole body.
#[derive(Debug)]
pub(super) struct DashboardRequest {
    parts: Parts,
    pub(super) body: Bytes,
    /// The address that it came from, as limits count it.
    pub(super) address: IpAddr,
}

impl DashboardRequest {
    /// A reader of path and query.
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields::of(&self.parts)
    }

    /// A reader of path, query and body.
    pub(super) fn fields_and_body(&self) -> Fields<'_> {
        self.fields().with_body(&self.body)
    }

    /// Notes for the logs by whose account the request turned out to be made.
    pub(super) fn is_by(&self, account: &Account) {
        self.note(|scope| scope.set_account(account.id.0));
    }

    /// Notes for the logs which merchant the request is about.
    pub(super) fn is_about(&self, merchant: i64) {
        self.note(|scope| scope.set_merchant(merchant));
    }

    /// Notes for the security log which e-mail address the request names.
    pub(super) fn names(&self, email: &str) {
        self.note(|scope| scope.set_email(email));
    }

    /// Notes for the security log that the request set a password.
    pub(super) fn sets_password(&self) {
        self.note(|scope| scope.set_event("password_set"));
    }

    fn note(&self, note: impl FnOnce(&RequestScope)) {
        if let Some(scope) = self.parts.extensions.get::<RequestScope>() {
            note(scope);
        }
    }

    /// The network that the request came from.
    pub(super) fn network(&self) -> Network {
        Network::of(self.address)
    }
}

impl<S: Sync> FromRequest<S> for DashboardRequest {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        let (mut parts, _) = request.into_parts();
        let (body, address) = match parts.extensions.remove::<Admitted>() {
            Some(admitted) => (admitted.body, admitted.address),
            None => (Bytes::new(), Ipv4Addr::UNSPECIFIED.into()),
        };
        Ok(Self {
            parts,
            body,
            address,
        })
    }
}
