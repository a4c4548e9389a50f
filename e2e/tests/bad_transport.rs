//! Bad input below JSON: bodies too large or too slow, headers and requests that are absurd.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::actors::issue_path;
use goodpon_e2e::raw::{RawAnswer, exchange, last_words, read_answer};
use goodpon_e2e::{Api, Options, Shared, Template, World};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

static SHARED: Shared = Shared::new();

#[tokio::test]
async fn bodies_of_ten_megabytes_are_refused() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let large = vec![b'x'; 10 << 20];
    for (address, path, head) in [
        (
            world.server().addr(Api::Partner),
            issue_path(template),
            format!(
                "X-Goodpon-Client-Id: {}\r\nX-Goodpon-Client-Secret: {}\r\n",
                world.shop.client_id, world.shop.secret
            ),
        ),
        (
            world.server().addr(Api::Dashboard),
            "/v1/auth/login".to_owned(),
            String::new(),
        ),
    ] {
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {}\r\nConnection: close\r\n\r\n",
            large.len()
        )
        .into_bytes();
        bytes.extend(&large);
        let answer = exchange(address, &bytes).await;
        // A peer that closes early may cut our write short and its own answer with it.
        assert!([413, 0].contains(&answer.status), "{}", answer.text);
    }
    let limit = 64 * 1024;
    let sized = |size: usize| {
        let frame = r#"{"userId":"u","padding":""}"#.len();
        format!(
            r#"{{"userId":"u","padding":"{}"}}"#,
            "x".repeat(size - frame)
        )
    };
    let send = async |body: String| {
        world
            .shop
            .call("POST", &issue_path(template))
            .body(body)
            .send()
            .await
    };
    send(sized(limit + 1)).await.refused("PAYLOAD_TOO_LARGE");
    assert!(world.ledger(&[]).await.is_empty());
    send(sized(limit)).await.ok();
    let body = format!(
        r#"{{"email":"a@example.com","password":"{}"}}"#,
        "x".repeat(limit)
    );
    world
        .client
        .call(Api::Dashboard, "POST", "/v1/auth/login")
        .body(body)
        .send()
        .await
        .refused("PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn chunked_bodies_count_the_same() {
    let world = SHARED.world().await;
    let chunk = format!("{:x}\r\n{}\r\n", 16_384, "x".repeat(16_384));
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nX-Goodpon-Client-Id: {}\r\nX-Goodpon-Client-Secret: {}\r\n",
        issue_path(1),
        world.shop.client_id,
        world.shop.secret
    );
    let bytes = format!(
        "{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{}0\r\n\r\n",
        chunk.repeat(5)
    );
    let answer = exchange(world.server().addr(Api::Partner), bytes.as_bytes()).await;
    assert_eq!(answer.status, 413, "{}", answer.text);
    assert!(answer.text.contains("PAYLOAD_TOO_LARGE"), "{}", answer.text);
}

#[tokio::test]
async fn a_body_that_is_of_no_use_leaves_the_connection_open() {
    let world = SHARED.world().await;
    for api in [Api::Partner, Api::Dashboard] {
        let mut stream = TcpStream::connect(world.server().addr(api)).await.unwrap();
        for (call, rest, status) in [
            ("POST /docs", "Content-Length: 2\r\n\r\n{}", 405),
            (
                "GET /docs",
                "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
                303,
            ),
            ("PUT /openapi.json", "Content-Length: 2\r\n\r\n{}", 405),
            ("GET /openapi.json", "\r\n", 200),
        ] {
            let bytes = format!("{call} HTTP/1.1\r\nHost: x\r\n{rest}");
            stream.write_all(bytes.as_bytes()).await.unwrap();
            let answer = read_answer(&mut stream).await;
            assert_eq!(answer.status, status, "{api:?} {call}: {}", answer.text);
            assert_eq!(answer.header("connection"), None, "{api:?} {call}");
        }
    }
}

#[tokio::test]
async fn slow_bodies_and_slow_headers_are_cut_off() {
    let options =
        Options::default().args(["--body-timeout-secs", "1", "--header-timeout-secs", "1"]);
    let world = World::with(options).await;
    let address = world.server().addr(Api::Partner);
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nX-Goodpon-Client-Id: {}\r\nX-Goodpon-Client-Secret: {}\r\n",
        issue_path(1),
        world.shop.client_id,
        world.shop.secret
    );
    let slow = format!("{head}Content-Length: 500\r\n\r\n{{\"userId\":");
    let answer = exchange(address, slow.as_bytes()).await;
    assert!(
        answer.status == 0 || (400..500).contains(&answer.status),
        "{}",
        answer.text
    );
    let answer = exchange(address, b"GET /v1/user-coupons HTTP/1.1\r\nHost:").await;
    assert!(
        answer.status == 0 || (400..500).contains(&answer.status),
        "{}",
        answer.text
    );
    world.shop.coupons("u").await.ok();
}

#[tokio::test]
async fn absurd_headers_and_requests_are_no_500() {
    let world = SHARED.world().await;
    let addresses = [
        world.server().addr(Api::Partner),
        world.server().addr(Api::Dashboard),
    ];
    let long = "x".repeat(500_000);
    let many: String = (0..2000)
        .map(|number| format!("X-H{number}: v\r\n"))
        .collect();
    let requests: Vec<Vec<u8>> = vec![
        format!("GET /v1/merchants HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\nConnection: close\r\n\r\n").into_bytes(),
        format!("GET /v1/merchants HTTP/1.1\r\nHost: x\r\n{many}Connection: close\r\n\r\n").into_bytes(),
        format!("GET /{long} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes(),
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Header\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03garbage\r\n\r\n".to_vec(),
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\nConnection: close\r\n\r\n".to_vec(),
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}".to_vec(),
        b"GET /v1/user-coupons?userId=%zz&%%%=& HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(),
    ];
    for request in requests {
        for address in addresses {
            let answer = exchange(address, &request).await;
            assert!(
                answer.status == 0 || (400..500).contains(&answer.status),
                "{}",
                answer.text
            );
        }
    }
    let call = world
        .shop
        .call("GET", "/v1/user-coupons?userId=u")
        .header("Accept", "text/html; q=nonsense, \"");
    call.header("Content-Type", "???")
        .header("traceparent", b"\xff\xff".as_slice())
        .send()
        .await
        .ok();
    world.owner.me().await.ok();
}

/// Sends malformed requests; each has its status and code. Hyper decides many of them: where a new version of it reads a
/// request otherwise, this list shows it.
const MALFORMED: &[(&str, u16, &str)] = &[
    ("nonsense\r\n\r\n", 400, "BAD_REQUEST"),
    ("GET / HTTP/9.9\r\nHost: x\r\n\r\n", 400, "BAD_REQUEST"),
    ("GET /\r\n\r\n", 400, "BAD_REQUEST"),
    (
        "GET /v1/ accounts HTTP/1.1\r\nHost: x\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    ("G@T / HTTP/1.1\r\nHost: x\r\n\r\n", 400, "BAD_REQUEST"),
    ("GET /v1/accounts HTTP/1.1\r\n\r\n", 400, "BAD_REQUEST"),
    (
        "GET /v1/accounts HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "GET /v1/accounts HTTP/1.1\r\nHost: a/b\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "GET /v1/accounts HTTP/1.1\r\nHost: x\r\nNo colon\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "GET /v1/accounts HTTP/1.1\r\nHost: x\r\nBlank : y\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "GET /v1/accounts HTTP/1.1\r\nHost: x\r\nFolded: a\r\n b\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "GET /v1/accounts HTTP/1.1\r\nHost: x\r\nNul: a\0b\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "GET /v1/accounts HTTP/1.1\r\nHost: x\r\nBare: a\rb\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\n\r\n{}",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;a\n{}\r\n0\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    ("GET /v1/accounts HTTP/1.1\nHost: x\n\n", 400, "BAD_REQUEST"),
    (
        "GET /v1/accounts HTTP/1.1\r\nHost: x\r\nX: a\nContent-Length: 5\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    (
        "POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
        "BAD_REQUEST",
    ),
    // Not malformed: an empty line before a request is passed over, and HTTP/1.0 names no host.
    ("GET /v1/accounts HTTP/1.0\r\n\r\n", 401, "UNAUTHORIZED"),
    (
        "\r\nGET /v1/accounts HTTP/1.1\r\nHost: x\r\n\r\n",
        401,
        "UNAUTHORIZED",
    ),
    (
        "GET http://elsewhere/v1/accounts HTTP/1.1\r\nHost: x\r\n\r\n",
        401,
        "UNAUTHORIZED",
    ),
    ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 401, "UNAUTHORIZED"),
];

#[tokio::test]
async fn what_malformed_requests_are_answered() {
    let world = SHARED.world().await;
    let address = world.server().addr(Api::Dashboard);
    let mut wrong = String::new();
    for (request, status, code) in MALFORMED {
        let answer = exchange(address, request.as_bytes()).await;
        if (answer.status, answer.code()) != (*status, *code) {
            wrong += &format!("{request:?}: {}\n", answer.text);
        }
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ] {
            if answer.header(name) != Some(value) {
                wrong += &format!("{request:?}: {name} {:?}\n", answer.header(name));
            }
        }
        if *status == 400 && answer.header("connection") != Some("close") {
            wrong += &format!("{request:?}: does not say that the connection ends\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Sends headers with a single LF, which a proxy may take for a part of a value: it then sees fewer headers than we do,
/// and those that it does not see must not make us take its one request for two.
#[tokio::test]
async fn what_a_bare_line_feed_hides_makes_no_second_request() {
    let world = SHARED.world().await;
    let address = world.server().addr(Api::Dashboard);
    let second = "GET /v1/accounts HTTP/1.1\r\nHost: x\r\n\r\n";
    for (head, body) in [
        (
            "Content-Length: 60\r\nX: a\nTransfer-Encoding: chunked",
            "0\r\n\r\n",
        ),
        (
            "X: a\nTransfer-Encoding: chunked\r\nContent-Length: 60",
            "0\r\n\r\n",
        ),
        ("Content-Length: 60\r\nX: a\nContent-Length: 2", "{}"),
    ] {
        let request =
            format!("POST /v1/auth/login HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{body}{second}");
        let answer = last_words(address, request.as_bytes()).await;
        assert_eq!(
            answer.text.matches("HTTP/1.1 ").count(),
            1,
            "{head}: {}",
            answer.text
        );
        assert_eq!(answer.header("connection"), Some("close"), "{head}");
    }
}

/// Sends every call as a client that closes its sending side with its request.
#[tokio::test]
async fn a_client_that_has_closed_its_sending_side_is_answered() {
    let world = SHARED.world().await;
    let template = world.publish(&Template::default()).await;
    let credentials = format!(
        "X-Goodpon-Client-Id: {}\r\nX-Goodpon-Client-Secret: {}\r\n",
        world.shop.client_id, world.shop.secret
    );
    let bearer = format!(
        "Authorization: Bearer {}\r\n",
        world.owner.token.clone().unwrap()
    );
    let ask = async |api: Api, call: &str, body: &str| -> RawAnswer {
        let headers = match api {
            Api::Partner => &credentials,
            Api::Dashboard => &bearer,
        };
        let length = body.len();
        let request = format!(
            "{call} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        last_words(world.server().addr(api), request.as_bytes()).await
    };
    let merchant = world.merchant;
    let templates = format!("/v1/merchants/{merchant}/coupon-templates");
    for (api, call, body) in [
        (
            Api::Partner,
            format!("POST {}", issue_path(template)),
            r#"{"userId":"half"}"#,
        ),
        (
            Api::Partner,
            format!("GET /v1/coupon-templates/{template}"),
            "",
        ),
        (
            Api::Partner,
            "GET /v1/user-coupons?userId=half".to_owned(),
            "",
        ),
        (
            Api::Partner,
            "GET /v1/user-coupons/available?userId=half&orderAmount=1".to_owned(),
            "",
        ),
        (Api::Dashboard, "GET /v1/accounts".to_owned(), ""),
        (Api::Dashboard, "GET /v1/merchants".to_owned(), ""),
        (
            Api::Dashboard,
            "POST /v1/merchants".to_owned(),
            r#"{"name":"half"}"#,
        ),
        (Api::Dashboard, format!("GET /v1/merchants/{merchant}"), ""),
        (Api::Dashboard, format!("GET {templates}"), ""),
        (Api::Dashboard, format!("GET {templates}/{template}"), ""),
        (
            Api::Dashboard,
            format!("GET /v1/merchants/{merchant}/coupon-histories"),
            "",
        ),
        (Api::Dashboard, "GET /openapi.json".to_owned(), ""),
        (
            Api::Dashboard,
            "GET /docs/swagger-ui-bundle.js".to_owned(),
            "",
        ),
    ] {
        let answer = ask(api, &call, body).await;
        assert_eq!(answer.status, 200, "{call}: {}", answer.text);
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        // The body is not compared: one of our texts is whole if its end has come.
        assert!(answer.text.len() > length, "{call}: cut short");
    }
    for call in ["redeem", "cancel"] {
        let answer = ask(
            Api::Partner,
            &format!("POST /v1/user-coupons/none/{call}"),
            "{}",
        )
        .await;
        assert_eq!(answer.code(), "BAD_REQUEST", "{}", answer.text);
    }
    let login = format!(
        r#"{{"email":"{}","password":"{}"}}"#,
        world.owner.email,
        goodpon_e2e::world::PASSWORD
    );
    // As slow a call as there is.
    let answer = ask(Api::Dashboard, "POST /v1/auth/login", &login).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn an_answer_after_which_the_connection_ends_says_so() {
    let options = Options::default().args(["--body-timeout-secs", "1"]);
    let world = World::with(options).await;
    let address = world.server().addr(Api::Partner);
    let head = format!("POST {} HTTP/1.1\r\nHost: x\r\n", issue_path(1));
    for (rest, status) in [
        ("Content-Length: 70000\r\n\r\n", 413),
        ("Expect: 100-continue\r\nContent-Length: 70000\r\n\r\n", 413),
        ("Content-Length: 10\r\n\r\n{", 400),
        ("Connection: close\r\nContent-Length: 2\r\n\r\n{}", 400),
    ] {
        let answer = exchange(address, format!("{head}{rest}").as_bytes()).await;
        assert_eq!(answer.status, status, "{rest}: {}", answer.text);
        assert_eq!(answer.header("connection"), Some("close"), "{rest}");
    }
    let old = format!("GET {} HTTP/1.0\r\nHost: x\r\n", issue_path(1));
    let answer = exchange(address, format!("{old}\r\n").as_bytes()).await;
    assert_eq!(answer.header("connection"), Some("close"));
    let kept = exchange(
        address,
        format!("{old}Connection: Keep-Alive\r\n\r\n").as_bytes(),
    )
    .await;
    assert_eq!(kept.header("connection"), Some("keep-alive"));
    let goes_on = format!("{head}Content-Length: 2\r\n\r\n{{}}");
    let answer = exchange(address, goes_on.as_bytes()).await;
    assert_eq!(answer.header("connection"), None, "{}", answer.text);
}
