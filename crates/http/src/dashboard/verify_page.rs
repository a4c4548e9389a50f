//! The page behind the mailed verification link (contract §2). It verifies with the password that was chosen at sign-up, or
//! sets another one: not on the GET, for mail scanners follow links, and not by the link alone, for somebody else may have
//! signed up with the address.

mod html;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use goodpon_application::Failure;
use goodpon_application::account::{self, Proof, ProofRefusal};
use goodpon_domain::account::VerifyRefusal;
use goodpon_web::input::Fields;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode, Uri};

use super::account::verify_code;
use super::caller::DashboardRequest;
use super::state::Dashboard;
use crate::error::ApiError;
use crate::error_code::ErrorCode;
use html::FormFault;

pub(super) use html::PATH;

/// The longest token that is carried through a form, in characters. Ours have 32.
const MAX_TOKEN: usize = 255;

/// The longest password that is read, in characters: even a wrong one may be hashed.
const MAX_PASSWORD: usize = 255;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// Shows the forms; changes nothing.
pub(super) async fn show(
    State(dashboard): State<Dashboard>,
    request: DashboardRequest,
) -> Response {
    let mut fields = request.fields();
    match fields.query("token").text(1..=MAX_TOKEN) {
        Some(token) => forms(&dashboard, &token, StatusCode::OK, None).await,
        None => refusal(ErrorCode::InvalidEmailVerificationToken.into()),
    }
}

/// A form that was sent: the token, and the password of one of the two forms.
struct Form {
    token: String,
    proof: Option<Proof>,
}

impl Form {
    /// Reads a form, which is written as a query string is.
    fn read(body: &[u8]) -> Option<Self> {
        let form = std::str::from_utf8(body).ok()?;
        let uri: Uri = format!("{PATH}?{form}").parse().ok()?;
        let mut fields = Fields::new(&uri, PATH);
        let token = fields.query("token").text(1..=MAX_TOKEN)?.into_owned();
        let mut password = |name| Some(fields.query(name).text(1..=MAX_PASSWORD)?.into_owned());
        let proof = match password(html::PASSWORD) {
            Some(password) => Some(Proof::Password(password)),
            None => password(html::NEW_PASSWORD).map(Proof::NewPassword),
        };
        Some(Self { token, proof })
    }
}

/// Verifies by the token and the password in the form.
pub(super) async fn complete(
    State(dashboard): State<Dashboard>,
    request: DashboardRequest,
) -> Response {
    let Some(Form { token, proof }) = Form::read(&request.body) else {
        return refusal(ErrorCode::InvalidEmailVerificationToken.into());
    };
    let Some(proof) = proof else {
        let status = ErrorCode::BadRequest.status();
        return forms(&dashboard, &token, status, Some(FormFault::NothingGiven)).await;
    };
    let is_new = matches!(proof, Proof::NewPassword(_));
    let (app, network) = (dashboard.app(), request.network());
    let (code, fault) = match account::verify_with_proof(app, &token, proof, network).await {
        Ok(account) => {
            request.is_by(&account);
            if is_new {
                request.sets_password();
            }
            return page(Response::default(), &html::verified(is_new));
        }
        Err(Failure::Store(error)) => return refusal(error.into()),
        Err(Failure::Refused(ProofRefusal::Verify(refused))) => return not_verified(refused),
        Err(Failure::Refused(ProofRefusal::PasswordMismatch)) => {
            (ErrorCode::PasswordMismatch, FormFault::WrongPassword)
        }
        Err(Failure::Refused(ProofRefusal::TooManyTries)) => {
            (ErrorCode::PasswordMismatch, FormFault::TooManyTries)
        }
        Err(Failure::Refused(ProofRefusal::InvalidPassword)) => (
            ErrorCode::AccountSignUpInvalidInput,
            FormFault::BadNewPassword,
        ),
    };
    forms(&dashboard, &token, code.status(), Some(fault)).await
}

/// The page with the forms for a token that verifies something, and the fault of the form that was sent before.
async fn forms(
    dashboard: &Dashboard,
    token: &str,
    status: StatusCode,
    fault: Option<FormFault>,
) -> Response {
    match account::verifiable(dashboard.app(), token).await {
        Ok(account) => {
            let mut response = page(
                Response::default(),
                &html::forms(&account.email, token, fault),
            );
            *response.status_mut() = status;
            response
        }
        Err(Failure::Refused(refused)) => not_verified(refused),
        Err(Failure::Store(error)) => refusal(error.into()),
    }
}

/// The page for a token that verifies nothing (any more). One that was spent has verified its account.
fn not_verified(refused: VerifyRefusal) -> Response {
    match refused {
        VerifyRefusal::Spent => page(Response::default(), html::VERIFIED_BEFORE),
        refused => refusal(verify_code(refused).into()),
    }
}

/// The page for an error, with the status and headers that the API would answer.
pub(super) fn refusal(error: ApiError) -> Response {
    let code = error.code;
    page(error.into_response(), &html::refused(code))
}

fn page(mut response: Response, content: &str) -> Response {
    *response.body_mut() = Body::from(html::document(content));
    let headers = response.headers_mut();
    // That is the length of the body that this one replaces.
    headers.remove(CONTENT_LENGTH);
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        // The address contains the token.
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn token_and_password_come_from_the_form() {
        let form = Form::read(b"token=ab12").unwrap();
        assert_eq!((form.token.as_str(), form.proof.is_none()), ("ab12", true));
        let form = Form::read(b"other=1&password=a+%2B%EA%B0%80&token=a%22b").unwrap();
        assert_eq!(form.token, "a\"b");
        assert!(matches!(form.proof, Some(Proof::Password(given)) if given == "a +가"));
        let form = Form::read(b"token=x&password=&newPassword=correct%20horse").unwrap();
        assert!(matches!(form.proof, Some(Proof::NewPassword(given)) if given == "correct horse"));
        for body in ["", "token=", "toke=ab", "token=%ff", "token=a b"] {
            assert!(Form::read(body.as_bytes()).is_none(), "{body}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_a_page_with_the_status_of_its_code() {
        let response = not_verified(VerifyRefusal::AlreadyVerified);
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(response.headers()[REFERRER_POLICY], "no-referrer");
        let policy = response.headers()[CONTENT_SECURITY_POLICY]
            .to_str()
            .unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("script"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let html = std::str::from_utf8(&body).unwrap();
        assert!(html.contains("이미 인증된 계정입니다.") && html.contains("verified already"));
    }

    #[tokio::test]
    async fn a_link_that_is_opened_again_says_that_all_is_well() {
        let response = not_verified(VerifyRefusal::Spent);
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let html = std::str::from_utf8(&body).unwrap();
        assert!(html.contains("이미 인증된 이메일입니다.") && !html.contains("<form"));
    }
}
