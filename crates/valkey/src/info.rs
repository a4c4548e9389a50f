//! Reads a server's INFO: its identity, and whether it can hold gates.

/// The used share of a server's memory from which it counts as short of memory.
const SHORT_OF_MEMORY_FROM: f64 = 0.8;

/// A server that can hold gates.
#[derive(Debug, PartialEq)]
pub(crate) struct Usable {
    /// The server's identity: its run id and its replication id. Each start, and each copy of the data, has another.
    pub(crate) server: String,
    /// The used share of the server's memory, if it has a limit.
    pub(crate) memory_used: Option<f64>,
    /// A warning for operators.
    pub(crate) warning: Option<String>,
}

impl Usable {
    /// Returns whether the server should store only what is needed.
    pub(crate) fn is_short_of_memory(&self) -> bool {
        self.memory_used
            .is_some_and(|used| used >= SHORT_OF_MEMORY_FROM)
    }
}

/// The reason why a server cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unusable {
    pub(crate) reason: String,
    /// Waiting does not help: an operator has to change a setting or the server.
    pub(crate) is_final: bool,
}

impl Unusable {
    /// Makes a reason against which waiting does not help.
    pub(crate) fn for_good(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            is_final: true,
        }
    }
}

impl From<String> for Unusable {
    fn from(reason: String) -> Self {
        Self {
            reason,
            is_final: false,
        }
    }
}

/// Reads the answer to INFO. The error is the reason why the server can hold no gates.
pub(crate) fn examine(info: &str) -> Result<Usable, Unusable> {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    };
    let needed = |name: &str| field(name).ok_or_else(|| format!("INFO has no {name}"));
    if field("loading") == Some("1") {
        return Err("LOADING: it is still reading its data".to_owned().into());
    }
    let role = needed("role")?;
    if role != "master" {
        let reason =
            format!("it is a read-only replica (role:{role}); the URL must lead to the primary");
        return Err(reason.into());
    }
    let warning = check_version(field("valkey_version"), needed("redis_version")?)
        .map_err(Unusable::for_good)?;
    let policy = needed("maxmemory_policy")?;
    if policy != "noeviction" {
        return Err(Unusable::for_good(format!(
            "it would throw keys away when memory is short (maxmemory-policy {policy}); set noeviction"
        )));
    }
    let number = |name: &str| field(name)?.parse::<f64>().ok();
    let limit = number("maxmemory").filter(|limit| *limit > 0.0);
    Ok(Usable {
        server: format!("{} {}", needed("run_id")?, needed("master_replid")?),
        memory_used: limit
            .zip(number("used_memory"))
            .map(|(limit, used)| used / limit),
        warning,
    })
}

/// Accepts Valkey from version 8, and Redis, from which it came, from version 7.2 with a warning.
fn check_version(valkey: Option<&str>, redis: &str) -> Result<Option<String>, String> {
    let parts = |version: &str| {
        let mut parts = version
            .split('.')
            .map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    };
    match valkey {
        Some(version) if parts(version).0 >= 8 => Ok(None),
        Some(version) => Err(format!("it is Valkey {version}; 8 or newer is needed")),
        None if parts(redis) >= (7, 2) => Ok(Some(format!(
            "it is Redis {redis}: it should work, but is not what Goodpon is tested with"
        ))),
        None => Err(format!("it is Redis {redis}; Valkey 8 or newer is needed")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.3\r\nrun_id:aa\r\n\
        # Memory\r\nused_memory:79\r\nmaxmemory:100\r\nmaxmemory_policy:noeviction\r\n\
        # Persistence\r\nloading:0\r\n# Replication\r\nrole:master\r\nmaster_replid:bb\r\nmaster_replid2:cc\r\n";

    #[test]
    fn a_server_is_identified_by_its_run_and_replication_ids() {
        let usable = examine(GOOD).unwrap();
        assert_eq!(usable.server, "aa bb");
        assert_eq!(usable.warning, None);
        assert!(!usable.is_short_of_memory());
        let fuller = GOOD.replace("used_memory:79", "used_memory:80");
        assert!(examine(&fuller).unwrap().is_short_of_memory());
        let unlimited = fuller.replace("maxmemory:100", "maxmemory:0");
        assert!(!examine(&unlimited).unwrap().is_short_of_memory());
    }

    #[test]
    fn a_server_that_can_hold_no_gate_is_refused_with_the_reason() {
        for (good, bad, why) in [
            (
                "valkey_version:8.1.3",
                "valkey_version:7.2.9",
                "Valkey 7.2.9",
            ),
            ("valkey_version:8.1.3\r\n", "", ""),
            ("loading:0", "loading:1", "LOADING"),
            ("role:master", "role:slave", "read-only replica"),
            ("policy:noeviction", "policy:allkeys-lru", "allkeys-lru"),
            ("run_id:aa", "x:y", "run_id"),
        ] {
            let found = examine(&GOOD.replace(good, bad));
            match found {
                Err(Unusable { reason, .. }) => {
                    assert!(!why.is_empty() && reason.contains(why), "{reason}");
                }
                Ok(usable) => assert!(why.is_empty() && usable.warning.is_some(), "{bad}"),
            }
        }
        let old = GOOD
            .replace("valkey_version:8.1.3\r\n", "")
            .replace("7.2.4", "7.0.15");
        assert!(examine(&old).unwrap_err().reason.contains("Redis 7.0.15"));
    }
}
