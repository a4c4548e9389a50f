//! Settings and names that mean nothing, or something else to another program: refused, or taken as they stand.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Output;

use goodpon_e2e::program::goodpon;
use goodpon_e2e::{Options, Server};

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Asserts a start that fails with one line that holds these words.
#[track_caller]
fn assert_refused(options: Options, words: &[&str]) {
    let Err(message) = Server::try_start(options) else {
        panic!("it started")
    };
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

#[test]
fn what_is_given_and_empty_or_cannot_take_effect_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\u{feff}\r\n").unwrap();
    let empty = empty.to_str().unwrap();
    assert_refused(
        Options::default().env("GOODPON_JWT_SECRET_FILE", empty),
        &["GOODPON_JWT_SECRET_FILE", empty, "is empty"],
    );
    assert_refused(
        Options::default().args(["--smtp-url", "smtp://127.0.0.1:25"]),
        &["mail-from and verify-link-base must be set"],
    );
    assert_refused(
        Options::default().args(["--cors-origins", "https://shop.example/console"]),
        &["cors-origins", "without a path"],
    );
    assert_refused(
        Options::default().env("GOODPON_JWT_SECRET", &"k".repeat(32)),
        &["jwt-secret", "can be guessed"],
    );
    let nothing = [
        "GOODPON_CONFIG",
        "GOODPON_JWT_SECRET",
        "GOODPON_JWT_SECRET_FILE",
        "GOODPON_LOG_LEVEL",
    ];
    let output = goodpon(&["config"], &nothing.map(|name| (name, "")));
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn names_of_backups_are_taken_as_they_stand() {
    let server = Server::start(Options::default().embedded());
    let folder = tempfile::tempdir().unwrap();
    for name in ["file:backup.db?mode=memory", ":memory:"] {
        let file = folder.path().join(name);
        let run = |args: &[&str]| {
            goodpon_e2e::program::command()
                .args(args)
                .current_dir(folder.path())
                .output()
                .unwrap()
        };
        let data_dir = server.data_dir().to_str().unwrap();
        let output = run(&["backup", "--data-dir", data_dir, name]);
        assert!(output.status.success(), "{}", text(&output));
        assert!(file.is_file(), "{name}");
        let output = run(&["restore", "--data-dir", &format!("into {name}"), name]);
        assert!(output.status.success(), "{}", text(&output));
        let output = run(&["verify", "--data-dir", &format!("into {name}")]);
        assert!(output.status.success(), "{}", text(&output));
    }
    for (command, name, hint) in [
        ("backup", "-", "./-"),
        ("restore", "-", "./-"),
        ("backup", "folder/", "a folder"),
    ] {
        let output = server.run_cli(&[command, name]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains(hint), "{}", text(&output));
    }
}
