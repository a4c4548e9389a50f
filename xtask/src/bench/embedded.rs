//! The embedded set: one server on an embedded store, against the floor without a store.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::options::{CONNECTIONS, FLOOR_SECONDS, Options};
use super::report::{Report, Row};
use super::server::Server;
use super::shop::{Addresses, Limit, Shop};
use super::stage::{self, Run, Stage};
use super::work::Work;
use super::wrk::{self, Figures, Load, Script, Target, Wrk};
use crate::{process, test_run};

/// Redemptions a second that no server reaches, with one connection and with more.
const REDEMPTIONS: (u64, u64) = (15_000, 50_000);

/// Measures all works that the options name.
pub fn run(options: &Options) -> Result<Report> {
    let target = process::target_folder()?;
    // Built one after the other: together they would be built with each other's features.
    let program = test_run::release_program()?;
    process::run(process::cargo().args([
        "build",
        "--release",
        "-p",
        "goodpon-web",
        "--example",
        "floor",
    ]))?;
    let scratch = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&target)?;
    process::clean_up_when_interrupted(scratch.path().to_path_buf())?;
    let floor = target.join("release/examples/floor");
    let mut bench = Bench {
        options,
        wrk: Wrk::new(scratch.path())?,
        program,
        floor: Server::start(&mut Command::new(floor), &scratch.path().join("floor.log"))?,
        scratch: scratch.path().to_path_buf(),
        report: Report::default(),
        stores: 0,
    };
    bench.floor()?;
    for work in [Work::Issue, Work::IssueIdempotent] {
        bench.issues(work)?;
    }
    bench.shelf()?;
    bench.large()?;
    Ok(bench.report)
}

/// Returns more coupons than can be redeemed in `seconds`.
fn redeemed(connections: u32, seconds: u64) -> u64 {
    let (alone, together) = REDEMPTIONS;
    seconds * if connections == 1 { alone } else { together }
}

struct Bench<'a> {
    options: &'a Options,
    wrk: Wrk,
    program: OsString,
    /// The server without a store.
    floor: Server,
    scratch: PathBuf,
    report: Report,
    /// The number of stores made so far.
    stores: u32,
}

impl Bench<'_> {
    /// Measures the rows of the floor.
    fn floor(&mut self) -> Result<()> {
        for connections in CONNECTIONS {
            self.floor_at(connections, FLOOR_SECONDS)?;
            let figures = self.floor_at(connections, self.options.seconds)?;
            let unexpected = figures.refused + figures.broken;
            self.note(
                Work::Floor,
                connections,
                figures,
                unexpected,
                figures.rate(),
            );
        }
        Ok(())
    }

    /// Sends the requests of issues to the server without a store.
    fn floor_at(&mut self, connections: u32, seconds: u64) -> Result<Figures> {
        let target = Target {
            address: self.floor.address("partner_addr")?,
            client_id: format!("ck_{:032}", 0),
            client_secret: format!("sk_{:032}", 0),
            second: None,
        };
        self.floor.empty_log()?;
        self.wrk.run(&Load {
            target: &target,
            script: Script::Issue,
            arguments: stage::issue_arguments(1, 0, 0, false),
            connections,
            threads: wrk::THREADS,
            seconds,
        })
    }

    /// Measures issues to new users, each row on an empty store.
    fn issues(&mut self, work: Work) -> Result<()> {
        if !self.options.wants(work) {
            return Ok(());
        }
        for connections in CONNECTIONS {
            let mut stage = self.stage()?;
            let template = stage.shop.publish(Limit::Plenty)?;
            let mut run = Run::issue(template, 0, connections, self.options.seconds);
            run.idempotent = work == Work::IssueIdempotent;
            self.measure(work, &mut stage, &run)?;
            self.close(stage)?;
        }
        Ok(())
    }

    /// Measures the works that need a store with coupons: users with five each, and a template that is sold out.
    fn shelf(&mut self) -> Result<()> {
        let works = [
            Work::SoldOut,
            Work::AlreadyIssued,
            Work::Template,
            Work::TemplateInSale,
            Work::List,
            Work::Redeem,
        ];
        if !works.iter().any(|work| self.options.wants(*work)) {
            return Ok(());
        }
        let mut stage = self.stage()?;
        let users = self.users();
        let templates = (0..5)
            .map(|_| stage.shop.publish(Limit::Plenty))
            .collect::<Result<Vec<_>>>()?;
        for template in &templates {
            stage.fill(&self.wrk, *template, users)?;
        }
        let sold_out = stage.shop.publish(Limit::Issues(100))?;
        stage.sell_out(&self.wrk, sold_out, 100)?;
        let in_sale = stage.shop.publish(Limit::Plenty)?;
        let seconds = self.options.seconds;
        for work in works {
            for connections in CONNECTIONS {
                let run = match work {
                    Work::SoldOut => Run::sold_out(sold_out, connections, seconds),
                    Work::AlreadyIssued => {
                        Run::already_issued(templates[0], users, connections, seconds)
                    }
                    Work::Template => Run::template(templates[0], connections, seconds),
                    Work::TemplateInSale => Run::template_in_sale(in_sale, connections, seconds),
                    Work::List => Run::list(users, templates.len(), connections, seconds),
                    // Redemptions come last and need their coupons collected first.
                    _ => continue,
                };
                if !self.options.wants(work) {
                    continue;
                }
                match work {
                    Work::TemplateInSale => self.measure_in_sale(&mut stage, &run, in_sale)?,
                    _ => self.measure(work, &mut stage, &run)?,
                }
            }
        }
        if self.options.wants(Work::Redeem) {
            let mut coupons = stage.collect(&self.wrk, &self.scratch, users, templates.len())?;
            for connections in CONNECTIONS {
                let seconds = self.options.seconds;
                let warm_up = redeemed(connections, stage::warm_up(seconds));
                let measured = redeemed(connections, seconds);
                let run = Run::redeem(
                    coupons.take(connections, warm_up)?,
                    coupons.take(connections, measured)?,
                    &templates,
                    connections,
                    seconds,
                );
                self.measure(Work::Redeem, &mut stage, &run)?;
            }
        }
        self.close(stage)
    }

    /// Counts the users who get five coupons each: enough for the redemptions of all rows and their warm-ups.
    fn users(&self) -> u64 {
        let seconds = self.options.seconds + stage::warm_up(self.options.seconds);
        let coupons: u64 = CONNECTIONS
            .iter()
            .map(|connections| redeemed(*connections, seconds))
            .sum();
        match self.options.wants(Work::Redeem) {
            true => coupons.div_ceil(5),
            false => 20_000,
        }
    }

    /// Measures the start-up on a million coupons, and issues to new users of the same template on 1 and 5 million.
    fn large(&mut self) -> Result<()> {
        let works = [(Work::IssueAt1m, 1_000_000), (Work::IssueAt5m, 5_000_000)];
        if !works.iter().any(|(work, _)| self.options.wants(*work)) {
            return Ok(());
        }
        let mut stage = self.stage()?;
        let template = stage.shop.publish(Limit::Plenty)?;
        for (work, coupons) in works {
            if !self.options.wants(work) {
                continue;
            }
            stage.fill(&self.wrk, template, coupons)?;
            if work == Work::IssueAt1m {
                stage = self.start_up_time(stage)?;
            }
            let run = Run::issue(template, coupons, 256, self.options.seconds);
            self.measure(work, &mut stage, &run)?;
        }
        self.close(stage)
    }

    /// Stops and starts the server three times, and keeps the middle one of the times to ready.
    fn start_up_time(&mut self, mut stage: Stage) -> Result<Stage> {
        eprintln!("starting on a million coupons");
        let mut times = Vec::new();
        for _ in 0..3 {
            self.note_memory(&stage)?;
            let Stage {
                servers,
                shop,
                data,
            } = stage;
            for server in servers {
                server.stop()?;
            }
            let server = self.start(&data)?;
            times.push(server.ready_ms);
            let shop = shop.moved_to(Addresses::of(&server)?);
            stage = Stage {
                servers: vec![server],
                shop,
                data,
            };
        }
        times.sort_unstable();
        self.report.ready_ms = times.get(1).copied();
        Ok(stage)
    }

    /// Starts a server on a new, empty store, with a shop.
    fn stage(&mut self) -> Result<Stage> {
        self.stores += 1;
        let data = self.scratch.join(format!("store-{}", self.stores));
        let server = self.start(&data)?;
        let shop = Shop::open(Addresses::of(&server)?, || {
            let mut mailbox = Command::new(&self.program);
            mailbox.args(["mailbox", "--data-dir"]).arg(&data);
            mailbox
        })?;
        Ok(Stage {
            servers: vec![server],
            shop,
            data,
        })
    }

    fn start(&self, data: &Path) -> Result<Server> {
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--data-dir").arg(data);
        for listener in ["dashboard", "partner", "admin"] {
            command.args([format!("--{listener}-addr"), "127.0.0.1:0".to_owned()]);
        }
        for limit in [
            "partner-per-sec",
            "sign-up-per-min",
            "login-per-min",
            "verify-per-min",
        ] {
            command.args([format!("--rate-{limit}"), "0".to_owned()]);
        }
        Server::start(&mut command, &data.with_extension("log"))
    }

    /// Stops the server, records its memory and deletes its store.
    fn close(&mut self, stage: Stage) -> Result<()> {
        self.note_memory(&stage)?;
        for server in stage.servers {
            server.stop()?;
        }
        let _ = fs::remove_file(stage.data.with_extension("log"));
        fs::remove_dir_all(&stage.data).context("cannot remove a measured store")
    }

    fn note_memory(&mut self, stage: &Stage) -> Result<()> {
        let memory = stage.memory_mb()?.round();
        self.report.memory_mb = Some(self.report.memory_mb.unwrap_or(0.0).max(memory));
        Ok(())
    }

    /// Measures one row, between two measurements of the floor: the machine's speed changes within a run.
    fn measure(&mut self, work: Work, stage: &mut Stage, run: &Run) -> Result<()> {
        let before = self.floor_at(run.connections, FLOOR_SECONDS)?.rate();
        let measured = stage.measure(&self.wrk, run)?;
        self.note_measured(work, run, &measured, before)
    }

    /// Measures one row of details of a template that is issued meanwhile.
    fn measure_in_sale(&mut self, stage: &mut Stage, run: &Run, template: i64) -> Result<()> {
        let before = self.floor_at(run.connections, FLOOR_SECONDS)?.rate();
        let first = stage::new_users_of_sale(run.connections);
        let measured = stage.measure_in_sale(&self.wrk, run, template, first)?;
        self.note_measured(Work::TemplateInSale, run, &measured, before)
    }

    fn note_measured(
        &mut self,
        work: Work,
        run: &Run,
        measured: &stage::Measured,
        before: f64,
    ) -> Result<()> {
        let after = self.floor_at(run.connections, FLOOR_SECONDS)?.rate();
        if let Some(fault) = &measured.fault {
            eprintln!("{} at {}: {fault}", work.name(), run.connections);
        }
        let floor = f64::midpoint(before, after);
        self.note(
            work,
            run.connections,
            measured.figures,
            measured.unexpected,
            floor,
        );
        Ok(())
    }

    fn note(
        &mut self,
        work: Work,
        connections: u32,
        figures: Figures,
        unexpected: u64,
        floor: f64,
    ) {
        let row = Row::new(work, connections, &figures, unexpected, floor);
        row.print_progress();
        self.report.rows.push(row);
    }
}
