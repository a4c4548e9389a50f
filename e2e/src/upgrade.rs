//! Upgrades of a server on one machine under clients that never repeat a request: none may notice.

use std::sync::Arc;

use goodpon_waits::eventually;

use crate::actors::issue_path;
use crate::no_retry::{NoRetryClients, Tally};
use crate::{Api, Options, Server, Template, World};

const CLIENTS: usize = 80;

/// Requests within the deadline of one wait.
const REQUESTS_PER_WAIT: u64 = 1_000;

/// The way from one program to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// SIGHUP: the program's file is executed in place.
    InPlace,
    /// SIGTERM, and a start with the same sockets, as with a socket unit of systemd.
    SocketRestart,
}

/// Serves `requests` issues and exchanges the program `upgrades` times meanwhile.
///
/// # Errors
/// A request failed without a documented answer, or `goodpon verify` finds differences.
///
/// # Panics
/// The program that takes over does not become ready.
pub async fn run(way: Way, upgrades: u64, requests: u64) -> Result<Tally, String> {
    let options = match way {
        Way::InPlace => Options::default(),
        Way::SocketRestart => Options::default().held_sockets(),
    };
    let world = World::with(options).await;
    let template = world.publish(&Template::default()).await;
    let server = world.server();
    let clients =
        NoRetryClients::start(CLIENTS, server.addr(Api::Partner), issues(&world, template));
    for upgrade in 1..=upgrades {
        sent(&clients, upgrade * requests / (upgrades + 1)).await;
        match way {
            Way::InPlace => {
                let process = server.pid();
                server.signal("HUP");
                ready_again(server, upgrade).await;
                assert_eq!(server.pid(), process, "the process stays");
            }
            Way::SocketRestart => {
                let server = Arc::clone(server);
                let restarted = tokio::task::spawn_blocking(move || {
                    let _ = server.terminate();
                    server.start_again();
                });
                restarted.await.map_err(|error| error.to_string())?;
            }
        }
    }
    sent(&clients, requests).await;
    let tally = clients.stop().await;
    if tally.failed() > 0 {
        return Err(format!("{way:?}: {tally:?}"));
    }
    let verified = server.run_cli(&["verify"]);
    match verified.status.success() {
        true => Ok(tally),
        false => Err(String::from_utf8_lossy(&verified.stdout).into_owned()),
    }
}

/// Makes the bytes of an issue to a user of a number.
fn issues(world: &World, template: i64) -> impl Fn(u64) -> Vec<u8> + Clone + Send + 'static {
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nX-Goodpon-Client-Id: {}\r\nX-Goodpon-Client-Secret: {}\r\n",
        issue_path(template),
        world.shop.client_id,
        world.shop.secret
    );
    move |number| {
        let body = format!(r#"{{"userId":"user-{number}"}}"#);
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }
}

/// Waits until the server has said `ready` once more than `upgrades` times.
async fn ready_again(server: &Server, upgrades: u64) {
    eventually("the program that took over is ready", || async {
        let log = server.log();
        let ready = log
            .iter()
            .filter(|line| line.contains(r#""message":"ready""#));
        ready.count() as u64 == upgrades + 1
    })
    .await;
}

/// Waits until the clients have sent this many requests.
async fn sent(clients: &NoRetryClients, wanted: u64) {
    while clients.sent() < wanted {
        let next = wanted.min(clients.sent() + REQUESTS_PER_WAIT);
        eventually("further requests are sent", || async {
            clients.sent() >= next
        })
        .await;
    }
}
