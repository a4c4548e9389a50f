//! The page behind the mailed verification link. It verifies on a click, not on the GET, for mail
//! scanners follow links.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use goodpon_application::account;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Uri};

use crate::account::verify_code;
use crate::dashboard::{Call, Dashboard};
use crate::error::{ApiError, Audience, ErrorCode};
use crate::input::Fields;

/// Where the page is.
pub(crate) const PATH: &str = "/verify";

/// Longer texts are no tokens and need not be carried through a form.
const MAX_TOKEN: usize = 255;

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

const STYLE: &str = "body{margin:0;min-height:100vh;display:grid;place-items:center;\
    font:16px/1.6 system-ui,sans-serif;background:#f5f6f8;color:#1c1e21}\
    main{max-width:26rem;margin:1rem;padding:2rem;background:#fff;border-radius:12px;\
    text-align:center}h1{font-size:1.25rem}small{color:#5a6068}\
    button{margin-top:1rem;padding:.75rem 1.5rem;border:0;border-radius:8px;font:inherit;\
    background:#1f5fd0;color:#fff;cursor:pointer}";

/// `GET` and `POST /verify`.
pub(crate) fn router() -> Router<Dashboard> {
    Router::new().route(PATH, get(show).post(complete))
}

/// Shows a button; changes nothing.
async fn show(call: Call) -> Response {
    let mut fields = call.fields();
    let token = fields.query("token").text(1..=MAX_TOKEN);
    match token {
        Some(token) => page(Response::default(), &ask(&token)),
        None => refusal(ErrorCode::InvalidEmailVerificationToken.into()),
    }
}

/// Verifies by the token in the form.
async fn complete(State(dashboard): State<Dashboard>, call: Call) -> Response {
    let Some(token) = form_token(&call.body) else {
        return refusal(ErrorCode::InvalidEmailVerificationToken.into());
    };
    match account::verify(dashboard.app(), &token).await {
        Ok(_) => page(Response::default(), VERIFIED),
        Err(failure) => refusal(ApiError::of(failure, verify_code)),
    }
}

/// The field `token` of a form, which is written as a query string is.
fn form_token(body: &[u8]) -> Option<String> {
    let form = std::str::from_utf8(body).ok()?;
    let uri: Uri = format!("{PATH}?{form}").parse().ok()?;
    let mut fields = Fields::new(&uri, PATH);
    let token = fields.query("token").text(1..=MAX_TOKEN)?;
    Some(token.into_owned())
}

fn ask(token: &str) -> String {
    format!(
        "<h1>이메일 인증</h1><p>아래 버튼을 누르면 이메일 인증이 완료됩니다.<br>\
         <small>Press the button to verify your e-mail address.</small></p>\
         <form method=\"post\" action=\"{PATH}\"><input type=\"hidden\" name=\"token\" value=\"{}\">\
         <button type=\"submit\">이메일 인증하기 · Verify</button></form>",
        escaped(token)
    )
}

const VERIFIED: &str = "<h1>이메일 인증이 완료되었습니다.</h1><p>이제 로그인할 수 있습니다.<br>\
    <small>Your e-mail address is verified. You can log in now.</small></p>";

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
    let (message, english) = (code.message(), english(code));
    let content = format!(
        "<h1>이메일 인증을 완료하지 못했습니다.</h1><p>{message}<br><small>{english}</small></p>"
    );
    page(answer, &content)
}

fn english(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidEmailVerificationToken => {
            "This link is not valid (any more): ask for another verification mail."
        }
        ErrorCode::AccountAlreadyVerified => "This account is verified already.",
        ErrorCode::AccountNotFound => "This account does not exist.",
        ErrorCode::TooManyRequests => "Too many attempts. Please try again in a moment.",
        ErrorCode::PayloadTooLarge => "The form that was sent is too large.",
        ErrorCode::ServiceUnavailable => {
            "The service is not available right now. Please try again in a moment."
        }
        _ => "Something went wrong. Please try again in a moment.",
    }
}

fn page(mut response: Response, content: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"ko\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\"><title>Goodpon 이메일 인증</title>\
         <style>{STYLE}</style></head><body><main>{content}</main></body></html>"
    );
    *response.body_mut() = Body::from(html);
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

/// Text that is safe between tags and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use http::StatusCode;
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn a_token_cannot_leave_its_attribute() {
        let page = ask("\"><script>alert('&')</script>");
        assert!(!page.contains("<script"));
        assert!(page.contains("value=\"&quot;&gt;&lt;script&gt;alert(&#39;&amp;&#39;)"));
    }

    #[test]
    fn the_token_comes_from_the_form() {
        assert_eq!(form_token(b"token=ab12").unwrap(), "ab12");
        assert_eq!(form_token(b"other=1&token=a%22b").unwrap(), "a\"b");
        for body in ["", "token=", "toke=ab", "token=%ff", "token=a b"] {
            assert_eq!(form_token(body.as_bytes()), None, "{body}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_a_page_with_the_status_of_its_code() {
        let response = refusal(ErrorCode::AccountAlreadyVerified.into());
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
}
