//! Faults of a fleet under load.

use std::fmt;
use std::time::{Duration, Instant};

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use super::fleet::Fleet;
use super::process::Process;
use super::proxy::{Link, Mode};
use super::servers::{Data, Kind};

/// Partitions up to which the log grows.
const MAX_PARTITIONS: usize = 8;

/// A choice among the two processes of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The first.
    First,
    /// The second.
    Second,
    /// Both.
    Both,
}

/// The processes whose way to a server is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// All processes.
    All,
    /// The process of this number.
    One(usize),
}

/// Something that is broken, and mended after a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of partners.
    KillPartner(Who),
    /// Partners are stopped as operators do it, and started again.
    ReplacePartner(Who),
    /// `kill -9` of issuers.
    KillIssuer(Who),
    /// `kill -9` of the dashboard.
    KillDashboard,
    /// `kill -9` of Valkey, which comes back with its data.
    KillValkey,
    /// `kill -9` of Valkey, which comes back empty.
    LoseValkey,
    /// Valkey comes back as it was some time ago.
    RestoreValkey,
    /// `FLUSHALL`.
    FlushValkey,
    /// Every gate loses the key of this letter.
    LosePart(char),
    /// Valkey has no memory left.
    FillValkey,
    /// Valkey forgets all scripts.
    ForgetScripts,
    /// `kill -9` of Kafka.
    KillKafka,
    /// `kill -9` of MariaDB.
    KillDatabase,
    /// No issuer runs from before the load begins until after it ends.
    NoIssuers,
    /// One more issuer joins, and one leaves: partitions move to and fro.
    Rebalance,
    /// The log gets one more partition.
    GrowTopic,
    /// A process stands still (SIGSTOP) and goes on as if nothing had happened.
    Freeze(usize),
    /// The way between a process and a server does this.
    Way(From, Kind, Mode),
    /// The way between customers and a partner does this.
    Door(usize, Mode),
    /// One way after the other fails for moments, by this seed.
    Storm(u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A fault and its times, from the beginning of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// The fault.
    pub fault: Fault,
    /// The time at which it begins.
    pub begins: Duration,
    /// The time that it lasts.
    pub lasts: Duration,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (begins, lasts) = (self.begins.as_millis(), self.lasts.as_millis());
        write!(f, "{} after {begins} ms for {lasts} ms", self.fault)
    }
}

/// The part of a fleet that a fault breaks: two faults of one part do not fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Partners,
    Issuers,
    Dashboard,
    Server(Kind),
    Ways,
}

impl Fault {
    fn victim(self) -> Victim {
        match self {
            Self::KillPartner(_) | Self::ReplacePartner(_) => Victim::Partners,
            Self::KillIssuer(_) | Self::NoIssuers | Self::Rebalance => Victim::Issuers,
            Self::KillDashboard => Victim::Dashboard,
            Self::KillValkey
            | Self::LoseValkey
            | Self::RestoreValkey
            | Self::FlushValkey
            | Self::LosePart(_)
            | Self::FillValkey
            | Self::ForgetScripts => Victim::Server(Kind::Valkey),
            Self::KillKafka => Victim::Server(Kind::Kafka),
            Self::KillDatabase | Self::GrowTopic => Victim::Server(Kind::Database),
            Self::Freeze(0) => Victim::Dashboard,
            Self::Freeze(1 | 2) => Victim::Partners,
            Self::Freeze(_) => Victim::Issuers,
            Self::Way(..) | Self::Door(..) | Self::Storm(_) => Victim::Ways,
        }
    }

    fn random(rng: &mut StdRng) -> Self {
        let who = |rng: &mut StdRng| [Who::First, Who::Second, Who::Both][rng.random_range(0..3)];
        match rng.random_range(0..34) {
            0 | 1 => Self::KillPartner(who(rng)),
            2 | 3 => Self::KillIssuer(who(rng)),
            4 => Self::KillDashboard,
            5 | 6 => Self::KillValkey,
            7 | 8 => Self::LoseValkey,
            9 | 10 => Self::RestoreValkey,
            11 | 12 => Self::FlushValkey,
            13 | 14 => Self::KillKafka,
            15 | 16 => Self::KillDatabase,
            17 => Self::NoIssuers,
            18 => Self::Rebalance,
            19 => Self::Freeze(rng.random_range(1..5)),
            20 => Self::Door(rng.random_range(0..2), random_mode(rng)),
            21 => Self::Way(From::All, Kind::Kafka, random_mode(rng)),
            22 | 23 => Self::Storm(rng.random()),
            24 => Self::ReplacePartner(who(rng)),
            25 => Self::FillValkey,
            26 => Self::ForgetScripts,
            27 => Self::GrowTopic,
            28 | 29 => Self::LosePart(['g', 'u', 'p', 'z'][rng.random_range(0..4)]),
            _ => {
                let from = match rng.random_bool(0.4) {
                    true => From::All,
                    false => From::One(rng.random_range(1..5)),
                };
                let kind = Kind::ALL[rng.random_range(0..3)];
                Self::Way(from, kind, random_mode(rng))
            }
        }
    }

    /// Draws the time that it lasts, in milliseconds.
    fn random_time(self, rng: &mut StdRng) -> u64 {
        match self {
            // Long enough for the group to go on without it, or for a partner's events to count no more.
            Self::Freeze(3 | 4) if rng.random_bool(0.5) => rng.random_range(11_000..13_000),
            Self::Freeze(_) => rng.random_range(500..9_000),
            Self::FlushValkey | Self::LosePart(_) | Self::ForgetScripts | Self::GrowTopic => 0,
            Self::RestoreValkey => rng.random_range(0..4_000),
            Self::KillKafka => rng.random_range(0..2_000),
            Self::NoIssuers | Self::Storm(_) => rng.random_range(3_000..7_000),
            // Long enough for the next gate to have the places of the events that are held.
            Self::Way(_, Kind::Kafka, Mode::Hold) => rng.random_range(200..13_000),
            Self::Way(..) | Self::Door(..) => rng.random_range(200..8_000),
            _ => rng.random_range(0..5_000),
        }
    }
}

fn random_mode(rng: &mut StdRng) -> Mode {
    match rng.random_range(0..4) {
        0 => Mode::Cut,
        1 => Mode::Hold,
        2 => Mode::Swallow,
        _ => Mode::Delay(Duration::from_millis(rng.random_range(20..1_500))),
    }
}

/// Draws a fault that loses a gate, and one that delays events of the lost gate: the seal must wait for them.
fn hard_pair(rng: &mut StdRng) -> [Fault; 2] {
    let lost = [
        Fault::KillValkey,
        Fault::LoseValkey,
        Fault::RestoreValkey,
        Fault::FlushValkey,
    ];
    let partner = rng.random_range(1..3);
    let from = [From::All, From::One(partner)][rng.random_range(0..2)];
    let late = match rng.random_range(0..8) {
        0..3 => Fault::Way(from, Kind::Kafka, random_mode(rng)),
        3 | 4 => Fault::Freeze(partner),
        5 => Fault::KillKafka,
        6 => Fault::NoIssuers,
        _ => Fault::KillIssuer(Who::Both),
    };
    [lost[rng.random_range(0..4)], late]
}

/// Draws one fault at a random moment, or two that overlap.
#[must_use]
pub fn random(rng: &mut StdRng) -> Vec<Planned> {
    let mut faults = match rng.random_bool(0.25) {
        true => hard_pair(rng).to_vec(),
        false => vec![Fault::random(rng)],
    };
    while faults.len() < 2 && rng.random_bool(0.4) {
        let more = Fault::random(rng);
        if faults[0].victim() != more.victim() {
            faults.push(more);
        }
    }
    let planned = |fault: Fault| {
        let begins = match fault {
            Fault::NoIssuers => 0,
            _ => rng.random_range(300..2_000),
        };
        Planned {
            fault,
            begins: Duration::from_millis(begins),
            lasts: Duration::from_millis(fault.random_time(rng)),
        }
    };
    faults.into_iter().map(planned).collect()
}

/// Returns rounds that have each kind of fault at least once.
#[must_use]
pub fn every_kind() -> Vec<Vec<Planned>> {
    let slow = Mode::Delay(Duration::from_millis(400));
    let planned = |(fault, begins, lasts)| Planned {
        fault,
        begins: Duration::from_millis(begins),
        lasts: Duration::from_millis(lasts),
    };
    let rounds = [
        vec![
            (Fault::KillPartner(Who::First), 500, 1_000),
            (Fault::KillIssuer(Who::Second), 900, 1_500),
        ],
        vec![
            (Fault::KillPartner(Who::Both), 800, 500),
            (
                Fault::Way(From::All, Kind::Database, Mode::Swallow),
                1_000,
                1_000,
            ),
        ],
        vec![
            (Fault::KillValkey, 700, 500),
            (
                Fault::Way(From::One(1), Kind::Kafka, Mode::Swallow),
                500,
                3_000,
            ),
        ],
        vec![
            (Fault::LoseValkey, 900, 300),
            (Fault::KillDashboard, 400, 2_000),
        ],
        vec![
            (Fault::RestoreValkey, 600, 500),
            (
                Fault::Way(From::All, Kind::Database, Mode::Hold),
                1_500,
                2_000,
            ),
        ],
        // Events of the lost gate arrive at the log when the next gate has their places.
        vec![
            (Fault::FlushValkey, 1_500, 0),
            (
                Fault::Way(From::One(1), Kind::Kafka, Mode::Hold),
                700,
                12_000,
            ),
        ],
        vec![
            (Fault::KillKafka, 800, 0),
            (
                Fault::Way(From::One(2), Kind::Valkey, Mode::Cut),
                600,
                3_000,
            ),
        ],
        vec![
            (Fault::Way(From::All, Kind::Kafka, Mode::Cut), 600, 5_000),
            (Fault::KillDatabase, 1_200, 1_000),
        ],
        vec![
            (Fault::Way(From::All, Kind::Kafka, slow), 500, 3_000),
            (Fault::Rebalance, 300, 4_000),
        ],
        vec![(
            Fault::Way(From::All, Kind::Kafka, Mode::Swallow),
            700,
            3_000,
        )],
        vec![
            (Fault::NoIssuers, 0, 3_500),
            (Fault::FillValkey, 900, 1_500),
        ],
        vec![
            (Fault::Freeze(2), 600, 7_500),
            (Fault::Door(0, Mode::Swallow), 800, 1_500),
        ],
        vec![
            (Fault::Storm(1), 400, 3_500),
            (Fault::ReplacePartner(Who::First), 700, 1_000),
        ],
        vec![(Fault::Freeze(3), 800, 12_000)],
        vec![
            (Fault::LosePart('u'), 900, 0),
            (Fault::Door(1, Mode::Swallow), 700, 1_000),
        ],
        vec![
            (Fault::LosePart('p'), 900, 0),
            (Fault::KillPartner(Who::First), 850, 500),
        ],
    ];
    let rounds = rounds.into_iter();
    rounds
        .map(|round| round.into_iter().map(planned).collect())
        .collect()
}

/// Breaks and mends as planned; the load has just begun.
///
/// # Errors
/// A process did not stop in order.
pub async fn run(fleet: &Fleet, planned: &Planned) -> Result<(), String> {
    sleep(planned.begins).await;
    let lasts = planned.lasts;
    let servers = &fleet.servers;
    match planned.fault {
        Fault::KillPartner(who) => kill(&chosen(fleet, ["partner1", "partner2"], who), lasts).await,
        Fault::KillIssuer(who) => kill(&chosen(fleet, ["issuer1", "issuer2"], who), lasts).await,
        Fault::KillDashboard => kill(&[fleet.process("dashboard")], lasts).await,
        Fault::KillValkey => kill_server(fleet, Kind::Valkey, lasts, Data::Kept).await,
        Fault::LoseValkey => kill_server(fleet, Kind::Valkey, lasts, Data::Lost).await,
        Fault::RestoreValkey => {
            servers.snapshot(Kind::Valkey).await;
            // The sale goes on after the snapshot.
            sleep(Duration::from_millis(700)).await;
            kill_server(fleet, Kind::Valkey, lasts, Data::FromSnapshot).await;
        }
        Fault::FlushValkey => run_on_valkey(fleet, &["FLUSHALL"]).await,
        Fault::FillValkey => {
            // The policy is noeviction, and more than this is used already.
            run_on_valkey(fleet, &["CONFIG", "SET", "maxmemory", "100kb"]).await;
            sleep(lasts).await;
            run_on_valkey(fleet, &["CONFIG", "SET", "maxmemory", "0"]).await;
        }
        Fault::LosePart(letter) => lose_part(fleet, letter).await,
        Fault::ForgetScripts => run_on_valkey(fleet, &["SCRIPT", "FLUSH"]).await,
        Fault::GrowTopic => return grow_topic(fleet).await,
        Fault::ReplacePartner(who) => {
            return replace(&chosen(fleet, ["partner1", "partner2"], who), lasts).await;
        }
        Fault::KillKafka => kill_server(fleet, Kind::Kafka, lasts, Data::Kept).await,
        Fault::KillDatabase => kill_server(fleet, Kind::Database, lasts, Data::Kept).await,
        Fault::NoIssuers => {
            let issuers = chosen(fleet, ["issuer1", "issuer2"], Who::Both);
            return replace(&issuers, lasts).await;
        }
        Fault::Rebalance => {
            fleet.spare.start();
            sleep(lasts / 2).await;
            replace(&[fleet.process("issuer1")], lasts / 2).await?;
            fleet.spare.signal("TERM");
            return fleet.spare.ended().await;
        }
        Fault::Freeze(number) => {
            fleet.processes[number].signal("STOP");
            sleep(lasts).await;
            fleet.processes[number].signal("CONT");
        }
        Fault::Way(from, kind, mode) => {
            let processes: Vec<&Process> = match from {
                From::All => fleet.processes.iter().chain([&fleet.spare]).collect(),
                From::One(number) => vec![&fleet.processes[number]],
            };
            let links: Vec<&Link> = processes.iter().map(|one| one.link(kind)).collect();
            bend(&links, mode, lasts).await;
        }
        Fault::Door(number, mode) => bend(&[&fleet.doors[number].0], mode, lasts).await,
        Fault::Storm(seed) => storm(fleet, seed, lasts).await,
    }
    Ok(())
}

fn chosen<'a>(fleet: &'a Fleet, names: [&str; 2], who: Who) -> Vec<&'a Process> {
    let [first, second] = names.map(|name| fleet.process(name));
    match who {
        Who::First => vec![first],
        Who::Second => vec![second],
        Who::Both => vec![first, second],
    }
}

async fn kill(processes: &[&Process], lasts: Duration) {
    processes.iter().for_each(|process| process.kill());
    sleep(lasts).await;
    processes.iter().for_each(|process| process.start());
}

/// Stops processes as an operator does, and starts them again.
async fn replace(processes: &[&Process], lasts: Duration) -> Result<(), String> {
    processes.iter().for_each(|process| process.signal("TERM"));
    sleep(lasts).await;
    for process in processes {
        process.ended().await?;
        process.start();
    }
    Ok(())
}

async fn kill_server(fleet: &Fleet, kind: Kind, lasts: Duration, data: Data) {
    fleet.servers.kill(kind).await;
    sleep(lasts).await;
    fleet.servers.start(kind, data).await;
}

async fn bend(links: &[&Link], mode: Mode, lasts: Duration) {
    links.iter().for_each(|link| link.set(mode));
    sleep(lasts).await;
    links.iter().for_each(|link| link.set(Mode::Pass));
}

/// Runs four gusts at a time, each of which bends one way after the other.
async fn storm(fleet: &Fleet, seed: u64, lasts: Duration) {
    let ends = Instant::now() + lasts;
    let gusts = (0..4).map(async |gust| {
        let mut rng = StdRng::seed_from_u64(seed ^ gust);
        while Instant::now() < ends {
            let number = rng.random_range(0..fleet.processes.len());
            let kind = Kind::ALL[rng.random_range(0..3)];
            let moment = Duration::from_millis(rng.random_range(20..900));
            let link = fleet.processes[number].link(kind);
            bend(&[link], random_mode(&mut rng), moment).await;
        }
    });
    join_all(gusts).await;
}

async fn lose_part(fleet: &Fleet, letter: char) {
    let mut valkey = super::books::valkey(fleet).await;
    for pattern in [
        format!("goodpon:{{*}}:{letter}"),
        format!("goodpon:{{*}}:{letter}:*"),
    ] {
        let keys = redis::cmd("KEYS").arg(pattern).to_owned();
        let keys: Vec<Vec<u8>> = keys.query_async(&mut valkey).await.expect("its keys");
        for key in keys {
            let del = redis::cmd("DEL").arg(key).to_owned();
            del.exec_async(&mut valkey).await.expect("a key less");
        }
    }
}

async fn run_on_valkey(fleet: &Fleet, words: &[&str]) {
    let mut valkey = super::books::valkey(fleet).await;
    let (name, arguments) = words.split_first().expect("a command");
    let reply: redis::RedisResult<()> = redis::cmd(name)
        .arg(arguments)
        .query_async(&mut valkey)
        .await;
    reply.unwrap_or_else(|error| panic!("{words:?}: {error}"));
}

/// Adds one partition, up to a few.
async fn grow_topic(fleet: &Fleet) -> Result<(), String> {
    let partitions = super::books::progress(fleet).await.len();
    if partitions >= MAX_PARTITIONS {
        return Ok(());
    }
    let more = (partitions + 1).to_string();
    let mut reply = String::new();
    // Another fault may have broken a server that this needs: an operator tries again.
    for _ in 0..30 {
        let grown = fleet.run(&["migrate", "--kafka-partitions", &more]).await;
        if grown.status.success() {
            return Ok(());
        }
        reply = String::from_utf8_lossy(&grown.stderr).into_owned();
        sleep(Duration::from_secs(1)).await;
    }
    Err(reply)
}
