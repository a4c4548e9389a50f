//! What an audit asks for later: who tried what, from where, and how it ended. One line of the log's target `security`
//! for each such request, whatever came of it. Neither passwords nor tokens nor secrets stand in it, and of an e-mail
//! address no more than tells two apart.

use http::Method;

/// The event that a request is, by its route, and by its code where any request may be one.
pub(super) fn event_of(
    api: &str,
    method: &str,
    route: &str,
    code: Option<&str>,
) -> Option<&'static str> {
    match (api, code) {
        ("partner", Some("INVALID_CREDENTIALS")) => return Some("client_secret_refused"),
        ("partner", _) => return None,
        (_, Some("UNAUTHORIZED")) => return Some("token_refused"),
        _ => {}
    }
    let found = EVENTS
        .iter()
        .find(|(of_method, of_route, _)| of_method.as_str() == method && *of_route == route);
    found.map(|(_, _, event)| *event)
}

const SECRETS: &str = "/v1/merchants/{merchantId}/client-secrets";
const EXPIRE: &str = "/v1/merchants/{merchantId}/client-secrets/{secretId}/expire";
const MEMBERS: &str = "/v1/merchants/{merchantId}/members";
const MEMBER: &str = "/v1/merchants/{merchantId}/members/{merchantAccountId}";
const PUBLISH: &str = "/v1/merchants/{merchantId}/coupon-templates/{couponTemplateId}/publish";
const DISCARD: &str = "/v1/merchants/{merchantId}/coupon-templates/{couponTemplateId}/discard";

/// Calls of the dashboard, each with its event.
const EVENTS: [(Method, &str, &str); 12] = [
    (Method::POST, "/v1/accounts/sign-up", "sign_up"),
    (Method::POST, "/v1/auth/login", "login"),
    (Method::POST, "/v1/auth/verify", "verification"),
    (Method::POST, "/verify", "verification"),
    (
        Method::POST,
        "/v1/auth/verify/resend",
        "verification_resent",
    ),
    (Method::POST, "/v1/merchants", "merchant_created"),
    (Method::POST, SECRETS, "client_secret_added"),
    (Method::POST, EXPIRE, "client_secret_expired"),
    (Method::POST, MEMBERS, "member_added"),
    (Method::DELETE, MEMBER, "member_removed"),
    (Method::POST, PUBLISH, "template_published"),
    (Method::POST, DISCARD, "template_discarded"),
];

/// An e-mail address by its first letter and its domain, as in `k…@example.com`.
pub(crate) fn masked(email: &str) -> String {
    let (local, domain) = email.trim().rsplit_once('@').unwrap_or((email.trim(), ""));
    let first = local.chars().next().map(String::from).unwrap_or_default();
    let domain: String = domain.chars().take(100).collect();
    format!("{first}…@{domain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_a_call_that_there_is() {
        let documented = crate::openapi::dashboard();
        for (method, route, _) in EVENTS {
            if route == "/verify" {
                continue;
            }
            let item = documented.paths.paths.get(route);
            let is_there = item.is_some_and(|item| match method {
                Method::POST => item.post.is_some(),
                Method::DELETE => item.delete.is_some(),
                _ => false,
            });
            assert!(is_there, "{method} {route}");
        }
    }

    #[test]
    fn events_are_told_by_route_or_by_code() {
        let login = ("dashboard", "POST", "/v1/auth/login");
        assert_eq!(event_of(login.0, login.1, login.2, None), Some("login"));
        let code = Some("PASSWORD_MISMATCH");
        assert_eq!(event_of(login.0, login.1, login.2, code), Some("login"));
        assert_eq!(event_of(login.0, "GET", login.2, None), None);
        assert_eq!(event_of("partner", login.1, login.2, None), None);
        let code = Some("INVALID_CREDENTIALS");
        let refused = event_of("partner", "POST", "/v1/x", code);
        assert_eq!(refused, Some("client_secret_refused"));
        let refused = event_of("dashboard", "GET", "/v1/x", Some("UNAUTHORIZED"));
        assert_eq!(refused, Some("token_refused"));
    }

    #[test]
    fn an_address_is_told_by_its_first_letter_and_domain() {
        assert_eq!(masked("kim@shop.example"), "k…@shop.example");
        assert_eq!(masked("김@shop.example"), "김…@shop.example");
        assert_eq!(masked(""), "…@");
        assert_eq!(masked("hunter2"), "h…@");
    }
}
