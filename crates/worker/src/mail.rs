//! Mail delivery: mails of the outbox go out, and none is lost while the mail server is down; without a mail server they
//! are left to the mailbox.

use std::sync::Arc;

use async_trait::async_trait;
use goodpon_application::ports::{Backlog, MailTransport, QueuedMail, StoreResult};
use goodpon_application::{
    App,
    mail::{self, Delivery},
};
use goodpon_supervise::{Ended, Report};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::delivery::{self, Metrics, POLL, Queue, log_unreadable};
use crate::repeat::repeat;

/// Mails that one transaction leaves to the mailbox.
const LEFT_AT_A_TIME: usize = 100;

/// Delivers the mails that are due until `stop` is true, and then finishes those under way. A mail whose delivery is cut
/// off by the end of the process goes out again at the next start: at least once, hardly ever twice. Without a
/// `transport`, the mails that are due are left to the mailbox for good.
pub async fn run(
    app: Arc<App>,
    transport: Option<Arc<dyn MailTransport>>,
    report: Report,
    stop: watch::Receiver<bool>,
) -> Ended {
    let Some(transport) = transport else {
        let leave = || async { mail::leave_to_mailbox(&app, LEFT_AT_A_TIME).await };
        let failed = |error| log_unreadable(Mails::ENTRY, &error);
        repeat(POLL, &report, stop, leave, failed).await;
        return Ok(());
    };
    delivery::run(Mails { app, transport }, report, stop).await
}

/// The mails that are due, and the mail server. Networks whose requests wrote mails take turns, and no domain's server
/// holds up the mails to others.
struct Mails {
    app: Arc<App>,
    transport: Arc<dyn MailTransport>,
}

#[async_trait]
impl Queue for Mails {
    type Entry = QueuedMail;
    const ENTRY: &'static str = "mail";
    const METRICS: Metrics = Metrics {
        deliveries: "goodpon_mail_deliveries_total",
        due: "goodpon_mail_due",
        oldest: "goodpon_mail_oldest_due_seconds",
    };

    fn id(mail: &QueuedMail) -> i64 {
        mail.id
    }

    fn origin(mail: &QueuedMail) -> Option<&str> {
        mail.origin.as_deref()
    }

    fn destination(mail: &QueuedMail) -> String {
        let (_, domain) = mail.to.rsplit_once('@').unwrap_or_default();
        domain.to_ascii_lowercase()
    }

    async fn due(&self, limit: usize) -> StoreResult<Vec<QueuedMail>> {
        self.app.stores.mails.due(limit).await
    }

    async fn backlog(&self) -> StoreResult<Backlog> {
        self.app.stores.mails.backlog().await
    }

    fn now(&self) -> Timestamp {
        self.app.clock.now()
    }

    async fn deliver(&self, mail: &QueuedMail) -> StoreResult<&'static str> {
        let delivery = mail::deliver(&self.app, self.transport.as_ref(), mail);
        // Its log lines name the trace of the request that caused the mail.
        Ok(match goodpon_trace::scope(mail.trace, delivery).await? {
            Delivery::Sent => "sent",
            Delivery::Delayed => "delayed",
            Delivery::GivenUp => "given_up",
        })
    }
}
