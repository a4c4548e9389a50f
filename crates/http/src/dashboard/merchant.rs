//! Merchants, their client secrets and their members (contract §2, §5).

mod view;

use axum::extract::State;
use goodpon_application::merchant::{self, MerchantNotFound};
use goodpon_domain::id::{MemberId, MerchantId, SecretId};
use goodpon_domain::merchant::{
    AccessRefusal, MemberRefusal, MerchantLimitExceeded, SecretRefusal,
};

use super::caller::{DashboardRequest, Session};
use super::state::Dashboard;
use crate::answer::Answer;
use crate::contract_values::ContractValues;
use crate::error::ApiError;
use crate::error_code::ErrorCode;
use crate::openapi::envelope::{Success, errors};
use crate::openapi::requests::{
    AddMemberRequest, CreateMerchantRequest, ExpireClientSecretRequest,
};
use view::{
    CreateMerchantResult, IssuedClientSecret, MerchantMember, MyMerchantDetail,
    MyMerchantSummaries, MyMerchantSummary,
};

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
pub(super) async fn create_merchant(
    State(dashboard): State<Dashboard>,
    Session(account): Session,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields_and_body();
    let name = fields.body("name").name(1..=255);
    let name = fields.finish(|| name)?;
    let app = dashboard.app();
    let created = merchant::create(app, account.id, name.into_owned())
        .await
        .map_err(|failure| {
            ApiError::of(failure, |MerchantLimitExceeded| {
                ErrorCode::MerchantLimitExceeded
            })
        })?;
    request.is_about(created.detail.merchant.id.0);
    Ok(Answer::success(&CreateMerchantResult::of(
        &created, &app.zone,
    )))
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
pub(super) async fn list_merchants(
    State(dashboard): State<Dashboard>,
    Session(account): Session,
) -> Result<Answer, ApiError> {
    let app = dashboard.app();
    let merchants = merchant::list(app, account.id).await?;
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
pub(super) async fn get_merchant(
    State(dashboard): State<Dashboard>,
    Session(account): Session,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields();
    let id = fields.path("merchantId").id();
    let id = fields.finish(|| id)?;
    request.is_about(id);
    let app = dashboard.app();
    let detail = merchant::detail(app, account.id, MerchantId(id))
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
pub(super) async fn create_client_secret(
    State(dashboard): State<Dashboard>,
    Session(account): Session,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields();
    let id = fields.path("merchantId").id();
    let id = fields.finish(|| id)?;
    request.is_about(id);
    let app = dashboard.app();
    let (secret, full) = merchant::add_secret(app, account.id, MerchantId(id))
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
pub(super) async fn expire_client_secret(
    State(dashboard): State<Dashboard>,
    Session(account): Session,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let app = dashboard.app();
    let mut fields = request.fields().with_optional_body(&request.body);
    let id = fields.path("merchantId").id();
    let secret = fields.path("secretId").id();
    let local = fields.body("expiresAt").optional_date_time();
    let at = local.flatten().map(|local| app.zone.instant(local));
    if at == Some(None) {
        fields.fault("expiresAt", None);
    }
    let (id, secret) = fields.finish(|| Some((id?, secret?)))?;
    request.is_about(id);
    let expired = merchant::expire_secret(
        app,
        account.id,
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
pub(super) fn access_code(refusal: AccessRefusal) -> ErrorCode {
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
pub(super) async fn add_member(
    State(dashboard): State<Dashboard>,
    Session(account): Session,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields_and_body();
    let id = fields.path("merchantId").id();
    let email = fields.body("email").email();
    let (id, email) = fields.finish(|| Some((id?, email?)))?;
    request.is_about(id);
    request.names(&email);
    let app = dashboard.app();
    let member = merchant::add_member(app, account.id, MerchantId(id), &email)
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
pub(super) async fn remove_member(
    State(dashboard): State<Dashboard>,
    Session(account): Session,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields();
    let id = fields.path("merchantId").id();
    let member = fields.path("merchantAccountId").id();
    let (id, member) = fields.finish(|| Some((id?, member?)))?;
    request.is_about(id);
    let app = dashboard.app();
    let removed = merchant::remove_member(app, account.id, MerchantId(id), MemberId(member))
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
