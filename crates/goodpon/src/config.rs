//! Settings, taken from a flag, else a `GOODPON_*` variable, else the TOML file, else the default. A bad value or an
//! unknown name is an error that names the setting and its source.

mod cautions;
mod report;
mod servers;
mod settings;
mod sources;
mod values;
mod web;

pub use cautions::is_loopback;
pub use report::{as_json, as_table};
pub use servers::Servers;
pub use settings::{ListenAddr, Settings, jwt_secret};
pub use sources::{Flags, Resolved, resolve, without_surroundings};

use std::fmt;
use std::path::PathBuf;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name as a flag; the file has `_` for `-`, the environment has it in capitals after `GOODPON_`.
    pub name: &'static str,
    /// The form of its value.
    pub value: &'static str,
    /// Its value if none is given.
    pub default: &'static str,
    /// Its help text.
    pub help: &'static str,
    /// The part of its value that is secret.
    pub secrecy: Secrecy,
}

/// The part of a setting's value that must not be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// None of it.
    Open,
    /// All of it.
    Secret,
    /// The password in the URL.
    SecretUrl,
}

impl Spec {
    const fn open(
        name: &'static str,
        value: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            value,
            default,
            help,
            secrecy: Secrecy::Open,
        }
    }

    const fn secret(self, secrecy: Secrecy) -> Self {
        Self { secrecy, ..self }
    }

    /// Returns the name of its environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("GOODPON_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// Returns its key in the TOML file.
    #[must_use]
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }
}

/// Every setting, in the order of `goodpon config` and of the help.
pub const SPECS: [Spec; 45] = [
    Spec::open("data-dir", "DIR", "./goodpon-data", "Folder that holds the database and generated secrets"),
    Spec::open("database-url", "URL", "", "MySQL 8.4 or MariaDB 10.11, mysql://user:password@host:3306/database; needs valkey-url and kafka-brokers too. By default an embedded database in the data folder")
        .secret(Secrecy::SecretUrl),
    Spec::open("database-connections", "COUNT", "16", "The most connections to MySQL, per process"),
    Spec::open("valkey-url", "URL", "", "Valkey 8, valkey://user:password@host:6379, or valkeys:// for TLS")
        .secret(Secrecy::SecretUrl),
    Spec::open("kafka-brokers", "HOST:PORT,…", "", "Some of the brokers of Kafka 3.5 or newer"),
    Spec::open("kafka-topic", "NAME", "issue-coupon-requested", "The topic of accepted issues, created by `goodpon migrate`"),
    Spec::open("kafka-partitions", "COUNT", "12", "Partitions of the topic, to which `goodpon migrate` creates or grows it; the most issuers that can work at a time"),
    Spec::open("kafka-replication", "COUNT", "3", "Replicas of the topic when `goodpon migrate` creates it"),
    Spec::open("kafka-accept-risks", "BOOL", "false", "Serve although the topic may lose events that it acknowledged: for development, with one broker"),
    Spec::open("kafka-options", "KEY=VALUE,…", "", "Further properties of librdkafka, such as client.id=shop; TLS (security.protocol=SSL) needs a build with --features kafka-ssl")
        .secret(Secrecy::Secret),
    Spec::open("dashboard-addr", "HOST:PORT", "0.0.0.0:8080", "Address of the dashboard API; port 0 is any free one"),
    Spec::open("partner-addr", "HOST:PORT", "0.0.0.0:8081", "Address of the partner API"),
    Spec::open("admin-addr", "HOST:PORT", "127.0.0.1:9090", "Address of the admin port with /livez, /readyz and /metrics; not for the public"),
    Spec::open("admin-hosts", "NAME,…", "", "Host names by which the admin port may be called, beside localhost and IP addresses"),
    Spec::open("docs", "BOOL", "true", "Serve /docs and /openapi.json"),
    Spec::open("hsts-max-age-secs", "SECONDS", "0", "Max-age of Strict-Transport-Security; 0 sends no such header"),
    Spec::open("time-zone", "NAME", "Asia/Seoul", "IANA time zone of dates and local times"),
    Spec::open("jwt-secret", "TEXT", "", "Signs access tokens, at least 32 bytes; by default generated into the data folder")
        .secret(Secrecy::Secret),
    Spec::open("cors-origins", "ORIGIN,…", "", "Browser origins that may call the dashboard API"),
    Spec::open("verify-link-base", "URL", "", "URL to which /verify?token=… is appended; by default http://localhost:<dashboard port>; must be set if smtp-url is"),
    Spec::open("mail-from", "ADDRESS", "Goodpon <no-reply@localhost.localdomain>", "Sender of mails; must be set if smtp-url is"),
    Spec::open("smtp-url", "URL", "", "Mail server, smtps://user:password@host or smtp://…; with a password TLS is required unless it ends in ?tls=opportunistic or ?tls=none (password in clear) or the host is this machine; without a server mails stay in `goodpon mailbox`")
        .secret(Secrecy::SecretUrl),
    Spec::open("max-connections", "COUNT", "8192", "The most open connections per port; further ones wait"),
    Spec::open("max-connections-per-address", "COUNT", "0", "The most of them from one client address (IPv6: one /64); further ones are closed; 0 is an eighth of them, at least 64, and all of them with trust-forwarded-for"),
    Spec::open("request-timeout-secs", "SECONDS", "10", "A request that takes longer is answered 503"),
    Spec::open("body-timeout-secs", "SECONDS", "10", "The longest time for a request's body to arrive"),
    Spec::open("header-timeout-secs", "SECONDS", "10", "The longest time for a request's head to arrive"),
    Spec::open("keep-alive-secs", "SECONDS", "75", "The longest time that a connection may be idle between two requests"),
    Spec::open("drain-secs", "SECONDS", "0", "Time for which a stop leaves the ports open after /readyz has turned 503: behind a balancer, longer than it takes to notice, such as 5"),
    Spec::open("shutdown-timeout-secs", "SECONDS", "20", "The longest time for running requests to finish at shutdown"),
    Spec::open("rate-partner-per-sec", "COUNT", "0", "Authenticated partner requests a second per client id; 0 is unlimited"),
    Spec::open("rate-sign-up-per-min", "COUNT", "20", "Sign-ups a minute per address and per e-mail; 0 is unlimited"),
    Spec::open("rate-login-per-min", "COUNT", "10", "Failed logins a minute per address and e-mail together, and ten times as many an hour per e-mail from all addresses but those it logged in from lately; 0 is unlimited"),
    Spec::open("rate-verify-per-min", "COUNT", "30", "Verifications a minute per address; 0 is unlimited"),
    Spec::open("rate-resend-per-min", "COUNT", "5", "Resent mails a minute per address and per e-mail; 0 is unlimited"),
    Spec::open("rate-auth-failures-per-min", "COUNT", "60", "Refused client secrets, access tokens and passwords a minute per address; valid secrets and tokens pass beyond that too; 0 is unlimited"),
    Spec::open("rate-dashboard-per-min", "COUNT", "1200", "Dashboard calls a minute per account; 0 is unlimited"),
    Spec::open("tls-in-front", "BOOL", "false", "A proxy in front terminates TLS: no warning of plain HTTP at an address that other machines can reach"),
    Spec::open("max-merchants-per-account", "COUNT", "100", "Merchants that an account may own; 0 is unlimited"),
    Spec::open("max-templates-per-merchant", "COUNT", "1000", "Coupon templates of any status that a merchant may have; 0 is unlimited"),
    Spec::open("max-members-per-merchant", "COUNT", "200", "Members that a merchant may have, its owner included; 0 is unlimited"),
    Spec::open("trust-forwarded-for", "BOOL", "false", "Use the last entry of X-Forwarded-For as the client's address: only behind a proxy that sets it"),
    Spec::open("log-level", "LEVEL", "info", "error, warn, info, debug, trace, or directives such as info,goodpon_web=debug"),
    Spec::open("log-format", "auto|json|text", "auto", "Format of log lines; auto is text on a terminal, else JSON"),
    Spec::open("sweep-interval-secs", "SECONDS", "20", "Time between two sweeps for expired coupons and templates; at most 30, to keep expiry within a minute"),
];

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A command line flag.
    Flag,
    /// The environment variable of that name.
    Variable(String),
    /// The TOML file.
    File(PathBuf),
    /// The default: the value was not given.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why settings cannot be used: one line that names the setting, its source, and the problem.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);
