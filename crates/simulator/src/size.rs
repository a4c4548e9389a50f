//! The size of a schedule, and what it went through.

use crate::world::PARTITIONS;

/// The number of times that each thing may happen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Budget {
    /// Customers' requests.
    pub requests: u8,
    /// Faults of servers and clocks.
    pub faults: u8,
    /// Processes killed, calls and replies lost.
    pub crashes: u8,
    /// Publishes that arrive twice.
    pub copies: u8,
    /// Gates given up by hand, at any time.
    pub bumps: u8,
    /// Rounds of the reconciler.
    pub helps: u8,
    /// The template may be discarded.
    pub discard: bool,
}

/// The size of a world.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// The issue limit.
    pub places: i64,
    /// Customers.
    pub users: u8,
    /// Idempotency keys, shared by all of them.
    pub keys: u8,
    /// By how many seconds the clocks of the partitions' leaders are ahead at first, 0 or 1.
    pub brokers_ahead: [i64; PARTITIONS],
    /// By how many seconds the database's clock is ahead at first, 0 or 1.
    pub database_ahead: i64,
}

/// The things that a schedule went through before the faults stopped: one that found nothing must not be an empty one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reached {
    /// A success was answered.
    pub success: bool,
    /// A second epoch was sealed.
    pub second_epoch: bool,
    /// An event of a later epoch than the first became a coupon.
    pub later_coupon: bool,
    /// A copy came too late to count.
    pub void_copy: bool,
    /// A reservation was published by another request, or the reconciler.
    pub help: bool,
    /// Two servers lived beside each other in the end.
    pub two_servers: bool,
    /// A finished answer was given again.
    pub replay: bool,
    /// A customer was refused because all is gone.
    pub sold_out: bool,
    /// A request got a reply of a script that had run before.
    pub lost_reply: bool,
    /// An issuer found that another one had worked its batch through.
    pub overtaken: bool,
}

impl Reached {
    /// Each with a name.
    #[must_use]
    pub fn named(self) -> [(&'static str, bool); 10] {
        [
            ("a success", self.success),
            ("a second epoch", self.second_epoch),
            ("a coupon of a later epoch", self.later_coupon),
            ("a copy too late", self.void_copy),
            ("help", self.help),
            ("two servers in the end", self.two_servers),
            ("a replay", self.replay),
            ("sold out", self.sold_out),
            ("a lost reply", self.lost_reply),
            ("an issuer overtaken", self.overtaken),
        ]
    }
}
