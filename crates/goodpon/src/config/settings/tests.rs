#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::super::{Flags, resolve};
use super::*;

fn with(name: &'static str, value: &str) -> Result<Settings, String> {
    let mut flags = Flags::default();
    flags.values.insert(name, value.to_owned());
    let all = resolve(&flags, []).unwrap();
    Settings::check(&all).map_err(|error| error.0)
}

#[test]
fn the_defaults_are_valid() {
    let settings = with("log-format", "auto").unwrap();
    assert_eq!(settings.partner_addr.as_str(), "0.0.0.0:8081");
    assert!(settings.smtp.is_none() && settings.jwt_secret.is_none());
    assert!(!settings.trust_forwarded_for && settings.cors_origins.is_empty());
}

#[test]
fn a_bad_value_is_named_with_its_setting_and_source() {
    for (name, value) in [
        ("data-dir", ""),
        ("dashboard-addr", "8080"),
        ("partner-addr", ":8080"),
        ("admin-addr", "::1:9090"),
        ("admin-addr", "localhost:65536"),
        ("time-zone", "Asia/Soul"),
        ("cors-origins", "https://a.example,*"),
        ("cors-origins", "https://a.example/"),
        ("verify-link-base", "console.example"),
        ("max-connections", "0"),
        ("max-connections-per-address", "-1"),
        ("keep-alive-secs", "0"),
        ("admin-hosts", "metrics.example:9090"),
        ("docs", "off"),
        ("hsts-max-age-secs", "1y"),
        ("request-timeout-secs", "1.5"),
        ("body-timeout-secs", "-1"),
        ("rate-login-per-min", "many"),
        ("max-templates-per-merchant", "-1"),
        ("trust-forwarded-for", "yes"),
        ("log-level", "loud"),
        ("log-format", "xml"),
        ("sweep-interval-secs", "3601"),
    ] {
        let error = with(name, value).err().expect(name);
        let start = format!("bad value {value:?} for {name} (flag): ");
        assert!(error.starts_with(&start), "{error}");
    }
    let error = with("mail-from", "nobody").err().unwrap();
    assert!(error.starts_with("bad value (flag): mail-from"), "{error}");
}

#[test]
fn a_bad_secret_is_named_and_not_shown() {
    for (name, value) in [
        ("jwt-secret", "hunter2"),
        ("smtp-url", "smtp://u:hunter2@/"),
    ] {
        let error = with(name, value).err().expect(name);
        assert!(
            error.contains(name) && !error.contains("hunter2"),
            "{error}"
        );
    }
}

#[test]
fn lists_are_split_and_links_trimmed() {
    let settings = with("cors-origins", "https://A.example, http://b.example:3000").unwrap();
    assert_eq!(
        settings.cors_origins,
        ["https://a.example", "http://b.example:3000"]
    );
    let settings = with("verify-link-base", "https://a.example/console/").unwrap();
    assert_eq!(
        settings.verify_link_base.as_deref(),
        Some("https://a.example/console")
    );
}

#[test]
fn a_mail_server_needs_a_sender_and_a_link_base() {
    let mut flags = Flags::default();
    let mut check = |name: &'static str, value: &str| {
        flags.values.insert(name, value.to_owned());
        Settings::check(&resolve(&flags, []).unwrap()).map_err(|error| error.0)
    };
    let error = check("smtp-url", "smtps://mail.example").err().unwrap();
    assert!(
        error.starts_with("mail-from and verify-link-base must be set if smtp-url is"),
        "{error}"
    );
    let error = check("mail-from", "Shop <shop@a.example>").err().unwrap();
    assert!(error.starts_with("verify-link-base must be set"), "{error}");
    let error = check("verify-link-base", "").err().unwrap();
    assert!(error.starts_with("verify-link-base must be set"), "{error}");
    let settings = check("verify-link-base", "https://a.example").unwrap();
    assert!(settings.smtp.is_some());
}

#[test]
fn a_key_that_cannot_be_random_is_refused_and_not_shown() {
    for guessable in ["a".repeat(32), "abcdefg".repeat(9)] {
        let error = with("jwt-secret", &guessable).err().unwrap();
        assert!(error.contains("can be guessed"), "{error}");
        assert!(
            !error.contains("aaaa") && !error.contains("abcd"),
            "{error}"
        );
    }
    assert!(with("jwt-secret", "0123456789abcdef0123456789abcdef").is_ok());
}

#[test]
fn a_zone_may_be_written_in_any_case() {
    let evening: jiff::Timestamp = "2027-01-15T20:00:00Z".parse().unwrap();
    let of = |name| with("time-zone", name).unwrap().zone.date(evening);
    assert_eq!(of("pacific/kiritimati"), of("Pacific/Kiritimati"));
    assert_ne!(of("Pacific/Kiritimati"), of("UTC"));
}

#[test]
fn a_folder_with_a_tilde_is_refused() {
    for name in ["~", "~/data"] {
        let error = with("data-dir", name).err().unwrap();
        assert!(error.ends_with("~ is not replaced here"), "{error}");
    }
    assert!(with("data-dir", "./~").is_ok());
}
