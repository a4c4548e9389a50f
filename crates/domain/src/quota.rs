//! Quotas: bounds on what a tenant may create, so that no tenant fills the store for all.

/// A bound on a count, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota(Option<u32>);

impl Quota {
    /// No bound.
    pub const UNLIMITED: Self = Self(None);

    /// Makes a bound of `max`; 0 is [`Self::UNLIMITED`], as in the settings.
    pub const fn of(max: u32) -> Self {
        match max {
            0 => Self::UNLIMITED,
            max => Self(Some(max)),
        }
    }

    /// Returns whether there is a bound, so that a store must count before it adds.
    pub fn is_limited(self) -> bool {
        self.0.is_some()
    }

    /// Returns whether one more is allowed beside `existing`.
    pub fn has_room(self, existing: i64) -> bool {
        self.0.is_none_or(|max| existing < i64::from(max))
    }
}

/// The quotas of all tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Merchants that an account may own.
    pub merchants_per_account: Quota,
    /// Templates of a merchant, of any status.
    pub templates_per_merchant: Quota,
    /// Members of a merchant, its owner included.
    pub members_per_merchant: Quota,
}

impl Quotas {
    /// No bounds.
    pub const UNLIMITED: Self = Self {
        merchants_per_account: Quota::UNLIMITED,
        templates_per_merchant: Quota::UNLIMITED,
        members_per_merchant: Quota::UNLIMITED,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_reached_at_its_bound_and_zero_is_none() {
        assert!(Quota::of(2).has_room(1) && !Quota::of(2).has_room(2));
        assert!(Quota::of(0).has_room(i64::MAX) && !Quota::of(0).is_limited());
    }
}
