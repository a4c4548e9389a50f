#![allow(clippy::unwrap_used, clippy::expect_used)]

use clap::{CommandFactory, Parser};

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
}

fn given(
    arguments: &[&str],
    variables: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Resolved, ConfigError> {
    let arguments = std::iter::once(&"goodpon").chain(arguments);
    let mut flags = Cli::parse_from(arguments).flags;
    let folder = tempfile::tempdir().unwrap();
    if let Some(text) = file {
        let path = folder.path().join("goodpon.toml");
        fs::write(&path, text).unwrap();
        flags.file = Some(path);
    }
    let variables = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    resolve(&flags, variables)
}

#[test]
fn flags_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let file = Some("log_level = 'file'\nmax_connections = 7\nrate_login_per_min = 1");
    let variables = [
        ("GOODPON_LOG_LEVEL", "variable"),
        ("GOODPON_RATE_LOGIN_PER_MIN", "2"),
    ];
    let all = given(&["--log-level", "flag"], &variables, file).unwrap();
    let resolved = |name| {
        let (text, source) = all.get(name).unwrap();
        let source = source.to_string();
        let source = source.split('/').next().unwrap().trim_end().to_owned();
        (text.to_owned(), source)
    };
    assert_eq!(resolved("log-level"), ("flag".into(), "flag".into()));
    assert_eq!(
        resolved("rate-login-per-min"),
        ("2".into(), "env GOODPON_RATE_LOGIN_PER_MIN".into())
    );
    assert_eq!(resolved("max-connections"), ("7".into(), "file".into()));
    assert_eq!(
        resolved("time-zone"),
        ("Asia/Seoul".into(), "default".into())
    );
}

#[test]
fn an_unknown_name_is_reported_with_its_source() {
    let error = given(&[], &[("GOODPON_LOGLEVEL", "info")], None).unwrap_err();
    assert!(
        error.0.contains("environment variable GOODPON_LOGLEVEL"),
        "{error}"
    );
    let error = given(&[], &[], Some("log-level = 'info'")).unwrap_err();
    assert!(error.0.contains("setting log-level in file /"), "{error}");
    let error = given(&[], &[], Some("a = 1\nb = [1")).unwrap_err();
    assert!(
        error.0.contains("line 2 is not TOML") && !error.0.contains('\n'),
        "{error}"
    );
    let error = given(&[], &[], Some("[log_level]")).unwrap_err();
    assert!(error.0.contains("log_level is neither"), "{error}");
    let error = given(&["--config", "/nowhere.toml"], &[], None).unwrap_err();
    assert!(
        error.0.contains("file /nowhere.toml: cannot be read"),
        "{error}"
    );
}

#[test]
fn other_variables_are_ignored() {
    let variables = [("GOODPON_BIN", "/x"), ("PATH", "/bin"), ("goodpon_x", "1")];
    assert!(given(&[], &variables, None).is_ok());
}

#[test]
fn variables_of_kubernetes_are_ignored_but_similar_ones_are_not() {
    let injected = [
        ("GOODPON_SERVICE_HOST", "10.0.0.1"),
        ("GOODPON_SERVICE_PORT", "8080"),
        ("GOODPON_SERVICE_PORT_HTTP", "8080"),
        ("GOODPON_PORT", "tcp://10.0.0.1:8080"),
        ("GOODPON_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("GOODPON_PORT_8080_TCP_PROTO", "tcp"),
        ("GOODPON_PORT_8080_TCP_PORT", "8080"),
        ("GOODPON_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("GOODPON_PARTNER_SERVICE_HOST", "10.0.0.2"),
        ("GOODPON_PARTNER_PORT", "tcp://10.0.0.2:8081"),
    ];
    assert!(given(&[], &injected, None).is_ok());
    for name in ["GOODPON_PORT", "GOODPON_PORT_TCP", "GOODPON_SERVICE"] {
        let error = given(&[], &[(name, "8080")], None).unwrap_err();
        assert!(error.0.contains(name), "{error}");
    }
    for spec in &SPECS {
        let name = spec.variable();
        assert!(
            !is_kubernetes_link(&name, OsStr::new("10.0.0.1:80")),
            "{name}"
        );
    }
}

#[test]
fn a_secret_may_come_from_a_file_and_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, " 0123 \r\n").unwrap();
    let path = path.to_str().unwrap();
    let all = given(&[], &[("GOODPON_JWT_SECRET_FILE", path)], None).unwrap();
    let (text, source) = all.get("jwt-secret").unwrap();
    assert_eq!(
        (text, source.to_string().as_str()),
        ("0123", "env GOODPON_JWT_SECRET_FILE")
    );

    let both = [
        ("GOODPON_JWT_SECRET_FILE", path),
        ("GOODPON_JWT_SECRET", "x"),
    ];
    assert!(given(&[], &both, None).unwrap_err().0.contains("both set"));
    let missing = [("GOODPON_SMTP_URL_FILE", "/nowhere")];
    let error = given(&[], &missing, None).unwrap_err();
    assert!(
        error
            .0
            .starts_with("GOODPON_SMTP_URL_FILE: cannot read /nowhere"),
        "{error}"
    );
    let open = [("GOODPON_LOG_LEVEL_FILE", path)];
    assert!(
        given(&[], &open, None)
            .unwrap_err()
            .0
            .contains("unknown environment")
    );
}

#[test]
fn blanks_around_a_secret_are_trimmed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, "\u{feff} two words\t\r\n\n").unwrap();
    let path = path.to_str().unwrap();
    let of_file = given(&[], &[("GOODPON_JWT_SECRET_FILE", path)], None).unwrap();
    let of_variable = given(&[], &[("GOODPON_JWT_SECRET", " two words\n")], None).unwrap();
    let of_toml = given(
        &[],
        &[],
        Some("\u{feff}jwt_secret = \"\u{feff}two words \""),
    )
    .unwrap();
    for all in [of_file, of_variable, of_toml] {
        assert_eq!(all.get("jwt-secret").unwrap().0, "two words");
    }
}

#[test]
fn an_empty_secret_is_reported_with_its_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    for nothing in ["", "\u{feff}", " \r\n"] {
        fs::write(&path, nothing).unwrap();
        let path = path.to_str().unwrap();
        let error = given(&[], &[("GOODPON_JWT_SECRET_FILE", path)], None).unwrap_err();
        assert_eq!(error.0, format!("GOODPON_JWT_SECRET_FILE: {path} is empty"));
    }
    let error = given(&[], &[], Some("smtp_url = ''")).unwrap_err();
    assert!(
        error.0.starts_with("smtp-url is given and empty (file /"),
        "{error}"
    );
    let error = given(&["--database-url", ""], &[], None).unwrap_err();
    assert!(
        error
            .0
            .starts_with("database-url is given and empty (flag)"),
        "{error}"
    );
    let blank = [("GOODPON_VALKEY_URL", " ")];
    let error = given(&[], &blank, None).unwrap_err();
    assert!(error.0.contains("(env GOODPON_VALKEY_URL)"), "{error}");
}

#[test]
fn an_empty_variable_is_ignored() {
    let mut empty: Vec<_> = SPECS.iter().map(Spec::variable).collect();
    empty.extend(SPECS.iter().map(|spec| format!("{}_FILE", spec.variable())));
    empty.push("GOODPON_CONFIG".into());
    let empty: Vec<_> = empty.iter().map(|name| (name.as_str(), "")).collect();
    let all = given(&[], &empty, None).unwrap();
    for spec in &SPECS {
        assert_eq!(
            all.get(spec.name).unwrap(),
            (spec.default, &Source::Default)
        );
    }
    let file = Some("max_connections = 7");
    let all = given(&[], &[("GOODPON_MAX_CONNECTIONS", "")], file).unwrap();
    assert_eq!(all.get("max-connections").unwrap().0, "7");
    let secret = [
        ("GOODPON_JWT_SECRET", ""),
        ("GOODPON_JWT_SECRET_FILE", "/nowhere"),
    ];
    let error = given(&[], &secret, None).unwrap_err();
    assert!(error.0.contains("cannot read /nowhere"), "{error}");
}

#[test]
fn lists_and_switches() {
    let all = given(
        &["--trust-forwarded-for"],
        &[],
        Some("cors_origins = ['a', 'b']"),
    )
    .unwrap();
    assert_eq!(all.get("trust-forwarded-for").unwrap().0, "true");
    assert_eq!(all.get("cors-origins").unwrap().0, "a,b");
}
