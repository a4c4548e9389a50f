//! Reads the URL of the server, as an operator set it.

use redis::{ConnectionAddr, IntoConnectionInfo};

/// The reason why a setting cannot be used. Its text never contains a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The URL of the server is wrong.
    #[error("valkey-url {0}")]
    Url(&'static str),
    /// The installation's name cannot be part of a key.
    #[error("the installation's name must be 1 to 64 letters, digits, '-', '_' or '.'")]
    Installation,
}

/// Makes a client for `valkey://[[user]:password@]host[:6379]`, or with `valkeys://` over TLS; `redis://` and
/// `rediss://` mean the same. It does not connect yet. The text returned is the address without user and password.
pub(crate) fn client(url: &str) -> Result<(redis::Client, String), ConfigError> {
    let schemes = ["valkey://", "valkeys://", "redis://", "rediss://"];
    if !schemes.iter().any(|scheme| url.starts_with(scheme)) {
        return Err(ConfigError::Url(
            "must begin with valkey:// or, for TLS, with valkeys://",
        ));
    }
    let parsed = redis::parse_redis_url(url).ok_or(ConfigError::Url(
        "is no URL: valkey://[[user]:password@]host[:port], with special characters of the password percent-encoded",
    ))?;
    if !parsed.has_host() || parsed.host_str().is_none_or(str::is_empty) {
        return Err(ConfigError::Url("names no host"));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(ConfigError::Url("takes no ? or # behind the host"));
    }
    // A gate belongs to a server: processes that used databases of different numbers would agree on the server, and
    // yet not see each other's keys.
    if !matches!(parsed.path(), "" | "/" | "/0") {
        return Err(ConfigError::Url(
            "names a database: leave it out, only 0 is used, and keys tell installations on one server apart",
        ));
    }
    let info = url.into_connection_info().map_err(|_| {
        ConfigError::Url(
            "has a host, user or password that cannot be used (is it percent-encoded UTF-8?)",
        )
    })?;
    if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        prepare_tls();
    }
    let address = info.addr().to_string();
    let client =
        redis::Client::open(info).map_err(|_| ConfigError::Url("cannot be used by the client"))?;
    Ok((client, address))
}

/// Chooses the process's cryptography if that was not done yet: without it TLS panics.
fn prepare_tls() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread has just chosen one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

/// Checks that the installation's name can be part of a key's hash tag.
pub(crate) fn check_installation(name: &str) -> Result<(), ConfigError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(is_plain) {
        Ok(())
    } else {
        Err(ConfigError::Installation)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_urls() {
        for (url, address) in [
            ("valkey://cache", "cache:6379"),
            ("valkey://cache:7000/0", "cache:7000"),
            ("redis://:secret@cache", "cache:6379"),
            ("valkeys://us%40er:se%2Fcret@cache:1", "cache:1"),
            ("rediss://[::1]:6380/", "::1:6380"),
        ] {
            let (client, shown) = client(url).unwrap();
            assert_eq!(shown, address, "{url}");
            let settings = client.get_connection_info().redis_settings();
            if url.contains("us%40er") {
                assert_eq!(settings.username(), Some("us@er"));
                assert_eq!(settings.password(), Some("se/cret"));
            }
        }
    }

    #[test]
    fn a_malformed_url_is_refused_without_showing_its_password() {
        for url in [
            "",
            "cache:6379",
            "mysql://u:secret@cache",
            "valkey://",
            "valkey:///0",
            "valkey://:secret@",
            "valkey://:se/cret@cache",
            "valkey://:secret@cache:70000",
            "valkey://:secret@cache/first",
            "valkey://:secret@cache/3",
            "valkey://:secret@cache/-1",
            "valkey://:secret@cache?protocol=resp3",
            "valkeys://:secret@cache#insecure",
            "valkey://:secret%ff@cache",
            "valkey://:secret@0.0.0.0",
        ] {
            let error = client(url).unwrap_err();
            assert!(matches!(error, ConfigError::Url(_)), "{url}");
            assert!(!error.to_string().contains("secret"), "{url}: {error}");
        }
    }

    #[test]
    fn an_installation_cannot_break_out_of_its_hash_tag() {
        assert_eq!(check_installation("goodpon-eu_1.a"), Ok(()));
        for name in ["", "a}b", "a:b", "ä", &"x".repeat(65)] {
            assert_eq!(check_installation(name), Err(ConfigError::Installation));
        }
    }
}
