//! Settings as the program uses them: checked and typed.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use goodpon_domain::business_time::BusinessZone;
use goodpon_domain::quota::{Quota, Quotas};
use goodpon_mail::Smtp;
use goodpon_telemetry::logs;
use jiff::tz::TimeZone;

use super::cautions::cautions;
use super::servers::{Servers, servers};
use super::values::{not_empty, read, read_given, whole, yes_or_no};
use super::web::{link_base, origins};
use super::{ConfigError, Resolved, Source};

/// The fewest different bytes of a key. A random one in hex has fewer with a probability of one in billions.
const MIN_DIFFERENT_BYTES: usize = 8;

/// The fewest bytes of a key for HS256 (contract §2).
const MIN_JWT_SECRET_BYTES: usize = 32;

/// The largest max-age of HSTS: ten years.
const MAX_HSTS_SECS: u32 = 10 * 365 * 24 * 3600;

/// An address to listen at: `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddr(String);

impl FromStr for ListenAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host_and_port = text
            .rsplit_once(':')
            .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        // The last group of an IPv6 address without brackets would be taken for the port.
        let bare_v6 = host_and_port.is_some_and(|(host, _)| {
            host.contains(':') && !(host.starts_with('[') && host.ends_with(']'))
        });
        match host_and_port {
            Some(_) if !bare_v6 => Ok(Self(text.to_owned())),
            _ => Err("must be HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080".into()),
        }
    }
}

impl ListenAddr {
    /// Returns it as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether only this machine can reach it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.0.rsplit_once(':').map_or("", |(host, _)| host);
        super::is_loopback(host)
    }

    /// Resolves its host.
    ///
    /// # Errors
    /// The name does not resolve.
    pub fn resolve(&self) -> std::io::Result<SocketAddr> {
        let found = self.0.to_socket_addrs()?.next();
        found.ok_or_else(|| std::io::Error::other("the name has no address"))
    }
}

/// All settings.
pub struct Settings {
    /// The folder of the database and of generated secrets.
    pub data_dir: PathBuf,
    /// The servers of the scaled-out set; `None` for the embedded database.
    pub servers: Option<Servers>,
    /// The address of the dashboard API.
    pub dashboard_addr: ListenAddr,
    /// The address of the partner API.
    pub partner_addr: ListenAddr,
    /// The address of the admin port.
    pub admin_addr: ListenAddr,
    /// Further host names by which the admin port may be called.
    pub admin_hosts: Vec<String>,
    /// True to serve the documentation.
    pub docs: bool,
    /// The max-age of `Strict-Transport-Security` in seconds; 0 sends no such header.
    pub hsts_max_age_secs: u32,
    /// The business time zone.
    pub zone: BusinessZone,
    /// The key that signs access tokens; `None` to use a generated one.
    pub jwt_secret: Option<Vec<u8>>,
    /// The browser origins that may call the dashboard API, `scheme://host[:port]` each.
    pub cors_origins: Vec<String>,
    /// The URL to which `/verify?token=…` is appended; `None` for the dashboard's own address.
    pub verify_link_base: Option<String>,
    /// The mail server; `None` to keep mails in the mailbox.
    pub smtp: Option<Smtp>,
    /// The most connections per port.
    pub max_connections: usize,
    /// The most of them from one client address; `None` for a share of them.
    pub max_connections_per_address: Option<usize>,
    /// The longest time for a whole request.
    pub request_timeout: Duration,
    /// The longest time for a request's body to arrive.
    pub body_timeout: Duration,
    /// The longest time for a request's head to arrive.
    pub header_timeout: Duration,
    /// The longest time between two requests of a connection.
    pub keep_alive: Duration,
    /// The time between the signal to stop and the close of the ports.
    pub drain: Duration,
    /// The longest time for running requests to finish at shutdown.
    pub shutdown_timeout: Duration,
    /// Partner requests a second per client id; 0 is unlimited.
    pub rate_partner_per_sec: u32,
    /// Sign-ups a minute per address and per e-mail; 0 is unlimited.
    pub rate_sign_up_per_min: u32,
    /// Failed logins a minute per address and e-mail together; 0 is unlimited.
    pub rate_login_per_min: u32,
    /// Verifications a minute per address; 0 is unlimited.
    pub rate_verify_per_min: u32,
    /// Resent mails a minute per address and per e-mail; 0 is unlimited.
    pub rate_resend_per_min: u32,
    /// Dashboard calls a minute per account; 0 is unlimited.
    pub rate_dashboard_per_min: u32,
    /// Refused credentials a minute per address; 0 is unlimited.
    pub rate_auth_failures_per_min: u32,
    /// True if a proxy in front terminates TLS.
    pub tls_in_front: bool,
    /// The bounds on what tenants may create.
    pub quotas: Quotas,
    /// True to use `X-Forwarded-For` as the client's address.
    pub trust_forwarded_for: bool,
    /// The levels of log lines that are written.
    pub log_level: logs::Filter,
    /// The format of log lines.
    pub log_format: logs::Format,
    /// The time between two sweeps.
    pub sweep_interval: Duration,
    /// Warnings about allowed but unsafe settings, one line each.
    pub cautions: Vec<String>,
}

impl Settings {
    /// Checks all values.
    ///
    /// # Errors
    /// The first bad value, with its setting and source.
    pub fn check(all: &Resolved) -> Result<Self, ConfigError> {
        Ok(Self {
            data_dir: read(all, "data-dir", folder)?.into(),
            servers: servers(all)?,
            dashboard_addr: read(all, "dashboard-addr", str::parse)?,
            partner_addr: read(all, "partner-addr", str::parse)?,
            admin_addr: read(all, "admin-addr", str::parse)?,
            admin_hosts: read(all, "admin-hosts", hosts)?,
            docs: read(all, "docs", yes_or_no)?,
            hsts_max_age_secs: read(all, "hsts-max-age-secs", |text| {
                whole(text, 0..=MAX_HSTS_SECS)
            })?,
            zone: read(all, "time-zone", zone)?,
            jwt_secret: read_given(all, "jwt-secret", jwt_secret)?,
            cors_origins: read(all, "cors-origins", origins)?,
            verify_link_base: read_given(all, "verify-link-base", link_base)?,
            smtp: smtp(all)?,
            max_connections: read(all, "max-connections", |text| whole(text, 1..=1_000_000))?
                as usize,
            max_connections_per_address: read(all, "max-connections-per-address", share)?,
            request_timeout: read(all, "request-timeout-secs", seconds)?,
            body_timeout: read(all, "body-timeout-secs", seconds)?,
            header_timeout: read(all, "header-timeout-secs", seconds)?,
            keep_alive: read(all, "keep-alive-secs", seconds)?,
            drain: read(all, "drain-secs", |text| {
                whole(text, 0..=600).map(|count| Duration::from_secs(count.into()))
            })?,
            shutdown_timeout: read(all, "shutdown-timeout-secs", seconds)?,
            rate_partner_per_sec: read(all, "rate-partner-per-sec", rate)?,
            rate_sign_up_per_min: read(all, "rate-sign-up-per-min", rate)?,
            rate_login_per_min: read(all, "rate-login-per-min", rate)?,
            rate_verify_per_min: read(all, "rate-verify-per-min", rate)?,
            rate_resend_per_min: read(all, "rate-resend-per-min", rate)?,
            rate_dashboard_per_min: read(all, "rate-dashboard-per-min", rate)?,
            rate_auth_failures_per_min: read(all, "rate-auth-failures-per-min", rate)?,
            tls_in_front: read(all, "tls-in-front", yes_or_no)?,
            quotas: quotas(all)?,
            trust_forwarded_for: read(all, "trust-forwarded-for", yes_or_no)?,
            log_level: read(all, "log-level", str::parse)?,
            log_format: read(all, "log-format", str::parse)?,
            sweep_interval: read(all, "sweep-interval-secs", seconds)?,
            cautions: cautions(all)?,
        })
    }
}

fn zone(text: &str) -> Result<BusinessZone, String> {
    TimeZone::get(text)
        .map(BusinessZone::new)
        .map_err(|_| "must be an IANA time zone such as Asia/Seoul".into())
}

/// Reads a folder's name. One that begins with `~/` is refused, because the shell that should have replaced it did not.
fn folder(text: &str) -> Result<String, &'static str> {
    match text {
        "~" => Err("write the folder out: ~ is not replaced here"),
        text if text.starts_with("~/") => Err("write the folder out: ~ is not replaced here"),
        text => not_empty(text),
    }
}

/// Checks the key of access tokens, of a setting or of the generated file.
///
/// # Errors
/// It is too short, or has so few different bytes that it cannot be random.
pub fn jwt_secret(text: &str) -> Result<Vec<u8>, String> {
    if text.len() < MIN_JWT_SECRET_BYTES {
        return Err(format!("must have at least {MIN_JWT_SECRET_BYTES} bytes"));
    }
    let mut different = text.as_bytes().to_vec();
    different.sort_unstable();
    different.dedup();
    if different.len() < MIN_DIFFERENT_BYTES {
        return Err(format!(
            "has only {} different letters and can be guessed: draw one, such as with `openssl rand -hex 32`",
            different.len()
        ));
    }
    Ok(text.as_bytes().to_vec())
}

/// Reads host names as a `Host` header has them, without a port.
fn hosts(text: &str) -> Result<Vec<String>, String> {
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let is_fine = |c: char| c.is_ascii_alphanumeric() || ['.', '-', '_'].contains(&c);
    words
        .map(|word| match word.chars().all(is_fine) {
            true => Ok(word.to_owned()),
            false => Err(format!(
                "{word:?} must be a name such as metrics.example.com, without a port"
            )),
        })
        .collect()
}

fn quotas(all: &Resolved) -> Result<Quotas, ConfigError> {
    let quota = |name| read(all, name, |text| whole(text, 0..=1_000_000).map(Quota::of));
    Ok(Quotas {
        merchants_per_account: quota("max-merchants-per-account")?,
        templates_per_merchant: quota("max-templates-per-merchant")?,
        members_per_merchant: quota("max-members-per-merchant")?,
    })
}

/// Reads the mail server and the sender, which are checked together. The errors name the setting at fault themselves.
fn smtp(all: &Resolved) -> Result<Option<Smtp>, ConfigError> {
    let (url, url_source) = all.get("smtp-url")?;
    let (from, from_source) = all.get("mail-from")?;
    // Checks the sender even without a mail server.
    let checked = match url {
        "" => "smtp://localhost",
        url => url,
    };
    let smtp = Smtp::new(checked, from).map_err(|error| {
        let source = match error {
            goodpon_mail::ConfigError::From(_) | goodpon_mail::ConfigError::ForeignFrom(_) => {
                from_source
            }
            _ => url_source,
        };
        ConfigError(format!("bad value ({source}): {error}"))
    })?;
    if url.is_empty() {
        return Ok(None);
    }
    let mut missing = Vec::new();
    for name in ["mail-from", "verify-link-base"] {
        let (value, source) = all.get(name)?;
        if value.is_empty() || *source == Source::Default {
            missing.push(name);
        }
    }
    match missing.is_empty() {
        true => Ok(Some(smtp)),
        false => Err(ConfigError(format!(
            "{} must be set if smtp-url is: mails would have a sender or a link that only this machine knows",
            missing.join(" and ")
        ))),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    whole(text, 1..=3600).map(|count| Duration::from_secs(count.into()))
}

/// Reads the most connections of one address; 0 is the default share.
fn share(text: &str) -> Result<Option<usize>, String> {
    whole(text, 0..=1_000_000).map(|count| (count > 0).then_some(count as usize))
}

fn rate(text: &str) -> Result<u32, String> {
    whole(text, 0..=1_000_000)
}

#[cfg(test)]
mod tests;
