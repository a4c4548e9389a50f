//! The way of a request into the partner API (contract §1, Order of checks): body, credentials, rate.

use std::net::IpAddr;

use axum::extract::{FromRequest, MatchedPath, Request};
use bytes::Bytes;
use goodpon_application::credentials::{Asking, ClientId, GivenSecret, InvalidCredentials};
use goodpon_application::{Failure, credentials};
use goodpon_domain::id::MerchantId;
use goodpon_web::input::Fields;
use goodpon_web::scope::RequestScope;
use goodpon_web::{address, body};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::state::Partner;
use crate::error::ApiError;
use crate::error_code::ErrorCode;
use crate::idempotency;

const CLIENT_ID: HeaderName = HeaderName::from_static("x-goodpon-client-id");
const CLIENT_SECRET: HeaderName = HeaderName::from_static("x-goodpon-client-secret");

/// The longest client id that is logged, in bytes. Ours have 35; a longer one would only fill the log.
const MAX_LOGGED_ID: usize = 64;

/// A request that was let in, with the merchant whose shop sent it. Every handler and fallback asks for it first, so none
/// can be reached without the checks before it. `TAKES_KEY` says whether the call takes an idempotency key.
pub(super) struct ShopRequest<const TAKES_KEY: bool = false> {
    pub(super) merchant_id: MerchantId,
    pub(super) parts: Parts,
    pub(super) body: Bytes,
}

/// A [`ShopRequest`] to a call that takes an idempotency key: answers after its authentication echo that key.
pub(super) type KeyedRequest = ShopRequest<true>;

impl<const TAKES_KEY: bool> ShopRequest<TAKES_KEY> {
    /// A reader of path and query.
    pub(super) fn fields(&self) -> Fields<'_> {
        Fields::of(&self.parts)
    }

    /// A reader of path, query and body.
    pub(super) fn fields_and_body(&self) -> Fields<'_> {
        self.fields().with_body(&self.body)
    }

    /// The client id that was authenticated.
    pub(super) fn client_id(&self) -> &[u8] {
        let id = credential(&self.parts.headers, CLIENT_ID);
        id.ok().flatten().unwrap_or_default()
    }
}

impl<const TAKES_KEY: bool> FromRequest<Partner> for ShopRequest<TAKES_KEY> {
    type Rejection = ApiError;

    async fn from_request(request: Request, partner: &Partner) -> Result<Self, ApiError> {
        let (parts, stream) = request.into_parts();
        if let (Some(scope), Some(route)) = (
            parts.extensions.get::<RequestScope>(),
            parts.extensions.get::<MatchedPath>(),
        ) {
            scope.set_route(route);
        }
        let body = body::read(&parts.headers, stream, partner.body_timeout()).await?;
        let scope = parts.extensions.get::<RequestScope>();
        if let Some((scope, client_id)) = scope.zip(parts.headers.get(CLIENT_ID))
            && client_id.len() <= MAX_LOGGED_ID
        {
            scope.set_client_id(client_id);
        }
        let merchant_id = authenticate(partner, &parts, TAKES_KEY).await?;
        if let Some(scope) = scope {
            scope.set_merchant(merchant_id.0);
        }
        Ok(Self {
            merchant_id,
            parts,
            body,
        })
    }
}

/// Finds the merchant by the credentials of the request, and counts the request against the rate of its client id.
async fn authenticate(
    partner: &Partner,
    parts: &Parts,
    takes_key: bool,
) -> Result<MerchantId, ApiError> {
    let client_id =
        credential(&parts.headers, CLIENT_ID)?.ok_or(ApiError::new(ErrorCode::ClientIdMissing))?;
    let secret = credential(&parts.headers, CLIENT_SECRET)?
        .ok_or(ApiError::new(ErrorCode::ClientSecretMissing))?;
    // Texts without the form of credentials are refused without asking a store, and are remembered nowhere.
    let (Some(client_id), Some(secret)) = (ClientId::read(client_id), GivenSecret::read(secret))
    else {
        return Err(refuse(partner, client_address(partner, parts)));
    };
    let merchant_id = match credentials::recognise(partner.app(), client_id, &secret) {
        Some(merchant_id) => merchant_id,
        None => look_up(partner, parts, client_id, &secret).await?,
    };
    if partner.limits().calls.is_on() {
        let within = partner.limits().calls.check(&client_id);
        within.inspect_err(|_| echo_unhandled(parts, takes_key))?;
    }
    Ok(merchant_id)
}

/// Has the key of a request echoed that is refused after its authentication and before its handler reads the key.
fn echo_unhandled(parts: &Parts, takes_key: bool) {
    if takes_key && let Ok(Some(key)) = idempotency::key(&parts.headers) {
        idempotency::echo(parts, key);
    }
}

/// Looks credentials up that are not known yet.
async fn look_up(
    partner: &Partner,
    parts: &Parts,
    client_id: ClientId,
    secret: &GivenSecret,
) -> Result<MerchantId, ApiError> {
    let address = client_address(partner, parts);
    let asking = match partner.limits().auth_failures.look(&address) {
        Ok(()) => Asking::Freely,
        Err(_) => Asking::Sparingly,
    };
    credentials::authenticate(partner.app(), client_id, secret, asking)
        .await
        .map_err(|failure| match failure {
            Failure::Refused(InvalidCredentials) => refuse(partner, address),
            Failure::Store(error) => error.into(),
        })
}

/// Counts bad credentials against their address. They are answered INVALID_CREDENTIALS, and TOO_MANY_REQUESTS beyond the
/// limit.
fn refuse(partner: &Partner, address: IpAddr) -> ApiError {
    match partner.limits().auth_failures.check(&address) {
        Ok(()) => ErrorCode::InvalidCredentials.into(),
        Err(fault) => fault.into(),
    }
}

fn client_address(partner: &Partner, parts: &Parts) -> IpAddr {
    address::client_address(parts, partner.trusts_forwarded_for())
}

/// A header's value without the white space around it; `None` if there is nothing else.
///
/// # Errors
/// INVALID_CREDENTIALS where there are two: none is picked.
fn credential(headers: &HeaderMap, name: HeaderName) -> Result<Option<&[u8]>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value
            .map(|value| value.as_bytes().trim_ascii())
            .filter(|value| !value.is_empty())),
        (_, Some(_)) => Err(ApiError::new(ErrorCode::InvalidCredentials)),
    }
}
