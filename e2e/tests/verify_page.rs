//! The page behind the mailed verification link (contract §2).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use goodpon_e2e::world::{PASSWORD, fresh_email};
use goodpon_e2e::{Account, Api, Shared, World};

static SHARED: Shared = Shared::new();

/// A person who signed up, with the link in the mail.
struct Visitor {
    world: World,
    email: String,
    token: String,
}

impl Visitor {
    async fn signed_up() -> Self {
        let world = SHARED.world().await;
        let email = fresh_email();
        world
            .anonymous
            .sign_up(&email, PASSWORD, "홍길동")
            .await
            .ok();
        let token = world.server().verification_token(&email);
        Self {
            world,
            email,
            token,
        }
    }

    fn page(&self) -> String {
        format!("{}/verify", self.world.server().base(Api::Dashboard))
    }

    /// Opens the link.
    async fn visit(&self) -> (u16, String) {
        let link = format!("{}?token={}", self.page(), self.token);
        let answer = self.world.client.http().get(link).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Sends one of the forms.
    async fn send(&self, fields: &[(&str, &str)]) -> (u16, String) {
        let mut form = vec![("token", self.token.as_str())];
        form.extend(fields);
        let request = self.world.client.http().post(self.page()).form(&form);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn logged_in(&self, password: &str) -> Account {
        let login = self.world.anonymous.login(&self.email, password).await;
        let mut account = self.world.owner.0.clone();
        account.token = login.ok()["accessToken"].as_str().map(str::to_owned);
        account
    }

    async fn is_verified(&self) -> bool {
        let login = self.world.anonymous.login(&self.email, PASSWORD).await;
        login.ok()["verified"] == true
    }
}

#[tokio::test]
async fn the_link_verifies_with_the_password_of_the_sign_up_and_not_on_the_visit() {
    let visitor = Visitor::signed_up().await;
    let before = visitor.logged_in(PASSWORD).await;
    for _ in 0..2 {
        let (status, html) = visitor.visit().await;
        assert_eq!(status, 200);
        assert!(html.contains(&visitor.email), "{html}");
        assert_eq!(html.matches("<form method=\"post\"").count(), 2, "{html}");
        assert!(html.contains("<label for=\"password\">"), "{html}");
        assert!(!html.contains("<script") && !html.contains("role=\"alert\""));
    }
    assert!(!visitor.is_verified().await, "mail scanners follow links");
    // The link alone is not enough: another person may have signed up with the address.
    for nothing in [&[][..], &[("password", "")]] {
        let (status, html) = visitor.send(nothing).await;
        assert_eq!(status, 400);
        assert!(html.contains("비밀번호를 입력해 주세요."), "{html}");
    }
    let (status, html) = visitor.send(&[("password", "another password")]).await;
    assert_eq!(status, 401);
    assert!(html.contains("비밀번호가 일치하지 않습니다.") && html.contains("<form"));
    assert!(!visitor.is_verified().await);
    let (status, html) = visitor.send(&[("password", PASSWORD)]).await;
    assert_eq!(status, 200);
    assert!(html.contains("이메일 인증이 완료되었습니다."), "{html}");
    assert!(visitor.is_verified().await);
    before.merchants().await.ok();
}

#[tokio::test]
async fn a_link_that_is_opened_again_says_that_the_address_is_verified() {
    let visitor = Visitor::signed_up().await;
    visitor.send(&[("password", PASSWORD)]).await;
    let again = visitor.send(&[("password", PASSWORD)]).await;
    for (status, html) in [visitor.visit().await, visitor.visit().await, again] {
        assert_eq!(status, 200);
        assert!(html.contains("이미 인증된 이메일입니다."), "{html}");
        assert!(!html.contains("<form"), "{html}");
    }
    let spent = visitor.world.anonymous.verify(&visitor.token).await;
    spent.refused("INVALID_EMAIL_VERIFICATION_TOKEN");
}

/// Another person signed up with the address; its owner gets the account, and nothing of the other's is left.
#[tokio::test]
async fn the_owner_of_the_mailbox_sets_a_password() {
    let visitor = Visitor::signed_up().await;
    let thief = visitor.logged_in(PASSWORD).await;
    thief.me().await.ok();
    for bad in [
        "short",
        "password123",
        "홍길동홍길동홍길동",
        visitor.email.as_str(),
    ] {
        let (status, html) = visitor.send(&[("newPassword", bad)]).await;
        assert_eq!(status, 400, "{bad}");
        assert!(html.contains("쉽게 추측할 수 없는"), "{html}");
    }
    assert!(
        !visitor.is_verified().await,
        "a bad password spends no token"
    );
    let mine = "내 것 + 100% mine";
    let (status, html) = visitor.send(&[("newPassword", mine)]).await;
    assert_eq!(status, 200);
    assert!(html.contains("새 비밀번호로 로그인"), "{html}");
    thief.me().await.refused("UNAUTHORIZED");
    let refused = visitor
        .world
        .anonymous
        .login(&visitor.email, PASSWORD)
        .await;
    refused.refused("PASSWORD_MISMATCH");
    visitor.logged_in(mine).await.merchants().await.ok();
}

#[tokio::test]
async fn a_stolen_link_is_no_oracle() {
    let visitor = Visitor::signed_up().await;
    for number in 0..10 {
        let guess = format!("guess number {number}");
        let (status, _) = visitor.send(&[("password", &guess)]).await;
        assert_eq!(status, 401);
    }
    let (status, html) = visitor.send(&[("password", PASSWORD)]).await;
    assert_eq!(status, 401);
    assert!(html.contains("너무 많이 잘못 입력했습니다."), "{html}");
    assert!(!visitor.is_verified().await);
    let mine = "my very own password";
    let (status, _) = visitor.send(&[("newPassword", mine)]).await;
    assert_eq!(status, 200);
    visitor.logged_in(mine).await.merchants().await.ok();
}

#[tokio::test]
async fn the_page_shrugs_at_nonsense() {
    let world = SHARED.world().await;
    let page = format!("{}/verify", world.server().base(Api::Dashboard));
    for query in [
        "",
        "?token=",
        "?token=%3Cscript%3Ealert(1)%3C/script%3E",
        "?token=%00",
        "?x=%ff",
    ] {
        let visit = world
            .client
            .http()
            .get(format!("{page}{query}"))
            .send()
            .await
            .unwrap();
        assert!(!visit.status().is_server_error(), "{query}");
        assert!(
            !visit.text().await.unwrap().contains("<script>alert"),
            "{query}"
        );
    }
    for body in [
        "",
        "token=",
        "token=%ff",
        "token=x&token=y",
        "{\"token\":1}",
    ] {
        let request = world
            .client
            .http()
            .post(&page)
            .header("Content-Type", "application/x-www-form-urlencoded");
        let click = request.body(body).send().await.unwrap();
        assert!(!click.status().is_server_error(), "{body}");
    }
}
