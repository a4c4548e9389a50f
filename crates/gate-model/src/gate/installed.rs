//! The keys of one epoch: the gate, who has a coupon, and the reservations that are not yet known to count.

use std::collections::{BTreeMap, BTreeSet};

use goodpon_domain::gate::Epoch;

use super::{
    Confirmation, Counts, Digest, HELP_EVERY_MS, Holding, Pending, Request, SERVER_BELIEVED_MS,
    Taken,
};

/// The gate that is installed: `g`, and the `u`, `p`, `z` and `q` of its epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its number.
    pub epoch: Epoch,
    /// The server that it was installed on.
    pub server: String,
    /// The places that it was given.
    pub cap: i64,
    /// The coupons that there were before it.
    pub base: i64,
    /// The places that it has given out.
    pub spent: i64,
    /// Those of them that are known to count.
    pub confirmed: i64,
    /// When the server was last found to be the one that it was, by the server's clock.
    pub checked_ms: i64,
    /// `u`: who has a coupon.
    pub holders: BTreeSet<Digest>,
    /// `p`: by user.
    pub pending: BTreeMap<Digest, Pending>,
    /// `z`: when each of those is due for help.
    pub due: BTreeSet<(i64, Digest)>,
    /// `q`: which user's reservation a key belongs to.
    pub keys: BTreeMap<Digest, Digest>,
}

impl Installed {
    /// A check that lies in the future was made by another server's clock.
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

    /// Reservations due at `until_ms`, oldest first, which are then due again some time from `now_ms`.
    pub(super) fn overdue(&mut self, until_ms: i64, now_ms: i64, limit: usize) -> Vec<Pending> {
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
