//! The world in which a law is tried: the ports of one adapter set, and a clock that stands still unless it is moved.

use std::any::Any;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use goodpon_application::{
    Stores,
    ports::{Clock, Random},
};
use goodpon_domain::business_time::BusinessZone;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// A clock for tests. It stands still, or steps by a fixed amount whenever it is read.
pub struct ManualClock {
    micros: AtomicI64,
    step: AtomicI64,
}

impl ManualClock {
    /// Makes a clock that stands still at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self {
            micros: AtomicI64::new(now.as_microsecond()),
            step: AtomicI64::new(0),
        }
    }

    /// Moves it on by `duration`, in whole microseconds.
    pub fn advance(&self, duration: SignedDuration) {
        let micros = i64::try_from(duration.as_micros()).expect("an advance in range");
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }

    /// Moves it to `now`.
    pub fn set(&self, now: Timestamp) {
        self.micros.store(now.as_microsecond(), Ordering::SeqCst);
    }

    /// Makes every reading move it on by `micros` microseconds; 0 makes it stand still again.
    pub fn step_by(&self, micros: i64) {
        self.step.store(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let step = self.step.load(Ordering::SeqCst);
        let micros = self.micros.fetch_add(step, Ordering::SeqCst);
        Timestamp::from_microsecond(micros).expect("a time in range")
    }
}

/// Bytes that differ from call to call and from process to process, for tests.
pub struct FreshRandom {
    hasher: RandomState,
    calls: AtomicU64,
}

impl Default for FreshRandom {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            calls: AtomicU64::new(0),
        }
    }
}

impl Random for FreshRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let call = self.calls.fetch_add(1, Ordering::Relaxed);
            let fresh = self.hasher.hash_one(call).to_be_bytes();
            chunk.copy_from_slice(&fresh[..chunk.len()]);
        }
    }
}

/// Waits until all that was accepted is written and can be seen through every port.
pub type Settle = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// The ports of one adapter set, on one store and one clock.
#[derive(Clone)]
pub struct World {
    /// The store ports.
    pub stores: Stores,
    /// The clock that the store reads.
    pub clock: Arc<ManualClock>,
    /// The zone that the store reckons days in.
    pub zone: BusinessZone,
    /// Waits for accepted issues, which are written later when scaled out; does nothing on one machine.
    pub settle: Settle,
    /// True when scaled out: an entry may appear behind newer ones for some seconds (contract §2.2). False on one machine.
    pub entries_may_come_late: bool,
    /// A value that must live as long as the store does, such as its folder.
    pub kept: Arc<dyn Any + Send + Sync>,
}

impl World {
    /// Returns the zone of all worlds.
    pub fn zone() -> BusinessZone {
        BusinessZone::new(TimeZone::get("Asia/Seoul").expect("a bundled zone"))
    }

    /// Makes the clock of a new world.
    pub fn clock() -> Arc<ManualClock> {
        let start = "2026-03-02T01:23:45.123456Z".parse();
        Arc::new(ManualClock::new(start.expect("a time")))
    }

    /// Makes a world in which all is written when it is answered.
    pub fn that_settles_at_once(
        stores: Stores,
        clock: Arc<ManualClock>,
        kept: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        Self {
            stores,
            clock,
            zone: Self::zone(),
            settle: Arc::new(|| Box::pin(std::future::ready(()))),
            entries_may_come_late: false,
            kept,
        }
    }

    /// Reads the clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
