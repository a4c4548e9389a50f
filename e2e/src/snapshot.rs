//! Makes answers comparable from run to run, for snapshot tests.

use serde_json::{Map, Value};

use crate::client::Answer;
use crate::expect::{is_local_date_time, is_lower_hex};

/// Replaces values that differ from run to run, once their form is checked; sorts the keys.
fn blotted(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<_> = object.keys().cloned().collect();
            keys.sort();
            keys.into_iter()
                .map(|key| (key.clone(), blot(&key, &object[&key])))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.iter().map(blotted).collect(),
        other => other.clone(),
    }
}

fn blot(key: &str, value: &Value) -> Value {
    let Some(text) = value.as_str() else {
        let is_id = key == "id" || key.ends_with("Id");
        return if is_id && value.as_i64().is_some_and(|id| id > 0) {
            "[id]".into()
        } else {
            blotted(value)
        };
    };
    let placeholder = match key {
        "accessToken" => "[token]",
        "email" if text.ends_with("@example.com") => "[email]",
        "clientId" if text.starts_with("ck_") => "[client id]",
        "secret" if text.contains('*') => "[masked secret]",
        "secret" if text.starts_with("sk_") => "[secret]",
        "userCouponId" | "historyId" if is_lower_hex(text, 32) => "[hex id]",
        "nextCursor" => "[cursor]",
        _ if key.ends_with("At") && is_local_date_time(text) => "[time]",
        _ => text,
    };
    placeholder.into()
}

/// Returns a success answer with all values replaced that differ from run to run.
///
/// # Panics
/// It is no success.
#[must_use]
pub fn success(answer: &Answer) -> Value {
    answer.ok();
    blotted(&answer.json)
}
