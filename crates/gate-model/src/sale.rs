//! A sale in simulated time: many customers for few coupons, over one gate or several shards of it.
//!
//! [`crate::gate::Store`], one for each shard, and [`goodpon_domain::gate`] decide; times are drawn. Shards are as the protocol has them: each has its share of the places; a dry one makes
//! customers wait, and once the first is dry all are given up and sealed into one that holds the last places.

mod agenda;
mod course;
mod opening;
mod request;

use std::fmt;

use course::Course;

/// Microseconds of simulated time.
pub type Micros = u64;

/// A second.
pub const SECOND: Micros = 1_000_000;

const MILLI: Micros = 1_000;

/// A sale.
#[derive(Debug, Clone, Copy)]
pub struct Sale {
    /// The customers, of whom each wants a coupon.
    pub customers: usize,
    /// The coupons that there are.
    pub coupons: usize,
    /// The gates over which they are spread at first.
    pub shards: usize,
    /// The time in which the rush of the first half of the customers halves; the others come evenly over fifteen
    /// times that.
    pub rush: Micros,
    /// The time that a gate takes for one call.
    pub call: Micros,
    /// The time for which a partner asks no gate again that was closed or dry.
    pub hold_off: Micros,
    /// The time that calls may queue at a gate before partners send no more: they bound their calls under way.
    pub longest_queue: Micros,
    /// When the servers are lost, with all that they hold.
    pub lost_at: Option<Micros>,
    /// For what is drawn.
    pub seed: u64,
}

/// The result of a sale.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    /// Rows of coupons.
    pub issued: usize,
    /// Customers who were answered success.
    pub successes: usize,
    /// Customers who were answered that all is gone.
    pub refused: usize,
    /// Customers who stopped asking after 503s.
    pub gave_up: usize,
    /// Customers who gave up and were issued a coupon all the same.
    pub late_coupons: usize,
    /// Calls of the gate script.
    pub calls: usize,
    /// Places that were left in the end, with customers still there.
    pub left_over: usize,
    /// When the last place was given out.
    pub sold_out_at: Micros,
    /// The longest time in which no place was given out, before the last one was.
    pub longest_pause: Micros,
    /// The longest time in which no customer was answered success or sold out.
    pub longest_silence: Micros,
    /// Places that the shards had left when they were sealed into one.
    pub last_places: usize,
    /// Coupons of customers who were not among the first, as many as there are coupons.
    pub out_of_turn: usize,
    /// Customers who came before the last-come holder beyond those that there are coupons for.
    pub greatest_displacement: usize,
    /// Coupons of customers who came after one who was answered that all is gone.
    pub after_a_refused: usize,
    /// The time by which the last-come holder came after the first-come refused, if it did.
    pub overtaken_by: Micros,
    /// The longest that a customer who got a coupon waited for the answer, retries included.
    pub longest_wait: Micros,
}

impl Sale {
    /// Holds it.
    ///
    /// # Errors
    ///
    /// Something does not add up: a coupon too many, a user with two, a success or a refusal that is not true.
    pub fn hold(&self) -> Result<Figures, String> {
        Course::new(*self).run()
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |micros: Micros| micros as f64 / SECOND as f64;
        let share = |count: usize| 100.0 * count as f64 / self.issued.max(1) as f64;
        writeln!(
            f,
            "issued {}, of which {} were answered and {} came after the customer gave up; refused {}, gave up {}; left over {}",
            self.issued,
            self.successes,
            self.late_coupons,
            self.refused,
            self.gave_up,
            self.left_over
        )?;
        writeln!(
            f,
            "gone after {:.1} s; longest time without a place given {:.2} s, without an answer {:.2} s; longest wait for a coupon {:.1} s; {} gate calls",
            seconds(self.sold_out_at),
            seconds(self.longest_pause),
            seconds(self.longest_silence),
            seconds(self.longest_wait),
            self.calls
        )?;
        write!(
            f,
            "out of turn {} ({:.2} %), by {} customers at most; after a refused one {} ({:.2} %), by {:.2} s at most; {} places sealed into one gate",
            self.out_of_turn,
            share(self.out_of_turn),
            self.greatest_displacement,
            self.after_a_refused,
            share(self.after_a_refused),
            seconds(self.overtaken_by),
            self.last_places
        )
    }
}
