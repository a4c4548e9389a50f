//! A plain model of the contract, without any code of the domain: times are minutes since 2026-01-01 00:00 in Seoul, and
//! the names of states differ from the domain's on purpose.

pub const USERS: [&str; 4] = ["u1", "u2", "u3", "u4"];
pub const ORDERS: [&str; 3] = ["o1", "o2", "O1"];
pub const FIRST_DAY: i64 = 1;
pub const FIXED_AMOUNT: i64 = 700;
const DAY: i64 = 1440;

/// The terms of the template; days are counted from 2026-01-01.
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
pub enum TemplateStage {
    Draft,
    Published,
    Over,
    Withdrawn,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CouponStage {
    Held,
    Used,
    Lapsed,
    Withdrawn,
}

#[derive(Debug, Clone)]
pub struct ModelCoupon {
    pub user: usize,
    pub stage: CouponStage,
    pub expires_at: Option<i64>,
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
    pub stage: TemplateStage,
    pub coupons: Vec<ModelCoupon>,
    pub log: Vec<Line>,
}

impl Model {
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            now: DAY - 60,
            stage: TemplateStage::Draft,
            coupons: Vec::new(),
            log: Vec::new(),
        }
    }

    fn template_end(&self) -> Option<i64> {
        self.shape.last_day.map(|day| (day + 1) * DAY)
    }

    pub fn is_over(&self) -> bool {
        matches!(self.template_end(), Some(end) if self.now >= end)
    }

    pub fn is_past(&self, coupon: &ModelCoupon) -> bool {
        matches!(coupon.expires_at, Some(end) if self.now >= end)
    }

    pub fn used(&self) -> usize {
        self.coupons
            .iter()
            .filter(|g| g.stage == CouponStage::Used)
            .count()
    }

    pub fn is_redeemed_out(&self) -> bool {
        matches!(self.shape.max_redeem, Some(max) if self.used() >= max)
    }

    fn is_sold_out(&self) -> bool {
        matches!(self.shape.max_issue, Some(max) if self.coupons.len() >= max)
    }

    fn is_issue_over(&self) -> bool {
        matches!(self.shape.last_issue_day, Some(last) if self.now >= (last + 1) * DAY)
    }

    pub fn issuance_status(&self, user: usize) -> &'static str {
        if self.now < FIRST_DAY * DAY {
            "PERIOD_NOT_STARTED"
        } else if self.is_issue_over() {
            "PERIOD_ENDED"
        } else if self.coupons.iter().any(|g| g.user == user) {
            "ALREADY_ISSUED_BY_USER"
        } else if self.is_sold_out() {
            "MAX_ISSUE_COUNT_EXCEEDED"
        } else if self.is_redeemed_out() {
            "MAX_REDEEM_COUNT_EXCEEDED"
        } else {
            "AVAILABLE"
        }
    }

    /// Applies the action and returns its answer.
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
        if self.stage != TemplateStage::Draft {
            return "COUPON_TEMPLATE_INVALID_STATUS_TO_PUBLISH";
        }
        self.stage = TemplateStage::Published;
        "PUBLISHED"
    }

    fn discard(&mut self, mine: bool) -> &'static str {
        if !mine {
            return "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT";
        }
        let alive = self.stage == TemplateStage::Draft
            || (self.stage == TemplateStage::Published && !self.is_over());
        if !alive {
            return "COUPON_TEMPLATE_INVALID_STATUS_TO_DISCARD";
        }
        self.stage = TemplateStage::Withdrawn;
        "DISCARDED"
    }

    fn issue(&mut self, user: usize, mine: bool) -> &'static str {
        if !mine {
            return "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT";
        }
        if self.now < FIRST_DAY * DAY || self.is_issue_over() {
            return "COUPON_NOT_ISSUABLE_PERIOD";
        }
        if self.stage != TemplateStage::Published || self.is_over() {
            return "COUPON_TEMPLATE_NOT_ISSUABLE";
        }
        if self.coupons.iter().any(|g| g.user == user) {
            return "COUPON_ALREADY_ISSUED";
        }
        if self.is_sold_out() {
            return "COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED";
        }
        let mut expires_at = self.template_end();
        if let Some(days) = self.shape.validity_days {
            let own_end = (self.now / DAY + days + 1) * DAY;
            expires_at = match expires_at {
                Some(end) if end < own_end => Some(end),
                _ => Some(own_end),
            };
        }
        self.coupons.push(ModelCoupon {
            user,
            stage: CouponStage::Held,
            expires_at,
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
        let Some(index) = self.coupons.iter().position(|g| g.user == of) else {
            return "USER_COUPON_NOT_FOUND";
        };
        let coupon = &self.coupons[index];
        if !mine {
            return "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT";
        }
        if of != by {
            return "USER_COUPON_NOT_OWNED_BY_USER";
        }
        if self.stage == TemplateStage::Draft || self.stage == TemplateStage::Withdrawn {
            return "COUPON_NOT_REDEEMABLE";
        }
        if matches!(self.shape.minimum, Some(minimum) if amount < minimum) {
            return "COUPON_TEMPLATE_REDEEM_CONDITION_NOT_MET";
        }
        if coupon.stage == CouponStage::Used {
            return "USER_COUPON_ALREADY_REDEEMED";
        }
        if coupon.stage == CouponStage::Withdrawn {
            return "COUPON_NOT_REDEEMABLE";
        }
        if coupon.stage == CouponStage::Lapsed || self.is_past(coupon) {
            return "USER_COUPON_EXPIRED";
        }
        if self.is_redeemed_out() {
            return "COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED";
        }
        self.coupons[index].stage = CouponStage::Used;
        self.coupons[index].order = Some(order);
        self.log
            .push(("REDEEM", USERS[of], Some(ORDERS[order]), None, self.now));
        "REDEEMED"
    }

    fn cancel(&mut self, of: usize, right: bool, mine: bool) -> &'static str {
        let Some(index) = self.coupons.iter().position(|g| g.user == of) else {
            return "USER_COUPON_NOT_FOUND";
        };
        let coupon = self.coupons[index].clone();
        if !mine {
            return "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT";
        }
        if coupon.stage != CouponStage::Used {
            return match coupon.order {
                Some(_) => "USER_COUPON_ALREADY_CANCELLED",
                None => "USER_COUPON_CANCEL_NOT_ALLOWED",
            };
        }
        let Some(order) = coupon.order.filter(|_| right) else {
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
        let (stage, answer) = if self.is_past(&coupon) {
            self.log.push(("EXPIRE", user, None, None, self.now));
            (CouponStage::Lapsed, "CANCELLED, EXPIRED")
        } else if self.stage == TemplateStage::Withdrawn {
            self.log
                .push(("DISCARD", user, None, Some("recall"), self.now));
            (CouponStage::Withdrawn, "CANCELLED, DISCARDED")
        } else {
            (CouponStage::Held, "CANCELLED, ISSUED")
        };
        self.coupons[index].stage = stage;
        answer
    }

    fn expire_sweep(&mut self) -> &'static str {
        if self.stage == TemplateStage::Published && self.is_over() {
            self.stage = TemplateStage::Over;
        }
        for index in 0..self.coupons.len() {
            if self.coupons[index].stage == CouponStage::Held && self.is_past(&self.coupons[index])
            {
                self.coupons[index].stage = CouponStage::Lapsed;
                let user = USERS[self.coupons[index].user];
                self.log.push(("EXPIRE", user, None, None, self.now));
            }
        }
        "SWEPT"
    }

    fn discard_sweep(&mut self) -> &'static str {
        if self.stage == TemplateStage::Withdrawn {
            for coupon in &mut self.coupons {
                if coupon.stage == CouponStage::Held {
                    coupon.stage = CouponStage::Withdrawn;
                    self.log.push((
                        "DISCARD",
                        USERS[coupon.user],
                        None,
                        Some("recall"),
                        self.now,
                    ));
                }
            }
        }
        "SWEPT"
    }
}
