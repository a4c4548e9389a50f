//! The gates of templates, and the servers that hold them: steps O1 to O4 of the issue path, each a small transaction
//! that compares before it sets. Whoever pauses and goes on later finds that its step was done, and does nothing.

use std::collections::HashMap;

use goodpon_application::ports::{StoreError, StoreResult};
use goodpon_domain::{
    gate::{
        Epoch, Gate, GateRead, GateState, Holder, Keyed, Opening, SALE_OVER_AFTER, Sealed,
        may_bump, may_seal, places_left,
    },
    id::TemplateId,
};
use jiff::Timestamp;

use crate::{
    Store,
    codec::{gate_state, micros, row_limit},
    columns::Columns,
    fault::Result,
    lock::Lock,
    session::Session,
    sizes::in_lists,
    template_row,
};

/// The server's time, at the beginning of the statement.
pub(crate) const NOW: &str = "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)";

fn read_gate(row: &mut Columns) -> Result<Option<Gate>> {
    let Some(epoch) = row.read()? else {
        return Ok(None);
    };
    Ok(Some(Gate {
        epoch: Epoch(epoch),
        state: gate_state::read(row)?,
        server: row.read()?,
        bumped_at: row.optional_timestamp()?,
        touched_at: row.timestamp()?,
    }))
}

/// A gate, with its template's id in front.
fn read_numbered(row: &mut Columns) -> Result<(TemplateId, Gate)> {
    let template = TemplateId(row.read()?);
    let gate = read_gate(row)?.ok_or(crate::Fault::Corrupt("a gate"))?;
    Ok((template, gate))
}

/// The gate of a template, locked: the first lock of every step.
async fn lock_gate(session: &mut Session<'_>, template: TemplateId) -> Result<Option<Gate>> {
    let sql = "SELECT epoch, state, server, bumped_at, touched_at FROM issue_gates
               WHERE template_id = ? FOR UPDATE";
    let gate = session.first(sql, (template.0,), read_gate).await?;
    Ok(gate.flatten())
}

async fn server_now(session: &mut Session<'_>) -> Result<Timestamp> {
    let now = session
        .first(&format!("SELECT {NOW}"), (), Columns::timestamp)
        .await?;
    now.ok_or(crate::Fault::Corrupt("no time"))
}

impl Store {
    /// Reads a template and its gate as one, with the server's time. `None`: there is no such template.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn read_gate(&self, template: TemplateId) -> StoreResult<Option<GateRead>> {
        let sql = &format!(
            "SELECT {}, {NOW}, g.epoch, g.state, g.server, g.bumped_at, g.touched_at
             FROM coupon_templates t LEFT JOIN issue_gates g ON g.template_id = t.id WHERE t.id = ?",
            template_row::COLUMNS
        );
        let read = |row: &mut Columns| {
            Ok(GateRead {
                template: template_row::read(row)?,
                read_at: row.timestamp()?,
                gate: read_gate(row)?,
            })
        };
        self.read(|session| Box::pin(async move { session.first(sql, (template.0,), read).await }))
            .await
    }

    /// Opens the gate of a template that never had one, at `server` (O1). `None`: somebody else did.
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

    /// Gives an open gate up (O2): no event of it counts for long any more, and nobody reads it as open from now on.
    /// `next` is the epoch that is to come, greater than all that were. `is_missing_there`: its server answers, but has
    /// not got it. Whether it was done.
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

    /// Gives the gate of a sale up that seems to be over, to be folded. Whether it was done.
    ///
    /// # Errors
    /// As [`Self::bump_gate`].
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

    /// Stamps a gate that was given up, where nobody has done so yet. Only whoever has read it as sealing under that
    /// number may: the stamp must be later than the moment from which on everybody reads it so.
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

    /// Seals a gate (O3): once nothing of older epochs can become a coupon any more, it is open at `server` with what
    /// is left, or folded where the sale is over.
    ///
    /// # Errors
    /// The database cannot be written; it may have happened all the same, and then nobody brings the places to the
    /// server until it is given up again.
    pub async fn seal_gate(
        &self,
        template: TemplateId,
        epoch: Epoch,
        server: &str,
    ) -> StoreResult<Sealed> {
        self.transact(|session| Box::pin(async move {
            let gate = match lock_gate(session, template).await? {
                Some(gate) if gate.epoch == epoch && gate.state == GateState::Sealing => gate,
                _ => return Ok(Sealed::Passed),
            };
            // Before the coupons are counted: the counts must not be older than what this tells.
            let log_time = least_log_time(session).await?;
            if !log_time.is_some_and(|log_time| may_seal(&gate, log_time)) {
                return Ok(Sealed::NotYet { log_time });
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
                GateState::Open => opening(session, template, epoch).await.map(Sealed::Open),
                _ => Ok(Sealed::Folded),
            }
        })).await
    }

    /// Opens a folded gate under its next number: it was sealed, and nothing was given out since. `None`: somebody
    /// else did.
    ///
    /// # Errors
    /// As [`Self::seal_gate`].
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

    /// Notes that somebody is bringing the places of that epoch to the server. Whether it is still that epoch's.
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

    /// Notes that `server` takes writes.
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

    /// Up to `limit` holders of a template, in the order of their users, from behind `after` on (O4).
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn holders(
        &self,
        template: TemplateId,
        after: &str,
        limit: usize,
    ) -> StoreResult<Vec<Holder>> {
        let sql = "SELECT user_id, issued_at, issue_key, issue_body FROM coupons
                   WHERE template_id = ? AND user_id > ? ORDER BY user_id LIMIT ?";
        let read = |row: &mut Columns| {
            let (user_id, issued_at) = (row.read()?, row.timestamp()?);
            let (key, body) = (row.optional_bytes()?, row.optional_bytes()?);
            let keyed = key.zip(body).map(|(key, body)| Keyed { key, body });
            Ok(Holder {
                user_id,
                issued_at,
                keyed,
            })
        };
        self.read(|session| {
            Box::pin(async move {
                session
                    .rows(sql, (template.0, after, row_limit(limit)), read)
                    .await
            })
        })
        .await
    }

    /// Whether that user has, or had, a coupon of the template, as far as it is written.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn is_holder(&self, template: TemplateId, user_id: &str) -> StoreResult<bool> {
        let sql = "SELECT 1 FROM coupons WHERE template_id = ? AND user_id = ?";
        let found = self
            .read(|session| {
                Box::pin(async move {
                    session
                        .first(sql, (template.0, user_id), |row| row.read::<i64>())
                        .await
                })
            })
            .await?;
        Ok(found.is_some())
    }

    /// The gates in a state, from behind template `after` on, in the order of their templates.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn gates_in(
        &self,
        state: GateState,
        after: TemplateId,
        limit: usize,
    ) -> StoreResult<Vec<(TemplateId, Gate)>> {
        let sql = "SELECT template_id, epoch, state, server, bumped_at, touched_at FROM issue_gates
                   WHERE state = ? AND template_id > ? ORDER BY template_id LIMIT ?";
        let state = gate_state::code(state);
        self.read(|session| {
            Box::pin(async move {
                session
                    .rows(sql, (state, after.0, row_limit(limit)), read_numbered)
                    .await
            })
        })
        .await
    }

    /// The gates of these templates, in their order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn gates_of(&self, templates: &[TemplateId]) -> StoreResult<Vec<Option<Gate>>> {
        let ids: &Vec<i64> = &templates.iter().map(|template| template.0).collect();
        let found: HashMap<TemplateId, Gate> = self
            .read(|session| {
                Box::pin(async move {
                    let mut found = HashMap::new();
                    for (marks, some) in in_lists(ids) {
                        let sql = format!(
                            "SELECT template_id, epoch, state, server, bumped_at, touched_at FROM issue_gates
                             WHERE template_id IN ({marks})"
                        );
                        found.extend(session.rows(&sql, some, read_numbered).await?);
                    }
                    Ok(found)
                })
            })
            .await?;
        Ok(templates.iter().map(|id| found.get(id).cloned()).collect())
    }

    /// The coupons written of each of these templates, in their order; 0 for one that is not there.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn written_counts(&self, templates: &[TemplateId]) -> StoreResult<Vec<i64>> {
        let ids: &Vec<i64> = &templates.iter().map(|template| template.0).collect();
        let found: HashMap<i64, i64> = self
            .read(|session| {
                Box::pin(async move {
                    let mut found = HashMap::new();
                    for (marks, some) in in_lists(ids) {
                        let sql = format!(
                            "SELECT id, issue_count FROM coupon_templates WHERE id IN ({marks})"
                        );
                        let read = |row: &mut Columns| Ok((row.read::<i64>()?, row.read::<i64>()?));
                        found.extend(session.rows(&sql, some, read).await?);
                    }
                    Ok(found)
                })
            })
            .await?;
        let count = |id| found.get(id).copied().unwrap_or_default();
        Ok(ids.iter().map(count).collect())
    }
}

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

/// Gives all open gates up.
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

/// How far the slowest partition was worked through; `None` without any partition.
async fn least_log_time(session: &mut Session<'_>) -> Result<Option<Timestamp>> {
    let sql = "SELECT MIN(log_time) FROM issue_progress";
    let least = session.first(sql, (), Columns::optional_timestamp).await?;
    Ok(least.flatten())
}

/// Whether nothing has happened to the template's coupons for so long that its sale counts as over.
async fn is_over(session: &mut Session<'_>, template: TemplateId) -> Result<bool> {
    let sql = "SELECT recorded_at FROM coupon_histories WHERE template_id = ?
               ORDER BY recorded_at DESC LIMIT 1";
    let last = session
        .first(sql, (template.0,), Columns::timestamp)
        .await?;
    let border = micros(session.now - SALE_OVER_AFTER);
    Ok(last.is_some_and(|last| micros(last) < border))
}

/// What a gate that is just opened has: called with the gate's row locked, in the transaction that opens it.
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

impl From<crate::OpenError> for StoreError {
    fn from(error: crate::OpenError) -> Self {
        Self::Unavailable {
            reason: error.to_string(),
            may_have_happened: false,
        }
    }
}
