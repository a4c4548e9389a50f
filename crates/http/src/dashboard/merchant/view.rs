//! Merchants, secrets and members as they are shown to members.

use goodpon_application::merchant::CreatedMerchant;
use goodpon_application::ports::MerchantDetail;
use goodpon_domain::business_time::BusinessZone;
use goodpon_domain::merchant::{ClientSecret, Member, Merchant};
use serde::Serialize;
use utoipa::ToSchema;

use crate::local_time::LocalTime;
use crate::words;

/// A merchant just made, with its first secret in full.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::dashboard) struct CreateMerchantResult<'a> {
    id: i64,
    name: &'a str,
    client_id: &'a str,
    client_secrets: Vec<IssuedClientSecret>,
    merchant_accounts: Vec<MerchantAccount>,
}

/// A secret in the answer that made or expired it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::dashboard) struct IssuedClientSecret {
    id: i64,
    secret: String,
    expired_at: Option<LocalTime>,
}

impl IssuedClientSecret {
    pub(super) fn of(secret: &ClientSecret, shown: String, zone: &BusinessZone) -> Self {
        Self {
            id: secret.id.0,
            secret: shown,
            expired_at: LocalTime::of_optional(zone, secret.expired_at),
        }
    }
}

/// A membership, in short.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::dashboard) struct MerchantAccount {
    id: i64,
    account_id: i64,
    #[schema(schema_with = words::schema::role)]
    role: &'static str,
}

impl<'a> CreateMerchantResult<'a> {
    pub(super) fn of(created: &'a CreatedMerchant, zone: &BusinessZone) -> Self {
        let MerchantDetail {
            merchant,
            members,
            secrets,
        } = &created.detail;
        Self {
            id: merchant.id.0,
            name: &merchant.name,
            client_id: &merchant.client_id,
            client_secrets: secrets
                .iter()
                .map(|secret| IssuedClientSecret::of(secret, created.full_secret.clone(), zone))
                .collect(),
            merchant_accounts: members
                .iter()
                .map(|member| MerchantAccount {
                    id: member.id.0,
                    account_id: member.account_id.0,
                    role: words::role(member.role),
                })
                .collect(),
        }
    }
}

/// The caller's merchants, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::dashboard) struct MyMerchantSummaries<'a> {
    pub(super) merchants: Vec<MyMerchantSummary<'a>>,
}

/// A merchant, in short.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::dashboard) struct MyMerchantSummary<'a> {
    id: i64,
    name: &'a str,
    created_at: LocalTime,
}

impl<'a> MyMerchantSummary<'a> {
    pub(super) fn of(merchant: &'a Merchant, zone: &BusinessZone) -> Self {
        Self {
            id: merchant.id.0,
            name: &merchant.name,
            created_at: LocalTime::of(zone, merchant.created_at),
        }
    }
}

/// A merchant as its members see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::dashboard) struct MyMerchantDetail<'a> {
    id: i64,
    name: &'a str,
    client_id: &'a str,
    merchant_accounts: Vec<MerchantMember<'a>>,
    client_secrets: Vec<MerchantClientSecret>,
    created_at: LocalTime,
    updated_at: LocalTime,
}

/// A member of a merchant.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::dashboard) struct MerchantMember<'a> {
    merchant_account_id: i64,
    account_id: i64,
    email: &'a str,
    name: &'a str,
    #[schema(schema_with = words::schema::role)]
    role: &'static str,
    created_at: LocalTime,
}

impl<'a> MerchantMember<'a> {
    pub(super) fn of(member: &'a Member, zone: &BusinessZone) -> Self {
        Self {
            merchant_account_id: member.id.0,
            account_id: member.account_id.0,
            email: &member.email,
            name: &member.name,
            role: words::role(member.role),
            created_at: LocalTime::of(zone, member.created_at),
        }
    }
}

/// A secret, masked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::dashboard) struct MerchantClientSecret {
    merchant_client_secret_id: i64,
    secret: String,
    created_at: LocalTime,
    expired_at: Option<LocalTime>,
}

impl<'a> MyMerchantDetail<'a> {
    pub(super) fn of(detail: &'a MerchantDetail, zone: &BusinessZone) -> Self {
        let merchant = &detail.merchant;
        Self {
            id: merchant.id.0,
            name: &merchant.name,
            client_id: &merchant.client_id,
            merchant_accounts: detail
                .members
                .iter()
                .map(|member| MerchantMember::of(member, zone))
                .collect(),
            client_secrets: detail
                .secrets
                .iter()
                .map(|secret| MerchantClientSecret {
                    merchant_client_secret_id: secret.id.0,
                    secret: secret.masked(),
                    created_at: LocalTime::of(zone, secret.created_at),
                    expired_at: LocalTime::of_optional(zone, secret.expired_at),
                })
                .collect(),
            created_at: LocalTime::of(zone, merchant.created_at),
            updated_at: LocalTime::of(zone, merchant.updated_at),
        }
    }
}
