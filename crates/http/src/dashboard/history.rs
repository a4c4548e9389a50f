//! The coupon history of a merchant, page by page (contract §2.2).

use axum::extract::State;
use goodpon_application::Failure;
use goodpon_application::{
    history::{self, HistoryPage, HistoryQuery, PageRefusal},
    ports::Direction,
};
use goodpon_domain::business_time::BusinessZone;
use goodpon_domain::history::HistoryEntry;
use goodpon_domain::id::{MerchantId, TemplateId};
use goodpon_web::input::Malformed;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::{DashboardRequest, Session};
use super::merchant::access_code;
use super::state::Dashboard;
use crate::answer::Answer;
use crate::error::ApiError;
use crate::error_code::{ErrorCode, FieldError, INVALID_VALUE};
use crate::local_time::LocalTime;
use crate::openapi::envelope::{Success, errors};
use crate::words;

const DEFAULT_SIZE: usize = 20;
const MAX_SIZE: i64 = 100;

const START_AFTER_END: &str = "startDate는 endDate보다 이후일 수 없습니다.";
const BAD_SIZE: &str = "size는 1 이상 100 이하이어야 합니다.";

const DIRECTIONS: [(&str, Direction); 2] = [
    ("asc", Direction::Ascending),
    ("desc", Direction::Descending),
];

/// A page of entries.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CouponHistoryQueryResult<'a> {
    content: Vec<CouponHistory<'a>>,
    /// The number of entries of this page.
    size: usize,
    has_more: bool,
    next_cursor: Option<&'a str>,
}

/// An entry.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CouponHistory<'a> {
    history_id: String,
    #[schema(schema_with = words::schema::history_action)]
    action_type: &'static str,
    recorded_at: LocalTime,
    order_id: Option<&'a str>,
    reason: Option<&'a str>,
    user_coupon_id: String,
    user_id: &'a str,
    coupon_template_id: i64,
    coupon_template_name: &'a str,
}

impl<'a> CouponHistoryQueryResult<'a> {
    fn of(page: &'a HistoryPage, zone: &BusinessZone) -> Self {
        Self {
            content: page
                .entries
                .iter()
                .map(|entry| CouponHistory::of(entry, zone))
                .collect(),
            size: page.entries.len(),
            has_more: page.next_cursor.is_some(),
            next_cursor: page.next_cursor.as_deref(),
        }
    }
}

impl<'a> CouponHistory<'a> {
    fn of(entry: &'a HistoryEntry, zone: &BusinessZone) -> Self {
        Self {
            history_id: entry.id.to_string(),
            action_type: words::history_action(entry.action),
            recorded_at: LocalTime::of(zone, entry.recorded_at),
            order_id: entry.order_id.as_deref(),
            reason: entry.reason.as_deref(),
            user_coupon_id: entry.coupon_id.to_string(),
            user_id: &entry.user_id,
            coupon_template_id: entry.template_id.0,
            coupon_template_name: &entry.template_name,
        }
    }
}

errors! { HistoryErrors: MerchantNotFound, NoMerchantAccessPermission }

#[utoipa::path(
    get,
    path = "/v1/merchants/{merchantId}/coupon-histories",
    tag = "Coupon Template",
    operation_id = "listCouponHistories",
    summary = "쿠폰 내역 목록 조회 · List the coupon history",
    description = "모든 조건을 만족하는 내역을 기록 시각 순으로 조회합니다. The entries that pass all filters, in order of their time. 여러 대로 운영할 때 최근 10초의 내역은 늦게 나타날 수 있습니다. Scaled out, an ISSUE may appear up to 10 seconds after its recordedAt, and later only while the issuers catch up after an outage: to miss none, ask again from a cursor that was given that long ago, and tell entries that are known by their historyId.",
    params(
        ("merchantId" = String, Path, description = "상점 ID · the merchant's id"),
        ("startDate" = Option<String>, Query, format = Date, description = "조회 시작 날짜 (yyyy-MM-dd) · the first day"),
        ("endDate" = Option<String>, Query, format = Date, description = "조회 종료 날짜 (yyyy-MM-dd) · the last day"),
        ("orderId" = Option<String>, Query, max_length = 255, description = "주문 ID · of that order"),
        ("userId" = Option<String>, Query, max_length = 255, description = "사용자 ID · of that user"),
        ("couponTemplateId" = Option<String>, Query, description = "쿠폰 템플릿 ID · of that template"),
        ("nextCursor" = Option<String>, Query, description = "다음 페이지 커서, 같은 조건에만 유효 · where the page before ended, good for the same filters only"),
        ("size" = Option<String>, Query, description = "페이지 크기, 1 이상 100 이하, 기본값 20 · entries on a page"),
        ("order" = Option<String>, Query, description = "asc(기본값) 또는 desc · oldest first, or newest first"),
    ),
    responses(
        (status = 200, description = "쿠폰 내역 · a page of entries", body = Success<CouponHistoryQueryResult>, example = json!({"result": "SUCCESS", "data": {"content": [{"historyId": "0198e2b4c3d17f3a9a0c5d2f8e7b6a51", "actionType": "REDEEM", "recordedAt": "2025-08-26T01:19:31.044201", "orderId": "your-unique-order-id", "reason": null, "userCouponId": "0198e2b4c1a97c4e8f10a2b3c4d5e6f7", "userId": "your-unique-user-id", "couponTemplateId": 1, "couponTemplateName": "여름 할인 쿠폰"}], "size": 1, "hasMore": false, "nextCursor": null}, "error": null})),
        HistoryErrors,
    ),
    security(("bearerAuth" = [])),
)]
pub(super) async fn list_coupon_histories(
    State(dashboard): State<Dashboard>,
    Session(account): Session,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let (merchant, query) = read_query(&request)?;
    request.is_about(merchant.0);
    let app = dashboard.app();
    let page = history::page(app, account.id, merchant, query)
        .await
        .map_err(page_error)?;
    Ok(Answer::success(&CouponHistoryQueryResult::of(
        &page, &app.zone,
    )))
}

fn read_query(request: &DashboardRequest) -> Result<(MerchantId, HistoryQuery), Malformed> {
    let mut fields = request.fields();
    let merchant = fields.path("merchantId").id();
    let start_date = fields.query("startDate").optional_date();
    let end_date = fields.query("endDate").optional_date();
    if let (Some(Some(start)), Some(Some(end))) = (start_date, end_date)
        && start > end
    {
        fields.fault("startDate", Some(START_AFTER_END));
    }
    let order_id = fields.query("orderId").optional_text(1..=255);
    let user_id = fields.query("userId").optional_text(1..=255);
    let template = fields.query("couponTemplateId").optional_id();
    let cursor = fields.query("nextCursor").optional_text(1..=255);
    if let Some(Some(text)) = &cursor
        && !history::has_cursor_form(text)
    {
        fields.fault("nextCursor", None);
    }
    let size = fields
        .query("size")
        .saying(BAD_SIZE)
        .optional_whole(1..=MAX_SIZE);
    let direction = fields.query("order").optional_choice(&DIRECTIONS);
    fields.finish(|| {
        let size = size?.and_then(|size| usize::try_from(size).ok());
        let query = HistoryQuery {
            start_date: start_date?,
            end_date: end_date?,
            order_id: order_id?.map(|text| text.into_owned()),
            user_id: user_id?.map(|text| text.into_owned()),
            template_id: template?.map(TemplateId),
            direction: direction?.unwrap_or_default(),
            cursor: cursor?.map(|text| text.into_owned()),
            size: size.unwrap_or(DEFAULT_SIZE),
        };
        Some((MerchantId(merchant?), query))
    })
}

fn page_error(failure: Failure<PageRefusal>) -> ApiError {
    match failure {
        Failure::Refused(PageRefusal::Access(refusal)) => ApiError::new(access_code(refusal)),
        Failure::Refused(PageRefusal::InvalidCursor) => {
            let cursor = FieldError {
                field: "nextCursor",
                message: INVALID_VALUE,
            };
            ApiError::with_fields(ErrorCode::BadRequest, vec![cursor])
        }
        Failure::Store(error) => error.into(),
    }
}
