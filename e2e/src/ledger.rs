//! Reads the coupon histories of a merchant, whole.

use serde_json::Value;

use crate::actors::Account;

/// Reads all entries that match, oldest first, page by page.
///
/// # Panics
/// A page is refused, or does not continue the one before.
pub async fn read(reader: &Account, merchant: i64, filters: &[(&str, &str)]) -> Vec<Value> {
    pages(reader, merchant, filters, 100).await
}

/// Reads as [`read`], with pages of this size.
///
/// # Panics
/// A page is refused, or does not continue the one before.
pub async fn pages(
    reader: &Account,
    merchant: i64,
    filters: &[(&str, &str)],
    size: usize,
) -> Vec<Value> {
    let mut entries = Vec::new();
    let mut cursor: Option<String> = None;
    let size_text = size.to_string();
    loop {
        let mut query = filters.to_vec();
        query.push(("size", &size_text));
        if let Some(cursor) = &cursor {
            query.push(("nextCursor", cursor));
        }
        let answer = reader.histories(merchant, &query).await;
        let data = answer.ok();
        let content = data["content"].as_array().expect("a list");
        assert!(content.len() <= size, "{answer}");
        assert_eq!(data["size"], content.len(), "{answer}");
        entries.extend(content.iter().cloned());
        cursor = data["nextCursor"].as_str().map(str::to_owned);
        assert_eq!(
            data["hasMore"].as_bool(),
            Some(cursor.is_some()),
            "{answer}"
        );
        if cursor.is_none() {
            return entries;
        }
        assert_eq!(
            content.len(),
            size,
            "a page with more to come is full: {answer}"
        );
    }
}

/// Returns a text field of an entry, empty where it is null.
#[must_use]
pub fn text<'a>(entry: &'a Value, field: &str) -> &'a str {
    entry[field].as_str().unwrap_or_default()
}

/// Returns the entries of one action.
#[must_use]
pub fn actions<'a>(entries: &'a [Value], action: &str) -> Vec<&'a Value> {
    entries
        .iter()
        .filter(|entry| entry["actionType"] == action)
        .collect()
}
