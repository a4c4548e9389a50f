//! The rules of contract §2.1, each with the field and message of its violation.

use goodpon_domain::template::Violation;

use crate::error_code::FieldError;

/// The entry of `error.data` for a broken rule.
pub(super) fn broken(violation: Violation) -> FieldError {
    let (field, message) = match violation {
        Violation::MinOrderAmountNotPositive => (
            "minOrderAmount",
            "쿠폰 사용 조건의 최소 주문 금액은 0보다 커야 합니다.",
        ),
        Violation::FixedAmountNotPositive => {
            ("discountValue", "고정 할인 금액은 0보다 커야 합니다.")
        }
        Violation::FixedAmountWithMaximum => (
            "maxDiscountAmount",
            "고정 금액 할인은 최대 할인 금액을 설정할 수 없습니다.",
        ),
        Violation::PercentageOutOfRange => {
            ("discountValue", "백분율 할인 값은 1~100 사이여야 합니다.")
        }
        Violation::PercentageWithoutMaximum => (
            "maxDiscountAmount",
            "백분율 할인은 최대 할인 금액을 0보다 크게 설정해야 합니다.",
        ),
        Violation::IssueEndBeforeStart => (
            "issueEndDate",
            "쿠폰 발행 종료일은 발행 시작일보다 이전일 수 없습니다.",
        ),
        Violation::ExpiryBeforeIssueStart => (
            "absoluteExpiryDate",
            "쿠폰 사용 절대 만료일은 발행 시작일보다 이전일 수 없습니다.",
        ),
        Violation::ExpiryBeforeIssueEnd => (
            "absoluteExpiryDate",
            "쿠폰 사용 절대 만료일은 발행 종료일보다 이전일 수 없습니다.",
        ),
        Violation::ExpiryWithoutIssueEnd => (
            "absoluteExpiryDate",
            "쿠폰 사용 절대 만료일은 발행 종료일이 설정된 경우에만 설정할 수 있습니다.",
        ),
        Violation::ValidityDaysNotPositive => {
            ("validityDays", "쿠폰 유효 기간은 0보다 커야 합니다.")
        }
        Violation::IssueLimitMissing => (
            "maxIssueCount",
            "발급 제한 정책이 설정된 쿠폰은 발급 제한 수량이 필요합니다.",
        ),
        Violation::IssueLimitWithRedeemLimit => (
            "maxRedeemCount",
            "발행 제한 정책이 설정된 쿠폰은 사용 제한 수량을 함께 설정할 수 없습니다.",
        ),
        Violation::RedeemLimitMissing => (
            "maxRedeemCount",
            "사용 제한 정책이 설정된 쿠폰은 사용 제한 수량이 필요합니다.",
        ),
        Violation::RedeemLimitWithIssueLimit => (
            "maxIssueCount",
            "사용 제한 정책이 설정된 쿠폰은 발급 제한 수량을 함께 설정할 수 없습니다.",
        ),
        Violation::NoLimitWithLimit => (
            "limitType",
            "무제한 정책이 설정된 쿠폰은 발급 및 사용 제한 수량을 설정할 수 없습니다.",
        ),
    };
    FieldError { field, message }
}
