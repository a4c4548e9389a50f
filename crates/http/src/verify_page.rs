//! The page behind the mailed verification link. It verifies for somebody who knows the password chosen at sign-up or
//! sets one of their own, not on the GET, for mail scanners follow links, and not by the link alone, for somebody else
//! may have signed up with the address (contract §2).

mod html;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use goodpon_application::Failure;
use goodpon_application::account::{self, Proof, ProofRefusal};
use goodpon_domain::account::VerifyRefusal;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, StatusCode, Uri};

use crate::account::verify_code;
use crate::dashboard::{Call, Dashboard};
use crate::error::{ApiError, Audience, ErrorCode};
use crate::input::Fields;
use html::Fault;

/// Where the page is.
pub(crate) const PATH: &str = "/verify";

/// Longer texts are no tokens and need not be carried through a form.
const MAX_TOKEN: usize = 255;

/// Longer texts are no passwords, and a wrong one may be hashed.
const MAX_PASSWORD: usize = 255;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// `GET` and `POST /verify`.
pub(crate) fn router() -> Router<Dashboard> {
    Router::new().route(PATH, get(show).post(complete))
}

/// Shows the forms; changes nothing.
async fn show(State(dashboard): State<Dashboard>, call: Call) -> Response {
    let mut fields = call.fields();
    match fields.query("token").text(1..=MAX_TOKEN) {
        Some(token) => forms(&dashboard, &token, StatusCode::OK, None).await,
        None => refusal(ErrorCode::InvalidEmailVerificationToken.into()),
    }
}

/// What was filled in: the token, and the password of one of the two forms.
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
async fn complete(State(dashboard): State<Dashboard>, call: Call) -> Response {
    let Some(Form { token, proof }) = Form::read(&call.body) else {
        return refusal(ErrorCode::InvalidEmailVerificationToken.into());
    };
    let Some(proof) = proof else {
        let status = ErrorCode::BadRequest.status();
        return forms(&dashboard, &token, status, Some(Fault::NothingGiven)).await;
    };
    let is_new = matches!(proof, Proof::NewPassword(_));
    let (app, network) = (dashboard.app(), call.network());
    let (code, fault) = match account::verify_with_proof(app, &token, proof, network).await {
        Ok(account) => {
            call.is_by(&account);
            if is_new {
                call.sets_password();
            }
            return page(Response::default(), &html::verified(is_new));
        }
        Err(Failure::Store(error)) => return refusal(error.into()),
        Err(Failure::Refused(ProofRefusal::Verify(refused))) => return not_verified(refused),
        Err(Failure::Refused(ProofRefusal::PasswordMismatch)) => {
            (ErrorCode::PasswordMismatch, Fault::WrongPassword)
        }
        Err(Failure::Refused(ProofRefusal::TooManyTries)) => {
            (ErrorCode::PasswordMismatch, Fault::TooManyTries)
        }
        Err(Failure::Refused(ProofRefusal::InvalidPassword)) => {
            (ErrorCode::AccountSignUpInvalidInput, Fault::BadNewPassword)
        }
    };
    forms(&dashboard, &token, code.status(), Some(fault)).await
}

/// The page with the forms for a token that verifies something, and what is wrong with what was filled in before.
async fn forms(
    dashboard: &Dashboard,
    token: &str,
    status: StatusCode,
    fault: Option<Fault>,
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

/// A link that is opened once more did what it was for.
fn not_verified(refused: VerifyRefusal) -> Response {
    match refused {
        VerifyRefusal::Spent => page(Response::default(), html::VERIFIED_BEFORE),
        refused => refusal(verify_code(refused).into()),
    }
}

/// The page that tells an error, with the status and headers that the API would answer.
fn refusal(error: ApiError) -> Response {
    let code = error.code;
    told(error.into_response(), code)
}

/// That page in place of an answer in the envelope, for errors that never reach the handlers here: of the
/// limits on rate, size and time, and those unforeseen.
pub(crate) fn in_place_of(answer: Response) -> Response {
    let mut general = ErrorCode::ALL.iter().copied();
    let code =
        general.find(|code| code.audience() == Audience::Both && code.status() == answer.status());
    told(answer, code.unwrap_or(ErrorCode::InternalServerError))
}

fn told(answer: Response, code: ErrorCode) -> Response {
    page(answer, &html::refused(code))
}

fn page(mut response: Response, content: &str) -> Response {
    *response.body_mut() = Body::from(html::document(content));
    let headers = response.headers_mut();
    // Of the body that this one replaces.
    headers.remove(CONTENT_LENGTH);
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        // The address bears the token.
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
