//! Reads gates, with their templates and coupon holders.

use std::collections::HashMap;

use goodpon_application::ports::StoreResult;
use goodpon_domain::{
    gate::{Epoch, Gate, GateRead, GateState, Holder, KeyDigests},
    id::TemplateId,
};

use crate::{
    Store,
    codec::{gate_state, row_limit},
    columns::Columns,
    fault::Result,
    session::NOW,
    sizes::in_lists,
    template_row,
};

/// Reads the columns of a gate; `None` if they are null because there is no gate.
pub(super) fn gate_columns(row: &mut Columns) -> Result<Option<Gate>> {
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

/// Reads a template's id and its gate.
fn numbered_gate_columns(row: &mut Columns) -> Result<(TemplateId, Gate)> {
    let template = TemplateId(row.read()?);
    let gate = gate_columns(row)?.ok_or(crate::Fault::Corrupt("a gate"))?;
    Ok((template, gate))
}

impl Store {
    /// Reads a template and its gate in one statement, with the database's time. Returns `None` if there is no such
    /// template.
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
                gate: gate_columns(row)?,
            })
        };
        self.read(|session| Box::pin(async move { session.first(sql, (template.0,), read).await }))
            .await
    }

    /// Reads up to `limit` holders of a template, in the order of their user ids, after the user id `after` (O4).
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
            let keyed = key.zip(body).map(|(key, body)| KeyDigests { key, body });
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

    /// Returns whether the user has, or had, a coupon of the template. Coupons that are not yet written are not seen.
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

    /// Reads up to `limit` gates in a state, in the order of their template ids, after the template `after`.
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
                    .rows(
                        sql,
                        (state, after.0, row_limit(limit)),
                        numbered_gate_columns,
                    )
                    .await
            })
        })
        .await
    }

    /// Reads the gates of these templates, in their order.
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
                        found.extend(session.rows(&sql, some, numbered_gate_columns).await?);
                    }
                    Ok(found)
                })
            })
            .await?;
        Ok(templates.iter().map(|id| found.get(id).cloned()).collect())
    }

    /// Counts the written coupons of each of these templates, in their order; 0 for a template that does not exist.
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
