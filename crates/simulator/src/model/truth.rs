//! What must hold: at every moment, and of every answer in the end.

use std::collections::HashSet;

use goodpon_domain::{coupon::IssueRefusal, id::CouponId, template::TemplateStatus};

use super::{World, short, user_id};

/// A promise that was broken: its number in the design, or a word, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub promise: &'static str,
    /// How.
    pub how: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.promise, self.how)
    }
}

/// An answer for good. A 503 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Success; of which coupon, if this attempt made it.
    Issued(Option<CouponId>),
    /// A refusal.
    Refused(IssueRefusal),
    /// The key was used with another body.
    Mismatch,
}

/// Whom it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) user: u8,
    pub(super) key: Option<u8>,
    pub(super) answer: Answer,
}

impl std::fmt::Display for Answered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = self.key.map_or("no key".into(), |key| format!("key {key}"));
        write!(f, "{} with {key} hears {}", user_id(self.user), self.answer)
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Issued(Some(coupon)) => write!(f, "success (coupon {})", short(*coupon)),
            Self::Issued(None) => write!(f, "success again"),
            Self::Refused(refusal) => write!(f, "{refusal:?}"),
            Self::Mismatch => write!(f, "that the key has another body"),
        }
    }
}

fn broken<T>(promise: &'static str, how: String) -> Result<T, Broken> {
    Err(Broken { promise, how })
}

impl World {
    /// Tells a customer, and holds it against what was told before.
    pub(super) fn answer(
        &mut self,
        user: u8,
        key: Option<u8>,
        answer: Answer,
    ) -> Result<(), Broken> {
        let told = Answered { user, key, answer };
        self.reached.success |= matches!(answer, Answer::Issued(_));
        self.reached.sold_out |= answer == Answer::Refused(IssueRefusal::SoldOut);
        self.tell(|| told.to_string());
        for before in self
            .answers
            .iter()
            .filter(|before| !self.may_be_forgotten(before, &told))
        {
            told.check_against(before)?;
        }
        if !self.answers.contains(&told) {
            self.answers.push(told);
        }
        Ok(())
    }

    /// A refusal is remembered in Valkey alone. Where that was lost its key is free for another body, and a template
    /// that ended meanwhile refuses first.
    fn may_be_forgotten(&self, before: &Answered, told: &Answered) -> bool {
        self.has_lost_answers
            && matches!(before.answer, Answer::Refused(_))
            && (before.user != told.user
                || told.answer == Answer::Refused(IssueRefusal::NotIssuable))
    }

    pub(super) fn check_gates(&self) -> Result<(), Broken> {
        for gate in self
            .servers
            .iter()
            .filter_map(|server| server.store.installed())
        {
            if gate.spent > gate.cap || gate.confirmed > gate.spent {
                return broken("2", format!("a gate spent {} of {}", gate.spent, gate.cap));
            }
        }
        Ok(())
    }

    pub(super) fn check_rows(&self) -> Result<(), Broken> {
        let coupons = &self.database.coupons;
        if coupons.len() > self.limit() {
            return broken(
                "2",
                format!("{} coupons of {}", coupons.len(), self.limit()),
            );
        }
        let mut users = HashSet::new();
        for coupon in coupons {
            if !users.insert(coupon.user) {
                return broken("3", format!("{} has two coupons", user_id(coupon.user)));
            }
        }
        Ok(())
    }

    fn limit(&self) -> usize {
        usize::try_from(self.size.places).unwrap_or(0)
    }

    /// When all has settled on `server`: every answer is true, and every place is accounted for.
    pub(super) fn check_end(&self, server: usize) -> Result<(), Broken> {
        for told in &self.answers {
            self.check_truth(told)?;
        }
        if let Some(event) = self.database.parked.first() {
            return broken(
                "6",
                format!("coupon {} found no place", short(event.coupon_id)),
            );
        }
        let coupons = self.database.coupons.len();
        let Some(gate) = self.servers[server].store.installed() else {
            return broken("6", "no gate in the end".into());
        };
        let count = i64::try_from(coupons).unwrap_or(i64::MAX);
        if gate.base + gate.spent != count || gate.base + gate.cap != self.size.places {
            let (base, spent, cap) = (gate.base, gate.spent, gate.cap);
            return broken(
                "6",
                format!("{count} coupons, but {base} + {spent} of {cap}"),
            );
        }
        if !self.is_discarded() && coupons != self.limit() {
            return broken(
                "6",
                format!("{coupons} of {} places in the end", self.limit()),
            );
        }
        Ok(())
    }

    pub(super) fn is_discarded(&self) -> bool {
        self.template.status == TemplateStatus::Discarded
    }

    fn check_truth(&self, told: &Answered) -> Result<(), Broken> {
        let coupons = &self.database.coupons;
        let own = coupons.iter().find(|coupon| coupon.user == told.user);
        let is_true = match told.answer {
            Answer::Issued(Some(id)) => own.is_some_and(|own| own.id == id),
            Answer::Issued(None) => own.is_some(),
            Answer::Refused(IssueRefusal::AlreadyIssued) => own.is_some(),
            Answer::Refused(IssueRefusal::SoldOut) => {
                own.is_none() && coupons.len() == self.limit()
            }
            Answer::Refused(_) => self.is_discarded(),
            Answer::Mismatch => self.attempts.iter().any(|attempt| {
                attempt.key.is_some() && attempt.key == told.key && attempt.user != told.user
            }),
        };
        if is_true {
            return Ok(());
        }
        let own = own.map_or("no coupon".into(), |own| {
            format!("coupon {}", short(own.id))
        });
        let promise = if matches!(told.answer, Answer::Issued(_)) {
            "1/5"
        } else {
            "truth"
        };
        broken(promise, format!("{told}, and has {own}"))
    }
}

impl Answered {
    fn check_against(&self, before: &Self) -> Result<(), Broken> {
        let (is_same_user, is_same_key) = (self.user == before.user, self.key == before.key);
        let was_issued = matches!(before.answer, Answer::Issued(_));
        let is_issued = matches!(self.answer, Answer::Issued(_));
        let is_mismatch = [self, before]
            .iter()
            .any(|told| told.answer == Answer::Mismatch);
        let told = || format!("{before}; then {self}");
        if is_same_key && self.key.is_some() && !is_mismatch {
            if is_same_user && !self.answer.is_like(before.answer) {
                return broken("4", told());
            }
            if !is_same_user && (was_issued || is_issued) {
                return broken("4", told());
            }
        }
        if !is_same_user {
            return Ok(());
        }
        let is_once = is_same_key && self.key.is_some();
        if was_issued && is_issued && (!is_once || !self.is_of_same_coupon(before)) {
            return broken("3", told());
        }
        if was_issued && self.answer == Answer::Refused(IssueRefusal::SoldOut) {
            return broken("order", told());
        }
        Ok(())
    }

    fn is_of_same_coupon(&self, before: &Self) -> bool {
        match (self.answer, before.answer) {
            (Answer::Issued(Some(one)), Answer::Issued(Some(other))) => one == other,
            _ => true,
        }
    }
}

impl Answer {
    fn is_like(self, other: Self) -> bool {
        match (self, other) {
            (Self::Issued(_), Self::Issued(_)) => true,
            (one, other) => one == other,
        }
    }
}
