//! The work that Goodpon does by itself, beside the requests: upkeep by the clock ([`upkeep`]) and the delivery of mail
//! ([`mail`]).
//!
//! Upkeep goes in small batches with a pause as long as the batch took, 1 s at most, so that live requests get their
//! share of the store. The next round does what a stop, a crash or an error leaves undone. Mail goes out at least once.
//! Nothing is kept in memory that a restart would miss, nothing is decided that the domain decides, and everything is
//! reached through ports.

mod delivery;
pub mod mail;
pub mod metric;
mod repeat;
pub mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use goodpon_application::{App, ports::MailTransport};
use goodpon_supervise::{Supervisor, Task};

/// Starts every loop on the current runtime, under the supervisor. Without a `transport` mails are left to the
/// mailbox, for `goodpon mailbox` to print. `sweep_interval` is the time between two looks for expired records.
pub fn start(
    app: &Arc<App>,
    transport: Option<Arc<dyn MailTransport>>,
    sweep_interval: Duration,
    supervisor: &Supervisor,
) {
    for sweep in upkeep::Sweep::ALL {
        let port = Arc::clone(&app.stores.upkeep);
        supervisor.spawn(Task::restart(sweep.name()), move |report, stop| {
            upkeep::run(Arc::clone(&port), sweep, sweep_interval, report, stop)
        });
    }
    let app = Arc::clone(app);
    supervisor.spawn(Task::restart("outbox"), move |report, stop| {
        mail::run(Arc::clone(&app), transport.clone(), report, stop)
    });
}
