//! The commands that `serve --demo` prints, for a POSIX shell with curl. They can be run all together or one by one.

use std::fmt::Write;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Demo;
use crate::healthcheck::reachable;

/// The addresses at which the demo's server listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The address of the dashboard API.
    pub dashboard: SocketAddr,
    /// The address of the partner API.
    pub partner: SocketAddr,
}

/// Calls curl, and adds the newline that answers end without.
const CURL: &str = "curl -sS -w '\\n'";
const JSON: &str = "-H 'Content-Type: application/json'";

/// Returns the text to paste into a shell. Every line that is not a comment is a whole command.
#[must_use]
pub fn commands(demo: &Demo, addresses: Addresses) -> String {
    let dashboard = format!("http://{}", reachable(addresses.dashboard));
    let partner = format!("http://{}", reachable(addresses.partner));
    let Demo {
        email,
        password,
        user,
        coupon,
        ..
    } = demo;
    let template = demo.templates.first().map_or(0, |(id, _)| id.0);
    let client = format!(
        "-H 'X-Goodpon-Client-Id: {}' -H 'X-Goodpon-Client-Secret: {}'",
        demo.client_id, demo.client_secret
    );
    let get = |path: String| format!("{CURL} {client} '{partner}{path}'");
    let post =
        |path: String, body: Value| format!("{CURL} {client} {JSON} -d '{body}' {partner}{path}");
    let order = format!("order-of-{user}");
    let login = json!({"email": email, "password": password});
    let steps = [
        (
            "Issue a coupon:",
            post(
                format!("/v1/coupon-templates/{template}/issue"),
                json!({"userId": user}),
            ),
        ),
        (
            "List the user's coupons:",
            get(format!("/v1/user-coupons?userId={user}")),
        ),
        (
            "Redeem one:",
            post(
                format!("/v1/user-coupons/{coupon}/redeem"),
                json!({"userId": user, "orderAmount": 15_000, "orderId": order}),
            ),
        ),
        (
            "Cancel the redemption:",
            post(
                format!("/v1/user-coupons/{coupon}/cancel"),
                json!({"orderId": order, "cancelReason": "주문 취소"}),
            ),
        ),
        (
            "Log in to the dashboard API; the answer has an accessToken:",
            format!("{CURL} {JSON} -d '{login}' {dashboard}/v1/auth/login"),
        ),
    ];
    let mut text = format!(
        "# Goodpon demo. Interactive documentation: {dashboard}/docs/ and {partner}/docs/\n\
         # Dashboard login: {email} / {password}\n# Templates:\n"
    );
    // Writing into a String does not fail.
    for (id, name) in &demo.templates {
        let _ = writeln!(text, "#   {id}  {name}");
    }
    for (title, command) in steps {
        let _ = write!(text, "\n# {title}\n{command}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use goodpon_domain::id::{CouponId, TemplateId};

    use super::*;

    fn script() -> String {
        let demo = Demo {
            email: "demo@goodpon.site",
            password: "0123456789abcdef".into(),
            client_id: "ck_1".into(),
            client_secret: "sk_1".into(),
            templates: vec![
                (TemplateId(7), "쿠폰".into()),
                (TemplateId(8), "다른 쿠폰".into()),
            ],
            user: "shopper-cafe".into(),
            coupon: CouponId::from_bytes([0xab; 16]),
        };
        let addresses = Addresses {
            dashboard: "0.0.0.0:8080".parse().unwrap(),
            partner: "127.0.0.1:8081".parse().unwrap(),
        };
        commands(&demo, addresses)
    }

    /// The `curl` of this test prints its arguments.
    #[test]
    fn a_posix_shell_runs_every_line_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let curl = folder.path().join("curl");
        std::fs::write(&curl, "#!/bin/sh\nprintf '%s\\n' \"$*\"\n").unwrap();
        std::fs::set_permissions(&curl, PermissionsExt::from_mode(0o700)).unwrap();
        let path = format!(
            "{}:{}",
            folder.path().display(),
            std::env::var("PATH").unwrap()
        );
        let script = script();
        let calls = script.lines().map(|line| {
            let shell = Command::new("sh")
                .args(["-eu", "-c", line])
                .env("PATH", &path)
                .output()
                .unwrap();
            assert!(shell.status.success(), "{line}: {shell:?}");
            String::from_utf8(shell.stdout).unwrap()
        });
        let calls: Vec<String> = calls.filter(|call| !call.is_empty()).collect();
        let coupon = "ab".repeat(16);
        for (call, part) in calls.iter().zip([
            r#"-d {"userId":"shopper-cafe"} http://127.0.0.1:8081/v1/coupon-templates/7/issue"#,
            "http://127.0.0.1:8081/v1/user-coupons?userId=shopper-cafe",
            &format!("http://127.0.0.1:8081/v1/user-coupons/{coupon}/redeem"),
            &format!("http://127.0.0.1:8081/v1/user-coupons/{coupon}/cancel"),
            "http://127.0.0.1:8080/v1/auth/login",
        ]) {
            assert!(call.trim_end().ends_with(part), "{part} is not in {call}");
        }
        assert_eq!(calls.len(), 5);
        assert!(calls[3].contains("주문 취소"));
    }
}
