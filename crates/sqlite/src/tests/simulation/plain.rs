//! The plain model: maps, and the rules of coupons without a database.

use std::collections::BTreeMap;

use goodpon_application::idempotency::ANSWER_RETENTION;
use goodpon_domain::{coupon::CouponStatus, id::CouponId, ledger::HistoryAction, template::Period};
use goodpon_port_laws::World;
use jiff::Timestamp;

/// A template by its number in the schedule, and a user likewise.
pub(super) type Holding = (usize, usize);

/// The effect that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Issue(Holding),
    Redeem(Holding, u32),
    Cancel(Holding, u32),
    /// Settles every coupon that is due.
    Expire,
}

/// The failure of a request that has written everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Error,
    Panic,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) wish: Wish,
    /// The number of its key and that of its body.
    pub(super) key: Option<(u8, u8)>,
    pub(super) fails: Option<Failure>,
}

/// The answer to a request, in one word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answered {
    Ran(String),
    Replayed(String),
    PayloadMismatch,
}

#[derive(Debug, Clone)]
pub(super) struct PlainTemplate {
    pub(super) limit: Option<i64>,
    pub(super) issued: i64,
    pub(super) redeemed: i64,
    pub(super) period: Period,
}

#[derive(Debug, Clone)]
pub(super) struct PlainCoupon {
    pub(super) id: CouponId,
    pub(super) status: CouponStatus,
    pub(super) order: Option<u32>,
    expires_at: Option<Timestamp>,
    issued_at: Timestamp,
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PlainEntry {
    pub(super) at: Timestamp,
    pub(super) holding: Holding,
    pub(super) action: HistoryAction,
}

#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub(super) body: u8,
    pub(super) answer: String,
    stored_at: Timestamp,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Plain {
    pub(super) templates: Vec<PlainTemplate>,
    pub(super) coupons: BTreeMap<Holding, PlainCoupon>,
    pub(super) keys: BTreeMap<u8, Kept>,
    /// In the order in which they were written.
    ledger: Vec<PlainEntry>,
}

impl Plain {
    /// Runs a committed request. `id` is the coupon's that the store issued with it, if it did.
    pub(super) fn run(&mut self, asked: &Asked, now: Timestamp, id: Option<CouponId>) -> Answered {
        let Some((key, body)) = asked.key else {
            return Answered::Ran(self.effect(&asked.wish, now, id));
        };
        match self.kept(key, now) {
            Some(kept) if kept.body == body => Answered::Replayed(kept.answer.clone()),
            Some(_) => Answered::PayloadMismatch,
            None => {
                let answer = self.effect(&asked.wish, now, id);
                let kept = Kept {
                    body,
                    answer: answer.clone(),
                    stored_at: now,
                };
                self.keys.insert(key, kept);
                Answered::Ran(answer)
            }
        }
    }

    /// The answer of a key that still counts.
    pub(super) fn kept(&self, key: u8, now: Timestamp) -> Option<&Kept> {
        let kept = self.keys.get(&key)?;
        (kept.stored_at > now - ANSWER_RETENTION).then_some(kept)
    }

    fn effect(&mut self, wish: &Wish, now: Timestamp, id: Option<CouponId>) -> String {
        match wish {
            Wish::Issue(holding) => self.issue(*holding, now, id),
            Wish::Redeem(holding, order) => self.redeem(*holding, *order, now),
            Wish::Cancel(holding, order) => self.cancel(*holding, *order, now),
            Wish::Expire => self.expire(now),
        }
    }

    fn note(&mut self, at: Timestamp, holding: Holding, action: HistoryAction) {
        self.ledger.push(PlainEntry {
            at,
            holding,
            action,
        });
    }

    fn issue(&mut self, holding: Holding, now: Timestamp, id: Option<CouponId>) -> String {
        let template = &mut self.templates[holding.0];
        if self.coupons.contains_key(&holding) {
            return "AlreadyIssued".into();
        }
        if template.limit.is_some_and(|limit| template.issued >= limit) {
            return "SoldOut".into();
        }
        let Some(id) = id else {
            return "issued".into();
        };
        template.issued += 1;
        let coupon = PlainCoupon {
            id,
            status: CouponStatus::Issued,
            order: None,
            expires_at: template.period.expiry(now, &World::zone()),
            issued_at: now,
        };
        self.coupons.insert(holding, coupon);
        self.note(now, holding, HistoryAction::Issue);
        "issued".into()
    }

    fn redeem(&mut self, holding: Holding, order: u32, now: Timestamp) -> String {
        let Some(coupon) = self.coupons.get_mut(&holding) else {
            return "refused".into();
        };
        if coupon.status != CouponStatus::Issued || coupon.is_past(now) {
            return "refused".into();
        }
        (coupon.status, coupon.order) = (CouponStatus::Redeemed, Some(order));
        self.templates[holding.0].redeemed += 1;
        self.note(now, holding, HistoryAction::Redeem);
        "redeemed".into()
    }

    fn cancel(&mut self, holding: Holding, order: u32, now: Timestamp) -> String {
        let Some(coupon) = self.coupons.get_mut(&holding) else {
            return "refused".into();
        };
        if coupon.status != CouponStatus::Redeemed || coupon.order != Some(order) {
            return "refused".into();
        }
        let is_past = coupon.is_past(now);
        coupon.status = match is_past {
            true => CouponStatus::Expired,
            false => CouponStatus::Issued,
        };
        self.templates[holding.0].redeemed -= 1;
        self.note(now, holding, HistoryAction::CancelRedemption);
        if is_past {
            self.note(now, holding, HistoryAction::Expire);
        }
        "cancelled".into()
    }

    fn expire(&mut self, now: Timestamp) -> String {
        let due = self
            .coupons
            .iter()
            .filter(|(_, coupon)| coupon.status == CouponStatus::Issued && coupon.is_past(now));
        // A template's walk comes by its coupons in the order of their issue.
        let mut due: Vec<_> = due
            .map(|(holding, coupon)| (holding.0, coupon.issued_at, coupon.id, *holding))
            .collect();
        due.sort_unstable();
        for (.., holding) in &due {
            if let Some(coupon) = self.coupons.get_mut(holding) {
                coupon.status = CouponStatus::Expired;
            }
            self.note(now, *holding, HistoryAction::Expire);
        }
        due.len().to_string()
    }

    /// The ledger in the order of its positions.
    pub(super) fn ledger(&self) -> Vec<PlainEntry> {
        let mut entries = self.ledger.clone();
        entries.sort_by_key(|entry| entry.at);
        entries
    }

    /// The earliest time of the entries that came after `before`.
    pub(super) fn first_behind(&self, before: &Self) -> Option<Timestamp> {
        let new = &self.ledger[before.ledger.len()..];
        new.iter().map(|entry| entry.at).min()
    }

    /// The time of the newest entry.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.ledger.iter().map(|entry| entry.at).max()
    }

    /// Returns whether the user has a coupon of the template.
    pub(super) fn has(&self, holding: Holding) -> bool {
        self.coupons.contains_key(&holding)
    }
}

impl PlainCoupon {
    fn is_past(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }
}
