//! The program `goodpon`: configuration, refusals that say what to do, verify, backup and restore, demo.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::process::Command;

use goodpon_e2e::program::{goodpon, text};
use goodpon_e2e::world::PASSWORD;
use goodpon_e2e::{Api, Options, Server, Template, World};
use serde_json::Value;

/// Asserts a start that fails with a message that holds these words.
#[track_caller]
fn assert_refused(options: Options, words: &[&str]) {
    let Err(message) = Server::try_start(options) else {
        panic!("it started")
    };
    // A setting is the same whether it is given as a flag, a variable or a key.
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    for word in words {
        assert!(
            plain(&message).contains(&plain(word)),
            "{word:?} is not in: {message}"
        );
    }
    assert!(!message.contains("panicked"), "{message}");
}

#[test]
fn a_bad_setting_is_named() {
    assert_refused(Options::default().args(["--nonsense", "1"]), &["nonsense"]);
    assert_refused(
        Options::default().args(["--time-zone", "Mars/Olympus"]),
        &["time-zone", "Mars/Olympus"],
    );
    assert_refused(
        Options::default().env("GOODPON_NONSENSE", "1"),
        &["GOODPON_NONSENSE"],
    );
    assert_refused(
        Options::default().env("GOODPON_MAX_CONNECTIONS", "many"),
        &["max-connections", "many"],
    );
    assert_refused(
        Options::default().env("GOODPON_JWT_SECRET", "short"),
        &["jwt-secret", "32"],
    );
    assert_refused(
        Options::default().args(["--smtp-url", "ftp://x"]),
        &["smtp-url"],
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("goodpon.toml");
    std::fs::write(&file, "max_conections = 5\n").unwrap();
    let config = file.to_str().unwrap();
    assert_refused(
        Options::default().args(["--config", config]),
        &["max_conections"],
    );
    std::fs::write(&file, "max_connections = \"lots\"\n").unwrap();
    assert_refused(
        Options::default().env("GOODPON_CONFIG", config),
        &["max_connections"],
    );
    std::fs::write(&file, "max_connections = [\n").unwrap();
    assert_refused(
        Options::default().args(["--config", config]),
        &["goodpon.toml"],
    );
    assert_refused(
        Options::default().args(["--config", "/nonexistent/goodpon.toml"]),
        &["/nonexistent/goodpon.toml"],
    );
}

#[test]
fn a_secret_file_that_cannot_be_read_is_named() {
    assert_refused(
        Options::default().env("GOODPON_JWT_SECRET_FILE", "/nonexistent/key"),
        &["/nonexistent/key"],
    );
}

#[test]
fn a_port_in_use_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let folder = tempfile::tempdir().unwrap();
    let output = goodpon(
        &[
            "serve",
            "--data-dir",
            folder.path().to_str().unwrap(),
            "--dashboard-addr",
            "127.0.0.1:0",
            "--partner-addr",
            &address,
            "--admin-addr",
            "127.0.0.1:0",
        ],
        &[],
    );
    assert!(!output.status.success());
    assert!(text(&output).contains(&address), "{}", text(&output));
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // A file where the folder should be stops even root.
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_refused(
        Options::default().data_dir(&file.join("data")),
        &[file.to_str().unwrap()],
    );
    assert_refused(
        Options::default().data_dir(Path::new("/proc/goodpon-data")),
        &["/proc/goodpon-data"],
    );
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let server = Server::start(Options::default().embedded());
    assert_refused(
        Options::default().data_dir(server.data_dir()),
        &[server.data_dir().to_str().unwrap()],
    );
    server.kill9();
    // A lock left by a crash is no lock.
    server.restart();
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let server = Server::start(Options::default().embedded());
    assert!(server.terminate().success());
    let path = server.data_dir().join("goodpon.db");
    let version = |sql: &str| {
        let database = rusqlite::Connection::open(&path).unwrap();
        database.execute_batch(sql).unwrap();
        database
            .query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
            .unwrap()
    };
    assert_eq!(version("PRAGMA user_version = 9999"), 9999);
    assert_refused(Options::default().data_dir(server.data_dir()), &["9999"]);
    assert_eq!(
        server.run_cli(&["verify"]).status.code(),
        Some(2),
        "verify could not run"
    );
    assert_eq!(version(""), 9999);
}

#[tokio::test]
async fn verify_is_clean_while_serving_and_stopped_and_names_differences() {
    let world = World::with(Options::default()).await;
    let template = world
        .publish(&Template::default().issue_limit(5).name("대상"))
        .await;
    let coupon = world.shop.issued(template, "u").await;
    world.shop.redeem(&coupon, "u", 5000, "o").await.ok();
    let output = world.server().run_cli(&["verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(world.server().terminate().success());
    let output = world.server().run_cli(&["verify"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    world.server().damage("DELETE FROM coupon_histories");
    let output = world.server().run_cli(&["verify"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains(&coupon),
        "it names the coupon: {}",
        text(&output)
    );
    let missing = goodpon(&["verify", "--data-dir", "/nonexistent/folder"], &[]);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing));
}

#[tokio::test]
async fn a_backup_taken_while_serving_is_restored() {
    let world = World::with(Options::default().embedded()).await;
    let template = world.publish(&Template::default()).await;
    world.shop.issue(template, "before").await.ok();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup.db");
    let file = file.to_str().unwrap();
    let output = world.server().run_cli(&["backup", file]);
    assert!(output.status.success(), "{}", text(&output));
    for command in [output, world.server().run_cli(&["verify"])] {
        let printed = String::from_utf8_lossy(&command.stderr);
        assert!(
            printed.contains("the log of the database cannot be moved"),
            "it says that it holds the log: {printed}"
        );
    }
    world.shop.issue(template, "after").await.ok();
    let again = world.server().run_cli(&["backup", file]);
    assert!(
        !again.status.success() && text(&again).contains(file),
        "a backup overwrites nothing: {}",
        text(&again)
    );

    // Not into the folder that is in use, nor over records that are there.
    for _ in 0..2 {
        let refused = world.server().run_cli(&["restore", file]);
        assert!(!refused.status.success(), "{}", text(&refused));
        world.server().kill9();
    }
    let fresh = folder.path().join("restored");
    let fresh = fresh.to_str().unwrap();
    let output = goodpon(&["restore", "--data-dir", fresh, file], &[]);
    assert!(output.status.success(), "{}", text(&output));
    let said = "copy the file jwt-secret of the old data folder";
    assert!(text(&output).contains(said), "{}", text(&output));
    let key = world.server().data_dir().join("jwt-secret");
    std::fs::copy(key, Path::new(fresh).join("jwt-secret")).unwrap();
    let refused = goodpon(&["restore", "--data-dir", fresh, file], &[]);
    assert!(!refused.status.success(), "it refuses to overwrite");
    assert!(
        goodpon(&["verify", "--data-dir", fresh], &[])
            .status
            .success()
    );

    let restored =
        std::sync::Arc::new(Server::start(Options::default().data_dir(Path::new(fresh))));
    let client = goodpon_e2e::Client::new(&restored);
    let shop = goodpon_e2e::Shop {
        client: client.clone(),
        ..world.shop.clone()
    };
    shop.issue(template, "before")
        .await
        .refused("COUPON_ALREADY_ISSUED");
    shop.issue(template, "after").await.ok();
    let owner = goodpon_e2e::Account {
        client: client.clone(),
        ..(*world.owner).clone()
    };
    owner.me().await.ok();
    let anonymous = goodpon_e2e::Anonymous { client };
    anonymous.login(&world.owner.email, PASSWORD).await.ok();
}

#[test]
fn a_broken_backup_is_not_restored() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("broken.db");
    std::fs::write(&file, b"SQLite format 3\0 but not really").unwrap();
    let target = folder.path().join("data");
    let output = goodpon(
        &[
            "restore",
            "--data-dir",
            target.to_str().unwrap(),
            file.to_str().unwrap(),
        ],
        &[],
    );
    assert!(!output.status.success());
    assert!(
        !target.join("goodpon.db").exists(),
        "nothing is left behind"
    );
}

#[test]
fn config_prints_values_and_sources_and_masks_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("goodpon.toml");
    std::fs::write(
        &file,
        "max_connections = 77\nlog_level = \"debug\"\ntime_zone = \"UTC\"\n",
    )
    .unwrap();
    let secret_file = folder.path().join("smtp");
    std::fs::write(
        &secret_file,
        "smtp://someone:hidden-word@mail.example.com:587\n",
    )
    .unwrap();
    let output = goodpon(
        &[
            "config",
            "--config",
            file.to_str().unwrap(),
            "--log-level",
            "warn",
        ],
        &[
            ("GOODPON_MAX_CONNECTIONS", "88"),
            (
                "GOODPON_JWT_SECRET",
                "a-very-secret-signing-key-of-many-bytes",
            ),
            ("GOODPON_SMTP_URL_FILE", secret_file.to_str().unwrap()),
            ("GOODPON_MAIL_FROM", "shop@example.com"),
            ("GOODPON_VERIFY_LINK_BASE", "https://shop.example.com"),
        ],
    );
    let printed = text(&output);
    assert!(output.status.success(), "{printed}");
    let line = |name: &str| {
        let found = printed.lines().find(|line| line.contains(name));
        found
            .unwrap_or_else(|| panic!("{name} is not in: {printed}"))
            .to_owned()
    };
    assert!(line("log-level").contains("warn"), "a flag wins: {printed}");
    assert!(
        line("max-connections").contains("88"),
        "the environment comes next: {printed}"
    );
    assert!(
        line("time-zone").contains("UTC"),
        "then the file: {printed}"
    );
    assert!(
        line("partner-addr").contains("8081"),
        "then the default: {printed}"
    );
    for secret in ["a-very-secret", "hidden-word"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[test]
fn the_generated_key_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start(Options::default());
    let mut secrets = 0;
    for entry in std::fs::read_dir(server.data_dir()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.contains("jwt") || name.contains("secret") || name.contains("key") {
            secrets += 1;
            assert_eq!(
                entry.metadata().unwrap().permissions().mode() & 0o077,
                0,
                "{name}"
            );
        }
    }
    assert!(secrets > 0, "the key was generated into the data folder");
}

#[tokio::test]
async fn a_generated_key_outlives_a_restart() {
    let world = World::with(Options::default()).await;
    world.server().kill9();
    world.server().restart();
    world.owner.me().await.ok();
}

#[tokio::test]
async fn the_mailbox_filters_by_address() {
    let world = World::with(Options::default()).await;
    world
        .anonymous
        .sign_up("someone@example.com", PASSWORD, "하나")
        .await
        .ok();
    world.anonymous.resend("someone@example.com").await.ok();
    assert_eq!(world.server().mailbox("someone@example.com").len(), 2);
    assert!(world.server().mailbox("nobody@example.com").is_empty());
    let all = world.server().run_cli(&["mailbox", "--json"]);
    let all: Vec<Value> = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!(all.len(), 3, "the owner's too");
    assert_eq!(
        (&all[0]["to"], &all[2]["to"]),
        (
            &"someone@example.com".into(),
            &world.owner.email.as_str().into()
        )
    );
    let plain = world.server().run_cli(&["mailbox"]);
    assert!(
        text(&plain).contains("someone@example.com") && text(&plain).contains("/verify?token=")
    );
}

#[test]
fn the_curl_lines_of_the_demo_work_as_they_stand() {
    let server = Server::start(Options::default().args(["--demo"]));
    assert_script_works(&demo_script(&server, 0));
    assert!(server.run_cli(&["verify"]).status.success());
    // Made once: a second start uses the same shop, and prints lines that are still true.
    assert!(server.terminate().success());
    let length = server.stdout().len();
    server.restart();
    assert_script_works(&demo_script(&server, length));
}

fn assert_script_works(script: &str) {
    let calls = script
        .lines()
        .filter(|line| line.starts_with("curl "))
        .count();
    assert!(calls >= 4, "issue, list, redeem, cancel: {script}");
    let output = Command::new("sh")
        .args(["-e", "-c", script])
        .output()
        .unwrap();
    let printed = text(&output);
    assert!(
        output.status.success(),
        "{script}
{printed}"
    );
    assert_eq!(
        printed.matches("\"result\":\"SUCCESS\"").count(),
        calls,
        "{script}
{printed}"
    );
    for part in [
        "발급되었습니다",
        "\"coupons\":[{",
        "\"redeemedAt\"",
        "\"canceledAt\"",
    ] {
        assert!(printed.contains(part), "{part} is not in: {printed}");
    }
}

/// Waits for the last of the lines, and returns stdout from a length on.
fn demo_script(server: &Server, since: usize) -> String {
    // The lines come around the moment of readiness, on a pipe of their own.
    for _ in 0..400 {
        if server.stdout()[since..].contains("/cancel") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    server.stdout()[since..].to_owned()
}

#[tokio::test]
async fn the_demo_refuses_a_folder_with_other_merchants() {
    let world = World::with(Options::default().embedded()).await;
    assert!(world.server().terminate().success());
    let options = Options::default()
        .data_dir(world.server().data_dir())
        .args(["--demo"]);
    assert_refused(options, &["demo"]);
}

#[tokio::test]
async fn docs_work_on_both_ports() {
    let world = World::with(Options::default()).await;
    for api in [Api::Dashboard, Api::Partner] {
        let page = world
            .client
            .http()
            .get(format!("{}/docs/", world.server().base(api)))
            .send()
            .await
            .unwrap();
        assert_eq!(page.status(), 200);
        let html = page.text().await.unwrap();
        assert!(html.to_lowercase().contains("<html"), "{html}");
        assert!(
            !html.contains("src=\"http") && !html.contains("href=\"http"),
            "works with no internet: {html}"
        );
    }
}

#[test]
fn help_and_version_are_printed() {
    for args in [&["--help"][..], &["serve", "--help"], &["--version"]] {
        let output = goodpon(args, &[]);
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{args:?}: {}",
            text(&output)
        );
    }
    assert!(!goodpon(&["no-such-command"], &[]).status.success());
}

/// Starts a part with these settings besides those of real servers. It must end by itself; returns its output.
fn refused_start(role: &str, settings: &[(&str, &str)]) -> String {
    let rooms = goodpon_e2e::backend::Rooms::make();
    let mut env: Vec<_> = rooms
        .env()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    env.retain(|(name, _)| !settings.iter().any(|(other, _)| other == name));
    env.extend(settings);
    let addresses = [
        "--partner-addr",
        "127.0.0.1:0",
        "--admin-addr",
        "127.0.0.1:0",
    ];
    let output = goodpon(&[&[role], &addresses[..]].concat(), &env);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let printed = String::from_utf8_lossy(&output.stderr);
    printed.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn what_no_waiting_helps_against_ends_the_start_with_one_line() {
    let database = goodpon_e2e::backend::given("GOODPON_DATABASE_URL");
    let valkey = goodpon_e2e::backend::given("GOODPON_VALKEY_URL");
    let (before, host) = database.split_once('@').unwrap();
    let (_, user_and_password) = before.split_once("//").unwrap();
    let wrong = format!("mysql://nobody:hunter2@{host}");
    let nowhere = format!(
        "mysql://{user_and_password}@{}/nowhere",
        host.split('/').next().unwrap()
    );
    let numbered = format!("{valkey}/3");
    let guarded = valkey.replacen("://", "://nobody:hunter2@", 1);
    for (settings, printed) in [
        (
            &[("GOODPON_DATABASE_URL", wrong.as_str())][..],
            "refuses database-url",
        ),
        (
            &[("GOODPON_DATABASE_URL", nowhere.as_str())],
            "refuses database-url",
        ),
        (
            &[("GOODPON_DATABASE_URL", "postgres://h/d")],
            "database-url",
        ),
        (
            &[("GOODPON_VALKEY_URL", guarded.as_str())],
            "wrong user or password",
        ),
        (&[("GOODPON_VALKEY_URL", "http://h")], "valkey"),
        (
            &[("GOODPON_VALKEY_URL", numbered.as_str())],
            "names a database",
        ),
        (
            &[("GOODPON_KAFKA_ACCEPT_RISKS", "false")],
            "kafka-accept-risks",
        ),
        (
            &[("GOODPON_KAFKA_OPTIONS", "no.such.property=1")],
            "no.such.property",
        ),
    ] {
        let line = refused_start("partner", settings);
        assert!(
            line.starts_with("goodpon: ") && line.contains(printed),
            "{settings:?}: {line}"
        );
        assert!(!line.contains("hunter2"), "{line}");
    }
    let line = refused_start("dashboard", &[]);
    assert!(line.contains("jwt-secret"), "{line}");
    let alone = goodpon(&["partner"], &[]);
    assert!(text(&alone).contains("database-url"), "{}", text(&alone));
    let half = goodpon(&["serve"], &[("GOODPON_DATABASE_URL", "mysql://u:p@h/d")]);
    assert!(
        text(&half).contains("valkey-url, kafka-brokers is missing"),
        "{}",
        text(&half)
    );
}
