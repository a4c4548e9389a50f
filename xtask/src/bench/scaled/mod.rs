//! The scaled-out set, in processes of its parts, on MySQL, Valkey and Kafka beside them: against the floor of a gate's
//! script and an awaited publish behind bare HTTP, on the same servers.

mod report;
mod room;
mod set;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::options::{CONNECTIONS, FLOOR_SECONDS, Options};
use super::report::Row;
use super::server::Server;
use super::shop::Limit;
use super::stage::{self, Coupons, Run};
use super::work::Work;
use super::wrk::{self, Figures, Load, Script, Target, Wrk};
use crate::{process, services, test_run};

use report::Beside;
pub use report::Report;
use room::Servers;
use set::Set;

/// The time for which the floors without HTTP are measured.
const BARE_FLOOR_SECONDS: u64 = 3;

/// Users with five coupons each.
const USERS: u64 = 4_000;

/// Coupons of the sale that an issuer writes all of, if nothing else wants as many.
const SALE: u64 = 60_000;

/// The time for which a measurement of the floor counts for the next row, too.
const LOOK_HOLDS: Duration = Duration::from_secs(3);

/// Counts the coupons for a row of redemptions: of its warm-up, and of itself.
fn redeemable(connections: u32) -> (u64, u64) {
    match connections {
        1 => (1_500, 5_000),
        _ => (8_000, 22_000),
    }
}

/// Measures all works that the options name.
pub fn run(options: &Options) -> Result<Report> {
    let target = process::target_folder()?;
    let program = test_run::release_program()?;
    let examples = ["build", "--release", "-p", "goodpon", "--examples"];
    process::run(process::cargo().args(examples))?;
    let servers = Servers {
        program,
        helper: target.join("release/examples/bench_room"),
        settings: services::up_with_settings()?,
    };
    let scratch = tempfile::Builder::new()
        .prefix("bench-")
        .tempdir_in(&target)?;
    process::clean_up_when_interrupted(scratch.path().to_path_buf())?;
    let floor_program = target.join("release/examples/issue_floor");
    let mut floor = Command::new(&floor_program);
    floor.arg("http").envs(servers.settings.iter().cloned());
    let mut bench = Bench {
        options,
        wrk: Wrk::new(scratch.path())?,
        servers: &servers,
        floor_program,
        floor: Server::start(&mut floor, &scratch.path().join("floor.log"))?,
        scratch: scratch.path().to_path_buf(),
        report: Report::default(),
        sets: 0,
        looks: 0,
        last_look: None,
    };
    bench.floors()?;
    bench.issues()?;
    bench.beside()?;
    bench.shelf()?;
    // At its end it deletes its keys and its topic on the servers.
    bench.floor.stop()?;
    bench.report.finish();
    Ok(bench.report)
}

struct Bench<'a> {
    options: &'a Options,
    wrk: Wrk,
    servers: &'a Servers,
    floor_program: PathBuf,
    /// The floor behind HTTP.
    floor: Server,
    scratch: PathBuf,
    report: Report,
    /// The number of sets made so far.
    sets: u32,
    /// The number of measurements of the floor, each of which opens another gate.
    looks: i64,
    /// The last one: its connections, when it ended, and its requests a second.
    last_look: Option<(u32, Instant, f64)>,
}

impl<'a> Bench<'a> {
    /// Measures the rows of the floors: with HTTP always, for all rows are compared with it.
    fn floors(&mut self) -> Result<()> {
        for connections in CONNECTIONS {
            self.floor_at(connections, FLOOR_SECONDS)?;
            let figures = self.floor_at(connections, self.options.seconds)?;
            let (spoilt, floor) = (figures.refused + figures.broken, figures.rate());
            self.note(Work::Floor, connections, &figures, spoilt, floor);
            for (work, mode) in [
                (Work::FloorPublish, "publish"),
                (Work::FloorScript, "script"),
            ] {
                if self.options.wants(work) {
                    let figures = self.bare_floor(mode, connections)?;
                    self.note(work, connections, &figures, 0, floor);
                }
            }
        }
        Ok(())
    }

    /// Measures the floor without HTTP, with as many tasks as there are connections otherwise.
    fn bare_floor(&self, mode: &str, tasks: u32) -> Result<Figures> {
        let mut command = Command::new(&self.floor_program);
        let seconds = self.options.seconds.min(BARE_FLOOR_SECONDS);
        command
            .args([mode, &tasks.to_string(), &seconds.to_string()])
            .envs(self.servers.settings.iter().cloned());
        Figures::read_from(&process::output_of(&mut command)?)
    }

    /// Sends the requests of issues to the floor.
    fn floor_at(&mut self, connections: u32, seconds: u64) -> Result<Figures> {
        let target = Target {
            address: self.floor.address("partner_addr")?,
            client_id: format!("ck_{:032}", 0),
            client_secret: format!("sk_{:032}", 0),
            second: None,
        };
        self.looks += 1;
        self.wrk.run(&Load {
            target: &target,
            script: Script::Issue,
            arguments: stage::issue_arguments(self.looks, 0, 0, false),
            connections,
            threads: wrk::THREADS,
            seconds,
        })
    }

    /// Measures the floor's requests a second, or returns those of a moment ago.
    fn look(&mut self, connections: u32) -> Result<f64> {
        match self.last_look {
            Some((at, ended, found)) if at == connections && ended.elapsed() < LOOK_HOLDS => {
                Ok(found)
            }
            _ => self.look_anew(connections),
        }
    }

    fn look_anew(&mut self, connections: u32) -> Result<f64> {
        let found = self.floor_at(connections, FLOOR_SECONDS)?.rate();
        self.last_look = Some((connections, Instant::now(), found));
        Ok(found)
    }

    /// Measures issues to new users while no issuer writes, each row on a template of its own.
    fn issues(&mut self) -> Result<()> {
        let works = [Work::Issue, Work::IssueIdempotent, Work::Issue2Partners];
        if !works.iter().any(|work| self.options.wants(*work)) {
            return Ok(());
        }
        let mut set = self.set()?;
        for connections in CONNECTIONS {
            for work in [Work::Issue, Work::IssueIdempotent] {
                if self.options.wants(work) {
                    self.issue(work, &mut set, connections, false)?;
                }
            }
        }
        if self.options.wants(Work::Issue2Partners) {
            set.add_partner()?;
            self.issue(Work::Issue2Partners, &mut set, 256, false)?;
        }
        self.close(set)
    }

    /// Measures a sale with which an issuer keeps pace, and issues while an issuer writes at full speed.
    fn beside(&mut self) -> Result<()> {
        let (paced, written) = (
            self.options.wants(Work::Issuer),
            self.options.wants(Work::IssueWritten),
        );
        if !paced && !written {
            return Ok(());
        }
        let mut set = self.set()?;
        if paced {
            let paced = set.sell_at_a_pace(&self.wrk, self.options.seconds)?;
            self.report.paced = Some(paced);
        }
        if written {
            for connections in [64, 256] {
                self.issue(Work::IssueWritten, &mut set, connections, true)?;
            }
        }
        self.close(set)
    }

    /// Measures one row of issues.
    fn issue(
        &mut self,
        work: Work,
        set: &mut Set<'a>,
        connections: u32,
        is_written: bool,
    ) -> Result<()> {
        let template = set.stage.shop.publish(Limit::Plenty)?;
        let mut run = Run::issue(template, 0, connections, self.options.seconds);
        run.idempotent = work == Work::IssueIdempotent;
        if !is_written {
            return self.measure(work, set, &run);
        }
        // Before the issuer starts: the floor is measured while none writes.
        let before = self.look(connections)?;
        set.start_issuer()?;
        let (rows, began) = (set.room.written(0)?.rows, Instant::now());
        let measured = set.stage.measure(&self.wrk, &run)?;
        let came = set.room.written(0)?.rows.saturating_sub(rows);
        self.report.beside.push(Beside {
            connections,
            per_s: came as f64 / began.elapsed().as_secs_f64(),
        });
        set.stop_issuer()?;
        self.note_measured(work, &run, &measured, before)
    }

    /// Measures the works that need coupons: users with five each, a template that is sold out, coupons to redeem.
    fn shelf(&mut self) -> Result<()> {
        let reads = [
            Work::SoldOut,
            Work::AlreadyIssued,
            Work::Template,
            Work::TemplateInSale,
            Work::List,
        ];
        let redeems = [Work::Redeem, Work::RedeemLimited];
        let wants = |work: &Work| self.options.wants(*work);
        let wants_sale = self.options.wants(Work::Issuer);
        if !wants_sale && !reads.iter().any(wants) && !redeems.iter().any(wants) {
            return Ok(());
        }
        let mut set = self.set()?;
        let shelf = self.fill(&mut set)?;
        for connections in CONNECTIONS {
            for work in reads {
                let seconds = self.options.seconds;
                let [template, .., in_sale] = shelf.templates;
                let run = match work {
                    Work::SoldOut => Run::sold_out(shelf.sold_out, connections, seconds),
                    Work::AlreadyIssued => {
                        Run::already_issued(template, USERS, connections, seconds)
                    }
                    Work::Template => Run::template(template, connections, seconds),
                    Work::TemplateInSale => Run::template_in_sale(in_sale, connections, seconds),
                    _ => Run::list(USERS, shelf.templates.len(), connections, seconds),
                };
                if !self.options.wants(work) {
                    continue;
                }
                match work {
                    Work::TemplateInSale => self.measure_in_sale(&mut set, &run, in_sale)?,
                    _ => self.measure(work, &mut set, &run)?,
                }
            }
        }
        // Redemptions come last: a redeemed coupon is listed no more.
        let [without, with, ..] = shelf.templates;
        for (work, template) in [(Work::Redeem, without), (Work::RedeemLimited, with)] {
            if self.options.wants(work) {
                self.redeem(work, &mut set, template)?;
            }
        }
        self.close(set)
    }

    /// Issues the coupons of the shelf while no issuer writes, and then has an issuer write them.
    fn fill(&mut self, set: &mut Set<'a>) -> Result<Shelf> {
        let shop = &set.stage.shop;
        let shelf = Shelf {
            templates: [
                shop.publish(Limit::None)?,
                shop.publish(Limit::Redemptions)?,
                shop.publish(Limit::Plenty)?,
                shop.publish(Limit::Plenty)?,
                shop.publish(Limit::Plenty)?,
            ],
            sold_out: shop.publish(Limit::Issues(100))?,
        };
        let rows = CONNECTIONS.map(redeemable);
        let all: u64 = rows.iter().map(|(warm_up, row)| warm_up + row).sum();
        let [without, with, ..] = shelf.templates;
        for template in shelf.templates {
            let is_redeemed = template == without && self.options.wants(Work::Redeem)
                || template == with && self.options.wants(Work::RedeemLimited);
            let is_sale = template == without && self.options.wants(Work::Issuer);
            let users = USERS
                .max(if is_redeemed { all } else { 0 })
                .max(if is_sale { SALE } else { 0 });
            set.stage.fill(&self.wrk, template, users)?;
        }
        set.stage.sell_out(&self.wrk, shelf.sold_out, 100)?;
        let shop = &set.stage.shop;
        let accepted = shop.counts(&shelf.templates, "currentIssueCount")?
            + shop.count(shelf.sold_out, "currentIssueCount")?;
        self.report.sale = Some(set.write_all(accepted)?);
        Ok(shelf)
    }

    /// Measures the rows of redemptions of one template.
    fn redeem(&mut self, work: Work, set: &mut Set<'a>, template: i64) -> Result<()> {
        let folder = set.room.folder().join(work.name());
        let mut coupons = Coupons::new(set.room.coupons(template)?, &folder)?;
        for connections in CONNECTIONS {
            let (warm_up, row) = redeemable(connections);
            let run = Run::redeem(
                coupons.take(connections, warm_up)?,
                coupons.take(connections, row)?,
                &[template],
                connections,
                self.options.seconds,
            );
            self.measure(work, set, &run.of_at_most(row))?;
        }
        Ok(())
    }

    fn set(&mut self) -> Result<Set<'a>> {
        self.sets += 1;
        Set::start(self.servers, self.sets, &self.scratch)
    }

    /// Records the memory of a set, stops it and deletes all of it.
    fn close(&mut self, set: Set<'a>) -> Result<()> {
        let memory = set.stage.memory_mb()?.round();
        self.report.memory_mb = Some(self.report.memory_mb.unwrap_or(0.0).max(memory));
        set.stop()
    }

    /// Measures one row, between two measurements of the floor: the machine's speed changes within a run.
    fn measure(&mut self, work: Work, set: &mut Set<'a>, run: &Run) -> Result<()> {
        let before = self.look(run.connections)?;
        let measured = set.stage.measure(&self.wrk, run)?;
        self.note_measured(work, run, &measured, before)
    }

    /// Measures one row of details of a template that is issued meanwhile.
    fn measure_in_sale(&mut self, set: &mut Set<'a>, run: &Run, template: i64) -> Result<()> {
        let before = self.look(run.connections)?;
        let first = stage::new_users_of_sale(run.connections);
        let measured = set.stage.measure_in_sale(&self.wrk, run, template, first)?;
        self.note_measured(Work::TemplateInSale, run, &measured, before)
    }

    fn note_measured(
        &mut self,
        work: Work,
        run: &Run,
        measured: &stage::Measured,
        before: f64,
    ) -> Result<()> {
        let after = self.look_anew(run.connections)?;
        if let Some(fault) = &measured.fault {
            eprintln!("{} at {}: {fault}", work.name(), run.connections);
        }
        let floor = f64::midpoint(before, after);
        let (figures, unexpected) = (&measured.figures, measured.unexpected);
        self.note(work, run.connections, figures, unexpected, floor);
        Ok(())
    }

    fn note(
        &mut self,
        work: Work,
        connections: u32,
        figures: &Figures,
        unexpected: u64,
        floor: f64,
    ) {
        let row = Row::new(work, connections, figures, unexpected, floor);
        row.print_progress();
        self.report.rows.push(row);
    }
}

/// Templates with coupons.
struct Shelf {
    /// One without a limit, one with a limit of redemptions, and three with a limit of issues.
    templates: [i64; 5],
    /// A template that is sold out.
    sold_out: i64,
}
