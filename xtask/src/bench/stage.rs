//! A server with a shop, and the runs made against it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::json;

use super::server::Server;
use super::shop::{Answers, Shop};
use super::wrk::{self, Figures, Load, Script, Wrk};

/// The user of counter 0, whom every fill serves.
const FIRST_USER: &str = "user-00000000";

/// The first number of users who are new to the store: users of a fill are counted from 0.
pub const NEW_USERS: u64 = 1_000_000_000;
/// The first number of the users of warm-ups.
const WARM_UP_USERS: u64 = 2_000_000_000;
/// The first number of the users who get the coupons of the sold-out template.
const QUICK_USERS: u64 = 3_000_000_000;

/// The time for a fill: a slow server needs less for 5 million coupons.
const MAX_FILL_SECONDS: u64 = 1800;

const COLLECTORS: u32 = 16;

/// Connections of a paced sale.
pub const PACED_CONNECTIONS: u32 = 64;
/// The pause of each such connection after an answer: some 2,000 issues a second at most, with which an issuer keeps up.
const PACED_PAUSE_MILLIS: u32 = 32;

/// A running server, its shop and its data folder. Its parts may be processes of their own.
pub struct Stage {
    pub servers: Vec<Server>,
    pub shop: Shop,
    pub data: PathBuf,
}

/// The answers that a run expects.
enum Expected {
    /// 200 to each, and as many more in this counter of these templates.
    Counted(&'static str, Vec<i64>),
    /// 200 to each.
    Success,
    /// 200 to each, sampled by a list of the first user with this number of coupons.
    Coupons(usize),
    /// 400 to each with this code, sampled by an issue of this template to this user.
    Refusal(&'static str, i64, String),
}

/// One row to be measured.
pub struct Run {
    script: Script,
    arguments: Vec<String>,
    warm_up_arguments: Vec<String>,
    pub connections: u32,
    pub seconds: u64,
    /// Sends a fresh `Idempotency-Key` with each issue.
    pub idempotent: bool,
    expected: Expected,
    /// Requests for which there are coupons, if they bound the run.
    most_requests: Option<u64>,
}

/// The measurement of a row.
pub struct Measured {
    pub figures: Figures,
    /// Requests that were not answered as expected, or at least 1 if the server's own counts disagree.
    pub unexpected: u64,
    /// The first thing that was unexpected.
    pub fault: Option<String>,
}

/// Returns the seconds of the warm-up before a row of `seconds`.
pub fn warm_up(seconds: u64) -> u64 {
    seconds.min(2)
}

/// Returns the arguments of the issue script.
pub fn issue_arguments(template: i64, first: u64, count: u64, idempotent: bool) -> Vec<String> {
    vec![
        template.to_string(),
        first.to_string(),
        count.to_string(),
        idempotent.to_string(),
    ]
}

/// Returns the first number of the users who get a template while its detail is read over `connections`.
pub fn new_users_of_sale(connections: u32) -> u64 {
    NEW_USERS + u64::from(connections) * 1_000_000
}

/// Returns the arguments of the issue script that paces itself.
pub fn paced_arguments(template: i64, first: u64) -> Vec<String> {
    let mut arguments = issue_arguments(template, first, 0, false);
    arguments.push(PACED_PAUSE_MILLIS.to_string());
    arguments
}

impl Run {
    fn new(script: Script, arguments: Vec<String>, connections: u32, seconds: u64) -> Self {
        Self {
            script,
            warm_up_arguments: arguments.clone(),
            arguments,
            connections,
            seconds,
            idempotent: false,
            expected: Expected::Success,
            most_requests: None,
        }
    }

    /// Issues to new users, beginning `behind` numbers later: for further runs on the same template.
    pub fn issue(template: i64, behind: u64, connections: u32, seconds: u64) -> Self {
        let arguments = issue_arguments(template, NEW_USERS + behind, 0, false);
        let mut run = Self::new(Script::Issue, arguments, connections, seconds);
        run.warm_up_arguments = issue_arguments(template, WARM_UP_USERS + behind, 0, false);
        run.expected = Expected::Counted("currentIssueCount", vec![template]);
        run
    }

    /// Issues to new users who come too late.
    pub fn sold_out(template: i64, connections: u32, seconds: u64) -> Self {
        let arguments = issue_arguments(template, NEW_USERS, 0, false);
        let mut run = Self::new(Script::Issue, arguments, connections, seconds);
        let code = "COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED";
        run.expected = Expected::Refusal(code, template, "user-late".to_owned());
        run
    }

    /// Issues to users who have the coupon already.
    pub fn already_issued(template: i64, users: u64, connections: u32, seconds: u64) -> Self {
        let arguments = issue_arguments(template, 0, users, false);
        let mut run = Self::new(Script::Issue, arguments, connections, seconds);
        run.expected = Expected::Refusal("COUPON_ALREADY_ISSUED", template, FIRST_USER.to_owned());
        run
    }

    /// Reads one template.
    pub fn template(template: i64, connections: u32, seconds: u64) -> Self {
        Self::new(
            Script::Template,
            vec![template.to_string()],
            connections,
            seconds,
        )
    }

    /// Reads one template for one of its users.
    pub fn template_in_sale(template: i64, connections: u32, seconds: u64) -> Self {
        Self::new(
            Script::Template,
            vec![template.to_string(), FIRST_USER.to_owned()],
            connections,
            seconds,
        )
    }

    /// Lists the coupons of one user after the other.
    pub fn list(users: u64, coupons_each: usize, connections: u32, seconds: u64) -> Self {
        let mut run = Self::new(Script::List, vec![users.to_string()], connections, seconds);
        run.expected = Expected::Coupons(coupons_each);
        run
    }

    /// Redeems the coupons of two files, the first for the warm-up.
    pub fn redeem(
        warm_up: String,
        measured: String,
        templates: &[i64],
        connections: u32,
        seconds: u64,
    ) -> Self {
        let mut run = Self::new(Script::Redeem, vec![measured], connections, seconds);
        run.warm_up_arguments = vec![warm_up];
        run.expected = Expected::Counted("currentRedeemCount", templates.to_vec());
        run
    }

    /// Returns the same run with a short warm-up. It ends before `requests` requests are made, even if they are made half
    /// as quickly again as in the warm-up.
    pub fn of_at_most(mut self, requests: u64) -> Self {
        self.most_requests = Some(requests);
        self
    }

    fn warm_up_seconds(&self) -> u64 {
        match self.most_requests {
            Some(_) => 1,
            None => warm_up(self.seconds),
        }
    }

    fn seconds_after(&self, warm_up: &Figures) -> u64 {
        let Some(most) = self.most_requests else {
            return self.seconds;
        };
        let seconds = most as f64 / (1.5 * warm_up.rate()).max(1.0);
        // Rounding down is meant.
        self.seconds.min(seconds as u64).max(1)
    }
}

/// Coupons that can be redeemed, as lines `user coupon`.
pub struct Coupons {
    lines: Vec<String>,
    folder: PathBuf,
    files: u32,
}

impl Coupons {
    /// Takes the lines, and shuffles them. Files with them are put into the folder.
    pub fn new(mut lines: Vec<String>, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        // The tail of an id is random, so that this is a shuffle.
        lines.sort_by_cached_key(|line| line.bytes().rev().take(12).collect::<Vec<u8>>());
        Ok(Self {
            lines,
            folder: folder.to_path_buf(),
            files: 0,
        })
    }

    /// Moves `count` coupons into files, one for each thread of the load; returns the files' name without the number.
    pub fn take(&mut self, connections: u32, count: u64) -> Result<String> {
        let count = usize::try_from(count)?;
        let left = self.lines.len().checked_sub(count);
        let taken = self.lines.split_off(left.context("too few coupons")?);
        self.files += 1;
        let name = self.folder.join(self.files.to_string());
        let threads = wrk::THREADS.min(connections) as usize;
        for (number, part) in taken.chunks(count.div_ceil(threads)).enumerate() {
            fs::write(
                name.with_extension(number.to_string()),
                part.join("\n") + "\n",
            )?;
        }
        Ok(name.display().to_string())
    }
}

impl Stage {
    fn empty_logs(&self) -> Result<()> {
        self.servers.iter().try_for_each(Server::empty_log)
    }

    /// Reads the most memory that one of the servers ever held, in MB.
    pub fn memory_mb(&self) -> Result<f64> {
        let mut most = 0.0_f64;
        for server in &self.servers {
            most = most.max(server.memory_mb()?);
        }
        Ok(most)
    }

    /// Reads the CPU time that the servers have used so far, together, in microseconds.
    fn cpu_us(&self) -> Result<u64> {
        self.servers.iter().map(Server::cpu_us).sum()
    }

    /// Issues the template's coupon to the first `users` users; those who have it keep it.
    pub fn fill(&self, generator: &Wrk, template: i64, users: u64) -> Result<()> {
        self.fill_from(generator, template, 0, users)
    }

    /// Issues all coupons of a template to users who have no other.
    pub fn sell_out(&self, generator: &Wrk, template: i64, places: u64) -> Result<()> {
        self.fill_from(generator, template, QUICK_USERS, places)
    }

    fn fill_from(&self, generator: &Wrk, template: i64, first: u64, users: u64) -> Result<()> {
        eprintln!("filling template {template} up to {users} coupons");
        let load = Load {
            target: &self.shop.target,
            script: Script::Issue,
            arguments: issue_arguments(template, first, users, false),
            connections: 256,
            threads: wrk::THREADS,
            seconds: MAX_FILL_SECONDS,
        };
        let mut reported = 0;
        generator.run_until(&load, Duration::from_millis(500), || {
            self.empty_logs()?;
            let count = self.shop.count(template, "currentIssueCount")?;
            if count >= reported + 500_000 {
                reported = count;
                eprintln!("  {count} coupons");
            }
            Ok(count >= users)
        })?;
        Ok(())
    }

    /// Lists the coupons of all users by the product's own API, in an order that mixes users and templates.
    pub fn collect(
        &self,
        generator: &Wrk,
        scratch: &Path,
        users: u64,
        coupons_each: usize,
    ) -> Result<Coupons> {
        eprintln!("collecting the coupons of {users} users");
        let folder = scratch.join("coupons");
        fs::create_dir_all(&folder)?;
        let parts: Vec<PathBuf> = (0..COLLECTORS)
            .map(|number| folder.join(format!("{number}.ids")))
            .collect();
        let load = Load {
            target: &self.shop.target,
            script: Script::Collect,
            arguments: vec![users.to_string(), folder.display().to_string()],
            connections: COLLECTORS,
            threads: COLLECTORS,
            seconds: MAX_FILL_SECONDS,
        };
        generator.run_until(&load, Duration::from_millis(200), || {
            self.empty_logs()?;
            Ok(parts.iter().all(|part| part.exists()))
        })?;
        let mut lines = Vec::new();
        for part in &parts {
            let text = fs::read_to_string(part)
                .with_context(|| format!("no whole list in {}", part.display()))?;
            lines.extend(text.lines().map(str::to_owned));
        }
        if lines.len() as u64 != users * coupons_each as u64 {
            bail!("{users} users list {} coupons", lines.len());
        }
        Coupons::new(lines, &folder)
    }

    /// Warms up, measures, and compares the run with the server's own counts.
    pub fn measure(&mut self, generator: &Wrk, run: &Run) -> Result<Measured> {
        let mut load = Load {
            target: &self.shop.target,
            script: run.script,
            arguments: with_key(run, &run.warm_up_arguments),
            connections: run.connections,
            threads: wrk::THREADS,
            seconds: run.warm_up_seconds(),
        };
        let warm_up = generator.run(&load)?;
        load.arguments = with_key(run, &run.arguments);
        load.seconds = run.seconds_after(&warm_up);
        let before = self.state(run)?;
        let cpu_us = self.cpu_us()?;
        let mut figures = generator.run(&load)?;
        figures.cpu_us = Some(self.cpu_us()? - cpu_us);
        let fault = self.fault(run, &figures, &before)?;
        self.empty_logs()?;
        let refusal = matches!(run.expected, Expected::Refusal(..));
        let wrong = if refusal {
            figures.requests - figures.refused
        } else {
            figures.refused
        };
        let unexpected = (wrong + figures.broken).max(u64::from(fault.is_some()));
        Ok(Measured {
            figures,
            unexpected,
            fault,
        })
    }

    /// Measures as [`Self::measure`], while the template is issued to new users at the pace of [`paced_arguments`].
    pub fn measure_in_sale(
        &mut self,
        generator: &Wrk,
        run: &Run,
        template: i64,
        first: u64,
    ) -> Result<Measured> {
        let target = self.shop.target.clone();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let sale = scope.spawn(|| {
                let load = Load {
                    target: &target,
                    script: Script::Paced,
                    arguments: paced_arguments(template, first),
                    connections: PACED_CONNECTIONS,
                    threads: wrk::THREADS,
                    seconds: MAX_FILL_SECONDS,
                };
                let pause = Duration::from_millis(100);
                generator.run_until(&load, pause, || Ok(is_over.load(Ordering::Relaxed)))
            });
            let measured = self.measure(generator, run);
            is_over.store(true, Ordering::Relaxed);
            let sale = sale
                .join()
                .map_err(|_| anyhow!("the sale beside panicked"))?;
            let (mut measured, sale) = (measured?, sale?);
            let spoilt = sale.refused + sale.broken;
            if spoilt > 0 {
                measured.unexpected += spoilt;
                measured.fault = Some(format!("{spoilt} of the issues beside failed"));
            }
            Ok(measured)
        })
    }

    /// Reads the counts that a run changes, once the requests that the warm-up left behind have ended.
    fn state(&self, run: &Run) -> Result<(Answers, u64)> {
        let mut answers = self.shop.answers()?;
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(100));
            let again = self.shop.answers()?;
            if again == answers {
                break;
            }
            answers = again;
        }
        let count = match &run.expected {
            Expected::Counted(field, templates) => self.shop.counts(templates, field)?,
            Expected::Success | Expected::Coupons(_) | Expected::Refusal(..) => 0,
        };
        // The request for counts is answered 200 and counted, too.
        Ok((self.shop.answers()?, count))
    }

    /// Compares the run with the server's counts, and describes the difference, if any.
    fn fault(
        &self,
        run: &Run,
        figures: &Figures,
        before: &(Answers, u64),
    ) -> Result<Option<String>> {
        let (earlier, count) = before;
        let later = self.shop.answers()?;
        let expected = match run.expected {
            Expected::Refusal(..) => "400",
            Expected::Counted(..) | Expected::Success | Expected::Coupons(_) => "200",
        };
        // Status 499 stands for requests whose client went away: those under way when wrk stops.
        for (status, answers) in later.iter().filter(|(status, _)| *status != "499") {
            let more = answers - earlier.get(status).copied().unwrap_or(0).min(*answers);
            let other = status != expected && more > 0;
            if other || status == expected && more < figures.requests {
                return Ok(Some(format!(
                    "the server counts {more} answers of status {status} where wrk has {} of {expected}",
                    figures.requests
                )));
            }
        }
        match &run.expected {
            Expected::Success => {}
            Expected::Coupons(wanted) => {
                let path = format!("/v1/user-coupons?userId={FIRST_USER}");
                let (_, answer) = self.shop.partner("GET", &path, None)?;
                let coupons = answer["data"]["coupons"].as_array();
                if coupons.map(Vec::len) != Some(*wanted) {
                    return Ok(Some(format!(
                        "{answer} where {wanted} coupons were expected"
                    )));
                }
            }
            Expected::Counted(field, templates) => {
                let wanted = count + figures.requests;
                let sum = self.shop.wait_for_count(templates, field, wanted)?;
                // wrk drops requests under way when its time is up, and the server still answers them.
                let most = wanted + 2 * u64::from(run.connections);
                if !(wanted..=most).contains(&sum) {
                    return Ok(Some(format!("{field} is {sum}, not {wanted} to {most}")));
                }
            }
            Expected::Refusal(code, template, user) => {
                let path = format!("/v1/coupon-templates/{template}/issue");
                let body = json!({ "userId": user });
                let (_, answer) = self.shop.partner("POST", &path, Some(&body))?;
                if answer["error"]["code"] != *code {
                    return Ok(Some(format!("{answer} where {code} was expected")));
                }
            }
        }
        Ok(None)
    }
}

fn with_key(run: &Run, arguments: &[String]) -> Vec<String> {
    let mut arguments = arguments.to_vec();
    if let (Script::Issue, Some(last)) = (run.script, arguments.last_mut()) {
        *last = run.idempotent.to_string();
    }
    arguments
}
