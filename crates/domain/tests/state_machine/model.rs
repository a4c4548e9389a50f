//! What the contract says, written down as plainly as can be: days and minutes as numbers, no domain code.
//! Minute 0 is the first of 2026-01-01 in Seoul.

pub const USERS: [&str; 4] = ["u1", "u2", "u3", "u4"];
pub const ORDERS: [&str; 3] = ["o1", "o2", "O1"];
pub const FIRST_DAY: i64 = 1;
pub const FIXED_AMOUNT: i64 = 700;
const DAY: i64 = 1440;

/// What the merchant asked for; days count from 2026-01-01.
#[derive(Debug, Clone)]
pub struct Shape {
    pub max_issue: Option<usize>,
    pub max_redeem: Option<usize>,
    pub last_issue_day: Option<i64>,
    pub last_day: Option<i64>,
    pub validity_days: Option<i64>,
    pub minimum: Option<i64>,
}

#[derive(Debug, Clone)]
pub enum Action {
    Publish {
        mine: bool,
    },
    Discard {
        mine: bool,
    },
    Issue {
        user: usize,
        mine: bool,
    },
    Redeem {
        of: usize,
        by: usize,
        order: usize,
        amount: i64,
        mine: bool,
    },
    Cancel {
        of: usize,
        right: bool,
        mine: bool,
    },
    Pass {
        minutes: i64,
    },
    PassToMidnight,
    ExpireSweep,
    DiscardSweep,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sheet {
    Draft,
    Published,
    Over,
    Withdrawn,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Slip {
    Held,
    Used,
    Lapsed,
    Withdrawn,
}

#[derive(Debug, Clone)]
pub struct Given {
    pub user: usize,
    pub slip: Slip,
    pub ends: Option<i64>,
    pub order: Option<usize>,
}

/// Action, user, order, reason, minute.
pub type Line = (
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
    i64,
);

#[derive(Debug)]
pub struct Model {
    pub shape: Shape,
    pub now: i64,
    pub sheet: Sheet,
    pub given: Vec<Given>,
    pub log: Vec<Line>,
}

impl Model {
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            now: DAY - 60,
            sheet: Sheet::Draft,
            given: Vec::new(),
            log: Vec::new(),
        }
    }

    fn template_end(&self) -> Option<i64> {
        self.shape.last_day.map(|day| (day + 1) * DAY)
    }

    pub fn is_over(&self) -> bool {
        matches!(self.template_end(), Some(end) if self.now >= end)
    }

    pub fn is_past(&self, given: &Given) -> bool {
        matches!(given.ends, Some(end) if self.now >= end)
    }

    pub fn used(&self) -> usize {
        self.given.iter().filter(|g| g.slip == Slip::Used).count()
    }

    pub fn is_redeemed_out(&self) -> bool {
        matches!(self.shape.max_redeem, Some(max) if self.used() >= max)
    }

    fn is_sold_out(&self) -> bool {
        matches!(self.shape.max_issue, Some(max) if self.given.len() >= max)
    }

    fn is_issue_over(&self) -> bool {
        matches!(self.shape.last_issue_day, Some(last) if self.now >= (last + 1) * DAY)
    }

    pub fn issuance_status(&self, user: usize) -> &'static str {
        if self.now < FIRST_DAY * DAY {
            "PERIOD_NOT_STARTED"
        } else if self.is_issue_over() {
            "PERIOD_ENDED"
        } else if self.given.iter().any(|g| g.user == user) {
            "ALREADY_ISSUED_BY_USER"
        } else if self.is_sold_out() {
            "MAX_ISSUE_COUNT_EXCEEDED"
        } else if self.is_redeemed_out() {
            "MAX_REDEEM_COUNT_EXCEEDED"
        } else {
            "AVAILABLE"
        }
    }

    /// Does what the action does and tells its answer.
    pub fn act(&mut self, action: &Action) -> &'static str {
        match *action {
            Action::Publish { mine } => self.publish(mine),
            Action::Discard { mine } => self.discard(mine),
            Action::Issue { user, mine } => self.issue(user, mine),
            Action::Redeem {
                of,
                by,
                order,
                amount,
                mine,
            } => self.redeem(of, by, order, amount, mine),
            Action::Cancel { of, right, mine } => self.cancel(of, right, mine),
            Action::Pass { minutes } => {
                self.now += minutes;
                "PASSED"
            }
            Action::PassToMidnight => {
                self.now = (self.now / DAY + 1) * DAY;
                "PASSED"
            }
            Action::ExpireSweep => self.expire_sweep(),
            Action::DiscardSweep => self.discard_sweep(),
        }
    }

    fn publish(&mut self, mine: bool) -> &'static str {
        if !mine {
            return "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT";
        }
        if self.sheet != Sheet::Draft {
            return "COUPON_TEMPLATE_INVALID_STATUS_TO_PUBLISH";
        }
        self.sheet = Sheet::Published;
        "PUBLISHED"
    }

    fn discard(&mut self, mine: bool) -> &'static str {
        if !mine {
            return "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT";
        }
        let alive =
            self.sheet == Sheet::Draft || (self.sheet == Sheet::Published && !self.is_over());
        if !alive {
            return "COUPON_TEMPLATE_INVALID_STATUS_TO_DISCARD";
        }
        self.sheet = Sheet::Withdrawn;
        "DISCARDED"
    }

    fn issue(&mut self, user: usize, mine: bool) -> &'static str {
        if !mine {
            return "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT";
        }
        if self.now < FIRST_DAY * DAY || self.is_issue_over() {
            return "COUPON_NOT_ISSUABLE_PERIOD";
        }
        if self.sheet != Sheet::Published || self.is_over() {
            return "COUPON_TEMPLATE_NOT_ISSUABLE";
        }
        if self.given.iter().any(|g| g.user == user) {
            return "COUPON_ALREADY_ISSUED";
        }
        if self.is_sold_out() {
            return "COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED";
        }
        let mut ends = self.template_end();
        if let Some(days) = self.shape.validity_days {
            let own_end = (self.now / DAY + days + 1) * DAY;
            ends = match ends {
                Some(end) if end < own_end => Some(end),
                _ => Some(own_end),
            };
        }
        self.given.push(Given {
            user,
            slip: Slip::Held,
            ends,
            order: None,
        });
        self.log.push(("ISSUE", USERS[user], None, None, self.now));
        "ISSUED"
    }

    fn redeem(
        &mut self,
        of: usize,
        by: usize,
        order: usize,
        amount: i64,
        mine: bool,
    ) -> &'static str {
        let Some(place) = self.given.iter().position(|g| g.user == of) else {
            return "USER_COUPON_NOT_FOUND";
        };
        let given = &self.given[place];
        if !mine {
            return "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT";
        }
        if of != by {
            return "USER_COUPON_NOT_OWNED_BY_USER";
        }
        if self.sheet == Sheet::Draft || self.sheet == Sheet::Withdrawn {
            return "COUPON_NOT_REDEEMABLE";
        }
        if matches!(self.shape.minimum, Some(minimum) if amount < minimum) {
            return "COUPON_TEMPLATE_REDEEM_CONDITION_NOT_MET";
        }
        if given.slip == Slip::Used {
            return "USER_COUPON_ALREADY_REDEEMED";
        }
        if given.slip == Slip::Withdrawn {
            return "COUPON_NOT_REDEEMABLE";
        }
        if given.slip == Slip::Lapsed || self.is_past(given) {
            return "USER_COUPON_EXPIRED";
        }
        if self.is_redeemed_out() {
            return "COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED";
        }
        self.given[place].slip = Slip::Used;
        self.given[place].order = Some(order);
        self.log
            .push(("REDEEM", USERS[of], Some(ORDERS[order]), None, self.now));
        "REDEEMED"
    }

    fn cancel(&mut self, of: usize, right: bool, mine: bool) -> &'static str {
        let Some(place) = self.given.iter().position(|g| g.user == of) else {
            return "USER_COUPON_NOT_FOUND";
        };
        let given = self.given[place].clone();
        if !mine {
            return "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT";
        }
        if given.slip != Slip::Used {
            return match given.order {
                Some(_) => "USER_COUPON_ALREADY_CANCELLED",
                None => "USER_COUPON_CANCEL_NOT_ALLOWED",
            };
        }
        let Some(order) = given.order.filter(|_| right) else {
            return "USER_COUPON_CANCEL_ORDER_ID_MISMATCH";
        };
        let user = USERS[of];
        self.log.push((
            "CANCEL_REDEMPTION",
            user,
            Some(ORDERS[order]),
            Some("sorry"),
            self.now,
        ));
        let (slip, answer) = if self.is_past(&given) {
            self.log.push(("EXPIRE", user, None, None, self.now));
            (Slip::Lapsed, "CANCELLED, EXPIRED")
        } else if self.sheet == Sheet::Withdrawn {
            self.log
                .push(("DISCARD", user, None, Some("recall"), self.now));
            (Slip::Withdrawn, "CANCELLED, DISCARDED")
        } else {
            (Slip::Held, "CANCELLED, ISSUED")
        };
        self.given[place].slip = slip;
        answer
    }

    fn expire_sweep(&mut self) -> &'static str {
        if self.sheet == Sheet::Published && self.is_over() {
            self.sheet = Sheet::Over;
        }
        for place in 0..self.given.len() {
            if self.given[place].slip == Slip::Held && self.is_past(&self.given[place]) {
                self.given[place].slip = Slip::Lapsed;
                let user = USERS[self.given[place].user];
                self.log.push(("EXPIRE", user, None, None, self.now));
            }
        }
        "SWEPT"
    }

    fn discard_sweep(&mut self) -> &'static str {
        if self.sheet == Sheet::Withdrawn {
            for given in &mut self.given {
                if given.slip == Slip::Held {
                    given.slip = Slip::Withdrawn;
                    self.log
                        .push(("DISCARD", USERS[given.user], None, Some("recall"), self.now));
                }
            }
        }
        "SWEPT"
    }
}
