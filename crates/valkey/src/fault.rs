//! Classifies errors of calls to a server: whether the call may have had its effect, and whether the connection can still
//! be used.

use crate::info::Unusable;
use goodpon_application::ports::StoreError;
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// A classified error of a call.
pub(crate) struct CallError {
    /// The error that the caller gets.
    pub(crate) error: StoreError,
    /// The server's code of the error, or else the client's name for it.
    pub(crate) kind: String,
    /// The connection must not be used again: it is broken, or leads to a server that cannot serve now.
    pub(crate) spoils_connection: bool,
}

/// The codes with which a server refuses a call that it cannot serve now. The call had no effect: scripts are refused
/// before their first command.
const REFUSED_FOR_NOW: [&str; 10] = [
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

/// The codes with which a server refuses a call, likewise without effect, where a new connection may lead to a server that
/// can serve it.
const REFUSED_HERE: [&str; 5] = ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "WRONGPASS"];

/// Classifies the error of a call.
pub(crate) fn classify(error: &RedisError) -> CallError {
    let is_answer = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
    let kind = match error.code() {
        Some(code) if is_answer => code.to_owned(),
        _ if error.is_timeout() => "timeout".to_owned(),
        _ => error.category().to_owned(),
    };
    let unavailable = |may_have_happened| StoreError::Unavailable {
        reason: format!("Valkey: {}", text(error)),
        may_have_happened,
    };
    let (error, spoils_connection) = if !is_answer {
        (unavailable(true), true)
    } else if REFUSED_HERE.contains(&kind.as_str()) {
        (unavailable(false), true)
    } else if REFUSED_FOR_NOW.contains(&kind.as_str()) {
        (unavailable(false), false)
    } else {
        let reason = format!("Valkey: {}", text(error));
        (StoreError::Unexpected(reason), false)
    };
    CallError {
        error,
        kind,
        spoils_connection,
    }
}

/// Returns the text of an error; a server's answer as it gave it.
pub(crate) fn text(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

/// Returns whether a call failed because the server does not know the script yet.
pub(crate) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Returns the reason why no connection could be made, for operators.
pub(crate) fn connect_failure(error: &RedisError) -> Unusable {
    match error.code() {
        Some("NOAUTH") => Unusable::for_good("it asks for a password, and the URL has none"),
        Some("NOPERM") => Unusable::for_good(format!(
            "the user may not do what is needed: {}",
            text(error)
        )),
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            Unusable::for_good("wrong user or password")
        }
        _ if error.is_timeout() => "it does not answer in time".to_owned().into(),
        _ => text(error).into(),
    }
}
