//! A scaled-out set under measurement: a dashboard, a partner or two and an issuer, each a process of its own.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::report::{Paced, Sale};
use super::room::{Room, Servers};
use crate::bench::server::Server;
use crate::bench::shop::{Addresses, Limit, Shop};
use crate::bench::stage::{self, Stage};
use crate::bench::wrk::{self, Load, Script, Wrk};

/// The users who come last and first to the paced sale.
const LAST_USER: &str = "user-last";
const FIRST_USER: &str = "user-first";

/// The time after which a coupon that is not listed counts as lost.
const LISTED_WITHIN: Duration = Duration::from_secs(60);

/// The set. Its fields are dropped in their order: processes before their database and topic.
pub struct Set<'a> {
    /// Dashboard and partners, and the shop.
    pub stage: Stage,
    issuer: Option<Server>,
    pub room: Room<'a>,
}

impl<'a> Set<'a> {
    /// Starts a set on a new database and topic, with one partner and no issuer.
    pub fn start(servers: &'a Servers, number: u32, scratch: &std::path::Path) -> Result<Self> {
        let mut room = Room::make(servers, number, scratch)?;
        let dashboard = room.start("dashboard")?;
        let partner = room.start("partner")?;
        let addresses = Addresses::of_parts(&dashboard, &partner)?;
        let shop = Shop::open(addresses, || room.goodpon("mailbox"))?;
        Ok(Self {
            stage: Stage {
                servers: vec![dashboard, partner],
                shop,
                data: room.folder().to_path_buf(),
            },
            issuer: None,
            room,
        })
    }

    /// Starts a second partner, which gets half of the load from now on.
    pub fn add_partner(&mut self) -> Result<()> {
        let partner = self.room.start("partner")?;
        self.stage.shop.add_partner(&partner)?;
        self.stage.servers.push(partner);
        Ok(())
    }

    /// Starts an issuer.
    pub fn start_issuer(&mut self) -> Result<()> {
        self.issuer = Some(self.room.start("issuer")?);
        Ok(())
    }

    /// Stops the issuer, if one runs.
    pub fn stop_issuer(&mut self) -> Result<()> {
        match self.issuer.take() {
            Some(issuer) => issuer.stop(),
            None => Ok(()),
        }
    }

    /// Stops all its processes.
    pub fn stop(mut self) -> Result<()> {
        self.stop_issuer()?;
        let servers = self.stage.servers.drain(..);
        servers.into_iter().try_for_each(Server::stop)
    }

    /// Has an issuer write the coupons accepted so far, and stops it again.
    pub fn write_all(&mut self, accepted: u64) -> Result<Sale> {
        eprintln!("writing {accepted} coupons");
        let began = Instant::now();
        self.start_issuer()?;
        let written = self.room.written(accepted)?;
        let all_s = began.elapsed().as_secs_f64();
        self.stop_issuer()?;
        Ok(Sale {
            coupons: written.rows,
            per_s: written.came as f64 * 1e6 / written.came_us.max(1) as f64,
            all_s,
        })
    }

    /// Holds a sale at a pace that an issuer can keep meanwhile, and measures how long after it the coupons are there.
    pub fn sell_at_a_pace(&mut self, generator: &Wrk, seconds: u64) -> Result<Paced> {
        let template = self.stage.shop.publish(Limit::Plenty)?;
        self.start_issuer()?;
        // Once one coupon is written, the issuer has begun.
        self.issue(template, FIRST_USER)?;
        self.room.written(1)?;
        let figures = generator.run(&Load {
            target: &self.stage.shop.target,
            script: Script::Paced,
            arguments: stage::paced_arguments(template, stage::NEW_USERS),
            connections: stage::PACED_CONNECTIONS,
            threads: wrk::THREADS,
            seconds,
        })?;
        self.issue(template, LAST_USER)?;
        let answered = Instant::now();
        while self.coupons_of(LAST_USER)? == 0 {
            if answered.elapsed() > LISTED_WITHIN {
                bail!("the coupon of {LAST_USER} was answered and never listed");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let listed_ms = answered.elapsed().as_secs_f64() * 1000.0;
        let accepted = self.stage.shop.count(template, "currentIssueCount")?;
        self.room.written(accepted)?;
        let written_ms = answered.elapsed().as_secs_f64() * 1000.0;
        self.stop_issuer()?;
        // wrk drops requests under way when its time is up; the first and the last issue are not its own.
        let wanted = figures.requests + 2;
        let most = wanted + 2 * u64::from(stage::PACED_CONNECTIONS);
        let miscounted = !(wanted..=most).contains(&accepted);
        if miscounted {
            eprintln!("{accepted} were accepted of a paced sale of {wanted}");
        }
        Ok(Paced {
            issues_per_s: figures.rate(),
            listed_ms,
            written_ms,
            unexpected: (figures.refused + figures.broken).max(u64::from(miscounted)),
        })
    }

    fn issue(&self, template: i64, user: &str) -> Result<()> {
        let path = format!("/v1/coupon-templates/{template}/issue");
        let body = json!({ "userId": user });
        match self.stage.shop.partner("POST", &path, Some(&body))? {
            (200, _) => Ok(()),
            (status, answer) => bail!("the issue to {user} was answered {status}: {answer}"),
        }
    }

    /// Counts the coupons that the partner API lists for a user.
    fn coupons_of(&self, user: &str) -> Result<usize> {
        let path = format!("/v1/user-coupons?userId={user}");
        let (_, answer) = self.stage.shop.partner("GET", &path, None)?;
        Ok(answer["data"]["coupons"].as_array().map_or(0, Vec::len))
    }
}
