//! Merchants, their client secrets and their members (contract §2, §5).

use axum::extract::State;
use goodpon_application::merchant::{self, CreatedMerchant, MerchantNotFound};
use goodpon_application::ports::MerchantDetail;
use goodpon_domain::business_time::BusinessZone;
use goodpon_domain::id::{MemberId, MerchantId, SecretId};
use goodpon_domain::merchant::{
    AccessRefusal, ClientSecret, Member, MemberRefusal, Merchant, MerchantLimitExceeded,
    SecretRefusal,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::dashboard::{Call, Caller, Dashboard};
use crate::error::{ApiError, ErrorCode, INVALID_VALUE};
use crate::local_time::LocalTime;
use crate::openapi::requests::{
    AddMemberRequest, CreateMerchantRequest, ExpireClientSecretRequest,
};
use crate::openapi::{Success, errors};
use crate::words;

/// The longest e-mail address that is read, in characters.
const MAX_EMAIL: usize = 255;

/// A merchant just made, with its first secret in full.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateMerchantResult<'a> {
    id: i64,
    name: &'a str,
    client_id: &'a str,
    client_secrets: Vec<IssuedClientSecret>,
    merchant_accounts: Vec<MerchantAccount>,
}

/// A secret in the answer that made or expired it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IssuedClientSecret {
    id: i64,
    secret: String,
    expired_at: Option<LocalTime>,
}

impl IssuedClientSecret {
    fn of(secret: &ClientSecret, shown: String, zone: &BusinessZone) -> Self {
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
pub(crate) struct MerchantAccount {
    id: i64,
    account_id: i64,
    #[schema(schema_with = words::schema::role)]
    role: &'static str,
}

impl<'a> CreateMerchantResult<'a> {
    fn of(created: &'a CreatedMerchant, zone: &BusinessZone) -> Self {
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

errors! { CreateMerchantErrors: MerchantLimitExceeded }

#[utoipa::path(
    post,
    path = "/v1/merchants",
    tag = "Merchant",
    operation_id = "createMerchant",
    summary = "상점 생성 · Create a merchant",
    description = "상점을 만들고 OWNER가 됩니다. 시크릿 전체는 이 응답에서만 볼 수 있습니다. Makes a merchant that the caller owns; its secret is shown in full this once.",
    request_body(content = CreateMerchantRequest, example = json!({"name": "상점"})),
    responses(
        (status = 200, description = "만들어진 상점 · the new merchant", body = Success<CreateMerchantResult>, example = json!({"result": "SUCCESS", "data": {"id": 1, "name": "상점", "clientId": "ck_dd144f3b95144877a0dcbaad2b321380", "clientSecrets": [{"id": 1, "secret": "sk_3e153d8453ea8bafb2604ee86f732652", "expiredAt": null}], "merchantAccounts": [{"id": 1, "accountId": 1, "role": "OWNER"}]}, "error": null})),
        CreateMerchantErrors,
    ),
    security(("bearerAuth" = [])),
)]
pub(crate) async fn create_merchant(
    State(dashboard): State<Dashboard>,
    Caller(caller): Caller,
    call: Call,
) -> Result<Answer, ApiError> {
    let mut fields = call.fields_and_body();
    let name = fields.body("name").name(1..=255);
    let name = fields.finish(|| name)?;
    let app = dashboard.app();
    let created = merchant::create(app, caller.id, name.into_owned())
        .await
        .map_err(|failure| {
            ApiError::of(failure, |MerchantLimitExceeded| {
                ErrorCode::MerchantLimitExceeded
            })
        })?;
    call.is_about(created.detail.merchant.id.0);
    Ok(Answer::success(&CreateMerchantResult::of(
        &created, &app.zone,
    )))
}

/// The caller's merchants, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MyMerchantSummaries<'a> {
    merchants: Vec<MyMerchantSummary<'a>>,
}

/// A merchant, in short.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MyMerchantSummary<'a> {
    id: i64,
    name: &'a str,
    created_at: LocalTime,
}

impl<'a> MyMerchantSummary<'a> {
    fn of(merchant: &'a Merchant, zone: &BusinessZone) -> Self {
        Self {
            id: merchant.id.0,
            name: &merchant.name,
            created_at: LocalTime::of(zone, merchant.created_at),
        }
    }
}

#[utoipa::path(
    get,
    path = "/v1/merchants",
    tag = "Merchant",
    operation_id = "listMerchants",
    summary = "내 상점 목록 조회 · List my merchants",
    description = "구성원으로 속한 상점을 최신순으로 조회합니다. The merchants of which the caller is a member, newest first.",
    responses(
        (status = 200, description = "내 상점 · my merchants", body = Success<MyMerchantSummaries>, example = json!({"result": "SUCCESS", "data": {"merchants": [{"id": 2, "name": "두번째 상점", "createdAt": "2025-08-26T01:19:32.013312"}, {"id": 1, "name": "첫번째 상점", "createdAt": "2025-08-25T01:19:32.013324"}]}, "error": null})),
    ),
    security(("bearerAuth" = [])),
)]
pub(crate) async fn list_merchants(
    State(dashboard): State<Dashboard>,
    Caller(caller): Caller,
) -> Result<Answer, ApiError> {
    let app = dashboard.app();
    let merchants = merchant::list(app, caller.id).await?;
    let zone = app.zone.clone();
    let answer = merchants.render(move |merchants| {
        let merchants = merchants
            .iter()
            .map(|merchant| MyMerchantSummary::of(merchant, &zone))
            .collect();
        Answer::success(&MyMerchantSummaries { merchants })
    });
    Ok(answer.await?)
}

/// A merchant as its members see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MyMerchantDetail<'a> {
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
pub(crate) struct MerchantMember<'a> {
    merchant_account_id: i64,
    account_id: i64,
    email: &'a str,
    name: &'a str,
    #[schema(schema_with = words::schema::role)]
    role: &'static str,
    created_at: LocalTime,
}

impl<'a> MerchantMember<'a> {
    fn of(member: &'a Member, zone: &BusinessZone) -> Self {
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
pub(crate) struct MerchantClientSecret {
    merchant_client_secret_id: i64,
    secret: String,
    created_at: LocalTime,
    expired_at: Option<LocalTime>,
}

impl<'a> MyMerchantDetail<'a> {
    fn of(detail: &'a MerchantDetail, zone: &BusinessZone) -> Self {
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

errors! { GetMerchantErrors: MerchantNotFound }

#[utoipa::path(
    get,
    path = "/v1/merchants/{merchantId}",
    tag = "Merchant",
    operation_id = "getMerchant",
    summary = "상점 상세 조회 · Get a merchant",
    description = "구성원이 아닌 상점은 존재하지 않는 것으로 응답합니다. 시크릿은 가려집니다. Not found for outsiders; secrets are masked.",
    params(("merchantId" = String, Path, description = "조회할 상점 ID · the merchant's id")),
    responses(
        (status = 200, description = "상점 상세 · the merchant", body = Success<MyMerchantDetail>, example = json!({"result": "SUCCESS", "data": {"id": 1, "name": "테스트 상점", "clientId": "ck_dd144f3b95144877a0dcbaad2b321380", "merchantAccounts": [{"merchantAccountId": 1, "accountId": 1, "email": "test@goodpon.site", "name": "테스트 사용자", "role": "OWNER", "createdAt": "2025-08-26T01:19:31.851213"}], "clientSecrets": [{"merchantClientSecretId": 1, "secret": "sk_3e15************************2652", "createdAt": "2025-08-26T01:19:31.851235", "expiredAt": null}], "createdAt": "2025-08-26T01:19:31.851238", "updatedAt": "2025-08-26T01:19:31.851239"}, "error": null})),
        GetMerchantErrors,
    ),
    security(("bearerAuth" = [])),
)]
pub(crate) async fn get_merchant(
    State(dashboard): State<Dashboard>,
    Caller(caller): Caller,
    call: Call,
) -> Result<Answer, ApiError> {
    let mut fields = call.fields();
    let id = fields.path("merchantId").id();
    let id = fields.finish(|| id)?;
    call.is_about(id);
    let app = dashboard.app();
    let detail = merchant::detail(app, caller.id, MerchantId(id))
        .await
        .map_err(|failure| ApiError::of(failure, |MerchantNotFound| ErrorCode::MerchantNotFound))?;
    Ok(Answer::success(&MyMerchantDetail::of(&detail, &app.zone)))
}

errors! { CreateClientSecretErrors: MerchantNotFound, NoMerchantAccessPermission, OwnerOnly, ClientSecretLimitExceeded }

#[utoipa::path(
    post,
    path = "/v1/merchants/{merchantId}/client-secrets",
    tag = "Merchant",
    operation_id = "createClientSecret",
    summary = "클라이언트 시크릿 발급 · Create a client secret",
    description = "OWNER만 할 수 있으며, 유효한 시크릿은 최대 5개입니다. 시크릿 전체는 이 응답에서만 볼 수 있습니다. For an OWNER; at most 5 unexpired ones; shown in full this once.",
    params(("merchantId" = String, Path, description = "상점 ID · the merchant's id")),
    responses(
        (status = 200, description = "만들어진 시크릿 · the new secret", body = Success<IssuedClientSecret>, example = json!({"result": "SUCCESS", "data": {"id": 2, "secret": "sk_8f3b95144877a0dcbaad2b3213803e15", "expiredAt": null}, "error": null})),
        CreateClientSecretErrors,
    ),
    security(("bearerAuth" = [])),
)]
pub(crate) async fn create_client_secret(
    State(dashboard): State<Dashboard>,
    Caller(caller): Caller,
    call: Call,
) -> Result<Answer, ApiError> {
    let mut fields = call.fields();
    let id = fields.path("merchantId").id();
    let id = fields.finish(|| id)?;
    call.is_about(id);
    let app = dashboard.app();
    let (secret, full) = merchant::add_secret(app, caller.id, MerchantId(id))
        .await
        .map_err(|failure| ApiError::of(failure, secret_code))?;
    Ok(Answer::success(&IssuedClientSecret::of(
        &secret, full, &app.zone,
    )))
}

errors! { ExpireClientSecretErrors: MerchantNotFound, NoMerchantAccessPermission, OwnerOnly, ClientSecretNotFound, LastClientSecret }

#[utoipa::path(
    post,
    path = "/v1/merchants/{merchantId}/client-secrets/{secretId}/expire",
    tag = "Merchant",
    operation_id = "expireClientSecret",
    summary = "클라이언트 시크릿 만료 · Expire a client secret",
    description = "OWNER만 할 수 있습니다. 본문은 생략할 수 있으며, expiresAt이 없거나 과거이면 즉시 만료됩니다. For an OWNER; without a body, or with a past expiresAt, it expires at once.",
    params(
        ("merchantId" = String, Path, description = "상점 ID · the merchant's id"),
        ("secretId" = String, Path, description = "만료할 시크릿 ID · the secret's id"),
    ),
    request_body(content = Option<ExpireClientSecretRequest>, example = json!({"expiresAt": "2025-09-01T00:00:00"})),
    responses(
        (status = 200, description = "만료된 시크릿 · the secret, masked", body = Success<IssuedClientSecret>, example = json!({"result": "SUCCESS", "data": {"id": 1, "secret": "sk_3e15************************2652", "expiredAt": "2025-09-01T00:00:00"}, "error": null})),
        ExpireClientSecretErrors,
    ),
    security(("bearerAuth" = [])),
)]
pub(crate) async fn expire_client_secret(
    State(dashboard): State<Dashboard>,
    Caller(caller): Caller,
    call: Call,
) -> Result<Answer, ApiError> {
    let app = dashboard.app();
    let mut fields = call.fields().with_optional_body(&call.body);
    let id = fields.path("merchantId").id();
    let secret = fields.path("secretId").id();
    let local = fields.body("expiresAt").optional_date_time();
    let at = local.flatten().map(|local| app.zone.instant(local));
    if at == Some(None) {
        fields.fault("expiresAt", INVALID_VALUE);
    }
    let (id, secret) = fields.finish(|| Some((id?, secret?)))?;
    call.is_about(id);
    let expired = merchant::expire_secret(
        app,
        caller.id,
        MerchantId(id),
        SecretId(secret),
        at.flatten(),
    )
    .await
    .map_err(|failure| ApiError::of(failure, secret_code))?;
    let masked = expired.masked();
    Ok(Answer::success(&IssuedClientSecret::of(
        &expired, masked, &app.zone,
    )))
}

/// The code of a refusal by the merchant or the caller's role in it.
pub(crate) fn access_code(refusal: AccessRefusal) -> ErrorCode {
    match refusal {
        AccessRefusal::MerchantNotFound => ErrorCode::MerchantNotFound,
        AccessRefusal::NotAMember => ErrorCode::NoMerchantAccessPermission,
        AccessRefusal::OwnerOnly => ErrorCode::OwnerOnly,
    }
}

fn secret_code(refusal: SecretRefusal) -> ErrorCode {
    match refusal {
        SecretRefusal::Access(refusal) => access_code(refusal),
        SecretRefusal::LimitExceeded => ErrorCode::ClientSecretLimitExceeded,
        SecretRefusal::NotFound => ErrorCode::ClientSecretNotFound,
        SecretRefusal::LastSecret => ErrorCode::LastClientSecret,
    }
}

errors! { AddMemberErrors: MerchantNotFound, NoMerchantAccessPermission, OwnerOnly, AccountNotFound, AlreadyAMember, MemberLimitExceeded }

#[utoipa::path(
    post,
    path = "/v1/merchants/{merchantId}/members",
    tag = "Merchant",
    operation_id = "addMember",
    summary = "상점 구성원 추가 · Add a member",
    description = "OWNER만 할 수 있습니다. 인증된 계정을 STAFF로 추가합니다. For an OWNER; makes a verified account STAFF.",
    params(("merchantId" = String, Path, description = "상점 ID · the merchant's id")),
    request_body(content = AddMemberRequest, example = json!({"email": "staff@goodpon.site"})),
    responses(
        (status = 200, description = "추가된 구성원 · the new member", body = Success<MerchantMember>, example = json!({"result": "SUCCESS", "data": {"merchantAccountId": 2, "accountId": 2, "email": "staff@goodpon.site", "name": "직원", "role": "STAFF", "createdAt": "2025-08-26T01:19:31.851213"}, "error": null})),
        AddMemberErrors,
    ),
    security(("bearerAuth" = [])),
)]
pub(crate) async fn add_member(
    State(dashboard): State<Dashboard>,
    Caller(caller): Caller,
    call: Call,
) -> Result<Answer, ApiError> {
    let mut fields = call.fields_and_body();
    let id = fields.path("merchantId").id();
    let email = fields.body("email").text(0..=MAX_EMAIL);
    let (id, email) = fields.finish(|| Some((id?, email?)))?;
    call.is_about(id);
    call.names(&email);
    let app = dashboard.app();
    let member = merchant::add_member(app, caller.id, MerchantId(id), &email)
        .await
        .map_err(|failure| ApiError::of(failure, member_code))?;
    Ok(Answer::success(&MerchantMember::of(&member, &app.zone)))
}

errors! { RemoveMemberErrors: MerchantNotFound, NoMerchantAccessPermission, OwnerOnly, MemberNotFound, OwnerNotRemovable }

#[utoipa::path(
    delete,
    path = "/v1/merchants/{merchantId}/members/{merchantAccountId}",
    tag = "Merchant",
    operation_id = "removeMember",
    summary = "상점 구성원 제외 · Remove a member",
    description = "OWNER만 할 수 있으며, OWNER는 제외할 수 없습니다. For an OWNER; an OWNER cannot be removed.",
    params(
        ("merchantId" = String, Path, description = "상점 ID · the merchant's id"),
        ("merchantAccountId" = String, Path, description = "제외할 구성원 ID · the membership's id"),
    ),
    responses(
        (status = 200, description = "제외된 구성원 · the member removed", body = Success<MerchantMember>, example = json!({"result": "SUCCESS", "data": {"merchantAccountId": 2, "accountId": 2, "email": "staff@goodpon.site", "name": "직원", "role": "STAFF", "createdAt": "2025-08-26T01:19:31.851213"}, "error": null})),
        RemoveMemberErrors,
    ),
    security(("bearerAuth" = [])),
)]
pub(crate) async fn remove_member(
    State(dashboard): State<Dashboard>,
    Caller(caller): Caller,
    call: Call,
) -> Result<Answer, ApiError> {
    let mut fields = call.fields();
    let id = fields.path("merchantId").id();
    let member = fields.path("merchantAccountId").id();
    let (id, member) = fields.finish(|| Some((id?, member?)))?;
    call.is_about(id);
    let app = dashboard.app();
    let removed = merchant::remove_member(app, caller.id, MerchantId(id), MemberId(member))
        .await
        .map_err(|failure| ApiError::of(failure, member_code))?;
    Ok(Answer::success(&MerchantMember::of(&removed, &app.zone)))
}

fn member_code(refusal: MemberRefusal) -> ErrorCode {
    match refusal {
        MemberRefusal::Access(refusal) => access_code(refusal),
        MemberRefusal::AccountNotFound => ErrorCode::AccountNotFound,
        MemberRefusal::AlreadyAMember => ErrorCode::AlreadyAMember,
        MemberRefusal::LimitExceeded => ErrorCode::MemberLimitExceeded,
        MemberRefusal::NotFound => ErrorCode::MemberNotFound,
        MemberRefusal::OwnerNotRemovable => ErrorCode::OwnerNotRemovable,
    }
}
