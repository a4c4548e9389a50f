//! What shops do with coupons (contract §3).

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use goodpon_application::coupon::{TemplateForUser, TemplateNotFound};
use goodpon_application::idempotency::Idempotency;
use goodpon_application::ports::{
    CancelOutcome, CancelRequest, IssueOutcome, IssueRequest, RedeemOutcome, RedeemRequest,
};
use goodpon_application::{Failure, coupon};
use goodpon_domain::business_time::BusinessZone;
use goodpon_domain::coupon::{
    CancelRefusal, Cancellation, IssueRefusal, Order, RedeemRefusal, Redemption,
};
use goodpon_domain::id::{CouponId, TemplateId};
use goodpon_domain::wallet::HeldCoupon;
use http::request::Parts;
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::Answer;
use crate::error::{ApiError, ErrorCode};
use crate::idempotency::{self, Call};
use crate::input::Fields;
use crate::local_time::LocalTime;
use crate::partner::{Caller, Partner};
use crate::words;

const ISSUED: &str = "쿠폰이 정상적으로 발급되었습니다.";

/// A template as one of the shop's users sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CouponTemplateDetailForUser {
    id: i64,
    name: String,
    description: String,
    discount_type: &'static str,
    discount_value: i64,
    max_discount_amount: Option<i64>,
    min_order_amount: Option<i64>,
    status: &'static str,
    validity_days: Option<i64>,
    absolute_expires_at: Option<LocalTime>,
    issue_start_at: LocalTime,
    issue_end_at: Option<LocalTime>,
    limit_type: &'static str,
    max_issue_count: Option<i64>,
    max_redeem_count: Option<i64>,
    current_issue_count: i64,
    current_redeem_count: i64,
    issuance_status: &'static str,
}

impl CouponTemplateDetailForUser {
    fn of(view: &TemplateForUser, zone: &BusinessZone) -> Self {
        let (template, terms) = (&view.template, &view.template.terms);
        let period = &terms.period;
        Self {
            id: template.id.0,
            name: terms.name.clone(),
            description: terms.description.clone(),
            discount_type: words::discount_type(terms.discount.kind()),
            discount_value: terms.discount.value(),
            max_discount_amount: terms.discount.max_amount(),
            min_order_amount: terms.min_order_amount,
            status: words::template_status(template.status),
            validity_days: period.validity_days,
            absolute_expires_at: LocalTime::of_optional(zone, period.absolute_expires_at),
            issue_start_at: LocalTime::of(zone, period.issue_start_at),
            issue_end_at: LocalTime::of_optional(zone, period.issue_end_at),
            limit_type: words::limit_type(terms.limit.kind()),
            max_issue_count: terms.limit.max_issue_count(),
            max_redeem_count: terms.limit.max_redeem_count(),
            current_issue_count: view.issue_count,
            current_redeem_count: template.redeem_count,
            issuance_status: words::issuance_status(view.issuance_status),
        }
    }
}

/// `GET /v1/coupon-templates/{couponTemplateId}`
pub(crate) async fn get_coupon_template(
    State(partner): State<Partner>,
    Extension(caller): Extension<Caller>,
    parts: Parts,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::of(&parts);
    let id = fields.path("couponTemplateId").id();
    let user_id = fields.query("userId").optional_text(1..=255);
    let (id, user_id) = fields.finish(|| Some((TemplateId(id?), user_id?)))?;
    let app = partner.app();
    let view = coupon::template_for_user(app, caller.merchant_id, id, user_id.as_deref())
        .await
        .map_err(|failure| match failure {
            Failure::Refused(TemplateNotFound) => ApiError::new(ErrorCode::CouponTemplateNotFound),
            Failure::Store(error) => error.into(),
        })?;
    Ok(Answer::success(&CouponTemplateDetailForUser::of(
        &view, &app.zone,
    )))
}

fn read_issue(parts: &Parts, caller: &Caller) -> Result<IssueRequest, ApiError> {
    let mut fields = Fields::of(parts).with_body(&caller.body);
    let template_id = fields.path("couponTemplateId").id();
    let user_id = fields.body("userId").text(1..=255);
    fields.finish(|| {
        Some(IssueRequest {
            merchant_id: caller.merchant_id,
            template_id: TemplateId(template_id?),
            user_id: user_id?.into_owned(),
        })
    })
}

/// `POST /v1/coupon-templates/{couponTemplateId}/issue`
pub(crate) async fn issue_coupon(
    State(partner): State<Partner>,
    Extension(caller): Extension<Caller>,
    parts: Parts,
) -> Response {
    let request = read_issue(&parts, &caller);
    let call = Call {
        render: Arc::new(answer_issue),
        run: async |request, idempotency: Option<Idempotency<IssueOutcome>>| {
            coupon::issue(partner.app(), request, idempotency).await
        },
        peek: async |idempotency: &Idempotency<IssueOutcome>| {
            partner.app().gate.peek(idempotency).await
        },
    };
    idempotency::answer(&parts, &caller, request, call).await
}

fn answer_issue(outcome: &IssueOutcome) -> Answer {
    match outcome {
        Ok(()) => {
            metrics::counter!("goodpon_issue_total", "outcome" => "issued").increment(1);
            Answer::success(ISSUED)
        }
        Err(refusal) => {
            let (code, outcome) = issue_refusal(*refusal);
            metrics::counter!("goodpon_issue_total", "outcome" => outcome).increment(1);
            Answer::failure(code, None)
        }
    }
}

/// The code of a refusal, and its name among the figures.
fn issue_refusal(refusal: IssueRefusal) -> (ErrorCode, &'static str) {
    match refusal {
        IssueRefusal::TemplateNotFound => (ErrorCode::CouponTemplateNotFound, "not_found"),
        IssueRefusal::NotOwnedByMerchant => (
            ErrorCode::CouponTemplateNotOwnedByMerchantPartner,
            "not_owned",
        ),
        IssueRefusal::NotIssuablePeriod => (ErrorCode::CouponNotIssuablePeriod, "period"),
        IssueRefusal::NotIssuable => (ErrorCode::CouponTemplateNotIssuable, "not_issuable"),
        IssueRefusal::AlreadyIssued => (ErrorCode::CouponAlreadyIssued, "already_issued"),
        IssueRefusal::SoldOut => (ErrorCode::CouponTemplateMaxIssueCountExceeded, "sold_out"),
    }
}

/// The two lists tell the same of a coupon but for the last member.
macro_rules! coupon_list {
    ($(#[$doc:meta])* $list:ident of $(#[$item_doc:meta])* $item:ident with $last:ident) => {
        $(#[$doc])*
        #[derive(Debug, Serialize, ToSchema)]
        pub(crate) struct $list<'a> {
            coupons: Vec<$item<'a>>,
        }

        $(#[$item_doc])*
        #[derive(Debug, Serialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(crate) struct $item<'a> {
            user_coupon_id: String,
            coupon_template_id: i64,
            coupon_template_name: &'a str,
            coupon_template_description: &'a str,
            discount_type: &'static str,
            discount_value: i64,
            max_discount_amount: Option<i64>,
            min_order_amount: Option<i64>,
            issued_at: LocalTime,
            expires_at: Option<LocalTime>,
            limit_type: &'static str,
            max_issue_count: Option<i64>,
            max_redeem_count: Option<i64>,
            $last: bool,
        }

        impl<'a> $item<'a> {
            fn of(held: &'a HeldCoupon, zone: &BusinessZone, $last: bool) -> Self {
                let terms = &held.template.terms;
                Self {
                    user_coupon_id: held.coupon.id.to_string(),
                    coupon_template_id: held.template.id.0,
                    coupon_template_name: &terms.name,
                    coupon_template_description: &terms.description,
                    discount_type: words::discount_type(terms.discount.kind()),
                    discount_value: terms.discount.value(),
                    max_discount_amount: terms.discount.max_amount(),
                    min_order_amount: terms.min_order_amount,
                    issued_at: LocalTime::of(zone, held.coupon.issued_at),
                    expires_at: LocalTime::of_optional(zone, held.coupon.expires_at),
                    limit_type: words::limit_type(terms.limit.kind()),
                    max_issue_count: terms.limit.max_issue_count(),
                    max_redeem_count: terms.limit.max_redeem_count(),
                    $last,
                }
            }
        }
    };
}

coupon_list! {
    /// A user's coupons in hand.
    UserCouponsView of
    /// A coupon in hand.
    UserCouponView with is_redeemable
}

coupon_list! {
    /// A user's coupons that can be redeemed.
    AvailableUserCouponsView of
    /// A coupon that can be redeemed.
    AvailableUserCouponView with is_min_order_amount_reached
}

/// `GET /v1/user-coupons`
pub(crate) async fn list_user_coupons(
    State(partner): State<Partner>,
    Extension(caller): Extension<Caller>,
    parts: Parts,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::of(&parts);
    let user_id = fields.query("userId").text(1..=255);
    let user_id = fields.finish(|| user_id)?;
    let app = partner.app();
    let held = coupon::in_hand(app, caller.merchant_id, &user_id).await?;
    let coupons = held
        .iter()
        .map(|held| UserCouponView::of(held, &app.zone, held.is_redeemable()))
        .collect();
    Ok(Answer::success(&UserCouponsView { coupons }))
}

/// `GET /v1/user-coupons/available`
pub(crate) async fn list_available_user_coupons(
    State(partner): State<Partner>,
    Extension(caller): Extension<Caller>,
    parts: Parts,
) -> Result<Answer, ApiError> {
    let mut fields = Fields::of(&parts);
    let user_id = fields.query("userId").text(1..=255);
    let amount = fields.query("orderAmount").order_amount();
    let (user_id, amount) = fields.finish(|| Some((user_id?, amount?)))?;
    let app = partner.app();
    let held = coupon::available(app, caller.merchant_id, &user_id, amount).await?;
    let coupons = held
        .iter()
        .map(|held| {
            let reached = held.is_min_order_amount_reached(amount);
            AvailableUserCouponView::of(held, &app.zone, reached)
        })
        .collect();
    Ok(Answer::success(&AvailableUserCouponsView { coupons }))
}

/// A redemption that went through.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RedeemCouponResult<'a> {
    user_coupon_id: String,
    discount_amount: i64,
    original_price: i64,
    final_price: i64,
    order_id: &'a str,
    redeemed_at: LocalTime,
}

impl<'a> RedeemCouponResult<'a> {
    fn of(redemption: &'a Redemption, zone: &BusinessZone) -> Self {
        Self {
            user_coupon_id: redemption.coupon_id.to_string(),
            discount_amount: redemption.discount_amount,
            original_price: redemption.original_price,
            final_price: redemption.final_price,
            order_id: &redemption.order_id,
            redeemed_at: LocalTime::of(zone, redemption.redeemed_at),
        }
    }
}

/// The coupon that the path names. What cannot be an id of ours is one that nothing bears: not found,
/// never a bad request.
fn coupon_id(fields: &mut Fields<'_>) -> CouponId {
    let text = fields.path("userCouponId").opaque();
    CouponId::parse(&text).unwrap_or(CouponId::from_bytes([0; 16]))
}

fn read_redeem(parts: &Parts, caller: &Caller) -> Result<RedeemRequest, ApiError> {
    let mut fields = Fields::of(parts).with_body(&caller.body);
    let coupon_id = coupon_id(&mut fields);
    let user_id = fields.body("userId").text(1..=255);
    let amount = fields.body("orderAmount").order_amount();
    let order_id = fields.body("orderId").text(1..=255);
    fields.finish(|| {
        Some(RedeemRequest {
            merchant_id: caller.merchant_id,
            coupon_id,
            order: Order {
                user_id: user_id?.into_owned(),
                amount: amount?,
                id: order_id?.into_owned(),
            },
        })
    })
}

/// `POST /v1/user-coupons/{userCouponId}/redeem`
pub(crate) async fn redeem_coupon(
    State(partner): State<Partner>,
    Extension(caller): Extension<Caller>,
    parts: Parts,
) -> Response {
    let request = read_redeem(&parts, &caller);
    let zone = partner.app().zone.clone();
    let call = Call {
        render: Arc::new(move |outcome: &RedeemOutcome| match outcome {
            Ok(redemption) => Answer::success(&RedeemCouponResult::of(redemption, &zone)),
            Err(refusal) => Answer::failure(redeem_refusal(*refusal), None),
        }),
        run: async |request, idempotency: Option<Idempotency<RedeemOutcome>>| {
            coupon::redeem(partner.app(), request, idempotency).await
        },
        peek: async |idempotency: &Idempotency<RedeemOutcome>| {
            let (key, body) = (idempotency.key, idempotency.body);
            partner.app().coupons.peek(key, body).await
        },
    };
    idempotency::answer(&parts, &caller, request, call).await
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

/// A cancellation that went through.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CancelCouponRedemptionResult<'a> {
    user_coupon_id: String,
    status: &'static str,
    canceled_at: LocalTime,
    cancel_reason: &'a str,
}

impl<'a> CancelCouponRedemptionResult<'a> {
    fn of(cancellation: &'a Cancellation, zone: &BusinessZone) -> Self {
        Self {
            user_coupon_id: cancellation.coupon_id.to_string(),
            status: words::coupon_status(cancellation.status),
            canceled_at: LocalTime::of(zone, cancellation.canceled_at),
            cancel_reason: &cancellation.reason,
        }
    }
}

fn read_cancel(parts: &Parts, caller: &Caller) -> Result<CancelRequest, ApiError> {
    let mut fields = Fields::of(parts).with_body(&caller.body);
    let coupon_id = coupon_id(&mut fields);
    let order_id = fields.body("orderId").text(1..=255);
    let reason = fields.body("cancelReason").text(0..=255);
    fields.finish(|| {
        Some(CancelRequest {
            merchant_id: caller.merchant_id,
            coupon_id,
            order_id: order_id?.into_owned(),
            reason: reason?.into_owned(),
        })
    })
}

/// `POST /v1/user-coupons/{userCouponId}/cancel`
pub(crate) async fn cancel_coupon_redemption(
    State(partner): State<Partner>,
    Extension(caller): Extension<Caller>,
    parts: Parts,
) -> Response {
    let request = read_cancel(&parts, &caller);
    let zone = partner.app().zone.clone();
    let call = Call {
        render: Arc::new(move |outcome: &CancelOutcome| match outcome {
            Ok(cancellation) => {
                Answer::success(&CancelCouponRedemptionResult::of(cancellation, &zone))
            }
            Err(refusal) => Answer::failure(cancel_refusal(*refusal), None),
        }),
        run: async |request, idempotency: Option<Idempotency<CancelOutcome>>| {
            coupon::cancel(partner.app(), request, idempotency).await
        },
        peek: async |idempotency: &Idempotency<CancelOutcome>| {
            let (key, body) = (idempotency.key, idempotency.body);
            partner.app().coupons.peek(key, body).await
        },
    };
    idempotency::answer(&parts, &caller, request, call).await
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
