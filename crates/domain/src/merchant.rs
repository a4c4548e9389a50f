//! Merchants, their members and their client secrets.

use jiff::Timestamp;

use crate::id::{AccountId, MemberId, MerchantId, SecretId};

/// How many unexpired secrets a merchant may have (contract §5).
pub const MAX_UNEXPIRED_SECRETS: usize = 5;

/// What a member may do (contract §1, Enums).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Who made the merchant: may do all.
    Owner,
    /// May do all but change secrets and members.
    Staff,
}

/// A merchant by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merchant {
    /// Its id.
    pub id: MerchantId,
    /// Its name, trimmed.
    pub name: String,
    /// `ck_` and 32 hex digits.
    pub client_id: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it, its members or its secrets last changed.
    pub updated_at: Timestamp,
}

/// An account's membership, with what others see of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The membership's id.
    pub id: MemberId,
    /// Whose it is.
    pub account_id: AccountId,
    /// That account's address.
    pub email: String,
    /// That account's name.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Since when.
    pub created_at: Timestamp,
}

/// A client secret as it rests: never in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSecret {
    /// Its id.
    pub id: SecretId,
    /// Its first four hex digits.
    pub head: String,
    /// Its last four hex digits.
    pub tail: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is expired; `None` is without end.
    pub expired_at: Option<Timestamp>,
}

impl ClientSecret {
    /// `sk_`, four digits, 24 stars, four digits (contract §2).
    pub fn masked(&self) -> String {
        format!("sk_{}{}{}", self.head, "*".repeat(24), self.tail)
    }

    /// Whether it is expired at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expired_at.is_some_and(|end| end <= now)
    }
}

/// Why an account may not do something with a merchant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessRefusal {
    /// There is no such merchant.
    MerchantNotFound,
    /// The account is no member of it.
    NotAMember,
    /// Only an owner may.
    OwnerOnly,
}

/// What an account is to a merchant, as looked up for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether the merchant exists at all.
    pub exists: bool,
    /// The account's role in it.
    pub role: Option<Role>,
}

impl Standing {
    /// Lets every member pass. Existence is checked before permission (contract §2).
    pub fn require_member(self) -> Result<Role, AccessRefusal> {
        if !self.exists {
            return Err(AccessRefusal::MerchantNotFound);
        }
        self.role.ok_or(AccessRefusal::NotAMember)
    }

    /// Lets owners pass (contract §5).
    pub fn require_owner(self) -> Result<(), AccessRefusal> {
        match self.require_member()? {
            Role::Owner => Ok(()),
            Role::Staff => Err(AccessRefusal::OwnerOnly),
        }
    }
}

/// Why a merchant's secrets are not changed (contract §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretRefusal {
    /// Not allowed to this account.
    Access(AccessRefusal),
    /// Five unexpired ones are enough.
    LimitExceeded,
    /// No such secret of this merchant.
    NotFound,
    /// Without it no secret without an end would be left.
    LastSecret,
}

/// Decides whether another secret may be made.
pub fn add_secret(secrets: &[ClientSecret], now: Timestamp) -> Result<(), SecretRefusal> {
    let unexpired = secrets.iter().filter(|s| !s.is_expired(now)).count();
    if unexpired >= MAX_UNEXPIRED_SECRETS {
        return Err(SecretRefusal::LimitExceeded);
    }
    Ok(())
}

/// Decides the end of a secret: `at`, or `now` where that is absent or past. One that is expired
/// already keeps its end, for it must not come to life again.
pub fn expire_secret(
    secrets: &[ClientSecret],
    id: SecretId,
    at: Option<Timestamp>,
    now: Timestamp,
) -> Result<Timestamp, SecretRefusal> {
    let secret = secrets
        .iter()
        .find(|s| s.id == id)
        .ok_or(SecretRefusal::NotFound)?;
    let endless = secrets.iter().filter(|s| s.expired_at.is_none()).count();
    match secret.expired_at {
        Some(end) if end <= now => Ok(end),
        None if endless == 1 => Err(SecretRefusal::LastSecret),
        _ => Ok(at.map_or(now, |at| at.max(now))),
    }
}

/// The account owns as many merchants as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MerchantLimitExceeded;

/// Why a merchant's members are not changed (contract §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberRefusal {
    /// Not allowed to this account.
    Access(AccessRefusal),
    /// Nobody with a proven address of that kind.
    AccountNotFound,
    /// Is one already.
    AlreadyAMember,
    /// The merchant has as many as it may.
    LimitExceeded,
    /// No such member of this merchant.
    NotFound,
    /// An owner stays.
    OwnerNotRemovable,
}

/// Decides whether a member may be removed.
pub fn remove_member(member: Option<&Member>) -> Result<(), MemberRefusal> {
    match member.ok_or(MemberRefusal::NotFound)?.role {
        Role::Owner => Err(MemberRefusal::OwnerNotRemovable),
        Role::Staff => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jiff::ToSpan;

    fn at(minute: i64) -> Timestamp {
        "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + minute.minutes()
    }

    fn secret(id: i64, expired_at: Option<Timestamp>) -> ClientSecret {
        ClientSecret {
            id: SecretId(id),
            head: "abcd".into(),
            tail: "0123".into(),
            created_at: at(0),
            expired_at,
        }
    }

    #[test]
    fn a_mask_keeps_eight_digits() {
        let masked = secret(1, None).masked();
        assert_eq!(masked, "sk_abcd************************0123");
        assert_eq!(masked.len(), 35);
    }

    #[test]
    fn access_is_refused_in_order() {
        let standing = |exists, role| Standing { exists, role };
        assert_eq!(
            standing(false, None).require_owner(),
            Err(AccessRefusal::MerchantNotFound)
        );
        assert_eq!(
            standing(true, None).require_owner(),
            Err(AccessRefusal::NotAMember)
        );
        assert_eq!(
            standing(true, Some(Role::Staff)).require_owner(),
            Err(AccessRefusal::OwnerOnly)
        );
        assert_eq!(standing(true, Some(Role::Owner)).require_owner(), Ok(()));
    }

    #[test]
    fn five_unexpired_secrets_are_the_limit() {
        let mut secrets: Vec<_> = (0..4).map(|id| secret(id, None)).collect();
        secrets.push(secret(5, Some(at(10))));
        assert_eq!(
            add_secret(&secrets, at(9)),
            Err(SecretRefusal::LimitExceeded)
        );
        assert_eq!(add_secret(&secrets, at(10)), Ok(()));
    }

    #[test]
    fn the_last_endless_secret_stays() {
        let secrets = [secret(1, None), secret(2, Some(at(10)))];
        let expire = |id, when, now| expire_secret(&secrets, SecretId(id), when, now);
        assert_eq!(expire(1, None, at(1)), Err(SecretRefusal::LastSecret));
        assert_eq!(expire(3, None, at(1)), Err(SecretRefusal::NotFound));
        assert_eq!(expire(2, None, at(1)), Ok(at(1)));
        assert_eq!(expire(2, Some(at(0)), at(1)), Ok(at(1)));
        assert_eq!(expire(2, Some(at(30)), at(1)), Ok(at(30)));
        assert_eq!(expire(2, Some(at(30)), at(11)), Ok(at(10)));
    }
}
