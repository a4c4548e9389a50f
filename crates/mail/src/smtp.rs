//! Delivers by SMTP, over connections that are kept for the next mail.

use std::fmt::{self, Write};
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use goodpon_application::ports::{MailError, MailTransport, QueuedMail};
use lettre::address::{Address, Envelope};
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::{AsyncSmtpTransportBuilder, Error as LettreError, PoolConfig};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use sha2::{Digest, Sha256};
use url::Url;

/// The time for the connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The time for the whole conversation, connecting included: some ten commands and their replies.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections that are kept while no mail uses them.
const MAX_KEPT: usize = 8;

/// The time for which an unused connection is kept: less than servers keep an idle one.
const KEPT_FOR: Duration = Duration::from_secs(30);

/// An SMTP setting that cannot be used. Its text never shows a password.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The URL of the server.
    #[error("smtp-url {0}")]
    Url(&'static str),
    /// The sender.
    #[error("mail-from \"{0}\" is neither an e-mail address nor of the form Name <address>")]
    From(String),
    /// The sender's address, which only some servers take.
    #[error(
        "mail-from has the address \"{0}\", which many mail servers do not take: write its domain in ASCII (xn--…)"
    )]
    ForeignFrom(String),
    /// The transport that the URL names cannot be set up; mostly for TLS.
    #[error("smtp-url cannot be used: {0}")]
    Transport(String),
}

/// An SMTP server to send by, and the sender to send as.
pub struct Smtp {
    builder: AsyncSmtpTransportBuilder,
    kept: Mutex<Vec<Transport>>,
    from: Mailbox,
    server: String,
}

/// One conversation at a time. Its pool holds one connection; a conversation that breaks off takes both with it, for
/// a reply that is still to come would be taken for that to the next mail.
type Transport = AsyncSmtpTransport<Tokio1Executor>;

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp")
            .field("server", &self.server)
            .field("from", &self.from.to_string())
            .finish_non_exhaustive()
    }
}

impl Smtp {
    /// Checks the settings; connects to nothing.
    ///
    /// `url` is one of
    /// - `smtps://[user:password@]host[:465]`: TLS from the first byte;
    /// - `smtp://[user:password@]host[:587]?tls=required`: STARTTLS, or nothing is sent;
    /// - `smtp://[user:password@]host[:587]?tls=opportunistic`: STARTTLS where it is offered;
    /// - `smtp://[user:password@]host[:25]?tls=none`: never encrypted, the password neither;
    /// - `smtp://user:password@host[:587]`: as `tls=required`, unless the host is this machine;
    /// - `smtp://host[:25]`: as `tls=opportunistic`.
    ///
    /// User and password are percent-encoded. A certificate must be valid for `host` by the roots
    /// that the operating system trusts. A path (`smtp://host/name`) is the name given in EHLO
    /// instead of this machine's.
    ///
    /// `from` is an address, or `Name <address>`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says which of the two is wrong, and how.
    pub fn new(url: &str, from: &str) -> Result<Self, ConfigError> {
        let url = normalised(url)?;
        let from: Mailbox = from
            .parse()
            .map_err(|_| ConfigError::From(from.to_owned()))?;
        if !from.email.to_string().is_ascii() {
            return Err(ConfigError::ForeignFrom(from.email.to_string()));
        }
        let server = format!(
            "{}://{}:{}",
            url.scheme(),
            url.host_str().unwrap_or_default(),
            url.port().unwrap_or_default()
        );
        let pool = PoolConfig::new().max_size(1).idle_timeout(KEPT_FOR);
        let builder = Transport::from_url(url.as_str())
            .map_err(|error| ConfigError::Transport(error.to_string()))?
            .timeout(Some(CONNECT_TIMEOUT))
            .pool_config(pool);
        Ok(Self {
            builder,
            kept: Mutex::default(),
            from,
            server,
        })
    }

    fn take_transport(&self) -> Transport {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        kept.unwrap_or_else(|| self.builder.clone().build())
    }

    fn keep(&self, transport: Transport) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_KEPT {
            kept.push(transport);
        }
    }

    fn written(&self, mail: &QueuedMail) -> Result<lettre::Message, MailError> {
        let to = address(&mail.to).map_err(MailError::Permanent)?;
        // Derived from the headers, it would lose the quotes of a quoted address.
        let envelope = Envelope::new(Some(self.from.email.clone()), vec![to.clone()])
            .map_err(|error| MailError::Permanent(error.to_string()))?;
        lettre::Message::builder()
            .envelope(envelope)
            .from(self.from.clone())
            .header(To(to))
            .subject(mail.content.subject.as_str())
            .message_id(Some(self.message_id(mail)))
            .header(AutoSubmitted)
            .multipart(MultiPart::alternative_plain_html(
                mail.content.text.clone(),
                mail.content.html.clone(),
            ))
            .map_err(|error| MailError::Permanent(error.to_string()))
    }

    /// Makes the message id: the same at every try, so that a mail that arrives twice can be recognised as one, and never
    /// that of another mail, though a new data folder counts its outbox from one again.
    fn message_id(&self, mail: &QueuedMail) -> String {
        let digest = Sha256::digest(mail.content.text.as_bytes());
        let mut id = format!("<{}.", mail.id);
        for byte in &digest[..8] {
            let _ = write!(id, "{byte:02x}");
        }
        let _ = write!(id, "@{}>", self.from.email.domain());
        id
    }
}

#[async_trait]
impl MailTransport for Smtp {
    /// Takes 30 seconds at most. After a transient error the mail may have arrived nevertheless, when only the server's
    /// reply was lost.
    async fn send(&self, mail: &QueuedMail) -> Result<(), MailError> {
        let written = self.written(mail)?;
        let transport = self.take_transport();
        match tokio::time::timeout(SEND_TIMEOUT, transport.send(written)).await {
            Ok(Ok(_)) => {
                self.keep(transport);
                Ok(())
            }
            Ok(Err(error)) => Err(classified(&error)),
            Err(_) => Err(MailError::Transient(format!(
                "no answer from {} within {} s",
                self.server,
                SEND_TIMEOUT.as_secs()
            ))),
        }
    }
}

/// Rewrites the URL as lettre understands it: with a port and, for `smtp`, with `tls`. Refuses all that lettre would
/// silently ignore.
fn normalised(url: &str) -> Result<Url, ConfigError> {
    let wrong = ConfigError::Url;
    let mut url =
        Url::parse(url).map_err(|_| wrong("is not a URL such as smtp://user:password@host:587"))?;
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("names no host"));
    }
    if matches!(url.host(), Some(url::Host::Ipv6(_))) {
        return Err(wrong("must name its host, or give an IPv4 address"));
    }
    if url.username().is_empty() != url.password().is_none() {
        return Err(wrong("has a user without a password, or the reverse"));
    }
    let tls = match url.query_pairs().collect::<Vec<_>>().as_slice() {
        [] => None,
        [(key, value)] if key == "tls" => Some(value.to_string()),
        _ => {
            return Err(wrong(
                "has a query other than ?tls=required|opportunistic|none",
            ));
        }
    };
    let (tls, port) = match (url.scheme(), tls.as_deref()) {
        ("smtps", None | Some("required")) => (None, 465),
        ("smtps", Some(_)) => {
            return Err(wrong("with smtps:// is always encrypted: leave out ?tls="));
        }
        ("smtp", None) if url.password().is_some() && !is_this_machine(&url) => {
            (Some("tls=required"), 587)
        }
        ("smtp", None) => (Some("tls=opportunistic"), 25),
        ("smtp", Some("none")) => (None, 25),
        ("smtp", Some("opportunistic")) => (Some("tls=opportunistic"), 587),
        ("smtp", Some("required")) => (Some("tls=required"), 587),
        ("smtp", Some(_)) => {
            return Err(wrong(
                "has a ?tls= that is none of required, opportunistic, none",
            ));
        }
        _ => return Err(wrong("does not begin with smtp:// or smtps://")),
    };
    url.set_query(tls);
    if url.port().is_none() && url.set_port(Some(port)).is_err() {
        return Err(wrong("names no host"));
    }
    Ok(url)
}

/// Says that the host is this machine, so that a password sent to it passes no network.
fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        // The host of a scheme that is not the web's is not parsed: an IPv4 address is text.
        Some(url::Host::Domain(name)) => {
            name.eq_ignore_ascii_case("localhost")
                || name.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
        }
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        _ => false,
    }
}

/// Quotes addresses that the contract allows and RFC 5321 wants quoted, such as `a..b@example.com`.
fn address(text: &str) -> Result<Address, String> {
    let plain = text.parse();
    if let (Err(_), Some((local, domain))) = (&plain, text.rsplit_once('@'))
        && let Ok(quoted) = Address::new(format!("\"{local}\""), domain)
    {
        return Ok(quoted);
    }
    plain.map_err(|error: lettre::address::AddressError| format!("address refused: {error}"))
}

/// Calls an error permanent only if it is about the recipient. A password that is refused, a sender or a relay that is
/// not allowed, a policy: the operator mends those, and the mail then goes.
fn classified(error: &LettreError) -> MailError {
    // RFC 3463 statuses of a bad sender and of policy, which come with code 550 as well.
    const NOT_THE_RECIPIENT: [&str; 3] = ["5.1.7 ", "5.1.8 ", "5.7."];
    let code = error.status().map(u16::from);
    let reply = std::error::Error::source(error).map(ToString::to_string);
    let of_recipient = matches!(code, Some(550 | 551 | 553 | 556))
        && !reply.is_some_and(|reply| {
            NOT_THE_RECIPIENT
                .iter()
                .any(|status| reply.starts_with(status))
        });
    let mut said = error.to_string().replace(char::is_control, " ");
    if said.contains("STARTTLS is not supported") {
        said.push_str(
            "; to send in clear nevertheless, password included, give smtp-url ?tls=none",
        );
    }
    if of_recipient {
        MailError::Permanent(said)
    } else {
        MailError::Transient(said)
    }
}

/// The header `To` with the recipient as it is: lettre's own header parses what it wrote and fails at quotes.
#[derive(Clone)]
struct To(Address);

impl Header for To {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("To")
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self(text.parse()?))
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), self.0.to_string())
    }
}

/// The header `Auto-Submitted` of RFC 3834, which keeps absence notes and other programs from answering.
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::cell::Cell;

    use goodpon_domain::account::is_email;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};

    use super::*;

    const FROM: &str = "Goodpon <no-reply@goodpon.example>";

    #[test]
    fn urls_become_what_they_are_documented_to_mean() {
        for (given, meant) in [
            ("smtps://mail.example", "smtps://mail.example:465"),
            (
                "smtp://mail.example",
                "smtp://mail.example:25?tls=opportunistic",
            ),
            (
                "smtp://mail.example:1025",
                "smtp://mail.example:1025?tls=opportunistic",
            ),
            ("smtp://mail.example?tls=none", "smtp://mail.example:25"),
            (
                "smtp://u:p@mail.example?tls=required",
                "smtp://u:p@mail.example:587?tls=required",
            ),
            (
                "smtp://u:p@mail.example",
                "smtp://u:p@mail.example:587?tls=required",
            ),
            (
                "smtp://u:p@127.1.example:25",
                "smtp://u:p@127.1.example:25?tls=required",
            ),
            (
                "smtp://u:p@LocalHost:1025",
                "smtp://u:p@LocalHost:1025?tls=opportunistic",
            ),
            (
                "smtp://u:p@127.0.0.2",
                "smtp://u:p@127.0.0.2:25?tls=opportunistic",
            ),
            (
                "smtp://u:p@mail.example?tls=none",
                "smtp://u:p@mail.example:25",
            ),
            (
                "smtp://u:p%40@h:26/me?tls=opportunistic",
                "smtp://u:p%40@h:26/me?tls=opportunistic",
            ),
        ] {
            assert_eq!(normalised(given).unwrap().as_str(), meant);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_understood_is_refused_and_shows_no_secret() {
        for url in [
            "",
            "mail.example:25",
            "smtp://",
            "http://u:hunter2@mail.example",
            "smtp://u:hunter2@mail.example?tsl=required",
            "smtp://u:hunter2@mail.example?tls=maybe",
            "smtps://u:hunter2@mail.example?tls=none",
            "smtp://hunter2@mail.example",
            "smtp://u:hunter2@mail.example:99999",
            "smtp://u:hunter2@[::1]:25",
        ] {
            let error = Smtp::new(url, FROM).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(error.to_string().starts_with("smtp-url "), "{url}: {shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let error = Smtp::new("smtp://mail.example", "nobody").unwrap_err();
        assert_eq!(error, ConfigError::From("nobody".to_owned()));
        let error = Smtp::new("smtp://mail.example", "가게 <g@한국.kr>").unwrap_err();
        assert_eq!(error, ConfigError::ForeignFrom("g@한국.kr".to_owned()));
        Smtp::new("smtp://mail.example", "가게 <g@xn--3e0b707e.kr>").unwrap();

        let smtp = Smtp::new("smtps://user:hunter2@mail.example", FROM).unwrap();
        let shown = format!("{smtp:?}");
        assert!(shown.contains("smtps://mail.example:465"), "{shown}");
        assert!(
            !shown.contains("hunter2") && !shown.contains("user"),
            "{shown}"
        );
    }

    #[test]
    fn every_address_the_contract_allows_can_be_written_to() {
        for (given, written) in [
            ("a@example.com", "a@example.com"),
            ("a+b_c.d-e@example.co.kr", "a+b_c.d-e@example.co.kr"),
            ("a..b.@example.com", "\"a..b.\"@example.com"),
            (".a@x.kr", "\".a\"@x.kr"),
        ] {
            assert_eq!(address(given).unwrap().to_string(), written);
        }
        for refused in [
            "a@-.com",
            "a@b..com",
            "a@-x.kr",
            &format!("{}@x.kr", "a".repeat(65)),
            "nobody",
            "a\r\nRCPT TO:<x@y.z>@b.com",
        ] {
            assert!(address(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn every_address_that_can_sign_up_can_be_written_to() {
        let local = "[a-zA-Z0-9+_.-]{1,66}";
        let host = "([a-zA-Z0-9.-]{1,8}\\.){1,3}|([a-z0-9-]{1,65}\\.){1,4}";
        let address = (local, host, "[a-zA-Z]{1,4}");
        let taken = Cell::new(0);
        let config = Config {
            cases: 4_000,
            failure_persistence: None,
            ..Config::default()
        };
        TestRunner::new(config)
            .run(&address, |(local, host, top)| {
                let text = format!("{local}@{host}{top}");
                if is_email(&text) {
                    taken.set(taken.get() + 1);
                    prop_assert!(super::address(&text).is_ok(), "{}", text);
                }
                Ok(())
            })
            .unwrap();
        assert!(taken.get() > 200, "{taken:?}");
    }
}
