//! Mails sent in a real SMTP conversation, over TCP, with a peer that plays the server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_application::ports::{MailError, MailTransport, QueuedMail};
use goodpon_mail::{Smtp, verification};
use mail_parser::{Message, MessageParser, MimeHeaders};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const FROM: &str = "굿폰 <no-reply@goodpon.example>";
const LINK: &str = "http://localhost:8080/verify?token=0123456789abcdef0123456789abcdef";

/// The behaviour of the peer at a command that begins with `at`.
#[derive(Clone, Copy)]
enum Twist {
    None,
    Reply {
        at: &'static str,
        reply: &'static str,
    },
    HangUp {
        at: &'static str,
    },
}

/// The commands and the mail that the peer received.
#[derive(Debug, Default)]
struct Received {
    commands: Vec<String>,
    mail: String,
}

impl Received {
    fn commanded(&self, start: &str) -> bool {
        self.commands
            .iter()
            .any(|command| command.starts_with(start))
    }
}

/// Serves one connection on a free port; resolves to what it received when the connection ends.
async fn peer(twist: Twist) -> (u16, JoinHandle<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let received = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        converse(stream, twist).await
    });
    (port, received)
}

async fn converse(stream: TcpStream, twist: Twist) -> Received {
    let mut received = Received::default();
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 peer ESMTP\r\n").await.unwrap();
    let mut line = String::new();
    while stream.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        let command = line.trim_end().to_owned();
        line.clear();
        received.commands.push(command.clone());
        let reply = match twist {
            Twist::HangUp { at } if command.starts_with(at) => return received,
            Twist::Reply { at, reply } if command.starts_with(at) => reply,
            _ => match command.split(' ').next().unwrap_or_default() {
                "EHLO" => "250-peer\r\n250 AUTH PLAIN",
                "AUTH" => "235 ok",
                "DATA" => "354 go on",
                "QUIT" => "221 bye",
                _ => "250 ok",
            },
        };
        stream
            .write_all(format!("{reply}\r\n").as_bytes())
            .await
            .unwrap();
        if reply.starts_with("354") {
            while stream.read_line(&mut line).await.unwrap() > 0 && line != ".\r\n" {
                received
                    .mail
                    .push_str(line.strip_prefix('.').unwrap_or(&line));
                line.clear();
            }
            line.clear();
            stream.write_all(b"250 queued\r\n").await.unwrap();
        }
    }
    received
}

fn mail_to(to: &str) -> QueuedMail {
    QueuedMail {
        id: 17,
        to: to.to_owned(),
        content: verification("sohee@example.com", "2026-03-02 10:23 (Asia/Seoul)", LINK),
        created_at: jiff::Timestamp::UNIX_EPOCH,
        attempts: 0,
        origin: None,
        trace: None,
    }
}

async fn send_to(url: &str, to: &str) -> Result<(), MailError> {
    Smtp::new(url, FROM).unwrap().send(&mail_to(to)).await
}

async fn sent(twist: Twist) -> (Result<(), MailError>, Received) {
    let (port, received) = peer(twist).await;
    let result = send_to(
        &format!("smtp://shop:p%40ss@127.0.0.1:{port}"),
        "Kim@Example.com",
    )
    .await;
    (result, received.await.unwrap())
}

fn header<'a>(mail: &'a Message<'_>, name: &'static str) -> &'a str {
    mail.header(name).unwrap().as_text().unwrap()
}

#[tokio::test]
async fn a_mail_arrives_whole() {
    let (result, received) = sent(Twist::None).await;
    result.unwrap();

    // base64 of \0shop\0p@ss: user and password were decoded from the URL.
    assert!(
        received.commanded("AUTH PLAIN AHNob3AAcEBzcw=="),
        "{received:?}"
    );
    assert!(
        received.commanded("MAIL FROM:<no-reply@goodpon.example>"),
        "{received:?}"
    );
    let recipients: Vec<_> = received
        .commands
        .iter()
        .filter(|command| command.starts_with("RCPT"))
        .collect();
    assert_eq!(recipients, ["RCPT TO:<Kim@Example.com>"]);

    assert!(received.mail.is_ascii(), "{}", received.mail);
    assert!(received.mail.lines().all(|line| line.len() <= 998));
    let expected = verification("sohee@example.com", "2026-03-02 10:23 (Asia/Seoul)", LINK);
    let mail = MessageParser::new().parse(&received.mail).unwrap();
    assert_eq!(mail.subject().unwrap(), expected.subject);
    let from = mail.from().unwrap().first().unwrap();
    assert_eq!(from.name().unwrap(), "굿폰");
    assert_eq!(from.address().unwrap(), "no-reply@goodpon.example");
    let to = mail.to().unwrap().first().unwrap();
    assert_eq!(to.address().unwrap(), "Kim@Example.com");
    let id = mail.message_id().unwrap();
    assert!(
        id.starts_with("17.") && id.ends_with("@goodpon.example"),
        "{id}"
    );
    assert_eq!(header(&mail, "Auto-Submitted"), "auto-generated");
    assert!(mail.date().is_some());
    assert_eq!(
        mail.content_type().unwrap().subtype().unwrap(),
        "alternative"
    );
    let text = mail.body_text(0).unwrap().replace("\r\n", "\n");
    assert_eq!(text.trim_end(), expected.text.trim_end());
    let html = mail.body_html(0).unwrap().replace("\r\n", "\n");
    assert_eq!(html.trim_end(), expected.html.trim_end());
}

/// Sends to addresses that the pattern of contract §2 allows and a mail server can take.
#[tokio::test]
async fn addresses_that_must_be_quoted_arrive() {
    for (to, written) in [
        ("a..b@x.kr", "\"a..b\"@x.kr"),
        ("a.@x.kr", "\"a.\"@x.kr"),
        (".a@x.kr", "\".a\"@x.kr"),
        ("+@x.kr", "+@x.kr"),
    ] {
        let (port, received) = peer(Twist::None).await;
        let result = send_to(&format!("smtp://127.0.0.1:{port}"), to).await;
        result.unwrap_or_else(|error| panic!("{to}: {error}"));
        let received = received.await.unwrap();
        assert!(
            received.commanded(&format!("RCPT TO:<{written}>")),
            "{received:?}"
        );
        let line = format!("To: {written}\r\n");
        assert!(received.mail.contains(&line), "{}", received.mail);
    }
}

#[tokio::test]
async fn a_recipient_the_server_does_not_know_is_permanent() {
    for reply in ["550 5.1.1 no such user", "550 no such user", "553 bad name"] {
        let at = "RCPT";
        let (result, received) = sent(Twist::Reply { at, reply }).await;
        assert!(
            matches!(&result, Err(MailError::Permanent(why)) if why.contains(&reply[..3])),
            "{reply}: {result:?}"
        );
        assert!(!received.commanded("DATA"), "{received:?}");
    }
}

#[tokio::test]
async fn whatever_may_pass_is_transient() {
    for (at, reply) in [
        ("EHLO", "421 too busy"),
        ("AUTH", "535 5.7.8 wrong password"),
        ("MAIL", "550 5.1.8 bad sender"),
        ("RCPT", "450 try again later"),
        ("RCPT", "452 4.2.2 mailbox full"),
        ("RCPT", "550 5.7.1 relaying denied"),
        ("DATA", "451 out of disk"),
        ("DATA", "554 no thanks"),
    ] {
        let (result, _) = sent(Twist::Reply { at, reply }).await;
        assert!(
            matches!(&result, Err(MailError::Transient(why)) if !why.contains("p@ss")),
            "{at} {reply}: {result:?}"
        );
    }
}

#[tokio::test]
async fn a_connection_that_ends_is_transient() {
    for at in ["EHLO", "RCPT", "DATA"] {
        let (result, _) = sent(Twist::HangUp { at }).await;
        assert!(
            matches!(result, Err(MailError::Transient(_))),
            "{at}: {result:?}"
        );
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap().port();
    drop(listener);
    let result = send_to(&format!("smtp://127.0.0.1:{closed}"), "kim@example.com").await;
    assert!(matches!(result, Err(MailError::Transient(_))), "{result:?}");
}

#[tokio::test]
async fn required_tls_sends_nothing_to_a_server_without_it() {
    let (port, received) = peer(Twist::None).await;
    let url = format!("smtp://shop:p%40ss@127.0.0.1:{port}?tls=required");
    let result = send_to(&url, "kim@example.com").await;
    assert!(
        matches!(&result, Err(MailError::Transient(why)) if why.contains("?tls=none")),
        "{result:?}"
    );
    let received = received.await.unwrap();
    assert!(
        !received.commanded("AUTH") && !received.commanded("MAIL"),
        "{received:?}"
    );
}

#[tokio::test]
async fn an_address_nobody_can_write_to_is_permanent_and_needs_no_server() {
    let result = send_to("smtp://127.0.0.1:1", "a@b\r\nRCPT TO:<c@d.ef>").await;
    assert!(matches!(result, Err(MailError::Permanent(_))), "{result:?}");
}

/// Reaches the time-out of a whole conversation, with the clock advanced instead of waited for.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let result = send_to(&format!("smtp://127.0.0.1:{port}"), "kim@example.com").await;
    assert!(
        matches!(&result, Err(MailError::Transient(why)) if !why.is_empty()),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_mail_has_the_same_id_at_every_try() {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let (_, received) = sent(Twist::None).await;
        let mail = MessageParser::new().parse(&received.mail).unwrap();
        ids.push(mail.message_id().unwrap().to_owned());
    }
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn one_connection_carries_several_mails() {
    let (port, received) = peer(Twist::None).await;
    let smtp = Smtp::new(&format!("smtp://127.0.0.1:{port}"), FROM).unwrap();
    for _ in 0..3 {
        smtp.send(&mail_to("kim@example.com")).await.unwrap();
        // The connection is put back by a task of its own.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    drop(smtp);
    let received = received.await.unwrap();
    let count = |start: &str| {
        received
            .commands
            .iter()
            .filter(|c| c.starts_with(start))
            .count()
    };
    assert_eq!((count("EHLO"), count("MAIL"), count("QUIT")), (1, 3, 1));
}
