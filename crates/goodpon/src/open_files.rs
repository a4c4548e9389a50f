//! The number of connections that the system's limit on open files allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of ports with clients: dashboard and partner API. Each gets the same share, so that idle clients of one
/// cannot starve the other.
const PORTS: u64 = 2;

/// The number of other open files: database, logs, connections to the mail server.
const OTHER_FILES: u64 = 64;

/// Returns the most connections that each port can have at once: `wanted`, or fewer, with a warning, if the system's limit
/// on open files allows no more. Raises the soft limit as far as needed. `admin` connections come on top.
pub fn connections_per_port(wanted: usize, admin: usize) -> usize {
    let others = OTHER_FILES + admin as u64;
    let needed = others + PORTS * wanted as u64;
    let limit = raised(needed);
    let fitting = fitting(wanted, others, limit);
    if fitting < wanted {
        tracing::warn!(
            max_connections = wanted,
            open_files = limit,
            needed,
            connections_per_port = fitting,
            "max-connections is more than the limit on open files holds: raise that (ulimit -n) or lower max-connections"
        );
    }
    fitting
}

/// Raises the soft limit towards `needed`, and returns it; `None` is no limit.
fn raised(needed: u64) -> Option<u64> {
    let found = getrlimit(Resource::Nofile);
    let current = found.current?;
    if current >= needed {
        return Some(current);
    }
    let raised = found.maximum.map_or(needed, |max| max.min(needed));
    let limit = Rlimit {
        current: Some(raised),
        ..found
    };
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => Some(raised),
        Err(_) => Some(current),
    }
}

/// Returns a port's share of the limit: at most `wanted`, and at least one connection.
fn fitting(wanted: usize, others: u64, limit: Option<u64>) -> usize {
    let share = |limit: u64| limit.saturating_sub(others) / PORTS;
    let max = limit.map_or(usize::MAX, |limit| {
        usize::try_from(share(limit)).unwrap_or(usize::MAX)
    });
    wanted.min(max).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_port_gets_half_of_what_is_left() {
        for (wanted, limit, expected) in [
            (10_000, None, 10_000),
            (10_000, Some(20_164), 10_000),
            (10_000, Some(20_163), 9_999),
            (10_000, Some(1_024), 430),
            (100, Some(1_024), 100),
            (10_000, Some(50), 1),
        ] {
            assert_eq!(fitting(wanted, 164, limit), expected, "{limit:?}");
        }
    }

    #[test]
    fn a_limit_that_is_high_enough_stays() {
        let before = getrlimit(Resource::Nofile).current;
        assert_eq!(raised(1), before);
        assert_eq!(getrlimit(Resource::Nofile).current, before);
    }
}
