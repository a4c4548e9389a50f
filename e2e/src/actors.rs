//! The callers: one type per kind of caller, one method per call of the contract.

use std::ops::Deref;

use serde_json::{Value, json};

use crate::client::{Answer, Api, Call, Client};

/// A caller of the dashboard without any token.
#[derive(Clone)]
pub struct Anonymous {
    /// The client by which it calls.
    pub client: Client,
}

impl Anonymous {
    /// `POST /v1/accounts/sign-up`
    pub async fn sign_up(&self, email: &str, password: &str, name: &str) -> Answer {
        let body = json!({"email": email, "password": password, "name": name});
        self.post("/v1/accounts/sign-up", &body).await
    }

    /// `POST /v1/auth/login`
    pub async fn login(&self, email: &str, password: &str) -> Answer {
        self.post(
            "/v1/auth/login",
            &json!({"email": email, "password": password}),
        )
        .await
    }

    /// `POST /v1/auth/verify`
    pub async fn verify(&self, token: &str) -> Answer {
        self.post("/v1/auth/verify", &json!({"token": token})).await
    }

    /// `POST /v1/auth/verify/resend`
    pub async fn resend(&self, email: &str) -> Answer {
        self.post("/v1/auth/verify/resend", &json!({"email": email}))
            .await
    }

    /// Sends any POST to the dashboard, with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.client
            .call(Api::Dashboard, "POST", path)
            .json(body)
            .send()
            .await
    }
}

/// A caller of the dashboard with a token; the roles below wrap it.
#[derive(Clone)]
pub struct Account {
    /// The client by which it calls.
    pub client: Client,
    /// The access token sent, if any.
    pub token: Option<String>,
    /// The account's id.
    pub id: i64,
    /// The address it signed up with.
    pub email: String,
    /// Its name.
    pub name: String,
}

impl Account {
    /// Begins any call to the dashboard with this account's token.
    #[must_use]
    pub fn call(&self, method: &str, path: &str) -> Call {
        self.client
            .call(Api::Dashboard, method, path)
            .bearer(self.token.as_deref())
    }

    /// Sends any GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send().await
    }

    /// Sends any POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path).json(body).send().await
    }

    /// `GET /v1/accounts`
    pub async fn me(&self) -> Answer {
        self.get("/v1/accounts").await
    }

    /// `POST /v1/merchants`
    pub async fn create_merchant(&self, name: &str) -> Answer {
        self.post("/v1/merchants", &json!({"name": name})).await
    }

    /// `GET /v1/merchants`
    pub async fn merchants(&self) -> Answer {
        self.get("/v1/merchants").await
    }

    /// `GET /v1/merchants/{merchantId}`
    pub async fn merchant(&self, merchant: i64) -> Answer {
        self.get(&format!("/v1/merchants/{merchant}")).await
    }

    /// `POST …/coupon-templates`
    pub async fn create_template(&self, merchant: i64, body: &Value) -> Answer {
        self.post(&format!("/v1/merchants/{merchant}/coupon-templates"), body)
            .await
    }

    /// `GET …/coupon-templates`
    pub async fn templates(&self, merchant: i64) -> Answer {
        self.get(&format!("/v1/merchants/{merchant}/coupon-templates"))
            .await
    }

    /// `GET …/coupon-templates/{couponTemplateId}`
    pub async fn template(&self, merchant: i64, template: i64) -> Answer {
        self.get(&format!(
            "/v1/merchants/{merchant}/coupon-templates/{template}"
        ))
        .await
    }

    /// `POST …/coupon-templates/{couponTemplateId}/publish`
    pub async fn publish(&self, merchant: i64, template: i64) -> Answer {
        self.call(
            "POST",
            &format!("/v1/merchants/{merchant}/coupon-templates/{template}/publish"),
        )
        .send()
        .await
    }

    /// `POST …/coupon-templates/{couponTemplateId}/discard`
    pub async fn discard(&self, merchant: i64, template: i64, reason: &str) -> Answer {
        let path = format!("/v1/merchants/{merchant}/coupon-templates/{template}/discard");
        self.post(&path, &json!({"reason": reason})).await
    }

    /// `GET …/coupon-histories`
    pub async fn histories(&self, merchant: i64, query: &[(&str, &str)]) -> Answer {
        self.call("GET", &format!("/v1/merchants/{merchant}/coupon-histories"))
            .query(query)
            .send()
            .await
    }

    /// `POST …/client-secrets`
    pub async fn create_secret(&self, merchant: i64) -> Answer {
        self.call("POST", &format!("/v1/merchants/{merchant}/client-secrets"))
            .send()
            .await
    }

    /// `POST …/client-secrets/{secretId}/expire`, with a body only where there is a time
    pub async fn expire_secret(&self, merchant: i64, secret: i64, at: Option<&str>) -> Answer {
        let call = self.call(
            "POST",
            &format!("/v1/merchants/{merchant}/client-secrets/{secret}/expire"),
        );
        match at {
            Some(at) => call.json(&json!({"expiresAt": at})).send().await,
            None => call.send().await,
        }
    }

    /// `POST …/members`
    pub async fn add_member(&self, merchant: i64, email: &str) -> Answer {
        self.post(
            &format!("/v1/merchants/{merchant}/members"),
            &json!({"email": email}),
        )
        .await
    }

    /// `DELETE …/members/{merchantAccountId}`
    pub async fn remove_member(&self, merchant: i64, member: i64) -> Answer {
        self.call(
            "DELETE",
            &format!("/v1/merchants/{merchant}/members/{member}"),
        )
        .send()
        .await
    }
}

macro_rules! role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(pub Account);

        impl Deref for $name {
            type Target = Account;

            fn deref(&self) -> &Account {
                &self.0
            }
        }
    };
}

role!(
    /// An account that signed up and logged in, but is not verified.
    Unverified
);
role!(
    /// The owner of the merchant under test.
    Owner
);
role!(
    /// A member of the merchant under test who is not its owner.
    Staff
);
role!(
    /// The owner of another merchant.
    Stranger
);

/// The server of a shop: a caller of the partner API.
#[derive(Clone)]
pub struct Shop {
    /// The client by which it calls.
    pub client: Client,
    /// `X-Goodpon-Client-Id`
    pub client_id: String,
    /// `X-Goodpon-Client-Secret`
    pub secret: String,
}

impl Shop {
    /// Begins any call to the partner API with this shop's credentials.
    #[must_use]
    pub fn call(&self, method: &str, path: &str) -> Call {
        self.client
            .call(Api::Partner, method, path)
            .header("X-Goodpon-Client-Id", &self.client_id)
            .header("X-Goodpon-Client-Secret", &self.secret)
    }

    /// Sends any POST with a JSON body, with a key where there is one.
    pub async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Answer {
        self.call("POST", path)
            .header_if("Idempotency-Key", key.map(str::as_bytes))
            .json(body)
            .send()
            .await
    }

    /// `GET /v1/coupon-templates/{couponTemplateId}`
    pub async fn template(&self, template: i64, user: Option<&str>) -> Answer {
        let call = self.call("GET", &format!("/v1/coupon-templates/{template}"));
        match user {
            Some(user) => call.query(&[("userId", user)]).send().await,
            None => call.send().await,
        }
    }

    /// `POST /v1/coupon-templates/{couponTemplateId}/issue`
    pub async fn issue(&self, template: i64, user: &str) -> Answer {
        self.post(&issue_path(template), &json!({"userId": user}), None)
            .await
    }

    /// Issues as [`Shop::issue`], with an idempotency key.
    pub async fn issue_with_key(&self, template: i64, user: &str, key: &str) -> Answer {
        self.post(&issue_path(template), &json!({"userId": user}), Some(key))
            .await
    }

    /// `GET /v1/user-coupons`
    pub async fn coupons(&self, user: &str) -> Answer {
        self.call("GET", "/v1/user-coupons")
            .query(&[("userId", user)])
            .send()
            .await
    }

    /// `GET /v1/user-coupons/available`
    pub async fn available(&self, user: &str, amount: i64) -> Answer {
        let query = [("userId", user), ("orderAmount", &amount.to_string())];
        self.call("GET", "/v1/user-coupons/available")
            .query(&query)
            .send()
            .await
    }

    /// `POST /v1/user-coupons/{userCouponId}/redeem`
    pub async fn redeem(&self, coupon: &str, user: &str, amount: i64, order: &str) -> Answer {
        self.post(
            &redeem_path(coupon),
            &redeem_body(user, amount, order),
            None,
        )
        .await
    }

    /// Redeems as [`Shop::redeem`], with an idempotency key.
    pub async fn redeem_with_key(
        &self,
        coupon: &str,
        user: &str,
        amount: i64,
        order: &str,
        key: &str,
    ) -> Answer {
        self.post(
            &redeem_path(coupon),
            &redeem_body(user, amount, order),
            Some(key),
        )
        .await
    }

    /// `POST /v1/user-coupons/{userCouponId}/cancel`
    pub async fn cancel(&self, coupon: &str, order: &str, reason: &str) -> Answer {
        self.post(&cancel_path(coupon), &cancel_body(order, reason), None)
            .await
    }

    /// Cancels as [`Shop::cancel`], with an idempotency key.
    pub async fn cancel_with_key(
        &self,
        coupon: &str,
        order: &str,
        reason: &str,
        key: &str,
    ) -> Answer {
        self.post(&cancel_path(coupon), &cancel_body(order, reason), Some(key))
            .await
    }

    /// Issues a coupon and returns its id from the list of the user.
    ///
    /// # Panics
    /// It is not issued.
    pub async fn issued(&self, template: i64, user: &str) -> String {
        self.issue(template, user).await.ok();
        self.coupon_of(template, user).await
    }

    /// Finds the id of a user's listed coupon of a template.
    ///
    /// # Panics
    /// The list has none.
    pub async fn coupon_of(&self, template: i64, user: &str) -> String {
        let answer = self.coupons(user).await;
        let coupons = answer.ok()["coupons"].as_array().expect("a list").clone();
        let mine = coupons
            .iter()
            .find(|coupon| coupon["couponTemplateId"] == template);
        mine.and_then(|coupon| coupon["userCouponId"].as_str())
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }
}

/// Returns the path of the issue call.
#[must_use]
pub fn issue_path(template: i64) -> String {
    format!("/v1/coupon-templates/{template}/issue")
}

/// Returns the path of the redeem call.
#[must_use]
pub fn redeem_path(coupon: &str) -> String {
    format!("/v1/user-coupons/{coupon}/redeem")
}

/// Returns the path of the cancel call.
#[must_use]
pub fn cancel_path(coupon: &str) -> String {
    format!("/v1/user-coupons/{coupon}/cancel")
}

/// Makes the body of the redeem call.
#[must_use]
pub fn redeem_body(user: &str, amount: i64, order: &str) -> Value {
    json!({"userId": user, "orderAmount": amount, "orderId": order})
}

/// Makes the body of the cancel call.
#[must_use]
pub fn cancel_body(order: &str, reason: &str) -> Value {
    json!({"orderId": order, "cancelReason": reason})
}

/// The shop of another merchant.
#[derive(Clone)]
pub struct OtherShop(pub Shop);

impl Deref for OtherShop {
    type Target = Shop;

    fn deref(&self) -> &Shop {
        &self.0
    }
}
