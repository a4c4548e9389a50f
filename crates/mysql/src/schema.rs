//! The schema, in numbered steps that are part of the program.

use crate::{
    OpenError, Store,
    codec::micros,
    fault::{Fault, Result},
    session::Session,
};

/// Each step brings the schema from its index to its index + 1. Steps are never changed, only added. Since DDL commits
/// by itself, every statement of a step may be run again.
const STEPS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_known_faults.sql"),
];

/// The schema version that this program works on.
pub(crate) const VERSION: usize = STEPS.len();

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
        let lock = "SELECT GET_LOCK(CONCAT('goodpon ', MD5(DATABASE())), ?)";
        let locked = session
            .first(lock, (LOCK_SECONDS,), |row| row.read::<Option<i64>>())
            .await?;
        if locked.flatten() != Some(1) {
            return Err(OpenError::MigratedElsewhere);
        }
        let migrated = migrate(&mut session, flavour, &self.installation_name()).await;
        // The lock ends with the connection, if not here.
        let _ = session
            .say("DO RELEASE_LOCK(CONCAT('goodpon ', MD5(DATABASE())))")
            .await;
        migrated
    }

    /// Whether the server is one we can work on and its schema is ours.
    ///
    /// # Errors
    /// It cannot be reached, is too old, or its schema is missing, older or newer.
    pub async fn check(&self) -> std::result::Result<(), OpenError> {
        let mut session = self.scan_session().await?;
        flavour(&mut session).await?;
        match version(&mut session).await? {
            found if found == VERSION => Ok(()),
            found if found > VERSION => Err(OpenError::SchemaTooNew {
                found,
                known: VERSION,
            }),
            _ => Err(OpenError::NotMigrated),
        }
    }
}

async fn flavour(session: &mut Session<'_>) -> std::result::Result<Flavour, OpenError> {
    let version = session
        .first("SELECT VERSION()", (), |row| row.read::<String>())
        .await?;
    Flavour::of(&version.unwrap_or_default())
}

/// The version of the schema that is there; 0 is none.
async fn version(session: &mut Session<'_>) -> Result<usize> {
    let table = "SELECT COUNT(*) FROM information_schema.tables
                 WHERE table_schema = DATABASE() AND table_name = 'schema_version'";
    let there = session.first(table, (), |row| row.read::<i64>()).await?;
    if there != Some(1) {
        return Ok(0);
    }
    let version = session
        .first("SELECT MAX(version) FROM schema_version", (), |row| {
            row.read::<Option<i64>>()
        })
        .await?;
    let version = version.flatten().unwrap_or(0);
    usize::try_from(version).map_err(|_| Fault::Corrupt("schema_version"))
}

async fn migrate(
    session: &mut Session<'_>,
    flavour: Flavour,
    installation: &str,
) -> std::result::Result<(), OpenError> {
    let found = version(session).await?;
    if found > VERSION {
        return Err(OpenError::SchemaTooNew {
            found,
            known: VERSION,
        });
    }
    let now = micros(session.now);
    let table = "CREATE TABLE IF NOT EXISTS schema_version
                 (version INT NOT NULL PRIMARY KEY, reached_at BIGINT NOT NULL) ENGINE=InnoDB";
    session.say(table).await?;
    for (number, step) in STEPS.iter().enumerate().skip(found) {
        for statement in statements(&step.replace("{bin}", flavour.byte_for_byte())) {
            match session.say(&statement).await {
                // An earlier start was cut off behind it.
                Err(fault) if fault.is_already_there() => {}
                done => done?,
            }
        }
        let reached = "INSERT INTO schema_version (version, reached_at) VALUES (?, ?)";
        session.run(reached, (number + 1, now)).await?;
    }
    let name = "INSERT IGNORE INTO installation (id, name) VALUES (1, ?)";
    session.run(name, (installation,)).await?;
    Ok(())
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
        let all = statements(STEPS[0]);
        assert!(all.len() > 15);
        assert!(
            all.iter()
                .all(|one| one.starts_with("CREATE TABLE IF NOT EXISTS "))
        );
    }
}
