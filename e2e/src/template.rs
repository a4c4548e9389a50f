//! Coupon templates for tests: valid unless a test makes them otherwise.

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// The business time zone that the suite runs in.
pub const ZONE: &str = "Asia/Seoul";

/// Today in the business time zone plus some days, as `yyyy-MM-dd`.
///
/// # Panics
/// When the zone is unknown or the date leaves the calendar.
#[must_use]
pub fn day(offset: i64) -> String {
    date(offset).to_string()
}

/// Start of today plus some days, as a body writes it.
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
    /// A fixed discount.
    #[must_use]
    pub fn fixed(amount: i64) -> Self {
        Self::default().set("discountValue", amount)
    }

    /// A discount in per cent with its ceiling.
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

    /// Its name.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.set("name", name)
    }

    /// The least order that it can be redeemed for.
    #[must_use]
    pub fn min_order(self, amount: i64) -> Self {
        self.set("minOrderAmount", amount)
    }

    /// At most so many coupons.
    #[must_use]
    pub fn issue_limit(self, count: i64) -> Self {
        self.set("limitType", "ISSUE_COUNT")
            .set("maxIssueCount", count)
    }

    /// At most so many coupons redeemed at once.
    #[must_use]
    pub fn redeem_limit(self, count: i64) -> Self {
        self.set("limitType", "REDEEM_COUNT")
            .set("maxRedeemCount", count)
    }

    /// Issued from so many days after today on.
    #[must_use]
    pub fn starts(self, days: i64) -> Self {
        self.set("issueStartDate", day(days))
    }

    /// Issued until the end of the day so many days after today.
    #[must_use]
    pub fn ends(self, days: i64) -> Self {
        self.set("issueEndDate", day(days))
    }

    /// Valid for so many days after the day of issue.
    #[must_use]
    pub fn validity(self, days: i64) -> Self {
        self.set("validityDays", days)
    }

    /// Valid until the end of the day so many days after today.
    #[must_use]
    pub fn expires(self, days: i64) -> Self {
        self.set("absoluteExpiryDate", day(days))
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.0
    }
}
