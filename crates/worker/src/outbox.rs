//! Mail delivery: what waits in the outbox goes out, none is lost while the mail server is down;
//! without a mail server it is left to the mailbox.

use std::sync::Arc;
use std::time::Duration;

use goodpon_application::ports::MailTransport;
use goodpon_application::ports::StoreError;
use goodpon_application::{App, mail};
use goodpon_supervise::{Ended, Report};
use tokio::sync::watch;

use crate::deliveries::Deliveries;
use crate::repeat::repeat;

/// How soon a new mail is noticed.
pub(crate) const POLL: Duration = Duration::from_secs(1);

/// Where no conversation is held, several are settled at a time.
const LEFT: usize = 100;

/// Delivers what is due until `stop` is true, and then finishes what is under way. A mail whose delivery is cut off by
/// the end of the process goes out again at the next start: at least once, hardly ever twice. Without a `transport`,
/// what is due is left to the mailbox for good.
pub async fn run(
    app: Arc<App>,
    transport: Option<Arc<dyn MailTransport>>,
    report: Report,
    stop: watch::Receiver<bool>,
) -> Ended {
    match transport {
        Some(transport) => Deliveries::new(app, transport).run(&report, stop).await,
        None => {
            let leave = || async { mail::leave_to_mailbox(&app, LEFT).await };
            let failed = |error| could_not_be_read(&error);
            repeat(POLL, &report, stop, leave, failed).await;
        }
    }
    Ok(())
}

pub(crate) fn could_not_be_read(error: &StoreError) {
    tracing::warn!(%error, "outbox could not be read, to be tried again");
}
