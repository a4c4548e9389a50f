//! Coupon templates as merchants handle them (contract §2, §2.1, §5).

mod rule;
mod view;

use axum::extract::State;
use goodpon_application::Failure;
use goodpon_application::template::{self, CreateRefusal, DetailRefusal};
use goodpon_domain::id::{MerchantId, TemplateId};
use goodpon_domain::template::{DiscardRefusal, DiscountType, Draft, LimitType, PublishRefusal};
use goodpon_web::input::Malformed;

use super::caller::{DashboardRequest, Session};
use super::merchant::access_code;
use super::state::Dashboard;
use crate::answer::Answer;
use crate::contract_values::ContractValues;
use crate::error::ApiError;
use crate::error_code::ErrorCode;
use crate::openapi::envelope::{Success, errors};
use crate::openapi::requests::{CreateCouponTemplateRequest, DiscardCouponTemplateRequest};
use crate::words;
use view::{
    ChangedCouponTemplate, CouponTemplateDetail, CouponTemplateSummaries, CouponTemplateSummary,
    CreateCouponTemplateResult,
};

const DISCOUNT_TYPES: [(&str, DiscountType); 2] = [
    discount_type(DiscountType::FixedAmount),
    discount_type(DiscountType::Percentage),
];

const LIMIT_TYPES: [(&str, LimitType); 3] = [
    limit_type(LimitType::None),
    limit_type(LimitType::IssueCount),
    limit_type(LimitType::RedeemCount),
];

const fn discount_type(value: DiscountType) -> (&'static str, DiscountType) {
    (words::discount_type(value), value)
}

const fn limit_type(value: LimitType) -> (&'static str, LimitType) {
    (words::limit_type(value), value)
}

errors! { CreateErrors: MerchantNotFound, NoMerchantAccessPermission, CouponTemplateValidationFailed, CouponTemplateLimitExceeded }

#[utoipa::path(
    post,
    path = "/v1/merchants/{merchantId}/coupon-templates",
    tag = "Coupon Template",
    operation_id = "createCouponTemplate",
    summary = "쿠폰 템플릿 생성 · Create a coupon template",
    description = "초안(DRAFT)으로 만듭니다. 어긴 규칙은 한 번에 모두 알려줍니다. Makes a draft; all broken rules are told at once.",
    params(("merchantId" = String, Path, description = "쿠폰 템플릿을 생성할 상점 ID · the merchant's id")),
    request_body(content = CreateCouponTemplateRequest, example = json!({"name": "테스트 쿠폰", "description": "테스트 쿠폰 설명", "minOrderAmount": 10000, "discountType": "FIXED_AMOUNT", "discountValue": 1000, "maxDiscountAmount": null, "issueStartDate": "2025-07-13", "issueEndDate": "2025-07-20", "validityDays": 30, "absoluteExpiryDate": "2025-08-20", "limitType": "ISSUE_COUNT", "maxIssueCount": 2000, "maxRedeemCount": null})),
    responses(
        (status = 200, description = "만들어진 초안 · the draft", body = Success<CreateCouponTemplateResult>, example = json!({"result": "SUCCESS", "data": {"id": 1, "name": "테스트 쿠폰", "description": "테스트 쿠폰 설명", "merchantId": 1, "minOrderAmount": 10000, "discountType": "FIXED_AMOUNT", "discountValue": 1000, "maxDiscountAmount": null, "issueStartAt": "2025-07-13T00:00:00", "issueEndAt": "2025-07-21T00:00:00", "validityDays": 30, "absoluteExpiresAt": "2025-08-21T00:00:00", "limitType": "ISSUE_COUNT", "maxIssueCount": 2000, "maxRedeemCount": null, "status": "DRAFT"}, "error": null})),
        CreateErrors,
    ),
    security(("bearerAuth" = [])),
)]
pub(super) async fn create_coupon_template(
    State(dashboard): State<Dashboard>,
    Session(account): Session,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let (merchant, draft) = read_draft(&request)?;
    request.is_about(merchant.0);
    let app = dashboard.app();
    let created = template::create(app, account.id, merchant, draft)
        .await
        .map_err(create_error)?;
    Ok(Answer::success(&CreateCouponTemplateResult::of(
        &created, &app.zone,
    )))
}

fn read_draft(request: &DashboardRequest) -> Result<(MerchantId, Draft), Malformed> {
    let mut fields = request.fields_and_body();
    let merchant = fields.path("merchantId").id();
    let name = fields.body("name").name(1..=255);
    let description = fields.body("description").trimmed_text(0..=255);
    let min_order_amount = fields.body("minOrderAmount").optional_amount();
    let discount_type = fields.body("discountType").choice(&DISCOUNT_TYPES);
    let discount_value = fields.body("discountValue").amount();
    let max_discount_amount = fields.body("maxDiscountAmount").optional_amount();
    let issue_start_date = fields.body("issueStartDate").date();
    let issue_end_date = fields.body("issueEndDate").optional_date();
    let validity_days = fields.body("validityDays").optional_validity_days();
    let absolute_expiry_date = fields.body("absoluteExpiryDate").optional_date();
    let limit_type = fields.body("limitType").choice(&LIMIT_TYPES);
    let max_issue_count = fields.body("maxIssueCount").optional_count();
    let max_redeem_count = fields.body("maxRedeemCount").optional_count();
    fields.finish(|| {
        let draft = Draft {
            name: name?.into_owned(),
            description: description?.into_owned(),
            min_order_amount: min_order_amount?,
            discount_type: discount_type?,
            discount_value: discount_value?,
            max_discount_amount: max_discount_amount?,
            issue_start_date: issue_start_date?,
            issue_end_date: issue_end_date?,
            validity_days: validity_days?,
            absolute_expiry_date: absolute_expiry_date?,
            limit_type: limit_type?,
            max_issue_count: max_issue_count?,
            max_redeem_count: max_redeem_count?,
        };
        Some((MerchantId(merchant?), draft))
    })
}

fn create_error(failure: Failure<CreateRefusal>) -> ApiError {
    match failure {
        Failure::Refused(CreateRefusal::Access(refusal)) => ApiError::new(access_code(refusal)),
        Failure::Refused(CreateRefusal::Invalid(violations)) => ApiError::with_fields(
            ErrorCode::CouponTemplateValidationFailed,
            violations.into_iter().map(rule::broken).collect(),
        ),
        Failure::Refused(CreateRefusal::LimitExceeded) => {
            ErrorCode::CouponTemplateLimitExceeded.into()
        }
        Failure::Store(error) => error.into(),
    }
}

errors! { ListErrors: MerchantNotFound, NoMerchantAccessPermission }

#[utoipa::path(
    get,
    path = "/v1/merchants/{merchantId}/coupon-templates",
    tag = "Coupon Template",
    operation_id = "listCouponTemplates",
    summary = "상점의 쿠폰 템플릿 목록 조회 · List coupon templates",
    description = "최신순으로 조회합니다. Newest first.",
    params(("merchantId" = String, Path, description = "쿠폰 템플릿이 있는 상점 ID · the merchant's id")),
    responses(
        (status = 200, description = "쿠폰 템플릿 목록 · the templates", body = Success<CouponTemplateSummaries>, example = json!({"result": "SUCCESS", "data": {"templates": [{"id": 2, "name": "테스트 쿠폰 2", "description": "테스트 쿠폰 설명 2", "status": "ISSUABLE", "issueCount": 100, "redeemCount": 50, "createdAt": "2025-07-14T10:00:00"}, {"id": 1, "name": "테스트 쿠폰 1", "description": "테스트 쿠폰 설명 1", "status": "DRAFT", "issueCount": 0, "redeemCount": 0, "createdAt": "2025-07-13T10:00:00"}]}, "error": null})),
        ListErrors,
    ),
    security(("bearerAuth" = [])),
)]
pub(super) async fn list_coupon_templates(
    State(dashboard): State<Dashboard>,
    Session(account): Session,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields();
    let merchant = fields.path("merchantId").id();
    let merchant = fields.finish(|| merchant)?;
    request.is_about(merchant);
    let app = dashboard.app();
    let views = template::list(app, account.id, MerchantId(merchant))
        .await
        .map_err(|failure| ApiError::of(failure, access_code))?;
    let zone = app.zone.clone();
    let answer = views.render(move |views| {
        let templates = views
            .iter()
            .map(|view| CouponTemplateSummary::of(view, &zone))
            .collect();
        Answer::success(&CouponTemplateSummaries { templates })
    });
    Ok(answer.await?)
}

errors! { DetailErrors: MerchantNotFound, NoMerchantAccessPermission, CouponTemplateNotFound, CouponTemplateNotOwnedByMerchantDashboard }

#[utoipa::path(
    get,
    path = "/v1/merchants/{merchantId}/coupon-templates/{couponTemplateId}",
    tag = "Coupon Template",
    operation_id = "getCouponTemplate",
    summary = "쿠폰 템플릿 상세 조회 · Get a coupon template",
    description = "현재 상태와 발급, 사용 수량을 함께 조회합니다. With its present status and counts.",
    params(
        ("merchantId" = String, Path, description = "쿠폰 템플릿이 있는 상점 ID · the merchant's id"),
        ("couponTemplateId" = String, Path, description = "조회할 쿠폰 템플릿 ID · the template's id"),
    ),
    responses(
        (status = 200, description = "쿠폰 템플릿 상세 · the template", body = Success<CouponTemplateDetail>, example = json!({"result": "SUCCESS", "data": {"id": 1, "merchantId": 1, "name": "테스트 쿠폰", "description": "테스트 쿠폰 설명", "minOrderAmount": 10000, "discountType": "FIXED_AMOUNT", "discountValue": 1000, "maxDiscountAmount": null, "status": "ISSUABLE", "issueStartAt": "2025-07-13T00:00:00", "issueEndAt": "2025-07-21T00:00:00", "validityDays": null, "absoluteExpiresAt": null, "limitType": "ISSUE_COUNT", "maxIssueCount": 100, "maxRedeemCount": null, "issueCount": 30, "redeemCount": 10, "createdAt": "2025-07-13T10:00:00"}, "error": null})),
        DetailErrors,
    ),
    security(("bearerAuth" = [])),
)]
pub(super) async fn get_coupon_template(
    State(dashboard): State<Dashboard>,
    Session(account): Session,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let (merchant, id) = read_template_path(&request)?;
    request.is_about(merchant.0);
    let app = dashboard.app();
    let view = template::detail(app, account.id, merchant, id)
        .await
        .map_err(|failure| ApiError::of(failure, detail_code))?;
    Ok(Answer::success(&CouponTemplateDetail::of(&view, &app.zone)))
}

fn read_template_path(request: &DashboardRequest) -> Result<(MerchantId, TemplateId), Malformed> {
    let mut fields = request.fields();
    let merchant = fields.path("merchantId").id();
    let template = fields.path("couponTemplateId").id();
    fields.finish(|| Some((MerchantId(merchant?), TemplateId(template?))))
}

fn detail_code(refusal: DetailRefusal) -> ErrorCode {
    match refusal {
        DetailRefusal::Access(refusal) => access_code(refusal),
        DetailRefusal::NotFound => ErrorCode::CouponTemplateNotFound,
        DetailRefusal::NotOwned => ErrorCode::CouponTemplateNotOwnedByMerchantDashboard,
    }
}

errors! { PublishErrors: MerchantNotFound, NoMerchantAccessPermission, CouponTemplateNotFound, CouponTemplateNotOwnedByMerchantDashboard, CouponTemplateInvalidStatusToPublish }

#[utoipa::path(
    post,
    path = "/v1/merchants/{merchantId}/coupon-templates/{couponTemplateId}/publish",
    tag = "Coupon Template",
    operation_id = "publishCouponTemplate",
    summary = "쿠폰 템플릿 발행 · Publish a coupon template",
    description = "초안(DRAFT)을 발급 가능한 상태(ISSUABLE)로 바꿉니다. Makes a draft issuable.",
    params(
        ("merchantId" = String, Path, description = "쿠폰 템플릿이 있는 상점 ID · the merchant's id"),
        ("couponTemplateId" = String, Path, description = "발행할 쿠폰 템플릿 ID · the template's id"),
    ),
    responses(
        (status = 200, description = "발행된 쿠폰 템플릿 · the published template", body = Success<ChangedCouponTemplate>, example = json!({"result": "SUCCESS", "data": {"id": 1, "name": "테스트 쿠폰", "merchantId": 1, "status": "ISSUABLE"}, "error": null})),
        PublishErrors,
    ),
    security(("bearerAuth" = [])),
)]
pub(super) async fn publish_coupon_template(
    State(dashboard): State<Dashboard>,
    Session(account): Session,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let (merchant, id) = read_template_path(&request)?;
    request.is_about(merchant.0);
    let published = template::publish(dashboard.app(), account.id, merchant, id)
        .await
        .map_err(|failure| ApiError::of(failure, publish_code))?;
    Ok(Answer::success(&ChangedCouponTemplate::of(&published)))
}

fn publish_code(refusal: PublishRefusal) -> ErrorCode {
    match refusal {
        PublishRefusal::Access(refusal) => access_code(refusal),
        PublishRefusal::NotFound => ErrorCode::CouponTemplateNotFound,
        PublishRefusal::NotOwned => ErrorCode::CouponTemplateNotOwnedByMerchantDashboard,
        PublishRefusal::InvalidStatus => ErrorCode::CouponTemplateInvalidStatusToPublish,
    }
}

errors! { DiscardErrors: MerchantNotFound, NoMerchantAccessPermission, CouponTemplateNotFound, CouponTemplateNotOwnedByMerchantDashboard, CouponTemplateInvalidStatusToDiscard }

#[utoipa::path(
    post,
    path = "/v1/merchants/{merchantId}/coupon-templates/{couponTemplateId}/discard",
    tag = "Coupon Template",
    operation_id = "discardCouponTemplate",
    summary = "쿠폰 템플릿 폐기 · Discard a coupon template",
    description = "더 이상 발급하거나 사용할 수 없으며, 발급된 쿠폰은 차례로 폐기됩니다. Nothing of it can be issued or redeemed any more; its issued coupons are discarded one batch after another.",
    params(
        ("merchantId" = String, Path, description = "쿠폰 템플릿이 있는 상점 ID · the merchant's id"),
        ("couponTemplateId" = String, Path, description = "폐기할 쿠폰 템플릿 ID · the template's id"),
    ),
    request_body(content = DiscardCouponTemplateRequest, example = json!({"reason": "행사 취소"})),
    responses(
        (status = 200, description = "폐기된 쿠폰 템플릿 · the discarded template", body = Success<ChangedCouponTemplate>, example = json!({"result": "SUCCESS", "data": {"id": 1, "name": "테스트 쿠폰", "merchantId": 1, "status": "DISCARDED"}, "error": null})),
        DiscardErrors,
    ),
    security(("bearerAuth" = [])),
)]
pub(super) async fn discard_coupon_template(
    State(dashboard): State<Dashboard>,
    Session(account): Session,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields_and_body();
    let merchant = fields.path("merchantId").id();
    let id = fields.path("couponTemplateId").id();
    let reason = fields.body("reason").text(0..=255);
    let (merchant, id, reason) = fields.finish(|| Some((merchant?, id?, reason?.into_owned())))?;
    request.is_about(merchant);
    let (merchant, id) = (MerchantId(merchant), TemplateId(id));
    let discarded = template::discard(dashboard.app(), account.id, merchant, id, reason)
        .await
        .map_err(|failure| ApiError::of(failure, discard_code))?;
    Ok(Answer::success(&ChangedCouponTemplate::of(&discarded)))
}

fn discard_code(refusal: DiscardRefusal) -> ErrorCode {
    match refusal {
        DiscardRefusal::Access(refusal) => access_code(refusal),
        DiscardRefusal::NotFound => ErrorCode::CouponTemplateNotFound,
        DiscardRefusal::NotOwned => ErrorCode::CouponTemplateNotOwnedByMerchantDashboard,
        DiscardRefusal::InvalidStatus => ErrorCode::CouponTemplateInvalidStatusToDiscard,
    }
}
