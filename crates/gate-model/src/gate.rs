//! The reference of the gate's scripts: one Valkey server's contents for one gate, and the effect of each script on
//! them. It is deterministic: its clock and its server's identity are set from outside. Each script must give the same
//! answer and leave the same contents.
//!
//! The contents stand for these keys of the server: `g` is the gate itself; `u` the users who have a coupon; `p`, `z` and
//! `q` the reservations that are not yet confirmed (by user, by the time at which they are due for help, by idempotency
//! key); `k` the finished answers. All but `k` belong to one epoch; a finished answer is true on any server.

mod installed;
mod script;

use std::collections::{BTreeMap, BTreeSet};

use goodpon_domain::{
    coupon::IssueRefusal,
    gate::{Epoch, KeyDigests},
};
use jiff::{SignedDuration, Timestamp};

pub use installed::Installed;
pub use script::{
    Confirmation, Counts, Finished, FoldResult, Holding, InstallResult, KeptSuccess, KeyState,
    Look, Pending, Request, Taken,
};

/// A user, or an idempotency key, as 16 bytes.
pub type Digest = [u8; 16];

/// The outcome of an issue, as it is remembered under its key.
pub type Outcome = Result<(), IssueRefusal>;

/// The time for which a finished answer counts, by the caller's clock and by the server's.
pub const ANSWER_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// The time in milliseconds for which a script trusts the last check of its server's identity.
pub const SERVER_BELIEVED_MS: i64 = 100;

/// The time in milliseconds after which a reservation is due for help, and due again after each help.
pub const HELP_EVERY_MS: i64 = 1_000;

/// The time in milliseconds for which loaded users wait for their gate to be installed.
pub const LOADED_KEPT_MS: i64 = 3_600_000;

const ANSWER_KEPT_MS: i64 = 24 * 3_600_000;

/// The users who were loaded for an epoch that is not yet installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loading {
    /// `u` of that epoch.
    pub holders: BTreeSet<Digest>,
    /// The last millisecond at which the server still has them.
    pub expires_ms: i64,
}

/// A server's contents for a gate at one moment, without those that have expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The gate, if one is installed.
    pub installed: Option<Installed>,
    /// The users of epochs that are not yet installed.
    pub loading: BTreeMap<Epoch, Loading>,
    /// `k`.
    pub finished: BTreeMap<Digest, Finished>,
}

/// One Valkey server, with its contents for one gate.
#[derive(Debug, Clone)]
pub struct Store {
    server: String,
    clock_ms: i64,
    installed: Option<Installed>,
    loading: BTreeMap<Epoch, Loading>,
    finished: BTreeMap<Digest, Finished>,
}

impl Store {
    /// Makes an empty server with this identity (run id and replication id), whose clock stands at `clock_ms`.
    #[must_use]
    pub fn new(server: impl Into<String>, clock_ms: i64) -> Self {
        Self {
            server: server.into(),
            clock_ms,
            installed: None,
            loading: BTreeMap::new(),
            finished: BTreeMap::new(),
        }
    }

    /// Returns the server's identity.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Gives the server another identity, as a restart, a restore, a demotion or a promotion does.
    pub fn set_server(&mut self, server: impl Into<String>) {
        self.server = server.into();
    }

    /// Sets the server's clock.
    pub fn set_clock(&mut self, clock_ms: i64) {
        self.clock_ms = clock_ms;
    }

    /// Deletes everything. The server keeps its identity.
    pub fn flush(&mut self) {
        self.installed = None;
        self.loading.clear();
        self.finished.clear();
    }

    /// Returns the gate that is installed, even if it belongs to another server.
    #[must_use]
    pub fn installed(&self) -> Option<&Installed> {
        self.installed.as_ref()
    }

    /// Returns all contents that have not expired.
    #[must_use]
    pub fn contents(&self) -> Contents {
        let (mut loading, mut finished) = (self.loading.clone(), self.finished.clone());
        loading.retain(|_, loaded| self.clock_ms <= loaded.expires_ms);
        finished.retain(|_, answer| self.clock_ms <= answer.expires_ms);
        Contents {
            installed: self.installed.clone(),
            loading,
            finished,
        }
    }

    /// Runs the gate script. `connection` is the identity of the server that the caller's connection was made to.
    pub fn take(&mut self, connection: &str, request: &Request<'_>) -> Taken {
        if let Some(answer) = self.replay(request.keyed, request.now) {
            return answer; // ①
        }
        if let Err(epoch) = self.check_open(connection, request.epoch) {
            return Taken::Closed { epoch }; // ②
        }
        let now_ms = self.clock_ms;
        let Some(gate) = &mut self.installed else {
            return Taken::Closed { epoch: None };
        };
        let mine = gate.pending.get(&request.user);
        if mine.is_some_and(|pending| pending.coupon_id == request.coupon_id) {
            return Taken::Reserved { spent: gate.spent }; // ③
        }
        let of_key = request.keyed.and_then(|keyed| gate.keys.get(&keyed.key));
        if let Some(pending) = of_key.and_then(|user| gate.pending.get(user)) {
            return Taken::Help(pending.clone());
        }
        if let Some(refusal) = request.verdict {
            self.keep(request.keyed, Err(refusal), request.now);
            return Taken::Refused(refusal); // ④
        }
        if let Some(pending) = mine {
            return Taken::Help(pending.clone()); // ⑤
        }
        if gate.holders.contains(&request.user) {
            let refusal = IssueRefusal::AlreadyIssued; // ⑥
            self.keep_if_memory_allows(request, refusal);
            return Taken::AlreadyIssued;
        }
        if gate.spent < gate.cap {
            return gate.reserve(request, now_ms); // ⑦
        }
        if gate.confirmed == gate.cap {
            self.keep_if_memory_allows(request, IssueRefusal::SoldOut); // ⑧
            return Taken::SoldOut;
        }
        let due = gate.hand_out_due(now_ms, now_ms, 1).pop();
        due.map_or(Taken::Wait, Taken::Help) // ⑨
    }

    /// Runs the confirmation script: turns reservations of `epoch` into coupons. Returns for each whether it was there.
    pub fn confirm(
        &mut self,
        connection: &str,
        epoch: Epoch,
        confirmations: &[Confirmation],
        now: Timestamp,
    ) -> Vec<bool> {
        if self.check_open(connection, epoch).is_err() {
            return vec![false; confirmations.len()];
        }
        let mut done = Vec::with_capacity(confirmations.len());
        for confirmation in confirmations {
            let pending = self
                .installed
                .as_mut()
                .and_then(|gate| gate.confirm(confirmation));
            if let Some(pending) = &pending {
                self.keep(pending.keyed, Ok(()), now);
            }
            done.push(pending.is_some());
        }
        done
    }

    /// Remembers a refusal by the template if no gate was ever opened, unless the key has an answer already.
    pub fn remember(&mut self, keyed: KeyDigests, verdict: IssueRefusal, now: Timestamp) -> Taken {
        self.replay(Some(keyed), now).unwrap_or_else(|| {
            self.keep(Some(keyed), Err(verdict), now);
            Taken::Refused(verdict)
        })
    }

    /// Loads a batch of users, and of successes under their keys, for an epoch that is about to be installed. A key that
    /// has an answer keeps it.
    pub fn load(
        &mut self,
        connection: &str,
        epoch: Epoch,
        users: &[Digest],
        successes: &[KeptSuccess],
    ) -> InstallResult {
        if let Some(refused) = self.not_installable(connection, epoch) {
            return refused;
        }
        self.drop_expired(epoch);
        // A load of nobody leaves its mark too: an installation that finds none knows that the load was lost.
        let loaded = self.loading.entry(epoch).or_default();
        loaded.holders.extend(users);
        loaded.expires_ms = self.clock_ms + LOADED_KEPT_MS;
        for success in successes {
            let there = self.finished.get(&success.keyed.key);
            if there.is_none_or(|answer| self.clock_ms > answer.expires_ms) {
                let answer = Finished {
                    body: success.keyed.body,
                    outcome: Ok(()),
                    stored_at: success.stored_at,
                    expires_ms: self.clock_ms + success.rest_ms,
                };
                self.finished.insert(success.keyed.key, answer);
            }
        }
        InstallResult::Done
    }

    /// Installs an epoch with `cap` places, if the server has exactly `loaded` users of it. The older epoch's keys are
    /// deleted.
    pub fn install(
        &mut self,
        connection: &str,
        epoch: Epoch,
        cap: i64,
        base: i64,
        loaded: usize,
    ) -> InstallResult {
        if let Some(refused) = self.not_installable(connection, epoch) {
            return refused;
        }
        self.drop_expired(epoch);
        let there = self.loading.get(&epoch).map(|there| there.holders.len());
        if there != Some(loaded) {
            return InstallResult::CountDiffers(there);
        }
        let holders = self.loading.remove(&epoch).unwrap_or_default().holders;
        self.installed = Some(Installed {
            epoch,
            server: self.server.clone(),
            cap,
            base,
            spent: 0,
            confirmed: 0,
            checked_ms: self.clock_ms,
            holders,
            pending: BTreeMap::new(),
            due: BTreeSet::new(),
            keys: BTreeMap::new(),
        });
        InstallResult::Done
    }

    /// Returns the state of the gate, of a user and of a key, without changing anything.
    #[must_use]
    pub fn look(
        &self,
        connection: &str,
        epoch: Epoch,
        user: Option<Digest>,
        keyed: Option<KeyDigests>,
        now: Timestamp,
    ) -> Look {
        let answered = match self.replay(keyed, now) {
            Some(Taken::Replay(outcome)) => Some(KeyState::Replay(outcome)),
            Some(_) => Some(KeyState::Mismatch),
            None => None,
        };
        let gate = self
            .closed_to(connection, epoch)
            .map_or_else(|| self.installed().ok_or(None), Err);
        let reserved =
            |gate: &Installed| keyed.is_some_and(|keyed| gate.keys.contains_key(&keyed.key));
        let pending = gate.is_ok_and(reserved).then_some(KeyState::Pending);
        Look {
            key: answered.or(pending),
            gate: gate.map(|gate| gate.counts(user)),
        }
    }

    /// Returns up to `limit` reservations that have been due for help for `age_ms`, oldest first, and makes them due again
    /// in [`HELP_EVERY_MS`]. The error is the epoch that the server has instead.
    pub fn pending(
        &mut self,
        connection: &str,
        epoch: Epoch,
        age_ms: i64,
        limit: usize,
    ) -> Result<Vec<Pending>, Option<Epoch>> {
        self.check_open(connection, epoch)?;
        let now_ms = self.clock_ms;
        let gate = self.installed.as_mut().ok_or(None)?;
        Ok(gate.hand_out_due(now_ms - age_ms, now_ms, limit))
    }

    /// Clears away a gate whose template's sale is over. Finished answers stay until they expire.
    pub fn fold(&mut self, epoch: Epoch) -> FoldResult {
        match &self.installed {
            Some(gate) if gate.epoch == epoch && gate.pending.is_empty() => {
                self.installed = None;
                FoldResult::Done
            }
            Some(gate) if gate.epoch == epoch => FoldResult::StillPending,
            other => FoldResult::NotThere(other.as_ref().map(|gate| gate.epoch)),
        }
    }

    /// Rule ①: returns the answer that this key got before.
    fn replay(&self, keyed: Option<KeyDigests>, now: Timestamp) -> Option<Taken> {
        let keyed = keyed?;
        let answer = self.finished.get(&keyed.key)?;
        let counts = self.clock_ms <= answer.expires_ms
            && now.duration_since(answer.stored_at) < ANSWER_KEPT;
        counts.then(|| {
            if answer.body == keyed.body {
                Taken::Replay(answer.outcome)
            } else {
                Taken::Mismatch
            }
        })
    }

    /// Rule ②: checks that the gate is open to the caller, and records that the server's identity was checked. The error
    /// is the epoch that the server has.
    fn check_open(&mut self, connection: &str, epoch: Epoch) -> Result<(), Option<Epoch>> {
        if let Some(there) = self.closed_to(connection, epoch) {
            return Err(there);
        }
        if let Some(gate) = &mut self.installed
            && gate.must_check_server(self.clock_ms)
        {
            gate.checked_ms = self.clock_ms;
        }
        Ok(())
    }

    /// Rule ②: returns the epoch that the server has (itself optional) if the gate is closed to the caller, else `None`.
    fn closed_to(&self, connection: &str, epoch: Epoch) -> Option<Option<Epoch>> {
        let Some(gate) = &self.installed else {
            return Some(None);
        };
        let open = gate.server == connection
            && gate.epoch == epoch
            && (!gate.must_check_server(self.clock_ms) || gate.server == self.server);
        (!open).then_some(Some(gate.epoch))
    }

    /// Returns the reason why `epoch` can be neither loaded nor installed. The server's identity is always checked here.
    fn not_installable(&self, connection: &str, epoch: Epoch) -> Option<InstallResult> {
        if self.server != connection {
            return Some(InstallResult::WrongServer);
        }
        let there = self.installed.as_ref().map(|gate| gate.epoch);
        there
            .filter(|&there| there >= epoch)
            .map(InstallResult::NotOlder)
    }

    fn drop_expired(&mut self, epoch: Epoch) {
        if self
            .loading
            .get(&epoch)
            .is_some_and(|loaded| self.clock_ms > loaded.expires_ms)
        {
            self.loading.remove(&epoch);
        }
    }

    fn keep_if_memory_allows(&mut self, request: &Request<'_>, refusal: IssueRefusal) {
        if !request.spare {
            self.keep(request.keyed, Err(refusal), request.now);
        }
    }

    /// Stores a finished answer of the key, if there is one, in place of an answer that no longer counts.
    fn keep(&mut self, keyed: Option<KeyDigests>, outcome: Outcome, now: Timestamp) {
        if let Some(keyed) = keyed {
            let answer = Finished {
                body: keyed.body,
                outcome,
                stored_at: now,
                expires_ms: self.clock_ms + ANSWER_KEPT_MS,
            };
            self.finished.insert(keyed.key, answer);
        }
    }
}
