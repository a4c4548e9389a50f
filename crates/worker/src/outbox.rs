//! Mail delivery: what waits in the outbox goes out, none is lost while the mail server is down;
//! without a mail server it is left to the mailbox.

use std::sync::Arc;
use std::time::Duration;

use goodpon_application::{App, mail, mail::MailTransport};
use goodpon_supervise::{Ended, Report};
use tokio::sync::watch;

use crate::repeat::repeat;

/// How soon a new mail is noticed.
const POLL: Duration = Duration::from_secs(1);

/// One mail at a time, so that a stop waits for one conversation with the mail server and no more.
const MAILS: usize = 1;

/// Where no conversation is held, several are settled at a time.
const LEFT: usize = 100;

/// Delivers what is due until `stop` is true. A mail whose delivery is cut off by the end of the process
/// goes out again at the next start: at least once, hardly ever twice. Without a `transport`, what is due is left
/// to the mailbox for good.
pub async fn run(
    app: Arc<App>,
    transport: Option<Arc<dyn MailTransport>>,
    report: Report,
    stop: watch::Receiver<bool>,
) -> Ended {
    metrics::describe_counter!(
        "goodpon_mail_deliveries_total",
        "Tries to hand a mail to the mail server, whatever came of them"
    );
    let tries = metrics::counter!("goodpon_mail_deliveries_total");
    repeat(
        POLL,
        &report,
        stop,
        || async {
            let Some(transport) = &transport else {
                return mail::leave_to_mailbox(&app, LEFT).await;
            };
            let tried = mail::deliver_due(&app, transport.as_ref(), MAILS).await?;
            tries.increment(tried as u64);
            Ok(tried)
        },
        |error| tracing::warn!(%error, "outbox could not be read, to be tried again"),
    )
    .await;
    Ok(())
}
