//! Distrust of database files: code in their schema, and schemas that no version of this program makes.

use rusqlite::{Connection, config::DbConfig};

use crate::schema;

/// Lets a connection run no code of the file's schema, and refuse writes to the schema as if it were data.
pub(crate) fn distrust(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    Ok(())
}

/// The first difference of the schema from that of `version`, as a sentence, if there is one. In a version that a newer
/// program made, only triggers and views are known to be foreign.
pub(crate) fn strange(connection: &Connection, version: usize) -> rusqlite::Result<Option<String>> {
    let mut code = connection.prepare(
        "SELECT type || ' ' || name FROM sqlite_schema WHERE type IN ('trigger', 'view') ORDER BY name",
    )?;
    let code: Vec<String> = code
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    if let Some(name) = code.first() {
        return Ok(Some(format!("it has a {name}, which is not Goodpon's")));
    }
    if version > schema::VERSION {
        return Ok(None);
    }
    let fresh = Connection::open_in_memory()?;
    schema::create_version(&fresh, version)?;
    let (mut expected, mut found) = (schema::objects(&fresh)?, schema::objects(connection)?);
    // A program of the first version did not make it.
    for objects in [&mut expected, &mut found] {
        objects.remove(schema::STEPS_TABLE);
    }
    let missing = expected.keys().find(|name| !found.contains_key(*name));
    let foreign = found.keys().find(|name| !expected.contains_key(*name));
    let changed = expected
        .iter()
        .find(|(name, sql)| found.get(*name) != Some(sql));
    Ok(match (missing, foreign, changed) {
        (Some(name), _, _) => Some(format!("{name} is missing")),
        (None, Some(name), _) => Some(format!("it has {name}, which is not Goodpon's")),
        (None, None, Some((name, _))) => Some(format!("{name} is not as Goodpon makes it")),
        (None, None, None) => None,
    })
}
