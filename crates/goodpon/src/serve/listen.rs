//! Binds listeners, and serves each in a supervised task.

use std::io::Write;
use std::net::{self, SocketAddr};
use std::os::fd::AsFd;

use goodpon_supervise::{Loop, Supervisor, Task};
use goodpon_web::serve::{Draining, Limits, Serve, serve};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::ListenAddr;
use crate::failed::Failed;

/// A socket that listens, and its address.
pub(super) struct Port {
    listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl Port {
    /// Listens at the address of a setting, or takes the socket that was handed over for it.
    ///
    /// # Errors
    /// The address is in use, is not one of this machine, or its port needs permissions.
    pub(super) async fn open(
        setting: &str,
        address: &ListenAddr,
        handed: Option<net::TcpListener>,
    ) -> Result<Self, Failed> {
        let refuse = |error: std::io::Error| {
            let what_to_do = match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "another program has it: stop that one or choose another port"
                }
                std::io::ErrorKind::PermissionDenied => "choose a port above 1023",
                _ => "choose an address of this machine",
            };
            Failed::new(format!(
                "cannot listen at {} ({setting}): {error}; {what_to_do}",
                address.as_str()
            ))
        };
        let listener = match handed {
            Some(socket) => {
                socket.set_nonblocking(true).map_err(refuse)?;
                TcpListener::from_std(socket)
            }
            None => TcpListener::bind(address.as_str()).await,
        };
        let listener = listener.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        Ok(Self { listener, address })
    }

    /// Makes a second handle of the socket.
    ///
    /// # Errors
    /// The process has no file handles left.
    pub(super) fn second_handle(&self) -> Result<net::TcpListener, Failed> {
        let handle = self.listener.as_fd().try_clone_to_owned();
        Ok(handle.map_err(Failed::new)?.into())
    }
}

/// Serves one port until the supervisor stops and the requests there have ended.
pub(super) fn start(
    supervisor: &Supervisor,
    task: Task,
    port: Port,
    service: impl Serve,
    limits: Limits,
    draining: &Draining,
) -> Loop {
    let (draining, stop) = (draining.clone(), supervisor.stopping());
    start_until(supervisor, task, port, service, limits, (draining, stop))
}

/// Serves one port until `stop` is true and the requests there have ended.
pub(super) fn start_until(
    supervisor: &Supervisor,
    task: Task,
    port: Port,
    service: impl Serve,
    limits: Limits,
    (draining, mut stop): (Draining, watch::Receiver<bool>),
) -> Loop {
    supervisor.spawn_once(task, move |_, _| async move {
        let stopped = async move {
            // An error means that the sender was dropped, which is a stop too.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let dropped = serve(port.listener, service, limits, draining, stopped).await;
        if dropped > 0 {
            tracing::warn!(
                name = task.name,
                dropped,
                "connections were cut off at the shutdown timeout"
            );
        }
        Ok(())
    })
}

/// Writes results to stdout. Errors are ignored: a closed pipe must not stop the server.
pub(super) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}
