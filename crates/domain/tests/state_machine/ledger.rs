//! A store in memory that lets the domain decide and stores its decisions.

use goodpon_domain::{
    business_time::BusinessZone,
    coupon::{Coupon, CouponStatus, IssueRefusal, check_template, check_user_and_limit},
    history::HistoryEntry,
    id::{CouponId, HistoryId},
    ledger::{self, Amounts, CouponState, HistoryAction, Posting, expire},
    redemption::{CancelInput, CancelRefusal, Order, RedeemRefusal, cancel, redeem},
    template::{
        DiscardRefusal, DiscountType, Draft, LimitType, Owned, PublishRefusal, Template,
        TemplateStatus, discard, publish, validate,
    },
};
use jiff::{SignedDuration, Timestamp, ToSpan, civil::date};

use crate::{
    fixtures::{MINE, OTHER, at, template, zone},
    state_machine::model::{Action, FIRST_DAY, FIXED_AMOUNT, ORDERS, Shape, USERS},
};

pub struct Ledger {
    pub zone: BusinessZone,
    pub template: Template,
    pub coupons: Vec<Coupon>,
    pub history: Vec<HistoryEntry>,
}

pub fn instant(minute: i64) -> Timestamp {
    at("2025-12-31T15:00:00Z") + SignedDuration::from_mins(minute)
}

fn owned(template: &Template, mine: bool) -> Owned<&Template> {
    if mine {
        Owned::Mine(template)
    } else {
        Owned::Foreign
    }
}

impl Ledger {
    pub fn new(shape: &Shape) -> Self {
        let zone = zone("Asia/Seoul");
        let day = |number: i64| date(2026, 1, 1) + number.days();
        let (limit_type, max_issue_count, max_redeem_count) =
            match (shape.max_issue, shape.max_redeem) {
                (Some(max), _) => (LimitType::IssueCount, i64::try_from(max).ok(), None),
                (_, Some(max)) => (LimitType::RedeemCount, None, i64::try_from(max).ok()),
                _ => (LimitType::None, None, None),
            };
        let draft = Draft {
            name: "name".into(),
            description: String::new(),
            min_order_amount: shape.minimum,
            discount_type: DiscountType::FixedAmount,
            discount_value: FIXED_AMOUNT,
            max_discount_amount: None,
            issue_start_date: day(FIRST_DAY),
            issue_end_date: shape.last_issue_day.map(day),
            validity_days: shape.validity_days,
            absolute_expiry_date: shape.last_day.map(day),
            limit_type,
            max_issue_count,
            max_redeem_count,
        };
        let mut template = template();
        template.terms = validate(draft, &zone).unwrap();
        template.status = TemplateStatus::Draft;
        Self {
            zone,
            template,
            coupons: Vec::new(),
            history: Vec::new(),
        }
    }

    fn of(&self, user: usize) -> Option<usize> {
        self.coupons.iter().position(|c| c.user_id == USERS[user])
    }

    fn record(
        &mut self,
        index: usize,
        action: HistoryAction,
        order: Option<String>,
        reason: Option<String>,
        now: Timestamp,
    ) {
        let fresh = HistoryId::new(now, 0);
        // Entries of the same minute of the test's clock have consecutive ids.
        let id = match self.history.last() {
            Some(last) if last.id >= fresh => last.id.next(),
            _ => fresh,
        };
        let coupon = &self.coupons[index];
        self.history.push(HistoryEntry {
            id,
            action,
            recorded_at: now,
            order_id: order,
            reason,
            amounts: Amounts::default(),
            coupon_id: coupon.id,
            user_id: coupon.user_id.clone(),
            template_id: coupon.template_id,
            template_name: self.template.terms.name.clone(),
        });
    }

    /// Stores a posting, after a check that its transitions are allowed and lead to the state that it states.
    fn post(&mut self, index: usize, posting: Posting, now: Timestamp) {
        let mut state = CouponState {
            status: self.coupons[index].status,
            order_id: self.coupons[index].order_id.clone(),
        };
        let is_past_expiry = self.coupons[index].is_past_expiry(now);
        for transition in posting.transitions {
            state
                .follow(
                    transition.action,
                    transition.order_id.as_deref(),
                    is_past_expiry,
                )
                .unwrap();
            let (has_order, may_have_reason) = transition.action.carries();
            assert_eq!(transition.order_id.is_some(), has_order);
            assert!(transition.reason.is_none() || may_have_reason);
            self.record(
                index,
                transition.action,
                transition.order_id,
                transition.reason,
                now,
            );
        }
        assert_eq!(state, posting.state);
        self.coupons[index].status = state.status;
        self.coupons[index].order_id = state.order_id;
        self.template.redeem_count += posting.counts.redeemed;
    }

    /// Lets the domain decide, stores the decision and returns the contract's name for the outcome.
    pub fn act(&mut self, action: &Action, now: Timestamp) -> &'static str {
        match *action {
            Action::Publish { mine } => self.publish(mine),
            Action::Discard { mine } => self.discard(mine, now),
            Action::Issue { user, mine } => self
                .issue(user, mine, now)
                .err()
                .map_or("ISSUED", issue_code),
            Action::Redeem {
                of,
                by,
                order,
                amount,
                mine,
            } => self
                .redeem(of, by, order, amount, mine, now)
                .err()
                .map_or("REDEEMED", redeem_code),
            Action::Cancel { of, right, mine } => match self.cancel(of, right, mine, now) {
                Ok(CouponStatus::Issued) => "CANCELLED, ISSUED",
                Ok(CouponStatus::Expired) => "CANCELLED, EXPIRED",
                Ok(CouponStatus::Discarded) => "CANCELLED, DISCARDED",
                Ok(CouponStatus::Redeemed) => "CANCELLED, REDEEMED",
                Err(refusal) => cancel_code(refusal),
            },
            Action::Pass { .. } | Action::PassToMidnight => "PASSED",
            Action::ExpireSweep => self.expire_sweep(now),
            Action::DiscardSweep => self.discard_sweep(now),
        }
    }

    fn publish(&mut self, mine: bool) -> &'static str {
        match publish(owned(&self.template, mine)) {
            Ok(()) => {
                self.template.status = TemplateStatus::Issuable;
                "PUBLISHED"
            }
            Err(PublishRefusal::Access(_)) => "NO_MERCHANT_ACCESS_PERMISSION",
            Err(PublishRefusal::NotFound) => "COUPON_TEMPLATE_NOT_FOUND",
            Err(PublishRefusal::NotOwned) => "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT",
            Err(PublishRefusal::InvalidStatus) => "COUPON_TEMPLATE_INVALID_STATUS_TO_PUBLISH",
        }
    }

    fn discard(&mut self, mine: bool, now: Timestamp) -> &'static str {
        match discard(owned(&self.template, mine), now) {
            Ok(()) => {
                self.template.status = TemplateStatus::Discarded;
                self.template.discard_reason = Some("recall".into());
                "DISCARDED"
            }
            Err(DiscardRefusal::Access(_)) => "NO_MERCHANT_ACCESS_PERMISSION",
            Err(DiscardRefusal::NotFound) => "COUPON_TEMPLATE_NOT_FOUND",
            Err(DiscardRefusal::NotOwned) => "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT",
            Err(DiscardRefusal::InvalidStatus) => "COUPON_TEMPLATE_INVALID_STATUS_TO_DISCARD",
        }
    }

    fn issue(&mut self, user: usize, mine: bool, now: Timestamp) -> Result<(), IssueRefusal> {
        let template = check_template(owned(&self.template, mine), now)?;
        check_user_and_limit(template, self.of(user).is_some(), template.issue_count)?;
        let expires_at = template.terms.period.expiry(now, &self.zone);
        let number = u64::try_from(self.coupons.len()).unwrap();
        self.coupons.push(Coupon {
            id: CouponId::new(now, number << 8),
            merchant_id: MINE,
            template_id: self.template.id,
            user_id: USERS[user].into(),
            status: CouponStatus::Issued,
            issued_at: now,
            expires_at,
            order_id: None,
        });
        self.template.issue_count += 1;
        self.record(
            self.coupons.len() - 1,
            HistoryAction::Issue,
            None,
            None,
            now,
        );
        Ok(())
    }

    fn redeem(
        &mut self,
        of: usize,
        by: usize,
        order: usize,
        amount: i64,
        mine: bool,
        now: Timestamp,
    ) -> Result<(), RedeemRefusal> {
        let order = Order {
            user_id: USERS[by].into(),
            amount,
            id: ORDERS[order].into(),
        };
        let index = self.of(of);
        let coupon = index.map(|index| &self.coupons[index]);
        let merchant = if mine { MINE } else { OTHER };
        let done = redeem(coupon, Some(&self.template), merchant, &order, now)?;
        assert_eq!(done.outcome.discount_amount, FIXED_AMOUNT.min(amount));
        let left = amount - done.outcome.discount_amount;
        assert_eq!(done.outcome.final_price, left);
        self.post(index.unwrap(), done.posting, now);
        Ok(())
    }

    fn cancel(
        &mut self,
        of: usize,
        right: bool,
        mine: bool,
        now: Timestamp,
    ) -> Result<CouponStatus, CancelRefusal> {
        let index = self.of(of);
        let coupon = index.map(|index| &self.coupons[index]);
        let order = coupon.and_then(|c| c.order_id.clone()).filter(|_| right);
        let order_id = order.as_deref().unwrap_or("another");
        let merchant = if mine { MINE } else { OTHER };
        let wish = CancelInput {
            order_id,
            reason: "sorry",
        };
        let amounts = Amounts::default();
        let done = cancel(coupon, Some(&self.template), merchant, wish, amounts, now)?;
        self.post(index.unwrap(), done.posting, now);
        Ok(done.outcome.status)
    }

    fn expire_sweep(&mut self, now: Timestamp) -> &'static str {
        self.template.status = self.template.status_at(now);
        for index in 0..self.coupons.len() {
            if let Some(posting) = expire(&self.coupons[index], now) {
                self.post(index, posting, now);
            }
        }
        "SWEPT"
    }

    fn discard_sweep(&mut self, now: Timestamp) -> &'static str {
        if self.template.status == TemplateStatus::Discarded {
            let reason = self.template.discard_reason.clone();
            for index in 0..self.coupons.len() {
                if let Some(posting) = ledger::discard(&self.coupons[index], reason.as_deref()) {
                    self.post(index, posting, now);
                }
            }
        }
        "SWEPT"
    }
}

fn issue_code(refusal: IssueRefusal) -> &'static str {
    match refusal {
        IssueRefusal::TemplateNotFound => "COUPON_TEMPLATE_NOT_FOUND",
        IssueRefusal::NotOwnedByMerchant => "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT",
        IssueRefusal::NotIssuablePeriod => "COUPON_NOT_ISSUABLE_PERIOD",
        IssueRefusal::NotIssuable => "COUPON_TEMPLATE_NOT_ISSUABLE",
        IssueRefusal::AlreadyIssued => "COUPON_ALREADY_ISSUED",
        IssueRefusal::SoldOut => "COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED",
    }
}

fn redeem_code(refusal: RedeemRefusal) -> &'static str {
    match refusal {
        RedeemRefusal::CouponNotFound => "USER_COUPON_NOT_FOUND",
        RedeemRefusal::TemplateNotFound => "COUPON_TEMPLATE_NOT_FOUND",
        RedeemRefusal::NotOwnedByMerchant => "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT",
        RedeemRefusal::NotOwnedByUser => "USER_COUPON_NOT_OWNED_BY_USER",
        RedeemRefusal::NotRedeemable => "COUPON_NOT_REDEEMABLE",
        RedeemRefusal::ConditionNotMet => "COUPON_TEMPLATE_REDEEM_CONDITION_NOT_MET",
        RedeemRefusal::AlreadyRedeemed => "USER_COUPON_ALREADY_REDEEMED",
        RedeemRefusal::Expired => "USER_COUPON_EXPIRED",
        RedeemRefusal::RedeemLimitReached => "COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED",
    }
}

fn cancel_code(refusal: CancelRefusal) -> &'static str {
    match refusal {
        CancelRefusal::CouponNotFound => "USER_COUPON_NOT_FOUND",
        CancelRefusal::TemplateNotFound => "COUPON_TEMPLATE_NOT_FOUND",
        CancelRefusal::NotOwnedByMerchant => "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT",
        CancelRefusal::AlreadyCancelled => "USER_COUPON_ALREADY_CANCELLED",
        CancelRefusal::NotAllowed => "USER_COUPON_CANCEL_NOT_ALLOWED",
        CancelRefusal::OrderIdMismatch => "USER_COUPON_CANCEL_ORDER_ID_MISMATCH",
    }
}
