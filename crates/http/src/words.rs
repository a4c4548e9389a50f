//! The words for enumeration values in bodies (contract §1, Enums).

use goodpon_domain::coupon::{CouponStatus, IssuanceStatus};
use goodpon_domain::ledger::HistoryAction;
use goodpon_domain::merchant::Role;
use goodpon_domain::template::{DiscountType, LimitType, TemplateStatus};

macro_rules! words {
    ($($name:ident: $type:ty { $($variant:ident = $word:literal),+ $(,)? })*) => {
        $(
        #[doc = concat!("The word for a `", stringify!($type), "`.")]
        pub(crate) const fn $name(value: $type) -> &'static str {
            match value { $(<$type>::$variant => $word,)+ }
        }
        )*

        /// The same words as schemas of the OpenAPI documents.
        pub(crate) mod schema {
            use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
            $(
                pub(crate) fn $name() -> Object {
                    let words = [$($word),+];
                    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).build()
                }
            )*
        }
    };
}

words! {
    discount_type: DiscountType { FixedAmount = "FIXED_AMOUNT", Percentage = "PERCENTAGE" }
    limit_type: LimitType { None = "NONE", IssueCount = "ISSUE_COUNT", RedeemCount = "REDEEM_COUNT" }
    template_status: TemplateStatus {
        Draft = "DRAFT", Issuable = "ISSUABLE", Expired = "EXPIRED", Discarded = "DISCARDED",
    }
    coupon_status: CouponStatus {
        Issued = "ISSUED", Redeemed = "REDEEMED", Expired = "EXPIRED", Discarded = "DISCARDED",
    }
    issuance_status: IssuanceStatus {
        PeriodNotStarted = "PERIOD_NOT_STARTED",
        PeriodEnded = "PERIOD_ENDED",
        AlreadyIssuedByUser = "ALREADY_ISSUED_BY_USER",
        MaxIssueCountExceeded = "MAX_ISSUE_COUNT_EXCEEDED",
        MaxRedeemCountExceeded = "MAX_REDEEM_COUNT_EXCEEDED",
        Available = "AVAILABLE",
    }
    history_action: HistoryAction {
        Issue = "ISSUE",
        Redeem = "REDEEM",
        CancelRedemption = "CANCEL_REDEMPTION",
        Expire = "EXPIRE",
        Discard = "DISCARD",
    }
    role: Role { Owner = "OWNER", Staff = "STAFF" }
}
