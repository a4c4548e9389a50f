//! The ports of the issue path over the simulated servers. Each call waits in the world until the schedule lets it
//! happen.

pub(crate) mod gates;
pub(crate) mod issue_log;
pub(crate) mod records;

use goodpon_application::ports::{Clock, Random};
use jiff::Timestamp;

use crate::world::call::{Actor, Caller};

/// A process's clock.
pub(crate) struct ProcessClock(pub(crate) Caller);

impl Clock for ProcessClock {
    fn now(&self) -> Timestamp {
        self.0.shared.world().process_time()
    }
}

/// A process's randomness: the number of the request that asks, so that a coupon's id names its request.
pub(crate) struct RequestNumber(pub(crate) Caller);

impl Random for RequestNumber {
    fn fill(&self, bytes: &mut [u8]) {
        let number = match self.0.actor() {
            Actor::Request(number) => number,
            _ => 0,
        };
        // An id leaves the lowest three bits out.
        let digits = (number << 3).to_be_bytes();
        bytes.fill(0);
        for (byte, digit) in bytes.iter_mut().rev().zip(digits.iter().rev()) {
            *byte = *digit;
        }
    }
}
