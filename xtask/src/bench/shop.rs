//! A shop to measure with, made through the product's own APIs, and the counts that these show after a run.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use ureq::Agent;

use super::server::Server;
use super::wrk::Target;
use crate::process;

const EMAIL: &str = "bench@example.com";
const PASSWORD: &str = "bench-password";

/// A limit that no run reaches.
const MANY: u64 = 1_000_000_000;

/// The limit of a template.
#[derive(Clone, Copy)]
pub enum Limit {
    /// First come, first served, with more places than any run takes.
    Plenty,
    /// First come, first served, with this number of places.
    Issues(u64),
    /// No limit, neither of issues nor of redemptions.
    None,
    /// A limit of redemptions that no run reaches.
    Redemptions,
}

/// The addresses of the parts of a server.
pub struct Addresses {
    pub dashboard: String,
    pub partner: String,
    /// The admin port of the process that serves partners.
    pub admin: String,
}

impl Addresses {
    /// Reads the addresses of a server in one process.
    pub fn of(server: &Server) -> Result<Self> {
        Self::of_parts(server, server)
    }

    /// Reads the addresses of a server in two processes.
    pub fn of_parts(dashboard: &Server, partner: &Server) -> Result<Self> {
        Ok(Self {
            dashboard: dashboard.address("dashboard_addr")?,
            partner: partner.address("partner_addr")?,
            admin: partner.address("admin_addr")?,
        })
    }
}

/// A verified account's merchant, and the addresses of its server.
pub struct Shop {
    agent: Agent,
    dashboard: String,
    /// The admin port of each process that serves partners.
    admins: Vec<String>,
    token: String,
    merchant: i64,
    /// The partner API, as this merchant.
    pub target: Target,
}

/// Answers of the partner API since the server's start, by HTTP status.
pub type Answers = BTreeMap<String, u64>;

impl Shop {
    /// Signs up, verifies by the mail, logs in and makes a merchant.
    /// `mailbox` is the command that prints mails.
    pub fn open(addresses: Addresses, mailbox: impl Fn() -> Command) -> Result<Self> {
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .into();
        let mut shop = Self {
            agent,
            dashboard: addresses.dashboard,
            admins: vec![addresses.admin],
            token: String::new(),
            merchant: 0,
            target: Target {
                address: addresses.partner,
                client_id: String::new(),
                client_secret: String::new(),
                second: None,
            },
        };
        let account = json!({"email": EMAIL, "password": PASSWORD, "name": "bench"});
        shop.dashboard_post("/v1/accounts/sign-up", &account)?;
        let token = mailed_token(mailbox)?;
        shop.dashboard_post("/v1/auth/verify", &json!({"token": token}))?;
        let session = shop.dashboard_post("/v1/auth/login", &account)?;
        shop.token = text(&session["accessToken"])?;
        let merchant = shop.dashboard_post("/v1/merchants", &json!({"name": "bench"}))?;
        shop.merchant = merchant["id"].as_i64().context("no merchant id")?;
        shop.target.client_id = text(&merchant["clientId"])?;
        shop.target.client_secret = text(&merchant["clientSecrets"][0]["secret"])?;
        Ok(shop)
    }

    /// Returns the same shop on a server that was started again.
    pub fn moved_to(mut self, addresses: Addresses) -> Self {
        self.dashboard = addresses.dashboard;
        self.admins = vec![addresses.admin];
        self.target.address = addresses.partner;
        self
    }

    /// Adds a second process that serves partners: half of the load goes to it from now on.
    pub fn add_partner(&mut self, server: &Server) -> Result<()> {
        self.admins.push(server.address("admin_addr")?);
        self.target.second = Some(server.address("partner_addr")?);
        Ok(())
    }

    /// Makes and publishes a template; returns its id.
    pub fn publish(&self, limit: Limit) -> Result<i64> {
        let (limit, issues, redemptions) = match limit {
            Limit::Plenty => ("ISSUE_COUNT", Some(MANY), None),
            Limit::Issues(places) => ("ISSUE_COUNT", Some(places), None),
            Limit::None => ("NONE", None, None),
            Limit::Redemptions => ("REDEEM_COUNT", None, Some(MANY)),
        };
        let merchant = self.merchant;
        let templates = format!("/v1/merchants/{merchant}/coupon-templates");
        let template = json!({
            "name": "bench", "description": "a coupon to measure with", "minOrderAmount": 10_000,
            "discountType": "FIXED_AMOUNT", "discountValue": 1_000, "issueStartDate": "2020-01-01",
            "validityDays": 365, "limitType": limit, "maxIssueCount": issues,
            "maxRedeemCount": redemptions,
        });
        let made = self.dashboard_post(&templates, &template)?;
        let id = made["id"].as_i64().context("no template id")?;
        self.dashboard_post(&format!("{templates}/{id}/publish"), &json!({}))?;
        Ok(id)
    }

    /// Reads a count of a template from the partner API: `currentIssueCount` or `currentRedeemCount`.
    pub fn count(&self, template: i64, field: &str) -> Result<u64> {
        let (status, answer) =
            self.partner("GET", &format!("/v1/coupon-templates/{template}"), None)?;
        answer["data"][field]
            .as_u64()
            .with_context(|| format!("no {field}: {status} {answer}"))
    }

    /// Sums a count up over templates.
    pub fn counts(&self, templates: &[i64], field: &str) -> Result<u64> {
        templates
            .iter()
            .map(|template| self.count(*template, field))
            .sum()
    }

    /// Waits until the sum of a count over templates reaches `wanted`; returns the last sum read.
    pub fn wait_for_count(&self, templates: &[i64], field: &str, wanted: u64) -> Result<u64> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let sum = self.counts(templates, field)?;
            if sum >= wanted || Instant::now() > deadline {
                return Ok(sum);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Sends one request to the partner API; returns status and answer.
    pub fn partner(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let url = format!("http://{}{path}", self.target.address);
        let sent = if method == "GET" {
            self.agent
                .get(&url)
                .header("X-Goodpon-Client-Id", &self.target.client_id)
                .header("X-Goodpon-Client-Secret", &self.target.client_secret)
                .call()
        } else {
            self.agent
                .post(&url)
                .header("X-Goodpon-Client-Id", &self.target.client_id)
                .header("X-Goodpon-Client-Secret", &self.target.client_secret)
                .send_json(body)
        };
        let mut answer = sent.with_context(|| format!("{method} {url}"))?;
        Ok((answer.status().as_u16(), answer.body_mut().read_json()?))
    }

    /// Reads the number of answers by status, from the servers' own metrics.
    pub fn answers(&self) -> Result<Answers> {
        let mut sum = Answers::new();
        for admin in &self.admins {
            let url = format!("http://{admin}/metrics");
            let mut answer = self
                .agent
                .get(&url)
                .call()
                .context("cannot read /metrics")?;
            for (status, count) in answers_in(&answer.body_mut().read_to_string()?) {
                *sum.entry(status).or_default() += count;
            }
        }
        if sum.is_empty() {
            bail!("/metrics has no request counts by status");
        }
        Ok(sum)
    }

    fn dashboard_post(&self, path: &str, body: &Value) -> Result<Value> {
        let url = format!("http://{}{path}", self.dashboard);
        let mut request = self.agent.post(&url);
        if !self.token.is_empty() {
            request = request.header("Authorization", format!("Bearer {}", self.token));
        }
        let mut answer = request
            .send_json(body)
            .with_context(|| format!("POST {url}"))?;
        let status = answer.status().as_u16();
        let envelope: Value = answer.body_mut().read_json()?;
        if status != 200 {
            bail!("POST {path} was answered {status}: {envelope}");
        }
        Ok(envelope["data"].clone())
    }
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("a text is missing")?.to_owned())
}

/// Finds the token of the verification mail in the mailbox of a running server.
fn mailed_token(mailbox: impl Fn() -> Command) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut command = mailbox();
        command.args(["--to", EMAIL, "--json"]);
        let mails: Value = serde_json::from_str(&process::output_of(&mut command)?)?;
        let body = mails[0]["text"].as_str().unwrap_or_default();
        if let Some((_, rest)) = body.split_once("/verify?token=") {
            return Ok(rest.chars().take_while(char::is_ascii_hexdigit).collect());
        }
        if Instant::now() > deadline {
            bail!("no verification mail came: {mails}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Sums the counts of the request-duration histogram (any series `…request…_count` with a `status`) by status.
fn answers_in(metrics: &str) -> Answers {
    let mut answers = Answers::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, rest)) = line.split_once('{') else {
            continue;
        };
        let Some((labels, value)) = rest.rsplit_once('}') else {
            continue;
        };
        if !name.contains("request") || !name.ends_with("_count") {
            continue;
        }
        let status = labels
            .split_once("status=\"")
            .and_then(|(_, rest)| rest.split_once('"'));
        if let (Some((status, _)), Ok(count)) = (status, value.trim().parse::<u64>()) {
            *answers.entry(status.to_owned()).or_default() += count;
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::answers_in;

    #[test]
    fn answers_are_summed_by_status_over_routes() {
        let metrics = "# TYPE http_request_seconds histogram\n\
            http_request_seconds_bucket{route=\"/a\",status=\"200\",le=\"1\"} 9\n\
            http_request_seconds_count{route=\"/a\",status=\"200\"} 2\n\
            http_request_seconds_count{route=\"/b/{id}\",status=\"200\"} 3\n\
            http_request_seconds_count{route=\"/b/{id}\",status=\"400\"} 4\n\
            writer_batch_count 7\n";
        let answers = answers_in(metrics);
        assert_eq!(answers.get("200"), Some(&5));
        assert_eq!(answers.get("400"), Some(&4));
        assert_eq!(answers.len(), 2);
    }
}
