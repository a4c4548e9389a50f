//! The keys of one epoch: the gate, the users who have a coupon, and the reservations that are not yet confirmed.

use std::collections::{BTreeMap, BTreeSet};

use goodpon_domain::gate::Epoch;

use super::{
    Confirmation, Counts, Digest, HELP_EVERY_MS, Holding, Pending, Request, SERVER_BELIEVED_MS,
    Taken,
};

/// The gate that is installed: `g`, and the `u`, `p`, `z` and `q` of its epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The epoch.
    pub epoch: Epoch,
    /// The identity of the server that it was installed on.
    pub server: String,
    /// The number of places with which the epoch was installed.
    pub cap: i64,
    /// The number of the template's coupons at that time.
    pub base: i64,
    /// The number of places given since.
    pub spent: i64,
    /// The number of given places that are confirmed.
    pub confirmed: i64,
    /// The time of the last successful check of the server's identity, in milliseconds by the server's clock.
    pub checked_ms: i64,
    /// `u`: the users who have a coupon.
    pub holders: BTreeSet<Digest>,
    /// `p`: the reservations by user.
    pub pending: BTreeMap<Digest, Pending>,
    /// `z`: the time in milliseconds at which each reservation is due for help, with its user.
    pub due: BTreeSet<(i64, Digest)>,
    /// `q`: the user of the reservation that each idempotency key belongs to.
    pub keys: BTreeMap<Digest, Digest>,
}

impl Installed {
    /// Returns whether the server's identity must be checked again. A check that lies in the future was made by another
    /// server's clock.
    pub(super) fn must_check_server(&self, clock_ms: i64) -> bool {
        !(0..=SERVER_BELIEVED_MS).contains(&(clock_ms - self.checked_ms))
    }

    pub(super) fn reserve(&mut self, request: &Request<'_>, now_ms: i64) -> Taken {
        self.spent += 1;
        let pending = Pending {
            coupon_id: request.coupon_id,
            user: request.user,
            user_id: request.user_id.to_owned(),
            accepted_at: request.accepted_at,
            keyed: request.keyed,
        };
        self.pending.insert(request.user, pending);
        self.due.insert((now_ms + HELP_EVERY_MS, request.user));
        if let Some(keyed) = request.keyed {
            self.keys.insert(keyed.key, request.user);
        }
        Taken::Reserved { spent: self.spent }
    }

    /// Returns up to `limit` reservations that were due by `until_ms`, oldest first, and makes them due again
    /// [`HELP_EVERY_MS`] after `now_ms`.
    pub(super) fn hand_out_due(
        &mut self,
        until_ms: i64,
        now_ms: i64,
        limit: usize,
    ) -> Vec<Pending> {
        let due: Vec<_> = self
            .due
            .range(..=(until_ms, [u8::MAX; 16]))
            .take(limit)
            .copied()
            .collect();
        for (at, user) in &due {
            self.due.remove(&(*at, *user));
            self.due.insert((now_ms + HELP_EVERY_MS, *user));
        }
        due.iter()
            .filter_map(|(_, user)| self.pending.get(user).cloned())
            .collect()
    }

    pub(super) fn confirm(&mut self, confirmation: &Confirmation) -> Option<Pending> {
        let there = self.pending.get(&confirmation.user)?;
        if there.coupon_id != confirmation.coupon_id {
            return None;
        }
        let pending = self.pending.remove(&confirmation.user)?;
        let due = self.due.iter().find(|(_, user)| *user == confirmation.user);
        if let Some(due) = due.copied() {
            self.due.remove(&due);
        }
        if let Some(keyed) = pending.keyed {
            self.keys.remove(&keyed.key);
        }
        self.holders.insert(confirmation.user);
        self.confirmed += 1;
        Some(pending)
    }

    pub(super) fn counts(&self, user: Option<Digest>) -> Counts {
        let holding = user.and_then(|user| {
            let pending = self.pending.contains_key(&user).then_some(Holding::Pending);
            pending.or(self.holders.contains(&user).then_some(Holding::Coupon))
        });
        Counts {
            cap: self.cap,
            base: self.base,
            spent: self.spent,
            confirmed: self.confirmed,
            user: holding,
        }
    }
}
