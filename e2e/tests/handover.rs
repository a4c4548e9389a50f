//! Exchanges of the program under clients that never repeat a request, and programs that could not serve.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use goodpon_e2e::program::binary;
use goodpon_e2e::upgrade::{self, Way};
use goodpon_e2e::{Options, World};
use goodpon_waits::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_takes_over_in_place_refuses_nobody() {
    let tally = upgrade::run(Way::InPlace, 2, 2_000).await.unwrap();
    assert!(tally.ok > 0, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_held_sockets_refuses_nobody() {
    let tally = upgrade::run(Way::SocketRestart, 2, 2_000).await.unwrap();
    assert!(tally.ok > 0, "{tally:?}");
}

/// Puts a program under the name by which the server was started.
fn replace(link: &Path, script: &str) {
    std::fs::remove_file(link).unwrap();
    std::fs::write(link, script).unwrap();
    std::fs::set_permissions(link, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_program_that_cannot_serve_does_not_take_over() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("goodpon");
    symlink(binary(), &link).unwrap();
    let complaint = "the other program cannot take over";
    let options = Options::default().program(&link).expect_log(complaint);
    let world = World::with(options).await;
    let server = world.server();
    for (script, reason) in [
        (
            "#!/bin/sh\necho the schema is too new >&2\nexit 1\n",
            "the schema is too new",
        ),
        ("no program at all", "cannot be run"),
    ] {
        replace(&link, script);
        server.signal("HUP");
        eventually(reason, async || {
            let log = server.log();
            log.iter()
                .any(|line| line.contains(complaint) && line.contains(reason))
        })
        .await;
        world.owner.me().await.ok();
    }
}
