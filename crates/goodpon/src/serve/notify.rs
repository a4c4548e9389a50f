//! Messages to systemd (`Type=notify`). Without systemd they do nothing.

use std::time::Duration;

use goodpon_supervise::{Supervisor, Task};
use sd_notify::NotifyState;

/// Messages within the time after which systemd takes the process for hung.
const FEEDS_PER_LIMIT: u32 = 3;

/// Says that the process serves.
pub(super) fn ready() {
    send(&[NotifyState::Ready]);
}

/// Says that the process stops.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Says that another program is to take over; [`ready`] ends that state.
pub(super) fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now());
    send(&states);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the state of the process could not be sent to systemd");
    }
}

/// Feeds the watchdog of systemd, if it has one, for as long as `is_alive` says so: otherwise systemd ends the process and
/// starts it anew.
pub(super) fn feed_watchdog(
    supervisor: &Supervisor,
    is_alive: impl Fn() -> bool + Clone + Send + Sync + 'static,
) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let pause: Duration = limit / FEEDS_PER_LIMIT;
    let task = Task::restart("watchdog").dropped_at_stop();
    supervisor.spawn(task, move |report, _| {
        let is_alive = is_alive.clone();
        async move {
            loop {
                if is_alive() {
                    send(&[NotifyState::Watchdog]);
                    report.ran();
                }
                tokio::time::sleep(pause).await;
            }
        }
    });
}
