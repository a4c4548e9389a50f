//! The progress of the sweep through each template's history: rows of `template_walks`.

use goodpon_domain::id::TemplateId;
use rusqlite::{Connection, OptionalExtension, params};

use crate::position::LedgerPosition;

/// The progress of a template's walk.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Walk {
    /// The last entry that was passed.
    pub(crate) passed: LedgerPosition,
    /// The time in microseconds at which the next coupon is due: `i64::MAX` for never, `None` if it must be looked for.
    pub(crate) next_due_at: Option<i64>,
    /// Set once it reached the end of a discarded template, of which nothing is issued any more.
    pub(crate) finished: bool,
}

pub(crate) fn load(connection: &Connection, template: TemplateId) -> rusqlite::Result<Walk> {
    let stored = connection
        .prepare_cached(
            "SELECT passed_at, passed_id, next_due_at, finished FROM template_walks WHERE template_id = ?1",
        )?
        .query_row([template.0], |row| {
            Ok(Walk {
                passed: LedgerPosition::read(row, 0, 1)?,
                next_due_at: row.get(2)?,
                finished: row.get(3)?,
            })
        })
        .optional()?;
    Ok(stored.unwrap_or(Walk {
        passed: LedgerPosition::BEGINNING,
        next_due_at: None,
        finished: false,
    }))
}

pub(crate) fn store(
    connection: &Connection,
    template: TemplateId,
    walk: &Walk,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO template_walks (template_id, passed_at, passed_id, next_due_at, finished)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            template.0,
            walk.passed.micros,
            walk.passed.id,
            walk.next_due_at,
            walk.finished
        ])?;
    Ok(())
}

/// Lets all walks begin anew: after the clock was set back, new entries get positions before those that were passed.
pub(crate) fn begin_anew(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM template_walks", [])?;
    Ok(())
}
