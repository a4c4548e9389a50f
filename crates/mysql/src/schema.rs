//! The schema, in numbered steps that are part of the program, and which programs it works with: docs/upgrades.md.

use crate::{
    OpenError, Store,
    codec::micros,
    fault::{Fault, Result},
    session::Session,
};

/// Brings the schema from its index in [`STEPS`] to its index + 1. Since DDL commits by itself, every statement of a
/// step may be run again.
struct Step {
    sql: &'static str,
    /// The oldest version of the program that works on the schema from the beginning of this step on.
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
];

/// The schema version that this program brings about. It is the version of the program, too.
const VERSION: usize = STEPS.len();

/// Programs of version 1 look into `schema_version` alone, and work only where its greatest version is 1. So later
/// steps are kept elsewhere, and stand there too from the first one on that does not work with those programs.
const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS schema_version
     (version INT NOT NULL PRIMARY KEY, reached_at BIGINT NOT NULL) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS schema_steps
     (version INT NOT NULL PRIMARY KEY, works_with_from INT NOT NULL, reached_at BIGINT) ENGINE=InnoDB",
];

/// How long another process that migrates is waited for, in seconds.
const LOCK_SECONDS: i64 = 120;

/// What the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    MySql,
    MariaDb,
}

impl Flavour {
    /// Reads what `SELECT VERSION()` gives, and refuses what is too old.
    fn of(version: &str) -> std::result::Result<Self, OpenError> {
        let is_maria = version.to_ascii_lowercase().contains("mariadb");
        // MariaDB may put 5.5.5- in front, for the sake of old clients.
        let number = version.strip_prefix("5.5.5-").filter(|_| is_maria);
        let mut parts = number.unwrap_or(version).split(['.', '-']);
        let mut part = || parts.next().and_then(|part| part.parse::<u32>().ok());
        let found = (part().unwrap_or(0), part().unwrap_or(0));
        let (flavour, least) = match is_maria {
            true => (Self::MariaDb, (10, 11)),
            false => (Self::MySql, (8, 4)),
        };
        match found >= least {
            true => Ok(flavour),
            false => Err(OpenError::ServerTooOld(version.to_owned())),
        }
    }

    /// Its collation that compares texts by their code points, trailing blanks included.
    fn byte_for_byte(self) -> &'static str {
        match self {
            Self::MySql => "utf8mb4_0900_bin",
            Self::MariaDb => "utf8mb4_nopad_bin",
        }
    }
}

impl Store {
    /// Brings the schema up to date. Any number of processes may do so at once: one does, the others wait for it.
    ///
    /// # Errors
    /// The server cannot be reached, is too old, or a newer program wrote the schema.
    pub async fn migrate(&self) -> std::result::Result<(), OpenError> {
        let mut session = self.scan_session().await?;
        let flavour = flavour(&mut session).await?;
        // A lock's name has 64 characters at most.
        let lock = "SELECT GET_LOCK(CONCAT('goodpon ', SHA2(DATABASE(), 224)), ?)";
        let locked = session
            .first(lock, (LOCK_SECONDS,), |row| row.read::<Option<i64>>())
            .await?;
        if locked.flatten() != Some(1) {
            return Err(OpenError::MigratedElsewhere);
        }
        let migrated = migrate(&mut session, STEPS, flavour, &self.installation_name()).await;
        // The lock ends with the connection, if not here.
        let _ = session
            .say("DO RELEASE_LOCK(CONCAT('goodpon ', SHA2(DATABASE(), 224)))")
            .await;
        migrated
    }

    /// Whether the server is one we can work on and this program works on its schema.
    ///
    /// # Errors
    /// It cannot be reached, is too old, or its schema is missing, older, or too new.
    pub async fn check(&self) -> std::result::Result<(), OpenError> {
        let mut session = self.scan_session().await?;
        flavour(&mut session).await?;
        Schema::read(&mut session).await?.check_for(VERSION)
    }
}

/// What a schema says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Schema {
    /// How many steps are done; 0 is none.
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
            // A step that has only begun keeps programs away already that do not work with it.
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

    /// Whether a program of version `own` works on it.
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

/// Does the steps that the schema lacks. One that has more than these is left as it is, if they work on it.
async fn migrate(
    session: &mut Session<'_>,
    steps: &[Step],
    flavour: Flavour,
    installation: &str,
) -> std::result::Result<(), OpenError> {
    let found = Schema::read(session).await?;
    match found.check_for(steps.len()) {
        Ok(()) | Err(OpenError::NotMigrated) => {}
        refused => return refused,
    }
    for table in TABLES {
        session.say(table).await?;
    }
    for (step, number) in steps.iter().zip(1..).skip(found.version) {
        begin(session, number, step.works_with_from).await?;
        for statement in statements(&step.sql.replace("{bin}", flavour.byte_for_byte())) {
            match session.say(&statement).await {
                // An earlier start was cut off behind it.
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

/// Notes that a step begins: from now on programs stay away that do not work with it.
async fn begin(session: &mut Session<'_>, number: usize, works_with_from: usize) -> Result<()> {
    let step = "INSERT INTO schema_steps (version, works_with_from) VALUES (?, ?)
                ON DUPLICATE KEY UPDATE works_with_from = VALUES(works_with_from)";
    session.run(step, (number, works_with_from)).await?;
    if works_with_from > 1 {
        tell_version_1(session, number).await?;
    }
    Ok(())
}

/// Notes that a step is done.
async fn end(session: &mut Session<'_>, number: usize) -> Result<()> {
    if number == 1 {
        tell_version_1(session, number).await?;
    }
    let reached = "UPDATE schema_steps SET reached_at = ? WHERE version = ?";
    session.run(reached, (micros(session.now), number)).await?;
    Ok(())
}

async fn tell_version_1(session: &mut Session<'_>, number: usize) -> Result<u64> {
    let sql = "INSERT IGNORE INTO schema_version (version, reached_at) VALUES (?, ?)";
    session.run(sql, (number, micros(session.now))).await
}

/// The statements of a step, without its comments.
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

    /// Brings a schema that has all our steps beyond them, as a newer program does.
    async fn migrated_by_newer(store: &Store, more: &[Step]) -> std::result::Result<(), OpenError> {
        let known = STEPS.iter().chain(more).map(|step| Step { ..*step });
        let steps: Vec<Step> = known.collect();
        let mut session = store.scan_session().await?;
        migrate(&mut session, &steps, Flavour::MariaDb, "unused").await
    }

    /// What a program of version 1 looks at: it wants exactly a 1.
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
    async fn a_step_that_expands_leaves_older_programs_at_work() {
        let (store, _clock, _database) = store().await;
        assert_eq!(seen_by_version_1(&store).await, Some(1));
        let more = [Step {
            sql: "ALTER TABLE accounts ADD COLUMN more INT NOT NULL DEFAULT 0;",
            works_with_from: 1,
        }];
        migrated_by_newer(&store, &more).await.unwrap();
        assert_eq!(seen_by_version_1(&store).await, Some(1));
        store.check().await.unwrap();
        // A program that is taken back migrates as it always does, and changes nothing.
        store.migrate().await.unwrap();
        for own in 1..=VERSION + 1 {
            check_for(&store, own).await.unwrap();
        }
        let newer = check_for(&store, VERSION + 2).await;
        assert!(matches!(newer, Err(OpenError::NotMigrated)), "{newer:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_step_that_contracts_keeps_older_programs_away_from_its_beginning_on() {
        let (store, _clock, _database) = store().await;
        let newer = |sql| {
            [Step {
                sql,
                works_with_from: VERSION + 1,
            }]
        };
        // It is cut off on its way.
        let cut_off =
            newer("ALTER TABLE mails DROP COLUMN origin; ALTER TABLE no_such_table DROP COLUMN x;");
        assert!(migrated_by_newer(&store, &cut_off).await.is_err());
        for gone_on in [false, true] {
            if gone_on {
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
            assert_eq!(own.is_ok(), gone_on, "{own:?}");
        }
    }

    #[test]
    fn servers_are_told_apart_and_old_ones_refused() {
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
