//! Scripts: statements that are sent in one message and answered in one, because the latency of a redemption is mostly
//! that of its round trips.

use std::fmt::Write;

use mysql_async::{Params, Value};

/// A value in the text of a statement. It is written in decimal or hexadecimal digits, so that no value can be taken for
/// SQL.
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
    /// Returns the literal of a driver's value; `None` for a type that this crate does not use, such as dates and floats.
    fn of(value: &'a Value) -> Option<Self> {
        match value {
            Value::NULL => Some(Self::Null),
            Value::Int(number) => Some(Self::Number(*number)),
            Value::UInt(number) => i64::try_from(*number).ok().map(Self::Number),
            // Texts are sent as text: a column of text is not looked up by its index with bytes. A column of bytes takes
            // either.
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

/// Appends a statement with `values` in place of its question marks. Returns whether their numbers are equal.
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

/// Returns the text of a statement with its values in place of its parameters; `None` if a value has no literal.
pub(crate) fn in_text(sql: &str, params: &Params) -> Option<String> {
    let values = match params {
        Params::Positional(values) => &values[..],
        Params::Empty => &[],
        // This crate uses no named parameters.
        Params::Named(_) => return None,
    };
    let values: Option<Vec<Literal<'_>>> = values.iter().map(Literal::of).collect();
    let mut text = String::with_capacity(sql.len());
    fill_in(&mut text, sql, &values?).then_some(text)
}

/// Statements to be sent together by [`crate::session::Session::run_script`].
#[derive(Default)]
pub(crate) struct Script {
    sql: String,
    /// For each statement, whether it must change a row.
    must_change: Vec<bool>,
    /// True if a statement was given more or fewer values than it has question marks.
    is_malformed: bool,
}

impl Script {
    pub(crate) fn is_empty(&self) -> bool {
        self.must_change.is_empty()
    }

    /// Adds a statement with `values` in place of its question marks.
    pub(crate) fn add<const N: usize>(&mut self, sql: &str, values: [Literal<'_>; N]) {
        self.push(sql, &values, false);
    }

    /// Adds a statement that must change a row: if it changes none, another transaction was first, and the script fails.
    pub(crate) fn add_must_change<const N: usize>(&mut self, sql: &str, values: [Literal<'_>; N]) {
        self.push(sql, &values, true);
    }

    fn push(&mut self, sql: &str, values: &[Literal<'_>], must_change: bool) {
        self.is_malformed |= !fill_in(&mut self.sql, sql, values);
        self.sql.push(';');
        self.must_change.push(must_change);
    }

    /// Returns whether a statement was given more or fewer values than it has question marks. Such a script is not sent.
    pub(crate) fn is_malformed(&self) -> bool {
        self.is_malformed
    }

    /// Returns the text to send.
    pub(crate) fn sql(&self) -> &str {
        &self.sql
    }

    /// Returns for each statement whether it must change a row.
    pub(crate) fn must_change(&self) -> &[bool] {
        &self.must_change
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_needs_as_many_values_as_question_marks() {
        for (sql, is_malformed) in [("a = ?, b = ?", false), ("a = ?", true), ("?, ?, ?", true)] {
            let mut script = Script::default();
            script.add(sql, [1.into(), 2.into()]);
            assert_eq!(script.is_malformed(), is_malformed, "{sql}");
        }
    }

    #[test]
    fn values_are_written_in_digits() {
        let mut script = Script::default();
        script.add(
            "SET a = ?, b = ?, c = ?",
            ["'; --? 쿠".into(), Literal::Null, (-5).into()],
        );
        script.add_must_change("WHERE d = ?", [b"\0'\xff".as_slice().into()]);
        assert_eq!(
            script.sql(),
            "SET a = _utf8mb4 x'273b202d2d3f20ecbfa0', b = NULL, c = -5;WHERE d = x'0027ff';"
        );
        assert_eq!(script.must_change(), [false, true]);
    }
}
