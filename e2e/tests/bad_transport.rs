//! Bad input below JSON: bodies too large or too slow, headers and requests that are absurd.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::actors::issue_path;
use goodpon_e2e::raw::exchange;
use goodpon_e2e::{Api, Options, Shared, Template, World};

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
