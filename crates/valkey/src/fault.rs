//! What goes wrong in talking to a server, and what it leaves open.

use crate::info::WhyNot;
use goodpon_application::ports::StoreError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// An error, judged.
pub(crate) struct Fault {
    /// What the caller hears.
    pub(crate) error: StoreError,
    /// The server's word for it, or what the client calls it.
    pub(crate) kind: String,
    /// Whether the connection must not be used again: it is broken, or leads to a server that is no use now.
    pub(crate) spoils_connection: bool,
}

/// The server is there and well, but cannot do it now. It said so before it did anything: scripts are refused whole.
const NOT_NOW: [&str; 10] = [
    "OOM",
    "MISCONF",
    "NOREPLICAS",
    "BUSY",
    "CLUSTERDOWN",
    "MOVED",
    "ASK",
    "TRYAGAIN",
    "NOPERM",
    "CROSSSLOT",
];

/// Likewise, and a new connection may lead to a better one.
const NOT_HERE: [&str; 5] = ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "WRONGPASS"];

/// Judges what a call ended with.
pub(crate) fn judge(error: &RedisError) -> Fault {
    let is_answer = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
    let kind = match error.code() {
        Some(code) if is_answer => code.to_owned(),
        _ if error.is_timeout() => "timeout".to_owned(),
        _ => error.category().to_owned(),
    };
    let unavailable = |may_have_happened| StoreError::Unavailable {
        reason: format!("Valkey: {}", words(error)),
        may_have_happened,
    };
    let (error, spoils_connection) = if !is_answer {
        (unavailable(true), true)
    } else if NOT_HERE.contains(&kind.as_str()) {
        (unavailable(false), true)
    } else if NOT_NOW.contains(&kind.as_str()) {
        (unavailable(false), false)
    } else {
        let text = format!("Valkey: {}", words(error));
        (StoreError::Unexpected(text), false)
    };
    Fault {
        error,
        kind,
        spoils_connection,
    }
}

/// What happened: a server's answer as it gave it.
pub(crate) fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

/// Whether the server does not know the script yet.
pub(crate) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Why no connection could be made, for operators.
pub(crate) fn why_not_connected(error: &RedisError) -> WhyNot {
    match error.code() {
        Some("NOAUTH") => WhyNot::is_final("it asks for a password, and the URL bears none"),
        Some("NOPERM") => WhyNot::is_final(format!(
            "the user may not do what is needed: {}",
            words(error)
        )),
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            WhyNot::is_final("wrong user or password")
        }
        _ if error.is_timeout() => "it does not answer in time".to_owned().into(),
        _ => words(error).into(),
    }
}
