//! Templates and coupons as they are shown to shops.

use goodpon_application::coupon::TemplateForUser;
use goodpon_domain::business_time::BusinessZone;
use goodpon_domain::redemption::{Cancellation, Redemption};
use goodpon_domain::wallet::HeldCoupon;
use serde::Serialize;
use utoipa::ToSchema;

use crate::local_time::LocalTime;
use crate::words;

/// A template as one of the shop's users sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::partner) struct CouponTemplateDetailForUser {
    id: i64,
    name: String,
    description: String,
    #[schema(schema_with = words::schema::discount_type)]
    discount_type: &'static str,
    discount_value: i64,
    max_discount_amount: Option<i64>,
    min_order_amount: Option<i64>,
    #[schema(schema_with = words::schema::template_status)]
    status: &'static str,
    validity_days: Option<i64>,
    absolute_expires_at: Option<LocalTime>,
    issue_start_at: LocalTime,
    issue_end_at: Option<LocalTime>,
    #[schema(schema_with = words::schema::limit_type)]
    limit_type: &'static str,
    max_issue_count: Option<i64>,
    max_redeem_count: Option<i64>,
    current_issue_count: i64,
    current_redeem_count: i64,
    #[schema(schema_with = words::schema::issuance_status)]
    issuance_status: &'static str,
}

impl CouponTemplateDetailForUser {
    pub(super) fn of(view: &TemplateForUser, zone: &BusinessZone) -> Self {
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

/// The two lists show the same of a coupon but for the last member.
macro_rules! coupon_list {
    ($(#[$doc:meta])* $list:ident of $(#[$item_doc:meta])* $item:ident with $last:ident) => {
        $(#[$doc])*
        #[derive(Debug, Serialize, ToSchema)]
        pub(in crate::partner) struct $list<'a> {
            pub(super) coupons: Vec<$item<'a>>,
        }

        $(#[$item_doc])*
        #[derive(Debug, Serialize, ToSchema)]
        #[serde(rename_all = "camelCase")]
        pub(in crate::partner) struct $item<'a> {
            user_coupon_id: String,
            coupon_template_id: i64,
            coupon_template_name: &'a str,
            coupon_template_description: &'a str,
            #[schema(schema_with = words::schema::discount_type)]
            discount_type: &'static str,
            discount_value: i64,
            max_discount_amount: Option<i64>,
            min_order_amount: Option<i64>,
            issued_at: LocalTime,
            expires_at: Option<LocalTime>,
            #[schema(schema_with = words::schema::limit_type)]
            limit_type: &'static str,
            max_issue_count: Option<i64>,
            max_redeem_count: Option<i64>,
            $last: bool,
        }

        impl<'a> $item<'a> {
            pub(super) fn of(held: &'a HeldCoupon, zone: &BusinessZone, $last: bool) -> Self {
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

/// A redemption that went through.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::partner) struct RedeemCouponResult<'a> {
    user_coupon_id: String,
    discount_amount: i64,
    original_price: i64,
    final_price: i64,
    order_id: &'a str,
    redeemed_at: LocalTime,
}

impl<'a> RedeemCouponResult<'a> {
    pub(super) fn of(redemption: &'a Redemption, zone: &BusinessZone) -> Self {
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

/// A cancellation that went through.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::partner) struct CancelCouponRedemptionResult<'a> {
    user_coupon_id: String,
    #[schema(schema_with = words::schema::coupon_status)]
    status: &'static str,
    canceled_at: LocalTime,
    cancel_reason: &'a str,
}

impl<'a> CancelCouponRedemptionResult<'a> {
    pub(super) fn of(cancellation: &'a Cancellation, zone: &BusinessZone) -> Self {
        Self {
            user_coupon_id: cancellation.coupon_id.to_string(),
            status: words::coupon_status(cancellation.status),
            canceled_at: LocalTime::of(zone, cancellation.canceled_at),
            cancel_reason: &cancellation.reason,
        }
    }
}
