//! HTTP calls and their answers.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;

pub use crate::server::Api;
use crate::server::Server;

/// An HTTP client bound to one server; follows it over restarts. Belongs to one test's runtime.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    server: Arc<Server>,
}

impl Client {
    /// Makes a client of this server.
    #[must_use]
    pub fn new(server: &Arc<Server>) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(60))
            .build()
            .expect("a client");
        Self {
            http,
            server: Arc::clone(server),
        }
    }

    /// Returns the server that it calls.
    #[must_use]
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Returns the HTTP client itself, for requests that are no API calls (admin port, web page).
    #[must_use]
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Begins a call; `path` is as it stands on the wire, query included.
    #[must_use]
    pub fn call(&self, api: Api, method: &str, path: &str) -> Call {
        let url = format!("{}{path}", self.server.base(api));
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        Call {
            api,
            name: format!("{method} {path}"),
            request: self.http.request(method, url),
            issue: None,
            server: Arc::clone(&self.server),
        }
    }
}

/// A call being put together.
pub struct Call {
    api: Api,
    name: String,
    request: reqwest::RequestBuilder,
    /// The body, if this may be an issue.
    issue: Option<Vec<u8>>,
    server: Arc<Server>,
}

impl Call {
    /// Adds a header; the value may hold any bytes that HTTP allows.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.request = self.request.header(
            name,
            HeaderValue::from_bytes(value.as_ref()).expect("a header value"),
        );
        self
    }

    /// Adds a header where there is a value.
    #[must_use]
    pub fn header_if(self, name: &str, value: Option<&[u8]>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// Adds a bearer token where there is one.
    #[must_use]
    pub fn bearer(self, token: Option<&str>) -> Self {
        match token {
            Some(token) => self.header("Authorization", format!("Bearer {token}")),
            None => self,
        }
    }

    /// Adds query parameters, encoded.
    #[must_use]
    pub fn query(mut self, pairs: &[(&str, &str)]) -> Self {
        self.request = self.request.query(pairs);
        self
    }

    /// Sends a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.body(serde_json::to_vec(body).expect("JSON"))
    }

    /// Sends a body as it stands.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        if self.server.rooms().is_some() && self.name.ends_with("/issue") {
            self.issue = Some(body.clone());
        }
        self.request = self.request.body(body);
        self.header("Content-Type", "application/json")
    }

    /// Sends it. Scaled out, returns the success of an issue only once its coupon is written, so that later calls find the
    /// same on both sets of back ends.
    ///
    /// # Panics
    /// There is no HTTP answer.
    pub async fn send(self) -> Answer {
        let (name, server, issue) = (
            self.name.clone(),
            Arc::clone(&self.server),
            self.issue.clone(),
        );
        let answer = self
            .try_send()
            .await
            .unwrap_or_else(|error| panic!("{name}: no answer: {error:?}"));
        if let (200, Some(body), Some(rooms)) = (answer.status, issue, server.rooms()) {
            let body: Value = serde_json::from_slice(&body).expect("a body that was understood");
            let id = name.trim_end_matches("/issue").rsplit('/').next();
            let template = id
                .and_then(|id| id.parse().ok())
                .expect("an id that was understood");
            let user = body["userId"].as_str().expect("a user");
            rooms.written(template, user).await;
        }
        answer
    }

    /// Sends it and drops the body unread: for load, where reading it would cost more than the server's part.
    ///
    /// # Errors
    /// The answer did not come, or not whole.
    pub async fn drain(self) -> Result<(StatusCode, HeaderMap), reqwest::Error> {
        let mut response = self.request.send().await?;
        while response.chunk().await?.is_some() {}
        Ok((response.status(), std::mem::take(response.headers_mut())))
    }

    /// Sends it; a broken connection is an error.
    ///
    /// # Errors
    /// The answer did not come, or not whole.
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let response = self.request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await?.to_vec();
        let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer {
            api: self.api,
            call: self.name,
            status,
            headers,
            bytes,
            json,
        })
    }
}

/// An HTTP answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The API that gave it.
    pub api: Api,
    /// Method and path of the call, for messages.
    pub call: String,
    /// HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body to the byte.
    pub bytes: Vec<u8>,
    /// The body as JSON, null where it is none.
    pub json: Value,
}

impl Answer {
    /// Returns a header as text, if the answer has it.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers
            .get(name)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// Returns the code of a refusal, if the answer is one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.json["error"]["code"].as_str()
    }

    /// Says that it came out of the idempotency store.
    #[must_use]
    pub fn replayed(&self) -> bool {
        self.header("Idempotent-Replayed").as_deref() == Some("true")
    }
}
