//! How many of something a tenant may have, so that none takes the room of all.

/// A limit of a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota(Option<u32>);

impl Quota {
    /// As many as one likes.
    pub const UNLIMITED: Self = Self(None);

    /// At most that count; 0 is [`Self::UNLIMITED`].
    pub const fn of(most: u32) -> Self {
        match most {
            0 => Self::UNLIMITED,
            most => Self(Some(most)),
        }
    }

    /// Whether anybody has to count at all.
    pub fn is_limited(self) -> bool {
        self.0.is_some()
    }

    /// Whether one more fits beside `existing` ones.
    pub fn has_room(self, existing: i64) -> bool {
        self.0.is_none_or(|most| existing < i64::from(most))
    }
}

/// The limits of what tenants make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Merchants that an account owns.
    pub merchants_per_account: Quota,
    /// Templates of a merchant, in whatever state.
    pub templates_per_merchant: Quota,
    /// Members of a merchant, its owner included.
    pub members_per_merchant: Quota,
}

impl Quotas {
    /// No limits at all.
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
    fn a_quota_is_reached_by_its_number_and_never_by_zero() {
        assert!(Quota::of(2).has_room(1) && !Quota::of(2).has_room(2));
        assert!(Quota::of(0).has_room(i64::MAX) && !Quota::of(0).is_limited());
    }
}
