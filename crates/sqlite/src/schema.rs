//! The schema, in numbered steps that are part of the program.

use std::collections::BTreeMap;

use rusqlite::{Connection, TransactionBehavior};

use crate::error::OpenError;

/// Brings the schema from its index in [`STEPS`] to its index + 1.
struct Step {
    sql: &'static str,
    /// The oldest version of the program that works on the schema behind this step; it only grows.
    works_with_from: usize,
}

/// Steps are never changed, only added.
const STEPS: &[Step] = &[
    Step {
        sql: include_str!("migrations/0001_initial.sql"),
        works_with_from: 1,
    },
    Step {
        sql: include_str!("migrations/0002_known_faults.sql"),
        works_with_from: 1,
    },
    Step {
        sql: include_str!("migrations/0003_trace_context.sql"),
        works_with_from: 1,
    },
];

/// The schema version that this program writes. It is the version of the program, too.
pub(crate) const VERSION: usize = STEPS.len();

/// The steps that are done. `PRAGMA user_version` is the oldest version of the program that works on the schema:
/// programs of version 1 look at nothing else, and refuse more than 1.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_steps (version INTEGER PRIMARY KEY) STRICT";

/// The name of the table of steps.
pub(crate) const STEPS_TABLE: &str = "schema_steps";

/// The version that a schema states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schema {
    /// The number of migrations that were made: 0 in a new file.
    pub(crate) version: usize,
    /// The oldest version of the program that works on it.
    works_with_from: usize,
}

impl Schema {
    pub(crate) fn read(connection: &Connection) -> Result<Self, OpenError> {
        let number = |stored: i64| usize::try_from(stored).map_err(|_| OpenError::NotOurs);
        let works_with_from =
            connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let works_with_from = number(works_with_from)?;
        let version = match connection.table_exists(None, STEPS_TABLE)? {
            true => connection.query_row(
                "SELECT coalesce(max(version), 0) FROM schema_steps",
                [],
                |row| row.get(0),
            )?,
            false => 0,
        };
        Ok(Self {
            // A schema without the table was made by a program of version 1.
            version: number(version)?.max(works_with_from),
            works_with_from,
        })
    }

    /// Refuses a schema on which this program does not work because newer ones changed it.
    pub(crate) fn refuse_too_new(self) -> Result<(), OpenError> {
        match self.works_with_from <= VERSION {
            true => Ok(()),
            false => Err(OpenError::SchemaTooNew {
                found: self.version,
                known: VERSION,
            }),
        }
    }
}

/// Brings the schema up to [`VERSION`]. Leaves one of a newer program as it is, or refuses it.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let found = Schema::read(connection)?;
    found.refuse_too_new()?;
    for (step, number) in STEPS.iter().zip(1..).skip(found.version) {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        do_step(&tx, step, number)?;
        tx.commit()?;
    }
    Ok(())
}

/// Makes the whole schema anew.
pub(crate) fn create(connection: &Connection) -> rusqlite::Result<()> {
    create_version(connection, VERSION)
}

/// Makes the schema as it was at a version.
pub(crate) fn create_version(connection: &Connection, version: usize) -> rusqlite::Result<()> {
    let steps = STEPS.iter().zip(1..).take(version);
    { steps }.try_for_each(|(step, number)| do_step(connection, step, number))
}

fn do_step(connection: &Connection, step: &Step, number: i64) -> rusqlite::Result<()> {
    connection.execute_batch(step.sql)?;
    connection.execute_batch(TABLE)?;
    connection.execute("INSERT INTO schema_steps (version) VALUES (?1)", [number])?;
    let works_with_from = i64::try_from(step.works_with_from).unwrap_or(i64::MAX);
    connection.pragma_update(None, "user_version", works_with_from)
}

/// Sets the database's version number to its own value, which writes a page and changes nothing.
pub(crate) fn touch(connection: &Connection) -> rusqlite::Result<()> {
    let now: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    connection.pragma_update(None, "user_version", now)
}

/// The statement that made each table and index, by name; without the two tables that Litestream keeps in a database
/// that it replicates.
pub(crate) fn objects(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    connection
        .prepare(
            "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'
             AND name NOT IN ('_litestream_seq', '_litestream_lock')",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// SQLite's plan of a query.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) fn query_plan(connection: &Connection, sql: &str) -> String {
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .unwrap();
    let mut rows = statement.raw_query();
    let mut plan = String::new();
    while let Some(row) = rows.next().unwrap() {
        plan += &row.get::<_, String>(3).unwrap();
        plan.push('\n');
    }
    plan
}
