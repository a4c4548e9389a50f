//! The schema, in numbered steps that are part of the program, and the versions of the program that work with it. See
//! docs/upgrades.md.

use crate::{
    OpenError, Store,
    codec::micros,
    fault::{Fault, Result},
    session::Session,
};

/// A step of the schema: brings it from version `index` to `index + 1`, by its index in [`STEPS`]. DDL is not part of a
/// transaction, so every statement of a step must be safe to run again.
struct SchemaStep {
    sql: &'static str,
    /// The oldest version of the program that works on the schema once this step has begun.
    works_with_from: usize,
}

/// The steps. A released step is never changed; new ones are added.
const STEPS: &[SchemaStep] = &[
    SchemaStep {
        sql: include_str!("migrations/0001_initial.sql"),
        works_with_from: 1,
    },
    SchemaStep {
        sql: include_str!("migrations/0002_known_faults.sql"),
        works_with_from: 1,
    },
    SchemaStep {
        sql: include_str!("migrations/0003_trace_context.sql"),
        works_with_from: 1,
    },
];

/// The schema version to which this program migrates, which is also the version of the program.
const VERSION: usize = STEPS.len();

/// Programs of version 1 read `schema_version` alone, and work only if its greatest version is 1. So later steps are
/// recorded in `schema_steps`, and also in `schema_version` from the first step on that version 1 does not work with.
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS schema_version
     (version INT NOT NULL PRIMARY KEY, reached_at BIGINT NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS schema_steps
     (version INT NOT NULL PRIMARY KEY, works_with_from INT NOT NULL, reached_at BIGINT) ENGINE=InnoDB",
];

/// The longest wait for another process that migrates, in seconds.
const LOCK_TIMEOUT_SECS: i64 = 120;

/// The make of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    MySql,
    MariaDb,
}

impl Flavour {
    /// Parses the result of `SELECT VERSION()`, and refuses a server that is too old.
    fn of(version: &str) -> std::result::Result<Self, OpenError> {
        let is_maria = version.to_ascii_lowercase().contains("mariadb");
        // MariaDB may put 5.5.5- in front, for old clients.
        let number = version.strip_prefix("5.5.5-").filter(|_| is_maria);
        let mut parts = number.unwrap_or(version).split(['.', '-']);
        let mut part = || parts.next().and_then(|part| part.parse::<u32>().ok());
        let found = (part().unwrap_or(0), part().unwrap_or(0));
        let (flavour, oldest) = match is_maria {
            true => (Self::MariaDb, (10, 11)),
            false => (Self::MySql, (8, 4)),
        };
        match found >= oldest {
            true => Ok(flavour),
            false => Err(OpenError::ServerTooOld(version.to_owned())),
        }
    }

    /// Returns the name of the collation that compares texts by their code points, trailing blanks included.
    fn byte_for_byte(self) -> &'static str {
        match self {
            Self::MySql => "utf8mb4_0900_bin",
            Self::MariaDb => "utf8mb4_nopad_bin",
        }
    }
}

impl Store {
    /// Migrates the schema to this program's version. If several processes do so at once, one migrates and the others
    /// wait for it.
    ///
    /// # Errors
    /// The server cannot be reached or is too old, a newer program wrote the schema, or another process migrates for
    /// longer than this one waits.
    pub async fn migrate(&self) -> std::result::Result<(), OpenError> {
        let mut session = self.scan_session().await?;
        let flavour = flavour(&mut session).await?;
        // The name of a lock has at most 64 characters.
        let lock = "SELECT GET_LOCK(CONCAT('goodpon ', SHA2(DATABASE(), 224)), ?)";
        let locked = session
            .first(lock, (LOCK_TIMEOUT_SECS,), |row| row.read::<Option<i64>>())
            .await?;
        if locked.flatten() != Some(1) {
            return Err(OpenError::MigratedElsewhere);
        }
        let name = self.draw_installation_name();
        let migrated = migrate(&mut session, STEPS, flavour, &name).await;
        // If this fails, the lock is released when the connection closes.
        let _ = session
            .run_text("DO RELEASE_LOCK(CONCAT('goodpon ', SHA2(DATABASE(), 224)))")
            .await;
        migrated
    }

    /// Checks that the server is supported, and that this program works on its schema.
    ///
    /// # Errors
    /// The server cannot be reached or is too old, or the schema is missing, older, or too new.
    pub async fn check(&self) -> std::result::Result<(), OpenError> {
        let mut session = self.scan_session().await?;
        flavour(&mut session).await?;
        Schema::read(&mut session).await?.check_for(VERSION)
    }
}

/// The versions that a schema records about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Schema {
    /// The number of steps that are done; 0 for none.
    version: usize,
    /// The oldest version of the program that works on it.
    works_with_from: usize,
}

impl Schema {
    async fn read(session: &mut Session<'_>) -> Result<Self> {
        let tables = "SELECT table_name FROM information_schema.tables
                      WHERE table_schema = DATABASE() AND table_name IN ('schema_version', 'schema_steps')";
        let tables: Vec<String> = session.rows(tables, (), |row| row.read()).await?;
        let is_there = |name| tables.iter().any(|table| table == name);
        let (mut version, mut works_with_from) = (None, None);
        if is_there("schema_steps") {
            // A step that has only begun already excludes programs that do not work with it.
            let sql = "SELECT MAX(CASE WHEN reached_at IS NOT NULL THEN version END), MAX(works_with_from)
                       FROM schema_steps";
            let read = session.first(sql, (), |row| Ok((row.read()?, row.read()?)));
            (version, works_with_from) = read.await?.unwrap_or_default();
        }
        if version.is_none() && is_there("schema_version") {
            let sql = "SELECT MAX(version) FROM schema_version";
            version = session.first(sql, (), |row| row.read()).await?.flatten();
        }
        let number = |stored: Option<i64>, absent| match stored {
            None => Ok(absent),
            Some(stored) => usize::try_from(stored).map_err(|_| Fault::Corrupt("schema_steps")),
        };
        Ok(Self {
            version: number(version, 0)?,
            works_with_from: number(works_with_from, 1)?,
        })
    }

    /// Checks that a program of version `own` works on it.
    fn check_for(self, own: usize) -> std::result::Result<(), OpenError> {
        if self.works_with_from > own {
            return Err(OpenError::SchemaTooNew {
                found: self.version.max(self.works_with_from),
                known: own,
            });
        }
        match self.version >= own {
            true => Ok(()),
            false => Err(OpenError::NotMigrated),
        }
    }
}

async fn flavour(session: &mut Session<'_>) -> std::result::Result<Flavour, OpenError> {
    let version = session
        .first("SELECT VERSION()", (), |row| row.read::<String>())
        .await?;
    Flavour::of(&version.unwrap_or_default())
}

/// Runs the steps that the schema lacks. A schema with more steps than these is left as it is, provided that a program
/// with these steps works on it.
async fn migrate(
    session: &mut Session<'_>,
    steps: &[SchemaStep],
    flavour: Flavour,
    installation: &str,
) -> std::result::Result<(), OpenError> {
    let found = Schema::read(session).await?;
    match found.check_for(steps.len()) {
        Ok(()) | Err(OpenError::NotMigrated) => {}
        refused => return refused,
    }
    for table in TABLES {
        session.run_text(table).await?;
    }
    for (step, number) in steps.iter().zip(1..).skip(found.version) {
        begin(session, number, step.works_with_from).await?;
        for statement in statements(&step.sql.replace("{bin}", flavour.byte_for_byte())) {
            match session.run_text(&statement).await {
                // An earlier migration ran this statement and was interrupted later in the step.
                Err(fault) if fault.is_done_already() => {}
                done => done?,
            }
        }
        end(session, number).await?;
    }
    let name = "INSERT IGNORE INTO installation (id, name) VALUES (1, ?)";
    session.run(name, (installation,)).await?;
    Ok(())
}

/// Records that a step begins. From now on it excludes programs that do not work with it.
async fn begin(session: &mut Session<'_>, number: usize, works_with_from: usize) -> Result<()> {
    let step = "INSERT INTO schema_steps (version, works_with_from) VALUES (?, ?)
                ON DUPLICATE KEY UPDATE works_with_from = VALUES(works_with_from)";
    session.run(step, (number, works_with_from)).await?;
    if works_with_from > 1 {
        record_for_version_1(session, number).await?;
    }
    Ok(())
}

/// Records that a step is done.
async fn end(session: &mut Session<'_>, number: usize) -> Result<()> {
    if number == 1 {
        record_for_version_1(session, number).await?;
    }
    let reached = "UPDATE schema_steps SET reached_at = ? WHERE version = ?";
    session.run(reached, (micros(session.now), number)).await?;
    Ok(())
}

/// Records a step in the table that programs of version 1 read.
async fn record_for_version_1(session: &mut Session<'_>, number: usize) -> Result<u64> {
    let sql = "INSERT IGNORE INTO schema_version (version, reached_at) VALUES (?, ?)";
    session.run(sql, (number, micros(session.now))).await
}

/// Splits a step into its statements, and drops its comments.
fn statements(step: &str) -> Vec<String> {
    let code: Vec<&str> = step
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .collect();
    code.join("\n")
        .split(';')
        .map(|statement| statement.trim().to_owned())
        .filter(|statement| !statement.is_empty())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::store;

    /// Runs further steps on a schema that has all of ours, as a newer program does.
    async fn migrated_by_newer(
        store: &Store,
        more: &[SchemaStep],
    ) -> std::result::Result<(), OpenError> {
        let all = STEPS.iter().chain(more).map(|step| SchemaStep { ..*step });
        let steps: Vec<SchemaStep> = all.collect();
        let mut session = store.scan_session().await?;
        migrate(&mut session, &steps, Flavour::MariaDb, "unused").await
    }

    /// Returns the version that a program of version 1 reads, which works only if it is 1.
    async fn seen_by_version_1(store: &Store) -> Option<i64> {
        let sql = "SELECT MAX(version) FROM schema_version";
        let read = store.read(|session| Box::pin(session.first(sql, (), |row| row.read())));
        read.await.unwrap()
    }

    async fn check_for(store: &Store, own: usize) -> std::result::Result<(), OpenError> {
        let mut session = store.scan_session().await?;
        Schema::read(&mut session).await?.check_for(own)
    }

    fn is_too_new(refused: &std::result::Result<(), OpenError>) -> bool {
        matches!(refused, Err(OpenError::SchemaTooNew { .. }))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn older_programs_go_on_after_a_step_that_expands() {
        let (store, _clock, _database) = store().await;
        assert_eq!(seen_by_version_1(&store).await, Some(1));
        let more = [SchemaStep {
            sql: "ALTER TABLE accounts ADD COLUMN more INT NOT NULL DEFAULT 0;",
            works_with_from: 1,
        }];
        migrated_by_newer(&store, &more).await.unwrap();
        assert_eq!(seen_by_version_1(&store).await, Some(1));
        store.check().await.unwrap();
        // A program that is rolled back to this version migrates too, and changes nothing.
        store.migrate().await.unwrap();
        for own in 1..=VERSION + 1 {
            check_for(&store, own).await.unwrap();
        }
        let newer = check_for(&store, VERSION + 2).await;
        assert!(matches!(newer, Err(OpenError::NotMigrated)), "{newer:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_step_that_contracts_excludes_older_programs_as_soon_as_it_begins() {
        let (store, _clock, _database) = store().await;
        let newer = |sql| {
            [SchemaStep {
                sql,
                works_with_from: VERSION + 1,
            }]
        };
        // The step fails half-way.
        let interrupted =
            newer("ALTER TABLE mails DROP COLUMN origin; ALTER TABLE no_such_table DROP COLUMN x;");
        assert!(migrated_by_newer(&store, &interrupted).await.is_err());
        for is_completed in [false, true] {
            if is_completed {
                let whole = newer("ALTER TABLE mails DROP COLUMN origin;");
                migrated_by_newer(&store, &whole).await.unwrap();
            }
            let refused = [
                store.check().await,
                store.migrate().await,
                check_for(&store, 1).await,
            ];
            assert!(refused.iter().all(is_too_new), "{refused:?}");
            assert_ne!(seen_by_version_1(&store).await, Some(1));
            let own = check_for(&store, VERSION + 1).await;
            assert_eq!(own.is_ok(), is_completed, "{own:?}");
        }
    }

    #[test]
    fn servers_are_distinguished_and_old_ones_refused() {
        assert_eq!(Flavour::of("8.4.3").unwrap(), Flavour::MySql);
        assert_eq!(Flavour::of("9.1.0-cloud").unwrap(), Flavour::MySql);
        for maria in [
            "10.11.19-MariaDB-0+deb12u1",
            "5.5.5-10.11.6-MariaDB",
            "11.4.2-MariaDB",
        ] {
            assert_eq!(Flavour::of(maria).unwrap(), Flavour::MariaDb);
        }
        for old in [
            "8.0.36",
            "5.7.44-log",
            "10.6.18-MariaDB",
            "5.5.5-10.6.1-MariaDB",
            "",
            "x",
        ] {
            assert!(Flavour::of(old).is_err(), "{old}");
        }
    }

    #[test]
    fn steps_are_split_into_statements() {
        let all = statements(STEPS[0].sql);
        assert!(all.len() > 15);
        assert!(
            all.iter()
                .all(|one| one.starts_with("CREATE TABLE IF NOT EXISTS "))
        );
    }
}
