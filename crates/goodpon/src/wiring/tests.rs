//! Tests that need the real adapters: the delivery of mails, and a demo that lost its file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use goodpon_application::network::Network;
use goodpon_application::{
    account, mail,
    ports::{Clock, MailError, MailState, MailTransport, QueuedMail, StoredMail},
};
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::backends;
use crate::config::{Flags, resolve};
use crate::demo;

/// The use cases over a store in its own folder.
struct Fixture {
    app: App,
    folder: tempfile::TempDir,
}

fn settings_in(folder: &Path) -> Settings {
    let mut flags = Flags::default();
    let path = folder.to_str().unwrap().to_owned();
    flags.values.insert("data-dir", path);
    Settings::check(&resolve(&flags, []).unwrap()).unwrap()
}

fn fixture() -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings_in(folder.path());
    let store = backends::open_embedded(&settings, &Supervisor::new()).unwrap();
    let backends = Backends::Embedded(store);
    let app = app(&backends, &settings, Some(([127, 0, 0, 1], 8080).into())).unwrap();
    Fixture { app, folder }
}

impl Fixture {
    async fn sign_up(&self, email: &str) {
        let input = account::SignUp {
            email: email.to_owned(),
            password: "Password-1234!".to_owned(),
            name: "이름".to_owned(),
            network: Network::UNKNOWN,
        };
        assert!(account::sign_up(&self.app, input).await.is_ok(), "{email}");
    }

    /// Tries to deliver all mails that are due, and returns their number.
    async fn deliver(&self, transport: &dyn MailTransport) -> usize {
        let due = self.app.stores.mails.due(10).await.unwrap();
        for mail in &due {
            mail::deliver(&self.app, transport, mail).await.unwrap();
        }
        due.len()
    }

    async fn mail_to(&self, email: &str) -> StoredMail {
        let mut mails = self.app.stores.mails.list(Some(email), 10).await.unwrap();
        assert_eq!(mails.len(), 1);
        mails.remove(0)
    }
}

/// A clock that is ahead of the store's.
struct Ahead(SignedDuration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + self.0
    }
}

/// A mail server that refuses every mail and records the recipients.
struct Refusing {
    error: MailError,
    recipients: Mutex<Vec<String>>,
}

impl Refusing {
    fn with(error: MailError) -> Self {
        let recipients = Mutex::default();
        Self { error, recipients }
    }
}

#[async_trait]
impl MailTransport for Refusing {
    async fn send(&self, mail: &QueuedMail) -> Result<(), MailError> {
        self.recipients.lock().unwrap().push(mail.to.clone());
        Err(self.error.clone())
    }
}

fn state_of(mail: &StoredMail) -> (MailState, u32, Option<&str>) {
    (mail.state(), mail.attempts, mail.error.as_deref())
}

#[tokio::test]
async fn a_server_that_is_down_is_tried_for_a_day() {
    let mut fixture = fixture();
    fixture.sign_up("a@x.kr").await;
    let down = Refusing::with(MailError::Transient("down".into()));
    let tried = fixture.deliver(&down).await;
    let kept = fixture.mail_to("a@x.kr").await;
    assert_eq!(
        (tried, state_of(&kept)),
        (1, (MailState::Waiting, 1, Some("down")))
    );

    // The last attempt: there is no time for another.
    fixture.sign_up("b@x.kr").await;
    fixture.app.clock = Arc::new(Ahead(mail::MAX_DELIVERY_AGE - SignedDuration::from_secs(1)));
    fixture.deliver(&down).await;
    let kept = fixture.mail_to("b@x.kr").await;
    assert_eq!(state_of(&kept), (MailState::GivenUp, 1, Some("down")));

    // Not tried for a day, because the program was not running: its link is dead.
    fixture.sign_up("c@x.kr").await;
    fixture.app.clock = Arc::new(Ahead(mail::MAX_DELIVERY_AGE));
    fixture.deliver(&down).await;
    let kept = fixture.mail_to("c@x.kr").await;
    let (state, attempts, error) = state_of(&kept);
    assert_eq!((state, attempts), (MailState::GivenUp, 1));
    assert!(error.unwrap().contains("too old"));
    assert_eq!(*down.recipients.lock().unwrap(), ["a@x.kr", "b@x.kr"]);
}

#[tokio::test]
async fn a_refusal_for_good_shows_in_the_mailbox() {
    let fixture = fixture();
    fixture.sign_up("gone@x.kr").await;
    let refusing = Refusing::with(MailError::Permanent("550 no".into()));
    fixture.deliver(&refusing).await;
    assert_eq!(
        state_of(&fixture.mail_to("gone@x.kr").await),
        (MailState::GivenUp, 1, Some("550 no"))
    );
    let shown = tokio::task::spawn_blocking({
        let settings = settings_in(fixture.folder.path());
        move || {
            let shown = |as_json| crate::maintenance::mailbox(&settings, None, as_json).unwrap();
            (shown(false), shown(true))
        }
    });
    let (text, json) = shown.await.unwrap();
    assert!(
        text.contains("given up, failed attempts: 1 (550 no)\n"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json[0]["state"], &json[0]["attempts"], &json[0]["error"]),
        (&"given_up".into(), &1.into(), &"550 no".into())
    );
}

#[tokio::test]
async fn a_mail_server_that_comes_later_does_not_send_the_old_mailbox() {
    let fixture = fixture();
    fixture.sign_up("a@x.kr").await;
    assert_eq!(mail::leave_to_mailbox(&fixture.app, 10).await.unwrap(), 1);
    let server = Refusing::with(MailError::Transient("down".into()));
    assert_eq!(fixture.deliver(&server).await, 0);
    let kept = fixture.mail_to("a@x.kr").await;
    let (state, attempts, error) = state_of(&kept);
    assert_eq!((state, attempts), (MailState::GivenUp, 1));
    assert!(error.unwrap().contains("smtp-url"));
}

#[tokio::test]
async fn a_demo_that_lost_its_file_is_refused() {
    let fixture = fixture();
    let folder = fixture.folder.path();
    demo::prepare(&fixture.app, folder).await.unwrap();
    fs::remove_file(folder.join("demo.json")).unwrap();
    let refused = demo::prepare(&fixture.app, folder).await.err().unwrap();
    assert!(
        refused.to_string().contains("demo.json is missing"),
        "{refused}"
    );
}
