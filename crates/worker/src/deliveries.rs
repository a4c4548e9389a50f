//! Several mails at a time, shared out so that nobody's mails hold those of others up for long.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use goodpon_application::App;
use goodpon_application::ports::StoreResult;
use goodpon_application::{
    mail::{self, Delivery},
    ports::{MailTransport, QueuedMail},
};
use goodpon_supervise::Report;
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::outbox::{POLL, could_not_be_read};

/// How many mails are under way at a time.
const UNDER_WAY: usize = 8;

/// How many of them may go to one domain: a server that takes its time leaves the other places to others.
const UNDER_WAY_TO_ONE_DOMAIN: usize = 4;

/// How many of them may come from one network, to however many domains.
const UNDER_WAY_FROM_ONE_NETWORK: usize = 6;

/// How many mails a look into the outbox takes out, the oldest: networks take turns among them. They may be begun until
/// the next look, which is due after [`POLL`]: by then others may come first, or another process may deliver.
const TAKEN: usize = 1024;

/// How often it is measured how much waits.
const MEASURED_EVERY: Duration = Duration::from_secs(10);

const DELIVERIES: &str = "goodpon_mail_deliveries_total";
const DUE: &str = "goodpon_mail_due";
const OLDEST: &str = "goodpon_mail_oldest_due_seconds";

/// The deliveries of one process.
pub(crate) struct Deliveries {
    app: Arc<App>,
    transport: Arc<dyn MailTransport>,
    taken: VecDeque<Arc<QueuedMail>>,
    taken_at: Instant,
    /// The network of the mail that was begun last: that behind it is next.
    last: Option<String>,
    running: JoinSet<StoreResult<Delivery>>,
    under_way: HashMap<Id, Arc<QueuedMail>>,
    measured_at: Option<Instant>,
}

impl Deliveries {
    pub(crate) fn new(app: Arc<App>, transport: Arc<dyn MailTransport>) -> Self {
        describe();
        Self {
            app,
            transport,
            taken: VecDeque::new(),
            taken_at: Instant::now(),
            last: None,
            running: JoinSet::new(),
            under_way: HashMap::new(),
            measured_at: None,
        }
    }

    /// Delivers until `stop` is true or its sender gone, and then finishes what is under way, which a conversation's time
    /// limit bounds.
    pub(crate) async fn run(mut self, report: &Report, mut stop: watch::Receiver<bool>) {
        loop {
            match self.begin_what_is_due().await {
                Ok(()) => report.ran(),
                Err(error) => {
                    report.trouble(&error);
                    could_not_be_read(&error);
                }
            }
            self.measure().await;
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                Some(ended) = self.running.join_next_with_id() => self.end(ended),
                () = tokio::time::sleep(POLL) => {}
            }
        }
        while let Some(ended) = self.running.join_next_with_id().await {
            self.end(ended);
        }
    }

    async fn begin_what_is_due(&mut self) -> StoreResult<()> {
        if self.taken_at.elapsed() < POLL {
            self.begin_what_was_taken();
        }
        if self.under_way.len() < UNDER_WAY {
            let taken_at = Instant::now();
            let due = self
                .app
                .stores
                .outbox
                .due(TAKEN + self.under_way.len())
                .await?;
            let due = due.into_iter().filter(|mail| !self.has(mail.id));
            self.taken = in_turns(due.map(Arc::new), self.last.as_deref());
            self.taken_at = taken_at;
            self.begin_what_was_taken();
        }
        Ok(())
    }

    fn has(&self, mail: i64) -> bool {
        self.under_way.values().any(|other| other.id == mail)
    }

    fn begin_what_was_taken(&mut self) {
        while self.under_way.len() < UNDER_WAY {
            let next = self.taken.iter().position(|mail| self.has_place_for(mail));
            let Some(mail) = next.and_then(|index| self.taken.remove(index)) else {
                return;
            };
            self.begin(mail);
        }
    }

    fn has_place_for(&self, mail: &QueuedMail) -> bool {
        let under_way = |is_like: &dyn Fn(&QueuedMail) -> bool| {
            let all = self.under_way.values();
            all.filter(|other| is_like(other)).count()
        };
        under_way(&|other| other.origin == mail.origin) < UNDER_WAY_FROM_ONE_NETWORK
            && under_way(&|other| domain(other) == domain(mail)) < UNDER_WAY_TO_ONE_DOMAIN
    }

    fn begin(&mut self, mail: Arc<QueuedMail>) {
        self.last.clone_from(&mail.origin);
        let (app, transport) = (Arc::clone(&self.app), Arc::clone(&self.transport));
        let sent = Arc::clone(&mail);
        let task = self
            .running
            .spawn(async move { mail::deliver(&app, transport.as_ref(), &sent).await });
        self.under_way.insert(task.id(), mail);
    }

    fn end(&mut self, ended: Result<(Id, StoreResult<Delivery>), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, Ok(delivery))) => (id, outcome(delivery)),
            Ok((id, Err(error))) => {
                tracing::warn!(%error, "what came of a mail could not be noted: it may go out again");
                (id, "unnoted")
            }
            Err(error) => {
                tracing::error!(%error, "the delivery of a mail panicked: it is tried again");
                (error.id(), "panicked")
            }
        };
        self.under_way.remove(&id);
        metrics::counter!(DELIVERIES, "outcome" => outcome).increment(1);
    }

    async fn measure(&mut self) {
        if self
            .measured_at
            .is_some_and(|at| at.elapsed() < MEASURED_EVERY)
        {
            return;
        }
        self.measured_at = Some(Instant::now());
        match self.app.stores.outbox.backlog().await {
            Ok(backlog) => {
                let now = self.app.clock.now();
                let waits = backlog.oldest.map(|since| now.duration_since(since));
                metrics::gauge!(DUE).set(backlog.due as f64);
                metrics::gauge!(OLDEST)
                    .set(waits.map_or(0.0, |waits| waits.as_secs_f64().max(0.0)));
            }
            Err(error) => could_not_be_read(&error),
        }
    }
}

/// First the oldest mail of each network, in the order of the networks' names, which begins behind `last` and comes
/// round; then the second of each, and so on: however much one of them sent, another's first comes before its second.
fn in_turns(
    due: impl Iterator<Item = Arc<QueuedMail>>,
    last: Option<&str>,
) -> VecDeque<Arc<QueuedMail>> {
    let mut of_network = HashMap::<Option<String>, usize>::new();
    let mut turns: Vec<_> = due
        .map(|mail| {
            let turn = of_network.entry(mail.origin.clone()).or_default();
            *turn += 1;
            (*turn, mail.origin.as_deref() <= last, mail)
        })
        .collect();
    turns.sort_by(|(turn, came, mail), (other_turn, other_came, other)| {
        (turn, came, &mail.origin).cmp(&(other_turn, other_came, &other.origin))
    });
    turns.into_iter().map(|(.., mail)| mail).collect()
}

fn domain(mail: &QueuedMail) -> String {
    let (_, domain) = mail.to.rsplit_once('@').unwrap_or_default();
    domain.to_ascii_lowercase()
}

fn outcome(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::Sent => "sent",
        Delivery::Delayed => "delayed",
        Delivery::GivenUp => "given_up",
    }
}

fn describe() {
    metrics::describe_counter!(
        DELIVERIES,
        "Tries to hand a mail to the mail server, by what came of them: sent, delayed (to be tried again), given_up"
    );
    metrics::describe_gauge!(DUE, "Mails that are due to be sent");
    metrics::describe_gauge!(
        OLDEST,
        metrics::Unit::Seconds,
        "How long the mail is due that waits longest"
    );
}

#[cfg(test)]
mod tests {
    use goodpon_application::ports::MailContent;

    use super::*;

    #[test]
    fn networks_take_turns() {
        let mail = |(id, network): (i64, &str)| {
            Arc::new(QueuedMail {
                id,
                to: String::new(),
                content: MailContent {
                    subject: String::new(),
                    text: String::new(),
                    html: String::new(),
                },
                created_at: jiff::Timestamp::UNIX_EPOCH,
                attempts: 0,
                origin: (!network.is_empty()).then(|| network.to_owned()),
            })
        };
        let due = [
            (1, "a"),
            (2, "a"),
            (3, "a"),
            (4, "a"),
            (5, "b"),
            (6, "c"),
            (7, ""),
            (8, "c"),
        ];
        let ids = |last: Option<&str>| {
            let turns = in_turns(due.into_iter().map(mail), last);
            turns.iter().map(|mail| mail.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(None), [1, 5, 6, 7, 2, 8, 3, 4]);
        assert_eq!(ids(Some("a")), [5, 6, 7, 1, 8, 2, 3, 4]);
        assert_eq!(ids(Some("c")), [7, 1, 5, 6, 2, 8, 3, 4]);
    }
}
