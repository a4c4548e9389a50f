//! Warnings about settings that are allowed but unsafe. They are logged once at the start; nothing is refused.

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

use url::Url;

use super::{ConfigError, Resolved, SPECS, Secrecy, Source};

/// Settings that have no effect without the servers of a scaled-out set.
const SERVER_SETTINGS: [&str; 6] = [
    "database-connections",
    "kafka-topic",
    "kafka-partitions",
    "kafka-replication",
    "kafka-accept-risks",
    "kafka-options",
];

/// Returns all warnings, one line each.
pub(super) fn cautions(all: &Resolved) -> Result<Vec<String>, ConfigError> {
    let mut found = readable_secrets(all)?;
    found.extend(without_effect(all)?);
    found.extend(unencrypted_connections(all)?);
    Ok(found)
}

/// Warns of secrets that other users of this machine can read.
fn readable_secrets(all: &Resolved) -> Result<Vec<String>, ConfigError> {
    let (mut found, mut in_files) = (Vec::new(), Vec::new());
    for spec in SPECS.iter().filter(|spec| spec.secrecy != Secrecy::Open) {
        let (text, source) = all.get(spec.name)?;
        if !holds_secret(spec.secrecy, text) {
            continue;
        }
        match source {
            Source::Flag => found.push(format!(
                "{} is given as a flag, which every user of this machine can read in the process list: use {}_FILE instead",
                spec.name,
                spec.variable()
            )),
            Source::File(path) if !in_files.contains(path) => {
                in_files.push(path.clone());
                let mode = fs::metadata(path).map_or(0, |file| file.permissions().mode());
                if mode & 0o077 != 0 {
                    found.push(format!(
                        "other users can read {}, which holds secrets: chmod 600 it",
                        path.display()
                    ));
                }
            }
            Source::File(_) | Source::Variable(_) | Source::Default => {}
        }
    }
    Ok(found)
}

/// Returns whether a value has a secret; a URL without a login has none.
fn holds_secret(secrecy: Secrecy, text: &str) -> bool {
    match secrecy {
        Secrecy::Open => false,
        Secrecy::Secret => !text.is_empty(),
        Secrecy::SecretUrl => text.contains('@'),
    }
}

/// Warns of settings of servers that are not used.
fn without_effect(all: &Resolved) -> Result<Vec<String>, ConfigError> {
    let mut found = Vec::new();
    if !all.get("kafka-brokers")?.0.is_empty() {
        return Ok(found);
    }
    for name in SERVER_SETTINGS {
        if *all.get(name)?.1 != Source::Default {
            found.push(format!(
                "{name} has no effect without database-url, valkey-url and kafka-brokers"
            ));
        }
    }
    Ok(found)
}

/// Warns of connections that leave this machine unencrypted.
fn unencrypted_connections(all: &Resolved) -> Result<Vec<String>, ConfigError> {
    let mut clear = Vec::new();
    let database = all.get("database-url")?.0;
    if leaves_this_machine(database) && !database.contains("require_ssl=true") {
        clear.push(("database-url", "add ?require_ssl=true"));
    }
    let valkey = all.get("valkey-url")?.0;
    let is_clear = ["valkey://", "redis://"]
        .iter()
        .any(|scheme| valkey.starts_with(scheme));
    if is_clear && leaves_this_machine(valkey) {
        clear.push(("valkey-url", "use valkeys://"));
    }
    let options = all.get("kafka-options")?.0.to_ascii_lowercase();
    let is_tls = options.split(',').any(|word| {
        let word = word
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()));
        matches!(word, Some(("security.protocol", "ssl" | "sasl_ssl")))
    });
    let mut brokers = all.get("kafka-brokers")?.0.split(',').map(str::trim);
    if !is_tls && brokers.any(|broker| leaves_this_machine(&format!("kafka://{broker}"))) {
        let how =
            "put security.protocol=SSL into kafka-options (in a build with --features kafka-ssl)";
        clear.push(("kafka-brokers", how));
    }
    let smtp = all.get("smtp-url")?.0;
    let is_clear = smtp.starts_with("smtp://") && !smtp.contains("tls=required");
    // With a password TLS is required by default, unless the URL sets `tls`.
    let may_be_clear = !smtp.contains('@') || smtp.contains("tls=");
    if is_clear && may_be_clear && leaves_this_machine(smtp) {
        clear.push(("smtp-url", "use smtps:// or ?tls=required"));
    }
    let warning = |(name, how)| {
        format!("{name} lets data go to another machine unencrypted, passwords included: {how}")
    };
    Ok(clear.into_iter().map(warning).collect())
}

/// Returns whether the host of a URL is another machine; with a socket it is not.
fn leaves_this_machine(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    let by_socket = url.query_pairs().any(|(key, _)| key == "socket");
    let host = url.host_str().unwrap_or_default();
    !host.is_empty() && !by_socket && !is_loopback(host)
}

/// Returns whether a host name, or an address with or without brackets, is this machine.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use super::super::{Flags, resolve};
    use super::*;

    fn of(values: &[(&'static str, &str)], file: Option<&Path>) -> Vec<String> {
        let values = values
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let flags = Flags {
            values: values.collect(),
            file: file.map(Path::to_owned),
        };
        cautions(&resolve(&flags, []).unwrap()).unwrap()
    }

    #[test]
    fn a_secret_in_a_flag_is_warned_of_by_its_name_alone() {
        let found = of(&[("smtp-url", "smtps://u:hunter2@mail.example")], None);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("smtp-url is given as a flag"),
            "{found:?}"
        );
        assert!(
            found[0].ends_with("use GOODPON_SMTP_URL_FILE instead"),
            "{found:?}"
        );
        assert_eq!(of(&[("smtp-url", "smtps://mail.example")], None), [""; 0]);
    }

    #[test]
    fn a_file_with_secrets_that_others_can_read_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("goodpon.toml");
        fs::write(&path, "jwt_secret = 'x'\nsmtp_url = 'smtps://u:p@h'").unwrap();
        let open = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            of(&[], Some(&path))
        };
        assert!(open(0o640)[0].contains("chmod 600"));
        assert_eq!(open(0o640).len(), 1, "one line a file");
        assert_eq!(open(0o600), [""; 0]);
        fs::write(&path, "log_level = 'info'").unwrap();
        assert_eq!(open(0o644), [""; 0]);
    }

    #[test]
    fn unencrypted_connections_to_other_machines_are_warned_of() {
        let servers = |database, valkey, brokers, options| {
            let all = [
                ("database-url", database),
                ("valkey-url", valkey),
                ("kafka-brokers", brokers),
                ("kafka-options", options),
            ];
            let found = of(&all, None);
            let ways = found.iter().filter(|line| line.contains("unencrypted"));
            ways.map(|line| line.split(' ').next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
        };
        let all = servers(
            "mysql://db/d",
            "valkey://cache",
            "localhost:1,kafka:9092",
            "client.id=a",
        );
        assert_eq!(all, ["database-url", "valkey-url", "kafka-brokers"]);
        let here = servers(
            "mysql://127.0.0.1/d",
            "valkey://[::1]",
            "localhost:9092",
            "client.id=a",
        );
        assert_eq!(here, [""; 0]);
        let encrypted = servers(
            "mysql://db/d?require_ssl=true",
            "valkeys://cache",
            "kafka:9092",
            "security.protocol=SSL",
        );
        assert_eq!(encrypted, [""; 0]);
        for (url, count) in [
            ("smtp://mail.example", 1),
            ("smtp://localhost", 0),
            ("smtps://mail.example", 0),
            ("smtp://mail.example?tls=required", 0),
            ("smtp://mail.example?tls=none", 1),
        ] {
            assert_eq!(of(&[("smtp-url", url)], None).len(), count, "{url}");
        }
        assert_eq!(
            of(&[("smtp-url", "smtp://u:p@mail.example?tls=none")], None).len(),
            2
        );
    }

    #[test]
    fn a_setting_of_servers_without_servers_is_warned_of() {
        let found = of(&[("kafka-topic", "coupons")], None);
        assert!(
            found[0].starts_with("kafka-topic has no effect"),
            "{found:?}"
        );
    }
}
