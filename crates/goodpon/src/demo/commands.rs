//! The commands that `serve --demo` prints: a script for any POSIX shell that needs curl and sed, whole or line by line.

use std::fmt::Write;
use std::net::SocketAddr;

use super::Demo;
use crate::healthcheck::reachable;

/// Where the demo's server listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// Of the dashboard API.
    pub dashboard: SocketAddr,
    /// Of the partner API.
    pub partner: SocketAddr,
}

const JSON: &str = "-H 'Content-Type: application/json'";

/// What to paste into a shell. Everything else in it is comment.
#[must_use]
pub fn commands(demo: &Demo, addresses: Addresses) -> String {
    let dashboard = format!("http://{}", reachable(addresses.dashboard));
    let partner = format!("http://{}", reachable(addresses.partner));
    let (user, order) = (format!("shopper-{}", demo.suffix), format!("order-{}", demo.suffix));
    let client = format!(
        "-H 'X-Goodpon-Client-Id: {}' -H 'X-Goodpon-Client-Secret: {}'",
        demo.client_id, demo.client_secret
    );
    let template = demo.templates.first().map_or(0, |(id, _)| id.0);
    let list = format!("{client} '{partner}/v1/user-coupons?userId={user}'");
    let coupon = format!("{partner}/v1/user-coupons/$COUPON");
    let steps = [
        (
            "Issue a coupon:",
            format!(
                "curl -sS -w '\\n' {client} {JSON} -d '{{\"userId\":\"{user}\"}}' {partner}/v1/coupon-templates/{template}/issue"
            ),
        ),
        ("List the user's coupons:", format!("curl -sS -w '\\n' {list}")),
        (
            "Redeem it (its id is taken from the list):",
            format!(
                "COUPON=$(curl -sS {list} | sed 's/.*\"userCouponId\":\"\\([0-9a-f]*\\)\".*/\\1/')\n\
                 curl -sS -w '\\n' {client} {JSON} -d '{{\"userId\":\"{user}\",\"orderAmount\":15000,\"orderId\":\"{order}\"}}' \"{coupon}/redeem\""
            ),
        ),
        (
            "Cancel the redemption:",
            format!(
                "curl -sS -w '\\n' {client} {JSON} -d '{{\"orderId\":\"{order}\",\"cancelReason\":\"주문 취소\"}}' \"{coupon}/cancel\""
            ),
        ),
        (
            "Log in to the dashboard API; the answer has an accessToken:",
            format!(
                "curl -sS -w '\\n' {JSON} -d '{{\"email\":\"{}\",\"password\":\"{}\"}}' {dashboard}/v1/auth/login",
                demo.email, demo.password
            ),
        ),
    ];
    let mut text = format!(
        "# Goodpon demo. Interactive documentation: {dashboard}/docs and {partner}/docs\n# Dashboard login: {} / {}\n# Templates:",
        demo.email, demo.password
    );
    // Writing into a String does not fail.
    for (id, name) in &demo.templates {
        let _ = write!(text, "\n#   {id}  {name}");
    }
    text.push('\n');
    for (title, command) in steps {
        let _ = write!(text, "\n# {title}\n{command}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use goodpon_domain::id::TemplateId;

    use super::*;

    fn script() -> String {
        let demo = Demo {
            email: "demo@goodpon.site",
            password: "0123456789abcdef".into(),
            client_id: "ck_1".into(),
            client_secret: "sk_1".into(),
            templates: vec![(TemplateId(7), "쿠폰".into()), (TemplateId(8), "다른 쿠폰".into())],
            suffix: "cafe".into(),
        };
        let addresses = Addresses {
            dashboard: "0.0.0.0:8080".parse().unwrap(),
            partner: "127.0.0.1:8081".parse().unwrap(),
        };
        commands(&demo, addresses)
    }

    #[test]
    fn every_call_is_there_with_real_ids_and_addresses() {
        let script = script();
        for part in [
            "http://127.0.0.1:8081/v1/coupon-templates/7/issue",
            "'http://127.0.0.1:8081/v1/user-coupons?userId=shopper-cafe'",
            "\"http://127.0.0.1:8081/v1/user-coupons/$COUPON/redeem\"",
            "\"http://127.0.0.1:8081/v1/user-coupons/$COUPON/cancel\"",
            "http://127.0.0.1:8080/v1/auth/login",
        ] {
            assert!(script.contains(part), "{part} in\n{script}");
        }
    }

    /// With a curl that answers a list and writes down what it was asked.
    #[cfg(unix)]
    #[test]
    fn a_posix_shell_takes_it_as_it_stands() {
        use std::os::unix::fs::PermissionsExt;
        use std::process::Command;

        let folder = tempfile::tempdir().unwrap();
        let curl = folder.path().join("curl");
        let answer = r#"{"data":{"coupons":[{"userCouponId":"00ff","couponTemplateId":7}]}}"#;
        let fake = format!("#!/bin/sh\nprintf '%s\\n' \"$*\" >>asked\necho '{answer}'\n");
        std::fs::write(&curl, fake).unwrap();
        std::fs::set_permissions(&curl, PermissionsExt::from_mode(0o700)).unwrap();
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        let output = Command::new("sh")
            .args(["-eu", "-c", &script()])
            .env("PATH", path)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let asked = std::fs::read_to_string(folder.path().join("asked")).unwrap();
        let urls: Vec<&str> = asked.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(
            urls,
            [
                "http://127.0.0.1:8081/v1/coupon-templates/7/issue",
                "http://127.0.0.1:8081/v1/user-coupons?userId=shopper-cafe",
                "http://127.0.0.1:8081/v1/user-coupons?userId=shopper-cafe",
                "http://127.0.0.1:8081/v1/user-coupons/00ff/redeem",
                "http://127.0.0.1:8081/v1/user-coupons/00ff/cancel",
                "http://127.0.0.1:8080/v1/auth/login",
            ]
        );
        assert!(asked.contains(r#"-d {"orderId":"order-cafe","cancelReason":"주문 취소"} "#), "{asked}");
    }
}
