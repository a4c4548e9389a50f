//! Moves gates: opens, gives up, stamps, seals (steps O1 to O3 of the issue path). Each step is a small transaction that
//! compares before it sets, so a process that pauses and continues later finds its step done, and changes nothing.

mod read;

use goodpon_application::ports::StoreResult;
use goodpon_domain::{
    gate::{
        Epoch, Gate, GateState, Opening, SALE_OVER_AGE, SealResult, may_bump, may_seal, places_left,
    },
    id::TemplateId,
};
use jiff::Timestamp;

use self::read::gate_columns;
use crate::{
    Store,
    codec::{gate_state, micros},
    columns::Columns,
    fault::Result,
    lock::Lock,
    session::{NOW, Session},
    template_row,
};

/// Reads the gate of a template and locks it: the first lock of every step.
async fn lock_gate(session: &mut Session<'_>, template: TemplateId) -> Result<Option<Gate>> {
    let sql = "SELECT epoch, state, server, bumped_at, touched_at FROM issue_gates
               WHERE template_id = ? FOR UPDATE";
    let gate = session.first(sql, (template.0,), gate_columns).await?;
    Ok(gate.flatten())
}

async fn server_now(session: &mut Session<'_>) -> Result<Timestamp> {
    let now = session
        .first(&format!("SELECT {NOW}"), (), Columns::timestamp)
        .await?;
    now.ok_or(crate::Fault::Corrupt("no time"))
}

impl Store {
    /// Opens the gate of a template that never had one, at `server` (O1). Returns `None` if another process did.
    ///
    /// # Errors
    /// The database cannot be written; it may have happened all the same.
    pub async fn open_first(
        &self,
        template: TemplateId,
        server: &str,
    ) -> StoreResult<Option<Opening>> {
        self.transact(|session| {
            Box::pin(async move {
                if lock_gate(session, template).await?.is_some() {
                    return Ok(None);
                }
                let sql = format!(
                "INSERT INTO issue_gates (template_id, epoch, state, server, bumped_at, touched_at)
                 SELECT id, 1, ?, ?, NULL, {NOW} FROM coupon_templates WHERE id = ?"
            );
                let open = gate_state::code(GateState::Open);
                match session.run(&sql, (open, server, template.0)).await {
                    Ok(1) => opening(session, template, Epoch(1)).await.map(Some),
                    Ok(_) => Ok(None),
                    Err(fault) if fault.is_duplicate() => Ok(None),
                    Err(fault) => Err(fault),
                }
            })
        })
        .await
    }

    /// Gives up an open gate (O2): from now on no process reads it as open, and soon none of its events counts any more.
    /// `next` is the epoch to come, greater than all before. `is_missing_there` says that the gate's server answers, but
    /// does not have the gate. Returns whether the gate was given up.
    ///
    /// # Errors
    /// The database cannot be written; it may have happened all the same.
    pub async fn bump_gate(
        &self,
        template: TemplateId,
        epoch: Epoch,
        next: Epoch,
        is_missing_there: bool,
    ) -> StoreResult<bool> {
        self.transact(|session| {
            Box::pin(async move {
                let Some(gate) = lock_gate(session, template).await? else {
                    return Ok(false);
                };
                if gate.epoch != epoch {
                    return Ok(false);
                }
                let seen_at = server_seen_at(session, gate.server.as_deref()).await?;
                let now = server_now(session).await?;
                if !may_bump(&gate, seen_at, is_missing_there, now) {
                    return Ok(false);
                }
                bump(session, template, epoch, next).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Gives up the gate of a sale that seems to be over, so that it can be folded. Returns whether the gate was given up.
    ///
    /// # Errors
    /// Those of [`Self::bump_gate`].
    pub async fn bump_idle_gate(&self, template: TemplateId, epoch: Epoch) -> StoreResult<bool> {
        self.transact(|session| {
            Box::pin(async move {
                let gate = lock_gate(session, template).await?;
                let is_open = |gate: &Gate| gate.epoch == epoch && gate.state == GateState::Open;
                if !gate.as_ref().is_some_and(is_open) || !is_over(session, template).await? {
                    return Ok(false);
                }
                bump(session, template, epoch, epoch.next()).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Stamps a gate that was given up, if it has no stamp. Only a process that has read the gate as sealing under that
    /// epoch may do this: the stamp must be later than the moment from which every process reads it so.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn stamp_gate(&self, template: TemplateId, epoch: Epoch) -> StoreResult<()> {
        let sql = &format!(
            "UPDATE issue_gates SET bumped_at = {NOW}
             WHERE template_id = ? AND epoch = ? AND state = ? AND bumped_at IS NULL"
        );
        let sealing = gate_state::code(GateState::Sealing);
        self.transact(|session| {
            Box::pin(async move { session.run(sql, (template.0, epoch.0, sealing)).await })
        })
        .await?;
        Ok(())
    }

    /// Seals a gate (O3) once no event of an older epoch can become a coupon any more: opens it at `server` with the places
    /// that are left, or folds it if the sale is over.
    ///
    /// # Errors
    /// The database cannot be written. It may have happened all the same; then no process brings the places to the server
    /// until the gate is given up again.
    pub async fn seal_gate(
        &self,
        template: TemplateId,
        epoch: Epoch,
        server: &str,
    ) -> StoreResult<SealResult> {
        self.transact(|session| Box::pin(async move {
            let gate = match lock_gate(session, template).await? {
                Some(gate) if gate.epoch == epoch && gate.state == GateState::Sealing => gate,
                _ => return Ok(SealResult::Passed),
            };
            // Read before the coupons are counted: the counts must not be older than this time.
            let log_time = least_log_time(session).await?;
            if !log_time.is_some_and(|log_time| may_seal(&gate, log_time)) {
                return Ok(SealResult::NotYet { log_time });
            }
            let state = match is_over(session, template).await? {
                true => GateState::Folded,
                false => GateState::Open,
            };
            let sql = format!(
                "UPDATE issue_gates SET state = ?, server = ?, touched_at = {NOW} WHERE template_id = ?"
            );
            let server = Some(server).filter(|_| state == GateState::Open);
            let state_code = gate_state::code(state);
            session.run(&sql, (state_code, server, template.0)).await?;
            match state {
                GateState::Open => opening(session, template, epoch).await.map(SealResult::Open),
                _ => Ok(SealResult::Folded),
            }
        })).await
    }

    /// Opens a folded gate under its next epoch: it was sealed, and no place was given since. Returns `None` if another
    /// process did.
    ///
    /// # Errors
    /// Those of [`Self::seal_gate`].
    pub async fn open_folded(
        &self,
        template: TemplateId,
        epoch: Epoch,
        server: &str,
    ) -> StoreResult<Option<Opening>> {
        self.transact(|session| Box::pin(async move {
            match lock_gate(session, template).await? {
                Some(gate) if gate.epoch == epoch && gate.state == GateState::Folded => {}
                _ => return Ok(None),
            }
            let sql = format!(
                "UPDATE issue_gates SET epoch = ?, state = ?, server = ?, bumped_at = NULL, touched_at = {NOW}
                 WHERE template_id = ?"
            );
            let open = gate_state::code(GateState::Open);
            let next = epoch.next();
            session
                .run(&sql, (next.0, open, server, template.0))
                .await?;
            opening(session, template, next).await.map(Some)
        })).await
    }

    /// Records that the places of that epoch are being brought to the server. Returns whether the gate is still open under
    /// that epoch.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn touch_gate(&self, template: TemplateId, epoch: Epoch) -> StoreResult<bool> {
        let sql = &format!(
            "UPDATE issue_gates SET touched_at = GREATEST(touched_at + 1, {NOW})
             WHERE template_id = ? AND epoch = ? AND state = ?"
        );
        let open = gate_state::code(GateState::Open);
        let touched = self
            .transact(|session| {
                Box::pin(async move { session.run(sql, (template.0, epoch.0, open)).await })
            })
            .await?;
        Ok(touched > 0)
    }

    /// Records that `server` takes writes now.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn beat(&self, server: &str) -> StoreResult<()> {
        let sql = &format!(
            "INSERT INTO valkey_servers (server, seen_at) VALUES (?, {NOW})
             ON DUPLICATE KEY UPDATE seen_at = {NOW}"
        );
        self.transact(|session| Box::pin(async move { session.run(sql, (server,)).await }))
            .await?;
        Ok(())
    }
}

/// Gives up an open gate. Its server and stamp are cleared.
async fn bump(
    session: &mut Session<'_>,
    template: TemplateId,
    epoch: Epoch,
    next: Epoch,
) -> Result<u64> {
    let sql = "UPDATE issue_gates SET epoch = ?, state = ?, server = NULL, bumped_at = NULL
               WHERE template_id = ? AND epoch = ? AND state = ?";
    let sealing = gate_state::code(GateState::Sealing);
    let open = gate_state::code(GateState::Open);
    session
        .run(sql, (next.0, sealing, template.0, epoch.0, open))
        .await
}

/// Gives up all open gates.
pub(crate) async fn bump_all(session: &mut Session<'_>) -> Result<u64> {
    let sql = "UPDATE issue_gates SET epoch = epoch + 1, state = ?, server = NULL, bumped_at = NULL
               WHERE state = ?";
    let [sealing, open] = [GateState::Sealing, GateState::Open].map(gate_state::code);
    session.run(sql, (sealing, open)).await
}

async fn server_seen_at(
    session: &mut Session<'_>,
    server: Option<&str>,
) -> Result<Option<Timestamp>> {
    let sql = "SELECT seen_at FROM valkey_servers WHERE server = ?";
    session.first(sql, (server,), Columns::timestamp).await
}

/// Reads the log's time up to which the slowest partition was processed; `None` if there are no partitions.
async fn least_log_time(session: &mut Session<'_>) -> Result<Option<Timestamp>> {
    let sql = "SELECT MIN(log_time) FROM issue_progress";
    let least = session.first(sql, (), Columns::optional_timestamp).await?;
    Ok(least.flatten())
}

/// Returns whether the last change of any of the template's coupons is so old that its sale counts as over.
async fn is_over(session: &mut Session<'_>, template: TemplateId) -> Result<bool> {
    let sql = "SELECT recorded_at FROM coupon_histories WHERE template_id = ?
               ORDER BY recorded_at DESC LIMIT 1";
    let last = session
        .first(sql, (template.0,), Columns::timestamp)
        .await?;
    let over_before = micros(session.now - SALE_OVER_AGE);
    Ok(last.is_some_and(|last| micros(last) < over_before))
}

/// Counts the places and coupons of a gate that is being opened: in the transaction that opens it, with its row locked.
async fn opening(session: &mut Session<'_>, template: TemplateId, epoch: Epoch) -> Result<Opening> {
    let found = template_row::load(session, template, Lock::None).await?;
    let Some(found) = found else {
        return Err(crate::Fault::Corrupt("a gate without a template"));
    };
    let parked = crate::park::places(session, template).await?;
    let max = found.terms.limit.max_issue_count();
    Ok(Opening {
        epoch,
        places: places_left(max, found.issue_count, parked),
        issued: found.issue_count,
    })
}
