//! Coupon templates for tests: valid unless a test makes them otherwise.

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// The business time zone that the suite runs in.
pub const ZONE: &str = "Asia/Seoul";

/// Returns today in the business time zone plus `offset` days, as `yyyy-MM-dd`.
///
/// # Panics
/// The zone is unknown, or the date beyond the calendar.
#[must_use]
pub fn day(offset: i64) -> String {
    date(offset).to_string()
}

/// Returns the start of today plus `offset` days, as a body writes it.
#[must_use]
pub fn midnight(offset: i64) -> String {
    format!("{}T00:00:00", date(offset))
}

fn date(offset: i64) -> Date {
    let zone = TimeZone::get(ZONE).expect("the business zone");
    let now = std::time::SystemTime::now();
    let now = jiff::Timestamp::try_from(now)
        .expect("a time of this era")
        .to_zoned(zone);
    now.date()
        .checked_add(offset.days())
        .expect("a date within the calendar")
}

/// The body of `POST …/coupon-templates`: 1,000 off, issued from yesterday on, without ends or limits.
#[derive(Clone)]
pub struct Template(Value);

impl Default for Template {
    fn default() -> Self {
        Self(json!({
            "name": "여름 쿠폰",
            "description": "설명",
            "discountType": "FIXED_AMOUNT",
            "discountValue": 1000,
            "issueStartDate": day(-1),
            "limitType": "NONE",
        }))
    }
}

impl Template {
    /// Makes a template with a fixed discount.
    #[must_use]
    pub fn fixed(amount: i64) -> Self {
        Self::default().set("discountValue", amount)
    }

    /// Makes a template with a discount in per cent and its ceiling.
    #[must_use]
    pub fn percentage(percent: i64, ceiling: i64) -> Self {
        let template = Self::default()
            .set("discountType", "PERCENTAGE")
            .set("discountValue", percent);
        template.set("maxDiscountAmount", ceiling)
    }

    /// Sets any field.
    #[must_use]
    pub fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0[field] = value.into();
        self
    }

    /// Leaves a field out.
    #[must_use]
    pub fn without(mut self, field: &str) -> Self {
        if let Some(object) = self.0.as_object_mut() {
            object.remove(field);
        }
        self
    }

    /// Sets its name.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.set("name", name)
    }

    /// Sets the least order that it can be redeemed for.
    #[must_use]
    pub fn min_order(self, amount: i64) -> Self {
        self.set("minOrderAmount", amount)
    }

    /// Limits the coupons to `count`.
    #[must_use]
    pub fn issue_limit(self, count: i64) -> Self {
        self.set("limitType", "ISSUE_COUNT")
            .set("maxIssueCount", count)
    }

    /// Limits the coupons that are redeemed at one time to `count`.
    #[must_use]
    pub fn redeem_limit(self, count: i64) -> Self {
        self.set("limitType", "REDEEM_COUNT")
            .set("maxRedeemCount", count)
    }

    /// Issues from `days` days after today on.
    #[must_use]
    pub fn starts(self, days: i64) -> Self {
        self.set("issueStartDate", day(days))
    }

    /// Issues until the end of the day `days` days after today.
    #[must_use]
    pub fn ends(self, days: i64) -> Self {
        self.set("issueEndDate", day(days))
    }

    /// Makes coupons valid for `days` days after the day of issue.
    #[must_use]
    pub fn validity(self, days: i64) -> Self {
        self.set("validityDays", days)
    }

    /// Makes coupons valid until the end of the day `days` days after today.
    #[must_use]
    pub fn expires(self, days: i64) -> Self {
        self.set("absoluteExpiryDate", day(days))
    }

    /// Returns the body.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.0
    }
}
