//! Settings: flag, then `GOODPON_*` variable, then TOML file, then default. What is not understood is an error
//! that names the setting and where its value came from.

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
    /// In flags as it stands, in the file with `_` for `-`, in the environment in capitals behind `GOODPON_`.
    pub name: &'static str,
    /// What its value looks like.
    pub value: &'static str,
    /// Its value where none is given.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
    /// How far it is shown.
    pub secrecy: Secrecy,
}

/// How far a setting's value is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// Whole.
    Open,
    /// Not at all.
    Secret,
    /// All but the password in the URL.
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

    /// The name of its environment variable.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("GOODPON_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// Its key in the TOML file.
    #[must_use]
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }
}

/// Every setting, in the order in which they are shown.
pub const SPECS: [Spec; 45] = [
    Spec::open("data-dir", "DIR", "./goodpon-data", "Folder that holds the database and generated secrets"),
    Spec::open("database-url", "URL", "", "MySQL 8.4 or MariaDB 10.11, mysql://user:password@host:3306/database; by default an embedded database in the data folder. With it go valkey-url and kafka-brokers")
        .secret(Secrecy::SecretUrl),
    Spec::open("database-connections", "COUNT", "16", "Connections to MySQL at the most, per process"),
    Spec::open("valkey-url", "URL", "", "Valkey 8, valkey://user:password@host:6379, or valkeys:// for TLS")
        .secret(Secrecy::SecretUrl),
    Spec::open("kafka-brokers", "HOST:PORT,…", "", "Some of the brokers of Kafka 3.5 or newer"),
    Spec::open("kafka-topic", "NAME", "issue-coupon-requested", "The log of accepted issues, made by `goodpon migrate`"),
    Spec::open("kafka-partitions", "COUNT", "12", "Partitions that `goodpon migrate` makes the topic with, or grows it to: issuers at most"),
    Spec::open("kafka-replication", "COUNT", "3", "Replicas that `goodpon migrate` makes the topic with"),
    Spec::open("kafka-accept-risks", "BOOL", "false", "Serve although the topic may lose what it acknowledged: for development, with one broker"),
    Spec::open("kafka-options", "KEY=VALUE,…", "", "Further properties of librdkafka, such as client.id=shop; TLS (security.protocol=SSL) needs a build with --features kafka-ssl")
        .secret(Secrecy::Secret),
    Spec::open("dashboard-addr", "HOST:PORT", "0.0.0.0:8080", "Where the dashboard API listens; port 0 is any free one"),
    Spec::open("partner-addr", "HOST:PORT", "0.0.0.0:8081", "Where the partner API listens"),
    Spec::open("admin-addr", "HOST:PORT", "127.0.0.1:9090", "Where /livez, /readyz and /metrics listen; not for the public"),
    Spec::open("admin-hosts", "NAME,…", "", "Names under which the admin port may be asked, beside localhost and addresses"),
    Spec::open("docs", "BOOL", "true", "Whether /docs and /openapi.json are served"),
    Spec::open("hsts-max-age-secs", "SECONDS", "0", "Max-age of Strict-Transport-Security; 0 sends no such header"),
    Spec::open("time-zone", "NAME", "Asia/Seoul", "IANA time zone in which dates are meant"),
    Spec::open("jwt-secret", "TEXT", "", "Signs access tokens, at least 32 bytes; by default generated into the data folder")
        .secret(Secrecy::Secret),
    Spec::open("cors-origins", "ORIGIN,…", "", "Browser origins that may call the dashboard API"),
    Spec::open("verify-link-base", "URL", "", "What /verify?token=… is appended to; by default http://localhost:<dashboard port>; must be set where smtp-url is"),
    Spec::open("mail-from", "ADDRESS", "Goodpon <no-reply@localhost.localdomain>", "Sender of mails; must be set where smtp-url is"),
    Spec::open("smtp-url", "URL", "", "Mail server, smtps://user:password@host or smtp://…; with a password TLS is required unless it ends in ?tls=opportunistic or ?tls=none (password in clear) or the host is this machine; without a server mails stay in `goodpon mailbox`")
        .secret(Secrecy::SecretUrl),
    Spec::open("max-connections", "COUNT", "8192", "Open connections per port; more wait"),
    Spec::open("max-connections-per-address", "COUNT", "0", "Of those, for one client address (IPv6: one /64), further ones being closed; 0 is an eighth of them, at least 64, and all of them with trust-forwarded-for"),
    Spec::open("request-timeout-secs", "SECONDS", "10", "A request that takes longer is answered 503"),
    Spec::open("body-timeout-secs", "SECONDS", "10", "How long a request's body may take to arrive"),
    Spec::open("header-timeout-secs", "SECONDS", "10", "How long a request's head may take to arrive"),
    Spec::open("keep-alive-secs", "SECONDS", "75", "How long a connection may stay idle between two requests"),
    Spec::open("drain-secs", "SECONDS", "0", "How long a stop leaves the ports open after /readyz has turned 503: behind a balancer, longer than it takes to notice, such as 5"),
    Spec::open("shutdown-timeout-secs", "SECONDS", "20", "How long running requests may take to finish at shutdown"),
    Spec::open("rate-partner-per-sec", "COUNT", "0", "Authenticated partner requests a second per client id; 0 is unlimited"),
    Spec::open("rate-sign-up-per-min", "COUNT", "20", "Sign-ups a minute per address and per e-mail; 0 is unlimited"),
    Spec::open("rate-login-per-min", "COUNT", "10", "Failed logins a minute per address and e-mail together, and ten times as many an hour per e-mail from all addresses but those it logged in from lately; 0 is unlimited"),
    Spec::open("rate-verify-per-min", "COUNT", "30", "Verifications a minute per address; 0 is unlimited"),
    Spec::open("rate-resend-per-min", "COUNT", "5", "Resent mails a minute per address and per e-mail; 0 is unlimited"),
    Spec::open("rate-auth-failures-per-min", "COUNT", "60", "Refused client secrets, access tokens and passwords a minute per address; good secrets and tokens pass all the same; 0 is unlimited"),
    Spec::open("rate-dashboard-per-min", "COUNT", "1200", "Dashboard calls a minute per account; 0 is unlimited"),
    Spec::open("tls-in-front", "BOOL", "false", "Something in front speaks TLS with the clients: no warning of plain HTTP at an address that other machines reach"),
    Spec::open("max-merchants-per-account", "COUNT", "100", "Merchants that an account may own; 0 is unlimited"),
    Spec::open("max-templates-per-merchant", "COUNT", "1000", "Coupon templates that a merchant may have, whatever their status; 0 is unlimited"),
    Spec::open("max-members-per-merchant", "COUNT", "200", "Members that a merchant may have, its owner included; 0 is unlimited"),
    Spec::open("trust-forwarded-for", "BOOL", "false", "Take the last entry of X-Forwarded-For for the client's address: only behind a proxy that sets it"),
    Spec::open("log-level", "LEVEL", "info", "error, warn, info, debug, trace, or directives such as info,goodpon_http=debug"),
    Spec::open("log-format", "auto|json|text", "auto", "How log lines look; auto is text on a terminal"),
    Spec::open("sweep-interval-secs", "SECONDS", "20", "Time between two looks for what has expired; up to 30 keeps it within a minute"),
];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A command line flag.
    Flag,
    /// That environment variable.
    Variable(String),
    /// That file.
    File(PathBuf),
    /// Nobody said anything.
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

/// Why settings cannot be used: one line that says which, from where, and what is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);
