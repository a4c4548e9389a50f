//! Merchants, their members and their client secrets.

use jiff::Timestamp;

use crate::id::{AccountId, MemberId, MerchantId, SecretId};

/// The most unexpired secrets that a merchant may have (contract §5).
pub const MAX_UNEXPIRED_SECRETS: usize = 5;

/// A member's role, which decides what the member may do (contract §1, Enums, and §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The creator of the merchant; may do everything.
    Owner,
    /// May do everything except changing secrets and members.
    Staff,
}

/// A merchant, without its members and secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merchant {
    /// Its id.
    pub id: MerchantId,
    /// Its name, trimmed.
    pub name: String,
    /// The id by which its shop authenticates: `ck_` and 32 hex digits.
    pub client_id: String,
    /// The time at which it was created.
    pub created_at: Timestamp,
    /// The time of the last change of the merchant, its members or its secrets.
    pub updated_at: Timestamp,
}

/// An account's membership of a merchant, with the parts of the account that other members see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The membership's id.
    pub id: MemberId,
    /// The account that is a member.
    pub account_id: AccountId,
    /// The account's address.
    pub email: String,
    /// The account's name.
    pub name: String,
    /// The account's role.
    pub role: Role,
    /// The time at which the account became a member.
    pub created_at: Timestamp,
}

/// A client secret without the digits that are never stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSecret {
    /// Its id.
    pub id: SecretId,
    /// Its first four hex digits.
    pub head: String,
    /// Its last four hex digits.
    pub tail: String,
    /// The time at which it was created.
    pub created_at: Timestamp,
    /// The time from which it is expired; `None` if it has no end.
    pub expired_at: Option<Timestamp>,
}

impl ClientSecret {
    /// Returns the form that is shown: `sk_`, the first four digits, 24 stars, the last four digits (contract §2).
    pub fn masked(&self) -> String {
        format!("sk_{}{}{}", self.head, "*".repeat(24), self.tail)
    }

    /// Returns whether it is expired at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expired_at.is_some_and(|end| end <= now)
    }
}

/// Why an account may not do something with a merchant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessRefusal {
    /// There is no such merchant.
    MerchantNotFound,
    /// The account is not a member of it.
    NotAMember,
    /// Only an owner may do it.
    OwnerOnly,
}

/// An account's relation to a merchant, as looked up for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// True if the merchant exists.
    pub exists: bool,
    /// The account's role in it; `None` if it is not a member.
    pub role: Option<Role>,
}

impl Standing {
    /// Returns the account's role if it is a member. Existence is checked before permission (contract §2).
    ///
    /// # Errors
    /// [`AccessRefusal::MerchantNotFound`] or [`AccessRefusal::NotAMember`].
    pub fn require_member(self) -> Result<Role, AccessRefusal> {
        if !self.exists {
            return Err(AccessRefusal::MerchantNotFound);
        }
        self.role.ok_or(AccessRefusal::NotAMember)
    }

    /// Allows owners only (contract §5).
    ///
    /// # Errors
    /// That of [`Self::require_member`], or [`AccessRefusal::OwnerOnly`] for staff.
    pub fn require_owner(self) -> Result<(), AccessRefusal> {
        match self.require_member()? {
            Role::Owner => Ok(()),
            Role::Staff => Err(AccessRefusal::OwnerOnly),
        }
    }
}

/// Why a change of a merchant's secrets is refused (contract §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretRefusal {
    /// The account may not change them.
    Access(AccessRefusal),
    /// The merchant has [`MAX_UNEXPIRED_SECRETS`] already.
    LimitExceeded,
    /// The merchant has no such secret.
    NotFound,
    /// It is the merchant's only secret that has no end.
    LastSecret,
}

/// Decides whether another secret may be added to a merchant's `secrets` at `now`.
///
/// # Errors
/// [`SecretRefusal::LimitExceeded`].
pub fn add_secret(secrets: &[ClientSecret], now: Timestamp) -> Result<(), SecretRefusal> {
    let unexpired = secrets.iter().filter(|s| !s.is_expired(now)).count();
    if unexpired >= MAX_UNEXPIRED_SECRETS {
        return Err(SecretRefusal::LimitExceeded);
    }
    Ok(())
}

/// Decides the end of the secret `id`: `at`, or `now` if that is absent or past. A secret that is expired already keeps
/// its end, because it must not become valid again.
///
/// # Errors
/// [`SecretRefusal::NotFound`] or [`SecretRefusal::LastSecret`].
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

/// The account owns the most merchants that its quota allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MerchantLimitExceeded;

/// Why a change of a merchant's members is refused (contract §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberRefusal {
    /// The account may not change them.
    Access(AccessRefusal),
    /// No verified account has that address.
    AccountNotFound,
    /// The account is a member already.
    AlreadyAMember,
    /// The merchant has the most members that its quota allows.
    LimitExceeded,
    /// The merchant has no such member.
    NotFound,
    /// The member is an owner, who cannot be removed.
    OwnerNotRemovable,
}

/// Decides whether a member may be removed; `None` if the merchant has no such member.
///
/// # Errors
/// [`MemberRefusal::NotFound`] or [`MemberRefusal::OwnerNotRemovable`].
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
