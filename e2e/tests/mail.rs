//! Verification mail over SMTP, and the page that its link opens.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::server::token_in;
use goodpon_e2e::world::{PASSWORD, fresh_email};
use goodpon_e2e::{Api, Options, Server, Shared, World};
use goodpon_waits::eventually;
use rcgen::CertifiedKey;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig};

static SHARED: Shared = Shared::new();

/// A mail that a mail server received.
struct Delivery {
    to: String,
    data: String,
}

/// Serves SMTP on a listener and sends every message to the test.
fn serve_smtp(listener: TcpListener) -> mpsc::UnboundedReceiver<Delivery> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(session(stream, GREETING, sender.clone()));
        }
    });
    receiver
}

const GREETING: &str = "220 peer ESMTP\r\n";

/// Serves a conversation from the greeting on, or from behind a STARTTLS, which no greeting follows.
async fn session(
    stream: impl AsyncRead + AsyncWrite,
    greeting: &str,
    sender: mpsc::UnboundedSender<Delivery>,
) -> Option<()> {
    let (reading, mut writing) = tokio::io::split(stream);
    let mut lines = BufReader::new(reading).lines();
    let mut to = String::new();
    writing.write_all(greeting.as_bytes()).await.ok()?;
    while let Some(line) = lines.next_line().await.ok()? {
        let command = line.to_ascii_uppercase();
        let reply = if command.starts_with("EHLO") {
            "250-peer\r\n250 8BITMIME\r\n"
        } else if command.starts_with("DATA") {
            writing.write_all(b"354 go on\r\n").await.ok()?;
            let mut data = String::new();
            while let Some(line) = lines.next_line().await.ok()? {
                if line == "." {
                    break;
                }
                data.push_str(line.strip_prefix('.').unwrap_or(&line));
                data.push_str("\r\n");
            }
            think(&to).await;
            sender
                .send(Delivery {
                    to: to.clone(),
                    data,
                })
                .ok()?;
            "250 taken\r\n"
        } else if command.starts_with("QUIT") {
            writing.write_all(b"221 bye\r\n").await.ok()?;
            return Some(());
        } else {
            if command.starts_with("RCPT") {
                to = line;
            }
            "250 ok\r\n"
        };
        writing.write_all(reply.as_bytes()).await.ok()?;
    }
    Some(())
}

/// Waits for the time that the recipient's domain names.
async fn think(to: &str) {
    if to.contains("@slow.") {
        tokio::time::sleep(SLOW).await;
    }
    if to.contains("@stuck.") {
        std::future::pending::<()>().await;
    }
}

const SLOW: Duration = Duration::from_millis(400);

/// The moment from which a mail server encrypts.
#[derive(Clone, Copy)]
enum Encrypted {
    FromTheFirstByte,
    AfterStartTls,
}

/// Serves as [`serve_smtp`], encrypted with a certificate for localhost that no system trusts. Sends handshakes that
/// failed to the test, too.
fn serve_encrypted(
    listener: TcpListener,
    encrypted: Encrypted,
    certificate: &CertifiedKey<rcgen::KeyPair>,
) -> mpsc::UnboundedReceiver<Result<Delivery, std::io::Error>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = vec![certificate.cert.der().clone()];
    let key = certificate.signing_key.serialize_der().try_into().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let greeting = match encrypted {
                Encrypted::FromTheFirstByte => GREETING,
                Encrypted::AfterStartTls => {
                    start_tls(&mut stream).await;
                    ""
                }
            };
            match acceptor.accept(stream).await {
                Err(error) => drop(sender.send(Err(error))),
                Ok(stream) => {
                    // A connection may be kept for further mails: each is sent to the test as it comes.
                    let (delivered, mut deliveries) = mpsc::unbounded_channel();
                    let handed_over = async {
                        while let Some(delivery) = deliveries.recv().await {
                            let _ = sender.send(Ok(delivery));
                        }
                    };
                    tokio::join!(session(stream, greeting, delivered), handed_over);
                }
            }
        }
    });
    receiver
}

/// Serves the part before the encryption, in which it takes no mail.
async fn start_tls(stream: &mut TcpStream) -> Option<()> {
    let (reading, mut writing) = stream.split();
    let mut lines = BufReader::new(reading).lines();
    writing.write_all(GREETING.as_bytes()).await.ok()?;
    loop {
        let line = lines.next_line().await.ok()??;
        let (is_over, reply) = match line.split(' ').next().unwrap_or_default() {
            "EHLO" => (false, "250-peer\r\n250 STARTTLS\r\n"),
            "STARTTLS" => (true, "220 go on\r\n"),
            _ => (false, "530 not in clear\r\n"),
        };
        writing.write_all(reply.as_bytes()).await.ok()?;
        if is_over {
            return Some(());
        }
    }
}

/// Decodes all text parts of a message.
fn decoded(data: &str) -> String {
    let mail = mailparse::parse_mail(data.as_bytes()).unwrap();
    mail.parts()
        .filter(|part| part.ctype.mimetype.starts_with("text/"))
        .map(|part| part.get_body().unwrap())
        .collect()
}

async fn next<T>(deliveries: &mut mpsc::UnboundedReceiver<T>) -> T {
    let limit = Duration::from_secs(180);
    tokio::time::timeout(limit, deliveries.recv())
        .await
        .expect("no mail came")
        .unwrap()
}

fn options(port: u16) -> Options {
    options_for(format!("smtp://127.0.0.1:{port}"))
}

fn options_for(smtp_url: String) -> Options {
    Options::default().args([
        "--smtp-url".to_owned(),
        smtp_url,
        "--mail-from".to_owned(),
        "Goodpon <no-reply@goodpon.example>".to_owned(),
        "--verify-link-base".to_owned(),
        "https://console.example.com/web".to_owned(),
    ])
}

fn anonymous(server: &Arc<Server>) -> goodpon_e2e::Anonymous {
    goodpon_e2e::Anonymous {
        client: goodpon_e2e::Client::new(server),
    }
}

#[tokio::test]
async fn sign_up_is_delivered_by_smtp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut deliveries = serve_smtp(listener);
    let server = Arc::new(Server::start(options(port)));
    let anonymous = anonymous(&server);
    let email = fresh_email();
    anonymous.sign_up(&email, PASSWORD, "홍길동").await.ok();
    let delivery = next(&mut deliveries).await;
    assert!(delivery.to.contains(&email), "{}", delivery.to);
    let mail = mailparse::parse_mail(delivery.data.as_bytes()).unwrap();
    let header = |name: &str| {
        let found = mail
            .headers
            .iter()
            .find(|header| header.get_key().eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("no {name}")).get_value()
    };
    assert!(header("From").contains("no-reply@goodpon.example") && header("To").contains(&email));
    assert!(
        !header("Subject").is_empty()
            && !header("Date").is_empty()
            && !header("Message-ID").is_empty()
    );
    let body = decoded(&delivery.data);
    assert!(body.contains(&email) && !body.contains("길동"), "{body}");
    assert!(
        body.contains("https://console.example.com/web/verify?token="),
        "{body}"
    );
    anonymous.verify(&token_in(&body)).await.ok();
}

#[tokio::test]
async fn mail_goes_encrypted_to_a_server_that_is_trusted_and_to_no_other() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let trusted = folder.path().join("trusted.pem");
    std::fs::write(&trusted, certificate.cert.pem()).unwrap();
    for encrypted in [Encrypted::FromTheFirstByte, Encrypted::AfterStartTls] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut deliveries = serve_encrypted(listener, encrypted, &certificate);
        let url = match encrypted {
            Encrypted::FromTheFirstByte => format!("smtps://localhost:{port}"),
            Encrypted::AfterStartTls => format!("smtp://localhost:{port}?tls=required"),
        };
        let data = tempfile::TempDir::new().unwrap();
        let options = options_for(url)
            .data_dir(&data.path().join("data"))
            .expect_log("invalid peer certificate");
        let email = fresh_email();
        let stranger = Arc::new(Server::start(options.clone()));
        anonymous(&stranger)
            .sign_up(&email, PASSWORD, "이름")
            .await
            .ok();
        let refused = next(&mut deliveries).await.err().expect("no mail yet");
        assert!(refused.to_string().contains("UnknownCA"), "{refused}");
        assert!(stranger.terminate().success());
        // The same mail, as soon as the system trusts the server.
        let options = options.env("SSL_CERT_FILE", trusted.to_str().unwrap());
        let _server = Server::start(options);
        let delivery = next(&mut deliveries).await.unwrap();
        assert!(delivery.to.contains(&email), "{}", delivery.to);
    }
}

#[tokio::test]
async fn a_mail_server_that_is_down_delays_and_loses_none() {
    // A port that is unused for now: bound, and given back.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let options = options(address.port()).expect_log("Connection refused");
    let server = Arc::new(Server::start(options));
    let anonymous = anonymous(&server);
    let (first, second) = (fresh_email(), fresh_email());
    anonymous.sign_up(&first, PASSWORD, "하나").await.ok();
    anonymous.sign_up(&second, PASSWORD, "둘").await.ok();
    // Not even a crash loses a mail.
    server.kill9();
    server.restart();
    let mut deliveries = serve_smtp(TcpListener::bind(address).await.unwrap());
    let mut texts = [
        next(&mut deliveries).await.to,
        next(&mut deliveries).await.to,
    ];
    texts.sort();
    let mut expected = [first, second];
    expected.sort();
    for (text, expected) in texts.iter().zip(&expected) {
        assert!(text.contains(expected.as_str()), "{text}");
    }
}

/// Returns the number of the mail and the trace of each failed delivery in the log.
fn failed_deliveries(server: &Server) -> Vec<(i64, Option<String>)> {
    let lines = server.log().into_iter();
    let lines = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok());
    let failed = lines.filter(|line| line["message"] == "mail not sent");
    failed
        .map(|line| {
            let trace = line["trace_id"].as_str().map(str::to_owned);
            (line["mail_id"].as_i64().unwrap(), trace)
        })
        .collect()
}

#[tokio::test]
async fn a_delivery_is_logged_with_the_trace_of_the_sampled_request_that_caused_it() {
    // A port that is free for now: taken, and given back.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let options = options(port).expect_log("Connection refused");
    let server = Arc::new(Server::start(options));
    let anonymous = anonymous(&server);
    let ids = [
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "0af7651916cd43dd8448eb211c80319c",
    ];
    for (id, flags) in ids.into_iter().zip(["01", "00"]) {
        let body =
            serde_json::json!({"email": fresh_email(), "password": PASSWORD, "name": "이름"});
        let call = anonymous
            .client
            .call(Api::Dashboard, "POST", "/v1/accounts/sign-up");
        let traceparent = format!("00-{id}-00f067aa0ba902b7-{flags}");
        let call = call.header("traceparent", traceparent).json(&body);
        call.send().await.ok();
    }
    // Each mail is tried a second time: its trace was read back from the store.
    eventually("two deliveries of each mail fail", || async {
        let failed = failed_deliveries(&server);
        let tries = |mail: i64| failed.iter().filter(|(id, _)| *id == mail).count();
        let mails = failed.iter().map(|(id, _)| *id).collect::<BTreeSet<_>>();
        mails.len() == 2 && mails.into_iter().all(|mail| tries(mail) >= 2)
    })
    .await;
    let failed = failed_deliveries(&server);
    let first = failed.iter().map(|(id, _)| *id).min();
    for (mail, trace) in failed {
        let expected = (Some(mail) == first).then_some(ids[0]);
        assert_eq!(trace.as_deref(), expected, "mail {mail}");
    }
}

/// Signs up from `address`, as the proxy in front would name it.
async fn sign_up_from(anonymous: &goodpon_e2e::Anonymous, address: &str, email: &str) {
    let body = serde_json::json!({"email": email, "password": PASSWORD, "name": "이름"});
    let call = anonymous
        .client
        .call(Api::Dashboard, "POST", "/v1/accounts/sign-up");
    let call = call.header("X-Forwarded-For", address).json(&body);
    call.send().await.ok();
}

#[tokio::test]
async fn junk_from_elsewhere_does_not_delay_a_mail() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut deliveries = serve_smtp(listener);
    let trusting = options(port).env("GOODPON_TRUST_FORWARDED_FOR", "true");
    let server = Arc::new(Server::start(trusting));
    let anonymous = anonymous(&server);
    let junk: Vec<String> = (0..120)
        .map(|number| format!("junk{number}@slow.example.com"))
        .collect();
    for some in junk.chunks(20) {
        let sign_ups = some
            .iter()
            .map(|email| sign_up_from(&anonymous, "198.51.100.1", email));
        futures::future::join_all(sign_ups).await;
    }
    let began = Instant::now();
    sign_up_from(&anonymous, "192.0.2.1", "genuine@slow.example.com").await;
    let mut junk_before = 0;
    while !next(&mut deliveries).await.to.contains("genuine@") {
        junk_before += 1;
    }
    let waited = began.elapsed();
    assert!(
        waited < Duration::from_secs(10),
        "{waited:?}, {junk_before} before it"
    );
    let came: usize = junk_before + 1;
    assert!(came < junk.len(), "there was nothing to be overtaken");
    for _ in came..=junk.len() {
        next(&mut deliveries).await;
    }
}

#[tokio::test]
async fn a_recipient_whose_server_is_stuck_delays_no_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut deliveries = serve_smtp(listener);
    let server = Arc::new(Server::start(options(port)));
    let anonymous = anonymous(&server);
    for number in 0..10 {
        let email = format!("user{number}@stuck.example.com");
        anonymous.sign_up(&email, PASSWORD, "이름").await.ok();
    }
    let began = Instant::now();
    let email = fresh_email();
    anonymous.sign_up(&email, PASSWORD, "이름").await.ok();
    assert!(next(&mut deliveries).await.to.contains(&email));
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn the_link_base_defaults_to_the_dashboard_itself() {
    let world: World = SHARED.world().await;
    let email = fresh_email();
    world.anonymous.sign_up(&email, PASSWORD, "이름").await.ok();
    let mail = &world.server().mailbox(&email)[0];
    let port = world.server().addr(Api::Dashboard).port();
    let link = format!("http://localhost:{port}/verify?token=");
    assert!(mail["text"].as_str().unwrap().contains(&link), "{mail}");
}
