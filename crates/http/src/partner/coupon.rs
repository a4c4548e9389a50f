//! Coupons as shops issue, list, redeem and cancel them (contract §3).

mod view;

use axum::extract::State;
use axum::response::Response;
use goodpon_application::coupon::TemplateNotFound;
use goodpon_application::ports::{
    CancelOutcome, CancelRequest, IssueOutcome, IssueRequest, RedeemOutcome, RedeemRequest,
};
use goodpon_application::{Failure, coupon};
use goodpon_domain::id::{CouponId, TemplateId};
use goodpon_domain::{
    coupon::IssueRefusal,
    redemption::{CancelRefusal, Order, RedeemRefusal},
};
use goodpon_web::input::{Fields, Malformed};

use super::caller::{KeyedRequest, ShopRequest};
use super::keyed_call::KeyedCall;
use super::state::Partner;
use crate::answer::Answer;
use crate::contract_values::ContractValues;
use crate::error::ApiError;
use crate::error_code::ErrorCode;
use crate::openapi::envelope::{Success, errors};
use crate::openapi::requests::{
    CancelCouponRedemptionRequest, IssueCouponRequest, RedeemCouponRequest,
};
use view::{
    AvailableUserCouponView, AvailableUserCouponsView, CancelCouponRedemptionResult,
    CouponTemplateDetailForUser, RedeemCouponResult, UserCouponView, UserCouponsView,
};

const ISSUED: &str = "쿠폰이 정상적으로 발급되었습니다.";

errors! { GetTemplateErrors: CouponTemplateNotFound }

#[utoipa::path(
    get,
    path = "/v1/coupon-templates/{couponTemplateId}",
    tag = "Coupon",
    operation_id = "getCouponTemplate",
    summary = "사용자에 따른 쿠폰 템플릿 상세 조회 · Get a coupon template for a user",
    description = "발행된 템플릿만 조회되며, userId가 있으면 그 사용자의 발급 가능 여부를 알려줍니다. Published templates only; with a userId, issuanceStatus is meant for that user.",
    params(
        ("couponTemplateId" = String, Path, description = "쿠폰 템플릿 ID · the template's id"),
        ("userId" = Option<String>, Query, max_length = 255, description = "고객사의 고유 사용자 ID, 비로그인 사용자 시 미지정 · the user, if one is logged in"),
    ),
    responses(
        (status = 200, description = "쿠폰 템플릿 · the template", body = Success<CouponTemplateDetailForUser>, example = json!({"result": "SUCCESS", "data": {"id": 1, "name": "테스트 쿠폰", "description": "테스트 쿠폰 설명", "discountType": "FIXED_AMOUNT", "discountValue": 1000, "maxDiscountAmount": null, "minOrderAmount": 15000, "status": "ISSUABLE", "validityDays": 30, "absoluteExpiresAt": "2025-09-26T00:00:00", "issueStartAt": "2025-08-26T00:00:00", "issueEndAt": "2025-09-06T00:00:00", "limitType": "ISSUE_COUNT", "maxIssueCount": 1000, "maxRedeemCount": null, "currentIssueCount": 200, "currentRedeemCount": 100, "issuanceStatus": "AVAILABLE"}, "error": null})),
        GetTemplateErrors,
    ),
)]
pub(super) async fn get_coupon_template(
    State(partner): State<Partner>,
    request: ShopRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields();
    let id = fields.path("couponTemplateId").id();
    let user_id = fields.query("userId").optional_text(1..=255);
    let (id, user_id) = fields.finish(|| Some((TemplateId(id?), user_id?)))?;
    let app = partner.app();
    let view = coupon::template_for_user(app, request.merchant_id, id, user_id.as_deref())
        .await
        .map_err(|failure| match failure {
            Failure::Refused(TemplateNotFound) => ApiError::new(ErrorCode::CouponTemplateNotFound),
            Failure::Store(error) => error.into(),
        })?;
    Ok(Answer::success(&CouponTemplateDetailForUser::of(
        &view, &app.zone,
    )))
}

fn read_issue(request: &KeyedRequest) -> Result<IssueRequest, Malformed> {
    let mut fields = request.fields_and_body();
    let template_id = fields.path("couponTemplateId").id();
    let user_id = fields.body("userId").text(1..=255);
    fields.finish(|| {
        Some(IssueRequest {
            merchant_id: request.merchant_id,
            template_id: TemplateId(template_id?),
            user_id: user_id?.into_owned(),
        })
    })
}

errors! { IssueErrors: CouponTemplateNotFound, CouponTemplateNotOwnedByMerchantPartner, CouponNotIssuablePeriod, CouponTemplateNotIssuable, CouponAlreadyIssued, CouponTemplateMaxIssueCountExceeded }

#[utoipa::path(
    post,
    path = "/v1/coupon-templates/{couponTemplateId}/issue",
    tag = "Coupon",
    operation_id = "issueCoupon",
    summary = "쿠폰 발급 · Issue a coupon",
    description = "선착순으로 한 사용자에게 한 장만 발급합니다. First come, first served; one of a template for a user, ever.",
    params(
        ("couponTemplateId" = String, Path, description = "쿠폰 템플릿 ID · the template's id"),
    ),
    request_body(content = IssueCouponRequest, example = json!({"userId": "partner-unique-user-id"})),
    responses(
        (status = 200, description = "발급 완료 · issued", body = Success<String>, example = json!({"result": "SUCCESS", "data": "쿠폰이 정상적으로 발급되었습니다.", "error": null})),
        IssueErrors,
    ),
)]
pub(super) async fn issue_coupon(
    State(partner): State<Partner>,
    request: KeyedRequest,
) -> Result<Response, ApiError> {
    let app = partner.app();
    let mut call = KeyedCall::of(&request, answer_issue)?;
    match read_issue(&request) {
        Ok(input) => {
            let issued = coupon::issue(app, input, call.idempotency.take()).await;
            call.respond(issued)
        }
        Err(malformed) => {
            let template = request
                .fields()
                .path("couponTemplateId")
                .id()
                .map(TemplateId);
            let known = coupon::peek_issue(app, template, call.idempotency.as_ref()).await;
            call.refuse(malformed, known)
        }
    }
}

fn answer_issue(outcome: &IssueOutcome) -> Answer {
    match outcome {
        Ok(_) => Answer::success(ISSUED),
        Err(refusal) => Answer::failure(issue_refusal(*refusal), None),
    }
}

fn issue_refusal(refusal: IssueRefusal) -> ErrorCode {
    match refusal {
        IssueRefusal::TemplateNotFound => ErrorCode::CouponTemplateNotFound,
        IssueRefusal::NotOwnedByMerchant => ErrorCode::CouponTemplateNotOwnedByMerchantPartner,
        IssueRefusal::NotIssuablePeriod => ErrorCode::CouponNotIssuablePeriod,
        IssueRefusal::NotIssuable => ErrorCode::CouponTemplateNotIssuable,
        IssueRefusal::AlreadyIssued => ErrorCode::CouponAlreadyIssued,
        IssueRefusal::SoldOut => ErrorCode::CouponTemplateMaxIssueCountExceeded,
    }
}

#[utoipa::path(
    get,
    path = "/v1/user-coupons",
    tag = "Coupon",
    operation_id = "listUserCoupons",
    summary = "사용자가 보유한 쿠폰 목록 조회 · List a user's coupons",
    description = "만료되지 않은 발급 상태의 쿠폰을 조회합니다. Coupons that are issued and not expired; the redeemable first, then by expiry.",
    params(
        ("userId" = String, Query, min_length = 1, max_length = 255, description = "고객사의 고유 사용자 ID · the user"),
    ),
    responses(
        (status = 200, description = "보유한 쿠폰 · the coupons", body = Success<UserCouponsView>, example = json!({"result": "SUCCESS", "data": {"coupons": [{"userCouponId": "0198e2b4c1a97c4e8f10a2b3c4d5e6f7", "couponTemplateId": 1, "couponTemplateName": "테스트 쿠폰", "couponTemplateDescription": "테스트 쿠폰 설명", "discountType": "FIXED_AMOUNT", "discountValue": 1000, "maxDiscountAmount": null, "minOrderAmount": 10000, "issuedAt": "2025-08-26T01:18:48.516717", "expiresAt": "2025-09-26T00:00:00", "limitType": "ISSUE_COUNT", "maxIssueCount": 1000, "maxRedeemCount": null, "isRedeemable": true}]}, "error": null})),
    ),
)]
pub(super) async fn list_user_coupons(
    State(partner): State<Partner>,
    request: ShopRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields();
    let user_id = fields.query("userId").text(1..=255);
    let user_id = fields.finish(|| user_id)?;
    let app = partner.app();
    let held = coupon::in_hand(app, request.merchant_id, &user_id).await?;
    let zone = app.zone.clone();
    let answer = held.render(move |held| {
        let coupons = held
            .iter()
            .map(|held| UserCouponView::of(held, &zone, held.is_redeemable()))
            .collect();
        Answer::success(&UserCouponsView { coupons })
    });
    Ok(answer.await?)
}

#[utoipa::path(
    get,
    path = "/v1/user-coupons/available",
    tag = "Coupon",
    operation_id = "listAvailableUserCoupons",
    summary = "사용자의 사용 가능한 쿠폰 목록 조회 · List the coupons that a user can redeem",
    description = "사용 제한에 도달하지 않은 쿠폰을, 최소 주문 금액을 충족하는 것부터 조회합니다. Without those whose redeem limit is reached; first those whose least order amount is reached.",
    params(
        ("userId" = String, Query, min_length = 1, max_length = 255, description = "고객사의 고유 사용자 ID · the user"),
        ("orderAmount" = String, Query, description = "주문 금액, 0 이상 · the order's amount"),
    ),
    responses(
        (status = 200, description = "사용 가능한 쿠폰 · the coupons", body = Success<AvailableUserCouponsView>, example = json!({"result": "SUCCESS", "data": {"coupons": [{"userCouponId": "0198e2b4c1a97c4e8f10a2b3c4d5e6f7", "couponTemplateId": 1, "couponTemplateName": "테스트 쿠폰", "couponTemplateDescription": "테스트 쿠폰 설명", "discountType": "FIXED_AMOUNT", "discountValue": 1000, "maxDiscountAmount": null, "minOrderAmount": 10000, "issuedAt": "2025-08-26T01:18:48.516717", "expiresAt": "2025-09-26T00:00:00", "limitType": "ISSUE_COUNT", "maxIssueCount": 1000, "maxRedeemCount": null, "isMinOrderAmountReached": true}]}, "error": null})),
    ),
)]
pub(super) async fn list_available_user_coupons(
    State(partner): State<Partner>,
    request: ShopRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields();
    let user_id = fields.query("userId").text(1..=255);
    let amount = fields.query("orderAmount").order_amount();
    let (user_id, amount) = fields.finish(|| Some((user_id?, amount?)))?;
    let app = partner.app();
    let held = coupon::available(app, request.merchant_id, &user_id, amount).await?;
    let zone = app.zone.clone();
    let answer = held.render(move |held| {
        let coupons = held
            .iter()
            .map(|held| {
                let reached = held.is_min_order_amount_reached(amount);
                AvailableUserCouponView::of(held, &zone, reached)
            })
            .collect();
        Answer::success(&AvailableUserCouponsView { coupons })
    });
    Ok(answer.await?)
}

/// The coupon that the path names. A malformed id is never a bad request: it stands for an id that no coupon has.
fn coupon_id(fields: &mut Fields<'_>) -> CouponId {
    let text = fields.path("userCouponId").opaque();
    CouponId::parse(&text).unwrap_or(CouponId::from_bytes([0; 16]))
}

fn read_redeem(request: &KeyedRequest) -> Result<RedeemRequest, Malformed> {
    let mut fields = request.fields_and_body();
    let coupon_id = coupon_id(&mut fields);
    let user_id = fields.body("userId").text(1..=255);
    let amount = fields.body("orderAmount").order_amount();
    let order_id = fields.body("orderId").text(1..=255);
    fields.finish(|| {
        Some(RedeemRequest {
            merchant_id: request.merchant_id,
            coupon_id,
            order: Order {
                user_id: user_id?.into_owned(),
                amount: amount?,
                id: order_id?.into_owned(),
            },
        })
    })
}

errors! { RedeemErrors: UserCouponNotFound, CouponTemplateNotFound, CouponTemplateNotOwnedByMerchantPartner, UserCouponNotOwnedByUser, CouponNotRedeemable, CouponTemplateRedeemConditionNotMet, UserCouponAlreadyRedeemed, UserCouponExpired, CouponTemplateMaxRedeemCountExceeded }

#[utoipa::path(
    post,
    path = "/v1/user-coupons/{userCouponId}/redeem",
    tag = "Coupon",
    operation_id = "redeemCoupon",
    summary = "쿠폰 사용 · Redeem a coupon",
    description = "주문에 쿠폰을 사용하고 할인 금액을 계산합니다. Redeems it for an order and reckons the discount.",
    params(
        ("userCouponId" = String, Path, description = "사용할 쿠폰의 ID · the coupon's id"),
    ),
    request_body(content = RedeemCouponRequest, example = json!({"userId": "partner-unique-user-id", "orderAmount": 15000, "orderId": "your-unique-order-id"})),
    responses(
        (status = 200, description = "사용 완료 · redeemed", body = Success<RedeemCouponResult>, example = json!({"result": "SUCCESS", "data": {"userCouponId": "0198e2b4c1a97c4e8f10a2b3c4d5e6f7", "discountAmount": 1000, "originalPrice": 15000, "finalPrice": 14000, "orderId": "your-unique-order-id", "redeemedAt": "2025-08-26T01:18:48.516717"}, "error": null})),
        RedeemErrors,
    ),
)]
pub(super) async fn redeem_coupon(
    State(partner): State<Partner>,
    request: KeyedRequest,
) -> Result<Response, ApiError> {
    let app = partner.app();
    let zone = app.zone.clone();
    let mut call = KeyedCall::of(&request, move |outcome: &RedeemOutcome| match outcome {
        Ok(redemption) => Answer::success(&RedeemCouponResult::of(redemption, &zone)),
        Err(refusal) => Answer::failure(redeem_refusal(*refusal), None),
    })?;
    match read_redeem(&request) {
        Ok(input) => {
            let redeemed = coupon::redeem(app, input, call.idempotency.take()).await;
            call.respond(redeemed)
        }
        Err(malformed) => {
            let known = coupon::peek(app, call.idempotency.as_ref()).await;
            call.refuse(malformed, known)
        }
    }
}

fn redeem_refusal(refusal: RedeemRefusal) -> ErrorCode {
    match refusal {
        RedeemRefusal::CouponNotFound => ErrorCode::UserCouponNotFound,
        RedeemRefusal::TemplateNotFound => ErrorCode::CouponTemplateNotFound,
        RedeemRefusal::NotOwnedByMerchant => ErrorCode::CouponTemplateNotOwnedByMerchantPartner,
        RedeemRefusal::NotOwnedByUser => ErrorCode::UserCouponNotOwnedByUser,
        RedeemRefusal::NotRedeemable => ErrorCode::CouponNotRedeemable,
        RedeemRefusal::ConditionNotMet => ErrorCode::CouponTemplateRedeemConditionNotMet,
        RedeemRefusal::AlreadyRedeemed => ErrorCode::UserCouponAlreadyRedeemed,
        RedeemRefusal::Expired => ErrorCode::UserCouponExpired,
        RedeemRefusal::RedeemLimitReached => ErrorCode::CouponTemplateMaxRedeemCountExceeded,
    }
}

fn read_cancel(request: &KeyedRequest) -> Result<CancelRequest, Malformed> {
    let mut fields = request.fields_and_body();
    let coupon_id = coupon_id(&mut fields);
    let order_id = fields.body("orderId").text(1..=255);
    let reason = fields.body("cancelReason").text(0..=255);
    fields.finish(|| {
        Some(CancelRequest {
            merchant_id: request.merchant_id,
            coupon_id,
            order_id: order_id?.into_owned(),
            reason: reason?.into_owned(),
        })
    })
}

errors! { CancelErrors: UserCouponNotFound, CouponTemplateNotFound, CouponTemplateNotOwnedByMerchantPartner, UserCouponAlreadyCancelled, UserCouponCancelNotAllowed, UserCouponCancelOrderIdMismatch }

#[utoipa::path(
    post,
    path = "/v1/user-coupons/{userCouponId}/cancel",
    tag = "Coupon",
    operation_id = "cancelCouponRedemption",
    summary = "쿠폰 사용 취소 · Cancel a redemption",
    description = "사용했던 주문 ID로만 취소할 수 있습니다. Only with the order id of the redemption.",
    params(
        ("userCouponId" = String, Path, description = "사용을 취소할 쿠폰의 ID · the coupon's id"),
    ),
    request_body(content = CancelCouponRedemptionRequest, example = json!({"orderId": "your-unique-order-id", "cancelReason": "결제 취소"})),
    responses(
        (status = 200, description = "취소 완료 · cancelled", body = Success<CancelCouponRedemptionResult>, example = json!({"result": "SUCCESS", "data": {"userCouponId": "0198e2b4c1a97c4e8f10a2b3c4d5e6f7", "status": "ISSUED", "canceledAt": "2025-08-26T01:18:48.516717", "cancelReason": "결제 취소"}, "error": null})),
        CancelErrors,
    ),
)]
pub(super) async fn cancel_coupon_redemption(
    State(partner): State<Partner>,
    request: KeyedRequest,
) -> Result<Response, ApiError> {
    let app = partner.app();
    let zone = app.zone.clone();
    let mut call = KeyedCall::of(&request, move |outcome: &CancelOutcome| match outcome {
        Ok(cancellation) => Answer::success(&CancelCouponRedemptionResult::of(cancellation, &zone)),
        Err(refusal) => Answer::failure(cancel_refusal(*refusal), None),
    })?;
    match read_cancel(&request) {
        Ok(input) => {
            let cancelled = coupon::cancel(app, input, call.idempotency.take()).await;
            call.respond(cancelled)
        }
        Err(malformed) => {
            let known = coupon::peek(app, call.idempotency.as_ref()).await;
            call.refuse(malformed, known)
        }
    }
}

fn cancel_refusal(refusal: CancelRefusal) -> ErrorCode {
    match refusal {
        CancelRefusal::CouponNotFound => ErrorCode::UserCouponNotFound,
        CancelRefusal::TemplateNotFound => ErrorCode::CouponTemplateNotFound,
        CancelRefusal::NotOwnedByMerchant => ErrorCode::CouponTemplateNotOwnedByMerchantPartner,
        CancelRefusal::AlreadyCancelled => ErrorCode::UserCouponAlreadyCancelled,
        CancelRefusal::NotAllowed => ErrorCode::UserCouponCancelNotAllowed,
        CancelRefusal::OrderIdMismatch => ErrorCode::UserCouponCancelOrderIdMismatch,
    }
}
