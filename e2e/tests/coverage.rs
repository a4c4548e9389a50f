//! Checks that the suite has a test of each code of the contract.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::expect::CODES;

/// The code that the contract reserves.
const UNREACHABLE: [&str; 1] = ["FORBIDDEN"];

#[test]
fn every_code_is_asked_for() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
    let sources = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let sources: Vec<_> = sources
        .filter(|path| !path.ends_with("coverage.rs"))
        .collect();
    let mut all: String = sources
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    // Two codes are asked for through assertions of their own.
    for (assertion, code) in [
        (".bad_fields(", "BAD_REQUEST"),
        (".validation_failed(", "COUPON_TEMPLATE_VALIDATION_FAILED"),
    ] {
        if all.contains(assertion) {
            all.push_str(&format!("\"{code}\""));
        }
    }
    let missing: Vec<_> = CODES
        .iter()
        .map(|(_, code, _, _)| *code)
        .filter(|code| !UNREACHABLE.contains(code) && !all.contains(&format!("\"{code}\"")))
        .collect();
    assert!(missing.is_empty(), "no test asks for {missing:?}");
}
