//! Coupon templates as they are shown to their merchants.

use goodpon_application::template::TemplateView;
use goodpon_domain::business_time::BusinessZone;
use goodpon_domain::template::Template;
use serde::Serialize;
use utoipa::ToSchema;

use crate::local_time::LocalTime;
use crate::words;

/// A template just written.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::dashboard) struct CreateCouponTemplateResult<'a> {
    id: i64,
    name: &'a str,
    description: &'a str,
    merchant_id: i64,
    min_order_amount: Option<i64>,
    #[schema(schema_with = words::schema::discount_type)]
    discount_type: &'static str,
    discount_value: i64,
    max_discount_amount: Option<i64>,
    issue_start_at: LocalTime,
    issue_end_at: Option<LocalTime>,
    validity_days: Option<i64>,
    absolute_expires_at: Option<LocalTime>,
    #[schema(schema_with = words::schema::limit_type)]
    limit_type: &'static str,
    max_issue_count: Option<i64>,
    max_redeem_count: Option<i64>,
    #[schema(schema_with = words::schema::template_status)]
    status: &'static str,
}

impl<'a> CreateCouponTemplateResult<'a> {
    pub(super) fn of(template: &'a Template, zone: &BusinessZone) -> Self {
        let terms = &template.terms;
        let period = &terms.period;
        Self {
            id: template.id.0,
            name: &terms.name,
            description: &terms.description,
            merchant_id: template.merchant_id.0,
            min_order_amount: terms.min_order_amount,
            discount_type: words::discount_type(terms.discount.kind()),
            discount_value: terms.discount.value(),
            max_discount_amount: terms.discount.max_amount(),
            issue_start_at: LocalTime::of(zone, period.issue_start_at),
            issue_end_at: LocalTime::of_optional(zone, period.issue_end_at),
            validity_days: period.validity_days,
            absolute_expires_at: LocalTime::of_optional(zone, period.absolute_expires_at),
            limit_type: words::limit_type(terms.limit.kind()),
            max_issue_count: terms.limit.max_issue_count(),
            max_redeem_count: terms.limit.max_redeem_count(),
            status: words::template_status(template.status),
        }
    }
}

/// The templates of a merchant, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::dashboard) struct CouponTemplateSummaries<'a> {
    pub(super) templates: Vec<CouponTemplateSummary<'a>>,
}

/// A template, in short.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::dashboard) struct CouponTemplateSummary<'a> {
    id: i64,
    name: &'a str,
    description: &'a str,
    #[schema(schema_with = words::schema::template_status)]
    status: &'static str,
    issue_count: i64,
    redeem_count: i64,
    created_at: LocalTime,
}

impl<'a> CouponTemplateSummary<'a> {
    pub(super) fn of(view: &'a TemplateView, zone: &BusinessZone) -> Self {
        let template = &view.template;
        Self {
            id: template.id.0,
            name: &template.terms.name,
            description: &template.terms.description,
            status: words::template_status(view.status),
            issue_count: view.issue_count,
            redeem_count: template.redeem_count,
            created_at: LocalTime::of(zone, template.created_at),
        }
    }
}

/// A template in full.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::dashboard) struct CouponTemplateDetail<'a> {
    id: i64,
    merchant_id: i64,
    name: &'a str,
    description: &'a str,
    min_order_amount: Option<i64>,
    #[schema(schema_with = words::schema::discount_type)]
    discount_type: &'static str,
    discount_value: i64,
    max_discount_amount: Option<i64>,
    #[schema(schema_with = words::schema::template_status)]
    status: &'static str,
    issue_start_at: LocalTime,
    issue_end_at: Option<LocalTime>,
    validity_days: Option<i64>,
    absolute_expires_at: Option<LocalTime>,
    #[schema(schema_with = words::schema::limit_type)]
    limit_type: &'static str,
    max_issue_count: Option<i64>,
    max_redeem_count: Option<i64>,
    issue_count: i64,
    redeem_count: i64,
    created_at: LocalTime,
}

impl<'a> CouponTemplateDetail<'a> {
    pub(super) fn of(view: &'a TemplateView, zone: &BusinessZone) -> Self {
        let (template, terms) = (&view.template, &view.template.terms);
        let period = &terms.period;
        Self {
            id: template.id.0,
            merchant_id: template.merchant_id.0,
            name: &terms.name,
            description: &terms.description,
            min_order_amount: terms.min_order_amount,
            discount_type: words::discount_type(terms.discount.kind()),
            discount_value: terms.discount.value(),
            max_discount_amount: terms.discount.max_amount(),
            status: words::template_status(view.status),
            issue_start_at: LocalTime::of(zone, period.issue_start_at),
            issue_end_at: LocalTime::of_optional(zone, period.issue_end_at),
            validity_days: period.validity_days,
            absolute_expires_at: LocalTime::of_optional(zone, period.absolute_expires_at),
            limit_type: words::limit_type(terms.limit.kind()),
            max_issue_count: terms.limit.max_issue_count(),
            max_redeem_count: terms.limit.max_redeem_count(),
            issue_count: view.issue_count,
            redeem_count: template.redeem_count,
            created_at: LocalTime::of(zone, template.created_at),
        }
    }
}

/// A template whose status was changed.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::dashboard) struct ChangedCouponTemplate<'a> {
    id: i64,
    name: &'a str,
    merchant_id: i64,
    #[schema(schema_with = words::schema::template_status)]
    status: &'static str,
}

impl<'a> ChangedCouponTemplate<'a> {
    pub(super) fn of(template: &'a Template) -> Self {
        Self {
            id: template.id.0,
            name: &template.terms.name,
            merchant_id: template.merchant_id.0,
            status: words::template_status(template.status),
        }
    }
}
