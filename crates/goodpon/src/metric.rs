//! All metrics of the program, in tables by the processes that record them.

mod page;

use goodpon_metric::Metric;

use crate::role::Role;

pub use page::page;

/// The metrics of one part of the program.
struct Table {
    /// The part, as a heading.
    title: &'static str,
    /// The processes that record them.
    processes: Processes,
    metrics: &'static [Metric],
}

/// Processes, by their role and by the set of back ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Processes {
    All,
    /// Those with a port for merchants or shops.
    OfApis,
    OfDashboards,
    OfPartners,
    OneMachine,
    ScaledOut,
    PartnersScaledOut,
    IssuersScaledOut,
}

/// In the order of `docs/metrics.md`.
const TABLES: [Table; 12] = [
    Table {
        title: "Requests",
        processes: Processes::OfApis,
        metrics: &goodpon_web::metric::METRICS,
    },
    Table {
        title: "Issues",
        processes: Processes::OfPartners,
        metrics: &goodpon_application::metric::METRICS,
    },
    Table {
        title: "Sweeps and mails",
        processes: Processes::OfDashboards,
        metrics: &goodpon_worker::metric::METRICS,
    },
    Table {
        title: "The embedded store",
        processes: Processes::OneMachine,
        metrics: &goodpon_sqlite::metric::METRICS,
    },
    Table {
        title: "The issue path: partners",
        processes: Processes::PartnersScaledOut,
        metrics: &goodpon_scaled::metric::OF_PARTNERS,
    },
    Table {
        title: "The issue path: gates",
        processes: Processes::ScaledOut,
        metrics: &goodpon_scaled::metric::METRICS,
    },
    Table {
        title: "The issue path: issuers",
        processes: Processes::IssuersScaledOut,
        metrics: &goodpon_scaled::metric::OF_ISSUERS,
    },
    Table {
        title: "The log",
        processes: Processes::PartnersScaledOut,
        metrics: &goodpon_kafka::metric::METRICS,
    },
    Table {
        title: "Valkey",
        processes: Processes::ScaledOut,
        metrics: &goodpon_scaled::metric::OF_VALKEY,
    },
    Table {
        title: "The database server",
        processes: Processes::ScaledOut,
        metrics: &goodpon_mysql::metric::METRICS,
    },
    Table {
        title: "Background tasks",
        processes: Processes::All,
        metrics: &goodpon_supervise::metric::METRICS,
    },
    Table {
        title: "The process",
        processes: Processes::All,
        metrics: &goodpon_telemetry::process::METRICS,
    },
];

impl Processes {
    fn include(self, role: Role, is_scaled_out: bool) -> bool {
        match self {
            Self::All => true,
            Self::OfApis => role.has_dashboard() || role.has_partner(),
            Self::OfDashboards => role.has_dashboard(),
            Self::OfPartners => role.has_partner(),
            Self::OneMachine => !is_scaled_out,
            Self::ScaledOut => is_scaled_out,
            Self::PartnersScaledOut => is_scaled_out && role.has_partner(),
            Self::IssuersScaledOut => is_scaled_out && role.has_issuer(),
        }
    }
}

/// Introduces the metrics that a process of this role records, once the recorder is installed.
pub fn introduce(role: Role, is_scaled_out: bool) {
    for table in &TABLES {
        if table.processes.include(role, is_scaled_out) {
            goodpon_metric::introduce(table.metrics);
        }
    }
}

#[cfg(test)]
mod tests;
