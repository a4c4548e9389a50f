//! The store under simulation: the product's writer without its thread, on a real file.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use goodpon_application::ports::{CancelRequest, Clock, IssueRequest, Random, RedeemRequest};
use goodpon_domain::{
    id::{CouponId, MerchantId, TemplateId},
    redemption::Order,
    template::{Discount, Limit, Period, TemplateStatus, Terms},
};
use goodpon_port_laws::{ManualClock, World};
use jiff::Timestamp;
use rusqlite::{Connection, config::DbConfig};
use tempfile::TempDir;

use super::effects::{Effect, NO_COUPON, id_of, keyed, said, word};
use super::plain::{Answered, Asked, Failure, Holding, Plain, PlainTemplate, Wish};
use super::readers::{Reader, USERS, user};
use super::seeded::Seeded;
use crate::{
    folder::{self, DATABASE_FILE},
    issue::issue,
    late::holder::Holder,
    read::{filler::Fill, reader},
    redemption, schema,
    sweep::{self, Purpose},
    template,
    write::{
        connection,
        disk::Disk,
        group::{Groups, Surroundings},
        tx::Tx,
        watch::{Moment, Watch},
        writer::request,
    },
};

/// A run of a request within a transaction.
struct Ran {
    number: usize,
    asked: Asked,
    now: Timestamp,
    id: Option<CouponId>,
    answered: Answered,
}

/// Raised where the power goes.
struct PowerCut;

/// The committed state by the model, and who looks at the store on its way there.
struct Onlooker {
    reader: Reader,
    plain: Plain,
    /// The state before the running commit.
    before: Plain,
    /// Requests that ran in the open transaction.
    ran: Arc<Mutex<Vec<Ran>>>,
    committed: Vec<usize>,
    /// Moments of the running group that have passed.
    moments: usize,
    cut_at: Option<usize>,
    look_at: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Onlooker {
    /// Returns whether the power goes now.
    fn pass(&mut self, moment: Moment) -> bool {
        match moment {
            Moment::Begun => lock(&self.ran).clear(),
            Moment::Committed => self.commit(),
            Moment::Published(step) => {
                self.reader.assert_in_order(step, &self.before, &self.plain);
            }
            // Nothing of an open transaction is seen.
            Moment::Ran | Moment::Flushed if self.moments == self.look_at => {
                self.reader.assert_sees(&self.plain);
            }
            Moment::Ran | Moment::Flushed => {}
        }
        self.moments += 1;
        self.cut_at == Some(self.moments)
    }

    fn commit(&mut self) {
        self.before = self.plain.clone();
        for ran in lock(&self.ran).drain(..) {
            let expected = self.plain.run(&ran.asked, ran.now, ran.id);
            assert_eq!(ran.answered, expected, "the answer to {:?}", ran.asked);
            self.committed.push(ran.number);
        }
    }
}

pub(super) struct Simulated {
    path: PathBuf,
    folder: TempDir,
    pub(super) clock: Arc<ManualClock>,
    random: Arc<Seeded>,
    backlog: usize,
    merchant: MerchantId,
    templates: Vec<TemplateId>,
    /// Gone while the power is off.
    running: Option<Running>,
}

struct Running {
    groups: Groups,
    onlooker: Arc<Mutex<Onlooker>>,
    ran: Arc<Mutex<Vec<Ran>>>,
    fill: Fill,
}

/// Lets a closing connection leave the log as it is, as a crash does.
fn leave_log(connection: &Connection) {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .unwrap();
}

fn terms(limit: Option<i64>) -> Terms {
    Terms {
        name: "Template".into(),
        description: String::new(),
        min_order_amount: None,
        discount: Discount::FixedAmount { amount: 1_000 },
        period: Period {
            issue_start_at: Timestamp::UNIX_EPOCH,
            issue_end_at: None,
            validity_days: Some(1),
            absolute_expires_at: None,
        },
        limit: limit.map_or(Limit::None, Limit::IssueCount),
    }
}

impl Simulated {
    /// An open store with one shop, and a template for each limit.
    pub(super) fn new(random: Arc<Seeded>, backlog: usize, limits: &[Option<i64>]) -> Self {
        let folder = TempDir::new().unwrap();
        let clock = World::clock();
        clock.step_by(1);
        let mut store = Self {
            path: folder.path().join(DATABASE_FILE),
            folder,
            clock,
            random,
            backlog,
            merchant: MerchantId(1),
            templates: Vec::new(),
            running: None,
        };
        store.make();
        let mut plain = Plain::default();
        store.open(store.connect(), plain.clone());
        for limit in limits {
            let terms = terms(*limit);
            plain.templates.push(PlainTemplate {
                limit: *limit,
                issued: 0,
                redeemed: 0,
                period: terms.period,
            });
            store.publish(terms);
        }
        store.reopen(plain);
        store
    }

    /// Makes the database, without a sync: the first connection of the writer would make some.
    fn make(&self) {
        let mut connection = Connection::open(&self.path).unwrap();
        for (name, value) in [("synchronous", "off"), ("journal_mode", "wal")] {
            connection.pragma_update(None, name, value).unwrap();
        }
        schema::migrate(&mut connection).unwrap();
        let merchant = "INSERT INTO merchants (id, name, client_id, created_at, updated_at) VALUES (1, 'Shop', 'ck', 0, 0)";
        connection.execute(merchant, []).unwrap();
    }

    fn connect(&self) -> Connection {
        let connection = connection::connect(&self.path).unwrap();
        connection
            .pragma_update(None, "synchronous", "off")
            .unwrap();
        leave_log(&connection);
        connection
    }

    fn connect_reader(&self) -> Connection {
        let connection = reader::connect(&self.path).unwrap();
        leave_log(&connection);
        connection
    }

    fn publish(&mut self, terms: Terms) {
        let merchant = self.merchant;
        let (request, mut answer) = request(move |tx| {
            let id = template::insert(tx, merchant, &terms)?;
            template::change_status(tx, id, TemplateStatus::Issuable, None)?;
            Ok(id)
        });
        self.running().groups.run(&mut vec![request]);
        self.templates.push(answer.try_recv().unwrap().unwrap());
    }

    fn open(&mut self, connection: Connection, plain: Plain) {
        let file = folder::database_file(self.folder.path()).unwrap();
        let end = Arc::new(|why: &str| panic!("{why}"));
        let disk = Arc::new(Disk::new(self.folder.path(), file, end));
        let surroundings = Surroundings {
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            random: Arc::clone(&self.random) as Arc<dyn Random>,
            zone: World::zone(),
            disk,
        };
        let groups = Groups::open(self.path.clone(), connection, self.backlog, surroundings);
        let mut groups = groups.unwrap();
        let reader = Reader {
            connection: self.connect_reader(),
            published: groups.published(),
            clock: Arc::clone(&self.clock),
            merchant: self.merchant,
            templates: self.templates.clone(),
        };
        let ran = Arc::default();
        let onlooker = Arc::new(Mutex::new(Onlooker {
            reader,
            before: plain.clone(),
            plain,
            ran: Arc::clone(&ran),
            committed: Vec::new(),
            moments: 0,
            cut_at: None,
            look_at: 0,
        }));
        let watcher = Arc::clone(&onlooker);
        groups.watch = Watch::by(move |moment, _| {
            if lock(&watcher).pass(moment) {
                resume_unwind(Box::new(PowerCut));
            }
        });
        self.running = Some(Running {
            groups,
            onlooker,
            ran,
            fill: Fill::by(3),
        });
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("the power is off")
    }

    /// The committed state by the model.
    pub(super) fn plain(&mut self) -> Plain {
        lock(&self.running().onlooker).plain.clone()
    }

    /// Takes all memory away, and opens what the disk has.
    pub(super) fn reopen(&mut self, plain: Plain) {
        self.running = None;
        let mut connection = self.connect();
        schema::migrate(&mut connection).unwrap();
        self.open(connection, plain);
        self.assert_right();
        let onlooker = Arc::clone(&self.running().onlooker);
        let onlooker = lock(&onlooker);
        onlooker.reader.assert_whole(&onlooker.plain);
    }

    pub(super) fn cut_power(&mut self) {
        let plain = self.plain();
        self.reopen(plain);
    }

    pub(super) fn close_and_open(&mut self) {
        let plain = self.plain();
        self.running().groups.close();
        self.reopen(plain);
    }

    pub(super) fn checkpoint(&mut self) {
        self.running().groups.finish_checkpoint();
    }

    /// Goes on with the filling of the filter.
    pub(super) fn fill(&mut self) {
        let running = self.running();
        let onlooker = lock(&running.onlooker);
        let (filter, connection) = (
            &onlooker.reader.published.filter,
            &onlooker.reader.connection,
        );
        running.fill.go_on(filter, connection).unwrap();
    }

    /// Makes the entry of one user unwritable, as a damaged page does, or heals that.
    pub(super) fn damage(&mut self, is_damaged: bool) {
        let sql = match is_damaged {
            true => {
                "CREATE TRIGGER IF NOT EXISTS refuse BEFORE INSERT ON coupon_holders WHEN NEW.user_id = 'user 0'
                 BEGIN SELECT RAISE(ABORT, 'no'); END"
            }
            false => "DROP TRIGGER IF EXISTS refuse",
        };
        self.connect().execute_batch(sql).unwrap();
    }

    pub(super) fn assert_right(&mut self) {
        let onlooker = lock(&self.running().onlooker);
        onlooker.reader.assert_sees(&onlooker.plain);
    }

    /// Runs requests as one group. The power goes after `cut_at` of its moments, if it has as many.
    pub(super) fn run(&mut self, all: &[Asked], cut_at: Option<usize>, look_at: usize) {
        let mut group = Vec::new();
        let mut answers = Vec::new();
        for (number, asked) in all.iter().enumerate() {
            let (request, answer) = request(self.request(number, asked));
            group.push(request);
            answers.push(answer);
        }
        let running = self.running();
        {
            let mut onlooker = lock(&running.onlooker);
            onlooker.committed.clear();
            (onlooker.moments, onlooker.cut_at, onlooker.look_at) = (0, cut_at, look_at);
        }
        let groups = &mut running.groups;
        let ended = catch_unwind(AssertUnwindSafe(|| groups.run(&mut group)));
        let committed = lock(&running.onlooker).committed.clone();
        for (number, answer) in answers.iter_mut().enumerate() {
            let is_success = matches!(answer.try_recv(), Ok(Ok(())));
            let is_committed = committed.contains(&number);
            assert!(
                is_committed || !is_success,
                "{number} is answered without its commit"
            );
            let is_failing = all[number].fails.is_some();
            if ended.is_ok() {
                assert_eq!(is_success, !is_failing, "{:?} in {all:?}", all[number]);
            }
        }
        match ended {
            Ok(()) => self.assert_right(),
            Err(payload) if payload.is::<PowerCut>() => self.cut_power(),
            Err(payload) => resume_unwind(payload),
        }
    }

    fn request(
        &mut self,
        number: usize,
        asked: &Asked,
    ) -> impl FnMut(&mut Tx<'_>) -> rusqlite::Result<()> + Send + 'static {
        let asked = asked.clone();
        let ran = Arc::clone(&self.running().ran);
        let mut effect = self.effect(&asked.wish);
        move |tx| {
            let (answered, id) = match asked.key {
                None => {
                    let (outcome, id) = effect(tx)?;
                    (Answered::Ran(word(outcome)), id)
                }
                Some((key, body)) => keyed(tx, key, body, &asked.wish, &mut effect)?,
            };
            match asked.fails {
                Some(Failure::Error) => return Err(rusqlite::Error::InvalidQuery),
                Some(Failure::Panic) => resume_unwind(Box::new("on purpose")),
                None => {}
            }
            lock(&ran).push(Ran {
                number,
                asked: asked.clone(),
                now: tx.now,
                id,
                answered,
            });
            Ok(())
        }
    }

    /// The product's own code for a wish. It returns the id of the coupon that it issued, if it did.
    fn effect(&mut self, wish: &Wish) -> Effect {
        let merchant = self.merchant;
        match wish.clone() {
            Wish::Issue(holding) => self.issue(holding),
            Wish::Redeem(holding, order) => {
                let holder = self.holder(holding);
                let mut request = RedeemRequest {
                    merchant_id: merchant,
                    coupon_id: CouponId::from_bytes(NO_COUPON),
                    order: Order {
                        user_id: user(holding.1),
                        amount: 5_000,
                        id: order.to_string(),
                    },
                };
                Box::new(move |tx| {
                    request.coupon_id = id_of(tx, &holder)?;
                    let outcome = redemption::redeem(tx, &request)?;
                    Ok((said(outcome.is_ok(), "redeemed"), None))
                })
            }
            Wish::Cancel(holding, order) => {
                let holder = self.holder(holding);
                let mut request = CancelRequest {
                    merchant_id: merchant,
                    coupon_id: CouponId::from_bytes(NO_COUPON),
                    order_id: order.to_string(),
                    reason: "reason".into(),
                };
                Box::new(move |tx| {
                    request.coupon_id = id_of(tx, &holder)?;
                    let outcome = redemption::cancel(tx, &request)?;
                    Ok((said(outcome.is_ok(), "cancelled"), None))
                })
            }
            Wish::Expire => {
                let now = self.clock.now();
                let onlooker = lock(&self.running().onlooker);
                let found = sweep::find(&onlooker.reader.connection, Purpose::Expire, now);
                drop(onlooker);
                let found = found.unwrap();
                Box::new(move |tx| {
                    let settled = sweep::settle(tx, Purpose::Expire, &found, USERS * 10)?;
                    Ok((Ok(settled.to_string()), None))
                })
            }
        }
    }

    fn holder(&self, (template, number): Holding) -> Holder {
        Holder::new(self.merchant, &user(number), self.templates[template])
    }

    fn issue(&self, (template, number): Holding) -> Effect {
        let (merchant_id, template_id) = (self.merchant, self.templates[template]);
        let request = IssueRequest {
            merchant_id,
            template_id,
            user_id: user(number),
        };
        Box::new(move |tx| match issue(tx, &request)? {
            Ok(_) => {
                let holder = Holder::new(merchant_id, &request.user_id, template_id);
                let id = tx.memory.holders.get(&holder).map(CouponId::from_bytes);
                Ok((Ok("issued".into()), id))
            }
            Err(refusal) => Ok((Err(format!("{refusal:?}")), None)),
        })
    }
}
