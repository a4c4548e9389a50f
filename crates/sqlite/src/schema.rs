//! The schema, in numbered steps that are part of the program.

use rusqlite::{Connection, TransactionBehavior};

use crate::OpenError;

/// Each step brings the schema from its index to its index + 1 (`PRAGMA user_version`). Steps are never changed,
/// only added.
const STEPS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_known_faults.sql"),
];

/// The schema version that this program writes.
pub(crate) const VERSION: usize = STEPS.len();

/// Brings the schema up to [`VERSION`], or refuses one that a newer program wrote.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), OpenError> {
    let found = version(connection)?;
    if found > VERSION {
        return Err(OpenError::SchemaTooNew {
            found,
            known: VERSION,
        });
    }
    for (number, step) in STEPS.iter().enumerate().skip(found) {
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(step)?;
        write_version(&tx, number + 1)?;
        tx.commit()?;
    }
    Ok(())
}

/// Makes the whole schema anew.
pub(crate) fn create(connection: &Connection) -> rusqlite::Result<()> {
    STEPS
        .iter()
        .try_for_each(|step| connection.execute_batch(step))
}

/// Notes the version that the schema has from now on.
pub(crate) fn write_version(connection: &Connection, version: usize) -> rusqlite::Result<()> {
    connection.pragma_update(
        None,
        "user_version",
        i64::try_from(version).unwrap_or(i64::MAX),
    )
}

/// The version of the schema that is there; 0 is none.
pub(crate) fn version(connection: &Connection) -> Result<usize, OpenError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    usize::try_from(found).map_err(|_| OpenError::NotOurs)
}

/// How SQLite would run a query.
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
