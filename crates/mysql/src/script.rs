//! Statements that go to the server in one message and are answered in one: on the way of a redemption each round trip
//! counts.

use std::fmt::Write;

use mysql_async::{Params, Value};

/// A value as it stands in SQL. It is written with digits alone, decimal or hexadecimal, so that nothing in it can be
/// taken for SQL.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Literal<'a> {
    Null,
    Number(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
}

impl From<i64> for Literal<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<Option<i64>> for Literal<'_> {
    fn from(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Number)
    }
}

impl<'a> From<&'a [u8]> for Literal<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a [u8; 16]> for Literal<'a> {
    fn from(bytes: &'a [u8; 16]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a str> for Literal<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<Option<&'a str>> for Literal<'a> {
    fn from(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

impl<'a> Literal<'a> {
    /// `None` for what this crate never gives the driver: its times and ids are numbers and bytes.
    fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::NULL => Some(Self::Null),
            Value::Int(number) => Some(Self::Number(*number)),
            Value::UInt(number) => i64::try_from(*number).ok().map(Self::Number),
            // A column of bytes takes a text as its bytes, but a column of text does not find its index by bytes.
            Value::Bytes(bytes) => Some(match std::str::from_utf8(bytes) {
                Ok(text) => Self::Text(text),
                Err(_) => Self::Bytes(bytes),
            }),
            _ => None,
        }
    }
}

impl Literal<'_> {
    fn write(self, sql: &mut String) {
        // Writing into a String does not fail.
        let _ = match self {
            Self::Null => write!(sql, "NULL"),
            Self::Number(number) => write!(sql, "{number}"),
            Self::Bytes(bytes) => write_hex(sql, bytes),
            Self::Text(text) => {
                write!(sql, "_utf8mb4 ").and_then(|()| write_hex(sql, text.as_bytes()))
            }
        };
    }
}

fn write_hex(sql: &mut String, bytes: &[u8]) -> std::fmt::Result {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    sql.reserve(bytes.len() * 2 + 3);
    sql.push_str("x'");
    for byte in bytes {
        sql.push(DIGITS[usize::from(byte >> 4)].into());
        sql.push(DIGITS[usize::from(byte & 15)].into());
    }
    sql.push('\'');
    Ok(())
}

/// Appends a statement, `values` in the places of its question marks. Whether it has as many of these as of those.
fn fill_in(text: &mut String, sql: &str, values: &[Literal<'_>]) -> bool {
    let mut pieces = sql.split('?');
    text.push_str(pieces.next().unwrap_or_default());
    let mut values = values.iter();
    let mut fits = true;
    for piece in pieces {
        match values.next() {
            Some(value) => value.write(text),
            None => fits = false,
        }
        text.push_str(piece);
    }
    fits && values.next().is_none()
}

/// A statement that was to be prepared, with its values in the text.
pub(crate) fn in_text(sql: &str, params: &Params) -> Option<String> {
    let values = match params {
        Params::Positional(values) => &values[..],
        Params::Empty => &[],
        // None of ours has names.
        Params::Named(_) => return None,
    };
    let values: Option<Vec<Literal<'_>>> = values.iter().map(Literal::of).collect();
    let mut text = String::with_capacity(sql.len());
    fill_in(&mut text, sql, &values?).then_some(text)
}

/// Statements to be sent together; see [`crate::session::Session::together`].
#[derive(Default)]
pub(crate) struct Script {
    sql: String,
    /// Of each statement, whether it must change a row.
    musts: Vec<bool>,
    /// Whether a statement has more or fewer places than it was given values.
    is_wrong: bool,
}

impl Script {
    pub(crate) fn is_empty(&self) -> bool {
        self.musts.is_empty()
    }

    /// Adds a statement, `values` in the places of its question marks.
    pub(crate) fn say<const N: usize>(&mut self, sql: &str, values: [Literal<'_>; N]) {
        self.add(sql, &values, false);
    }

    /// Adds a statement that changes a row, unless another transaction was first.
    pub(crate) fn must<const N: usize>(&mut self, sql: &str, values: [Literal<'_>; N]) {
        self.add(sql, &values, true);
    }

    fn add(&mut self, sql: &str, values: &[Literal<'_>], must: bool) {
        self.is_wrong |= !fill_in(&mut self.sql, sql, values);
        self.sql.push(';');
        self.musts.push(must);
    }

    /// Whether a statement has more or fewer places than it was given values: then nothing of it may be sent.
    pub(crate) fn is_wrong(&self) -> bool {
        self.is_wrong
    }

    /// What is sent.
    pub(crate) fn sql(&self) -> &str {
        &self.sql
    }

    /// Of each statement, whether it must change a row.
    pub(crate) fn musts(&self) -> &[bool] {
        &self.musts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_needs_its_value_and_each_value_its_place() {
        for (sql, is_wrong) in [("a = ?, b = ?", false), ("a = ?", true), ("?, ?, ?", true)] {
            let mut script = Script::default();
            script.say(sql, [1.into(), 2.into()]);
            assert_eq!(script.is_wrong(), is_wrong, "{sql}");
        }
    }

    #[test]
    fn values_are_digits() {
        let mut script = Script::default();
        script.say(
            "SET a = ?, b = ?, c = ?",
            ["'; --? 쿠".into(), Literal::Null, (-5).into()],
        );
        script.must("WHERE d = ?", [b"\0'\xff".as_slice().into()]);
        assert_eq!(
            script.sql(),
            "SET a = _utf8mb4 x'273b202d2d3f20ecbfa0', b = NULL, c = -5;WHERE d = x'0027ff';"
        );
        assert_eq!(script.musts(), [false, true]);
    }
}
