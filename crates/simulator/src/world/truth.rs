//! The promises: some are compared at every moment, and every answer in the end.

use std::collections::HashSet;

use goodpon_domain::coupon::IssueRefusal;

use super::{World, request_of, user_id};

/// A promise that was broken: its number in the design, or a word, and what was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The promise.
    pub promise: &'static str,
    /// The sight that breaks it, for people.
    pub how: String,
}

impl Broken {
    /// The promise that everything settles once the faults stop.
    pub const SETTLES: &str = "settles";
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.promise, self.how)
    }
}

/// An answer for good; a 503 is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Success; with the coupon of that request, if it made one itself.
    Issued(Option<usize>),
    /// A refusal.
    Refused(IssueRefusal),
    /// The key was used with another body.
    Mismatch,
}

/// An answer, and the customer who got it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) user: u8,
    pub(crate) key: Option<u8>,
    pub(crate) answer: Answer,
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
            Self::Issued(Some(coupon)) => write!(f, "success (coupon {coupon})"),
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
    /// Notes an answer, and compares it with those given before.
    pub(crate) fn answer(&mut self, user: u8, key: Option<u8>, answer: Answer) {
        let given = Answered { user, key, answer };
        self.reached.success |= matches!(answer, Answer::Issued(_));
        self.reached.sold_out |= answer == Answer::Refused(IssueRefusal::SoldOut);
        self.note(|| given.to_string());
        let all_fit = self
            .answers
            .iter()
            .filter(|before| !self.may_be_forgotten(before, &given))
            .try_for_each(|before| given.check_against(before));
        self.hold(all_fit);
        if !self.answers.contains(&given) {
            self.answers.push(given);
        }
    }

    /// A refusal is remembered in Valkey alone. Where that was lost its key is free for another body, and a template
    /// that ended meanwhile refuses first.
    fn may_be_forgotten(&self, before: &Answered, given: &Answered) -> bool {
        self.has_lost_answers
            && matches!(before.answer, Answer::Refused(_))
            && (before.user != given.user
                || given.answer == Answer::Refused(IssueRefusal::NotIssuable))
    }

    /// Compares the counts of each gate.
    pub(crate) fn check_gates(&self) -> Result<(), Broken> {
        let stores = self.servers.iter().map(|server| &server.store);
        for gate in stores.filter_map(|store| store.installed()) {
            if gate.spent > gate.cap || gate.confirmed > gate.spent {
                return broken("2", format!("a gate spent {} of {}", gate.spent, gate.cap));
            }
        }
        Ok(())
    }

    /// Compares the coupons with limit and users.
    pub(crate) fn check_rows(&self) -> Result<(), Broken> {
        let coupons = &self.database.coupons;
        if coupons.len() > self.limit() {
            return broken(
                "2",
                format!("{} coupons of {}", coupons.len(), self.limit()),
            );
        }
        let mut users = HashSet::new();
        for coupon in coupons {
            if !users.insert(&coupon.user_id) {
                return broken("3", format!("{} has two coupons", coupon.user_id));
            }
        }
        Ok(())
    }

    fn limit(&self) -> usize {
        usize::try_from(self.size.places).unwrap_or(0)
    }

    /// Compares every answer with the coupons, and counts every place, once all has settled on `server`.
    pub(crate) fn check_end(&self, server: usize) -> Result<(), Broken> {
        for given in &self.answers {
            self.check_truth(given)?;
        }
        if let Some(event) = self.database.parked.first() {
            return broken(
                "6",
                format!("coupon {} found no place", request_of(event.coupon_id)),
            );
        }
        if self.needs_no_gate() {
            return Ok(());
        }
        let coupons = self.database.coupons.len();
        let Some(gate) = self.servers[server].store.installed() else {
            return broken("6", "no gate in the end".into());
        };
        let count = self.coupon_count();
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

    fn check_truth(&self, given: &Answered) -> Result<(), Broken> {
        let coupons = &self.database.coupons;
        let user = user_id(given.user);
        let own = coupons.iter().find(|coupon| coupon.user_id == user);
        let own = own.map(|coupon| request_of(coupon.id));
        let is_true = match given.answer {
            Answer::Issued(Some(made)) => own == Some(made),
            Answer::Issued(None) => own.is_some(),
            Answer::Refused(IssueRefusal::AlreadyIssued) => own.is_some(),
            Answer::Refused(IssueRefusal::SoldOut) => {
                own.is_none() && coupons.len() == self.limit()
            }
            Answer::Refused(_) => self.is_discarded(),
            Answer::Mismatch => self.requests.iter().any(|request| {
                request.key.is_some() && request.key == given.key && request.user != given.user
            }),
        };
        if is_true {
            return Ok(());
        }
        let own = own.map_or("no coupon".into(), |own| format!("coupon {own}"));
        let promise = if matches!(given.answer, Answer::Issued(_)) {
            "1/5"
        } else {
            "truth"
        };
        broken(promise, format!("{given}, and has {own}"))
    }
}

impl Answered {
    fn check_against(&self, before: &Self) -> Result<(), Broken> {
        let (is_same_user, is_same_key) = (self.user == before.user, self.key == before.key);
        let was_issued = matches!(before.answer, Answer::Issued(_));
        let is_issued = matches!(self.answer, Answer::Issued(_));
        let is_mismatch = [self, before]
            .iter()
            .any(|given| given.answer == Answer::Mismatch);
        let both = || format!("{before}; then {self}");
        if is_same_key && self.key.is_some() && !is_mismatch {
            if is_same_user && !self.answer.is_like(before.answer) {
                return broken("4", both());
            }
            if !is_same_user && (was_issued || is_issued) {
                return broken("4", both());
            }
        }
        if !is_same_user {
            return Ok(());
        }
        let is_once = is_same_key && self.key.is_some();
        if was_issued && is_issued && (!is_once || !self.is_of_same_coupon(before)) {
            return broken("3", both());
        }
        if was_issued && self.answer == Answer::Refused(IssueRefusal::SoldOut) {
            return broken("order", both());
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
