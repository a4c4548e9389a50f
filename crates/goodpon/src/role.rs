//! The parts of Goodpon, which one process or several may be.

/// Which part of Goodpon a process is. Parts apart need the scaled-out set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// All of it.
    All,
    /// For merchants, and what is due by the clock.
    Dashboard,
    /// For shops.
    Partner,
    /// Makes coupons of accepted issues.
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
