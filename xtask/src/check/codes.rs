//! Codes of the ledger as digits in SQL: only `codec.rs` of each store knows the numbers, statements take them as parameters.
//!
//! Code of tests is left out: it pins the numbers, which never change, and writes wrong ones to see them found.
//! Migrations are left out too: what a released one says stays.

use proc_macro2::TokenTree;
use quote::ToTokens;

use super::sources::{Source, line, string, walk};

/// The columns that hold codes, in either store.
const CODED: &[&str] = &[
    "action",
    "discount_type",
    "limit_type",
    "role",
    "state",
    "status",
];

/// Words between a column and its code.
const BETWEEN: &[&str] = &["not", "in", "is", "between", "when", "case", "end"];

/// Every digit that stands for a code in a statement of the two stores.
pub fn check(sources: &[Source]) -> Vec<String> {
    let stores = ["crates/sqlite", "crates/mysql"];
    let mut faults = Vec::new();
    for source in sources.iter().filter(|one| stores.contains(&one.folder())) {
        for item in &source.shipped {
            walk(item.to_token_stream(), &mut |tree, _| {
                let found = string(tree).and_then(|sql| digit_of_a_code(&sql));
                faults.extend(found.map(|found| described(source, tree, &found)));
            });
        }
    }
    faults
}

fn described(source: &Source, tree: &TokenTree, found: &str) -> String {
    format!(
        "{}:{}: `{found}` has a code as a digit: take it from codec.rs as a parameter",
        source.name,
        line(tree)
    )
}

/// The part of a statement in which a coded column is compared with, or set to, a digit.
fn digit_of_a_code(sql: &str) -> Option<String> {
    let words = words(sql);
    words.iter().enumerate().find_map(|(index, word)| {
        if !CODED.contains(&word.to_lowercase().as_str()) {
            return None;
        }
        let between = |word: &&String| {
            let is_sign = word.chars().all(|sign| "=<>!(".contains(sign));
            is_sign || BETWEEN.contains(&word.to_lowercase().as_str())
        };
        let length = words[index + 1..].iter().take_while(between).count();
        let value = words.get(index + 1 + length)?;
        let is_code = length > 0 && value.chars().all(|digit| digit.is_ascii_digit());
        is_code.then(|| words[index..=index + 1 + length].join(" "))
    })
}

/// Names, numbers and signs of a statement; the table before a dot is left out.
fn words(sql: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut last_was_name = false;
    for letter in sql.chars() {
        let is_name = letter.is_alphanumeric() || letter == '_';
        match words.last_mut() {
            Some(word) if is_name && last_was_name => word.push(letter),
            _ if letter.is_whitespace() || letter == '\\' => {}
            _ => words.push(letter.into()),
        }
        last_was_name = is_name;
    }
    words
}

#[cfg(test)]
mod tests {
    use std::fs;

    use anyhow::Result;

    use super::*;
    use crate::process;

    #[test]
    fn a_digit_for_a_code_is_found_in_each_shape() {
        for sql in [
            "SELECT 1 FROM coupons WHERE status = 0",
            "UPDATE t SET limit_type=2, status = ?1",
            "SELECT * FROM h WHERE h.action IN (1, 2)",
            "WHERE action NOT IN (3)",
            "WHERE status <> 3",
            "WHERE status >= 1 AND x",
            "SELECT CASE role WHEN 0 THEN 'owner' END",
            "WHERE state IS NOT 1",
            "WHERE action BETWEEN 1 AND 2",
        ] {
            assert!(digit_of_a_code(sql).is_some(), "{sql}");
        }
    }

    #[test]
    fn parameters_and_other_columns_are_fine() {
        for sql in [
            "WHERE status = ?1 AND changes = 0",
            "WHERE status IN ({codes}) LIMIT 1",
            "WHERE action = {} AND own_status = 200",
            "SELECT status, 1 FROM coupons",
            "the status 503 is no statement",
        ] {
            assert_eq!(digit_of_a_code(sql), None, "{sql}");
        }
    }

    #[test]
    fn code_of_tests_and_other_crates_are_left_out() -> Result<()> {
        let text = "const A: &str = \"status = 1\"; #[cfg(test)] const B: &str = \"status = 1\";";
        let names = [
            "crates/sqlite/src/a.rs",
            "crates/mysql/tests/a.rs",
            "crates/http/src/a.rs",
        ];
        let sources: Result<Vec<Source>> =
            names.iter().map(|name| Source::parse(name, text)).collect();
        let found = check(&sources?);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("crates/sqlite/src/a.rs:1: `status = 1`"));
        Ok(())
    }

    /// Each codec names its enumerations after their columns, with the table before where two have one name.
    #[test]
    fn every_enumeration_of_the_codecs_is_a_known_column() -> Result<()> {
        for store in ["sqlite", "mysql"] {
            let path = process::root().join(format!("crates/{store}/src/codec.rs"));
            let text = fs::read_to_string(path)?;
            let names: Vec<&str> = text
                .lines()
                .filter(|line| {
                    line.starts_with("    ") && line.contains(" = 0, ") && line.ends_with('}')
                })
                .filter_map(|line| line.trim().split(':').next())
                .collect();
            assert!(names.len() >= 6, "{store}: {names:?}");
            for name in names {
                assert!(
                    CODED.iter().any(|column| name.ends_with(column)),
                    "{store}: {name}"
                );
            }
        }
        Ok(())
    }
}
