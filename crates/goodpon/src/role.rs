//! The parts of Goodpon, which run in one process or in several.

/// The part of Goodpon that a process runs. A single part needs the scaled-out set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// All parts.
    All,
    /// The API for merchants, sweeps and mail delivery.
    Dashboard,
    /// The API for shops.
    Partner,
    /// Writes the coupons of accepted issues.
    Issuer,
}

impl Role {
    pub fn has_dashboard(self) -> bool {
        matches!(self, Self::All | Self::Dashboard)
    }

    pub fn has_partner(self) -> bool {
        matches!(self, Self::All | Self::Partner)
    }

    pub fn has_issuer(self) -> bool {
        matches!(self, Self::All | Self::Issuer)
    }
}
