//! Every code that the two APIs answer (contract §6): audience, HTTP status and Korean message.

use http::StatusCode;
use serde::Serialize;

/// The message of a field at fault where the contract gives no other.
pub const INVALID_VALUE: &str = "유효하지 않은 값입니다.";

/// The APIs that answer a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Both APIs.
    Both,
    /// The dashboard API only.
    Dashboard,
    /// The partner API only.
    Partner,
}

// One row for each code, as in the contract, so that no code can lack its status, its message or its place in `ALL`.
macro_rules! error_codes {
    ($($name:ident, $audience:ident, $status:literal, $code:literal, $message:literal;)+) => {
        /// A row of contract §6.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $(
                #[doc = concat!("`", $code, "`, HTTP ", $status, ": ", $message)]
                $name,
            )+
        }

        impl ErrorCode {
            /// Every code, in the order of the contract.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            const fn row(self) -> (Audience, u16, &'static str, &'static str) {
                match self {
                    $(Self::$name => (Audience::$audience, $status, $code, $message),)+
                }
            }
        }
    };
}

error_codes! {
    BadRequest, Both, 400, "BAD_REQUEST", "잘못된 요청입니다.";
    Unauthorized, Both, 401, "UNAUTHORIZED", "인증이 필요합니다.";
    Forbidden, Both, 403, "FORBIDDEN", "접근 권한이 없습니다.";
    NotFound, Both, 404, "NOT_FOUND", "존재하지 않는 경로입니다.";
    MethodNotAllowed, Both, 405, "METHOD_NOT_ALLOWED", "지원하지 않는 메서드입니다.";
    PayloadTooLarge, Both, 413, "PAYLOAD_TOO_LARGE", "요청 본문이 너무 큽니다.";
    TooManyRequests, Both, 429, "TOO_MANY_REQUESTS", "요청이 너무 많습니다. 잠시 후 다시 시도해주세요.";
    InternalServerError, Both, 500, "INTERNAL_SERVER_ERROR", "서버 내 오류가 발생했습니다.";
    ServiceUnavailable, Both, 503, "SERVICE_UNAVAILABLE", "일시적으로 처리할 수 없습니다. 잠시 후 다시 시도해주세요.";
    AccountNotVerified, Dashboard, 403, "ACCOUNT_NOT_VERIFIED", "계정이 아직 인증되지 않았습니다.";
    AccountSignUpInvalidInput, Dashboard, 400, "ACCOUNT_SIGN_UP_INVALID_INPUT", "계정 생성에 필요한 입력값이 올바르지 않습니다.";
    AccountAlreadyVerified, Dashboard, 400, "ACCOUNT_ALREADY_VERIFIED", "이미 인증된 계정입니다.";
    AccountEmailAlreadyExists, Dashboard, 400, "ACCOUNT_EMAIL_ALREADY_EXISTS", "이미 사용 중인 이메일입니다.";
    AccountNotFound, Dashboard, 404, "ACCOUNT_NOT_FOUND", "존재하지 않는 계정입니다.";
    PasswordMismatch, Dashboard, 401, "PASSWORD_MISMATCH", "비밀번호가 일치하지 않습니다.";
    InvalidEmailVerificationToken, Dashboard, 400, "INVALID_EMAIL_VERIFICATION_TOKEN", "유효하지 않은 이메일 인증 토큰입니다.";
    MerchantNotFound, Dashboard, 404, "MERCHANT_NOT_FOUND", "존재하지 않는 상점입니다.";
    NoMerchantAccessPermission, Dashboard, 403, "NO_MERCHANT_ACCESS_PERMISSION", "해당 상점에 접근할 수 있는 권한이 없습니다.";
    CouponTemplateValidationFailed, Dashboard, 400, "COUPON_TEMPLATE_VALIDATION_FAILED", "잘못된 쿠폰 템플릿 생성 요청입니다. 각 필드의 오류를 확인하세요.";
    CouponTemplateNotFound, Both, 404, "COUPON_TEMPLATE_NOT_FOUND", "존재하지 않는 쿠폰 템플릿입니다.";
    CouponTemplateInvalidStatusToPublish, Dashboard, 400, "COUPON_TEMPLATE_INVALID_STATUS_TO_PUBLISH", "쿠폰 템플릿을 발행할 수 있는 상태가 아닙니다.";
    CouponTemplateNotOwnedByMerchantDashboard, Dashboard, 403, "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT", "상점이 소유한 쿠폰 템플릿이 아닙니다.";
    CouponTemplateNotOwnedByMerchantPartner, Partner, 403, "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT", "해당 쿠폰 템플릿은 현재 상점에서 소유하고 있지 않습니다.";
    InvalidIdempotencyKey, Partner, 400, "INVALID_IDEMPOTENCY_KEY", "멱등키는 300자 이하여야 합니다.";
    IdempotentRequestProcessing, Partner, 409, "IDEMPOTENT_REQUEST_PROCESSING", "이전 멱등 요청이 아직 처리 중입니다. 잠시 후 다시 시도해주세요.";
    IdempotentRequestPayloadMismatch, Partner, 422, "IDEMPOTENT_REQUEST_PAYLOAD_MISMATCH", "재시도된 요청의 본문이 처음 요청과 다릅니다. 멱등키를 새로 생성해주세요.";
    InvalidCredentials, Partner, 401, "INVALID_CREDENTIALS", "인증 정보가 유효하지 않습니다. Client ID와 Client Secret을 확인해주세요.";
    ClientIdMissing, Partner, 400, "CLIENT_ID_MISSING", "Client Id가 누락되었습니다.";
    ClientSecretMissing, Partner, 400, "CLIENT_SECRET_MISSING", "Client Secret이 누락되었습니다.";
    CouponAlreadyIssued, Partner, 400, "COUPON_ALREADY_ISSUED", "사용자가 이미 발급한 쿠폰입니다.";
    CouponNotIssuablePeriod, Partner, 400, "COUPON_NOT_ISSUABLE_PERIOD", "쿠폰을 발급할 수 있는 기간이 아닙니다.";
    CouponNotRedeemable, Partner, 400, "COUPON_NOT_REDEEMABLE", "해당 쿠폰을 사용할 수 있는 상태가 아닙니다.";
    CouponTemplateMaxIssueCountExceeded, Partner, 400, "COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED", "쿠폰 템플릿의 최대 발급 수량을 초과했습니다.";
    CouponTemplateMaxRedeemCountExceeded, Partner, 400, "COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED", "쿠폰 템플릿의 최대 사용 수량을 초과했습니다.";
    CouponTemplateNotIssuable, Partner, 400, "COUPON_TEMPLATE_NOT_ISSUABLE", "해당 쿠폰을 발급할 수 있는 상태가 아닙니다.";
    CouponTemplateRedeemConditionNotMet, Partner, 400, "COUPON_TEMPLATE_REDEEM_CONDITION_NOT_MET", "쿠폰 사용 조건을 충족하지 못했습니다.";
    UserCouponAlreadyCancelled, Partner, 400, "USER_COUPON_ALREADY_CANCELLED", "해당 쿠폰은 이미 취소된 쿠폰입니다.";
    UserCouponAlreadyRedeemed, Partner, 400, "USER_COUPON_ALREADY_REDEEMED", "해당 쿠폰은 이미 사용된 쿠폰입니다.";
    UserCouponCancelNotAllowed, Partner, 400, "USER_COUPON_CANCEL_NOT_ALLOWED", "해당 쿠폰은 사용 취소할 수 없는 상태입니다.";
    UserCouponCancelOrderIdMismatch, Partner, 400, "USER_COUPON_CANCEL_ORDER_ID_MISMATCH", "쿠폰 사용 취소 시 쿠폰을 사용했던 주문 ID와 동일해야 합니다.";
    UserCouponExpired, Partner, 400, "USER_COUPON_EXPIRED", "해당 쿠폰은 만료된 쿠폰입니다.";
    UserCouponNotOwnedByUser, Partner, 403, "USER_COUPON_NOT_OWNED_BY_USER", "해당 쿠폰은 사용자가 소유한 쿠폰이 아닙니다.";
    UserCouponNotFound, Partner, 404, "USER_COUPON_NOT_FOUND", "존재하지 않는 쿠폰입니다.";
    ClientSecretLimitExceeded, Dashboard, 400, "CLIENT_SECRET_LIMIT_EXCEEDED", "유효한 시크릿은 최대 5개까지 발급할 수 있습니다.";
    ClientSecretNotFound, Dashboard, 404, "CLIENT_SECRET_NOT_FOUND", "존재하지 않는 시크릿입니다.";
    LastClientSecret, Dashboard, 400, "LAST_CLIENT_SECRET", "마지막으로 남은 시크릿은 만료할 수 없습니다.";
    AlreadyAMember, Dashboard, 400, "ALREADY_A_MEMBER", "이미 상점에 등록된 구성원입니다.";
    MemberNotFound, Dashboard, 404, "MEMBER_NOT_FOUND", "존재하지 않는 구성원입니다.";
    OwnerNotRemovable, Dashboard, 400, "OWNER_NOT_REMOVABLE", "상점의 소유자는 제외할 수 없습니다.";
    OwnerOnly, Dashboard, 403, "OWNER_ONLY", "상점의 소유자만 할 수 있는 작업입니다.";
    MerchantLimitExceeded, Dashboard, 400, "MERCHANT_LIMIT_EXCEEDED", "만들 수 있는 상점 수를 초과했습니다.";
    CouponTemplateLimitExceeded, Dashboard, 400, "COUPON_TEMPLATE_LIMIT_EXCEEDED", "만들 수 있는 쿠폰 템플릿 수를 초과했습니다.";
    MemberLimitExceeded, Dashboard, 400, "MEMBER_LIMIT_EXCEEDED", "등록할 수 있는 구성원 수를 초과했습니다.";
    CouponTemplateInvalidStatusToDiscard, Dashboard, 400, "COUPON_TEMPLATE_INVALID_STATUS_TO_DISCARD", "쿠폰 템플릿을 폐기할 수 있는 상태가 아닙니다.";
}

impl ErrorCode {
    /// The APIs that answer it.
    pub const fn audience(self) -> Audience {
        self.row().0
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// `error.code`. Two codes share one string: those of a template of another merchant, whose
    /// messages differ between the APIs.
    pub const fn code(self) -> &'static str {
        self.row().2
    }

    /// `error.message`.
    pub const fn message(self) -> &'static str {
        self.row().3
    }

    /// Returns whether its answer carries `Retry-After`.
    pub const fn asks_to_retry(self) -> bool {
        matches!(
            self,
            Self::TooManyRequests | Self::ServiceUnavailable | Self::IdempotentRequestProcessing
        )
    }
}

/// One entry of `error.data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// JSON key, path variable or query parameter.
    pub field: &'static str,
    /// The fault, in Korean.
    pub message: &'static str,
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_once_for_each_api() {
        for api in [Audience::Dashboard, Audience::Partner] {
            let of_api: Vec<_> = ErrorCode::ALL
                .iter()
                .filter(|code| code.audience() == Audience::Both || code.audience() == api)
                .map(|code| code.code())
                .collect();
            let distinct: HashSet<_> = of_api.iter().collect();
            assert_eq!(of_api.len(), distinct.len());
        }
        assert_eq!(ErrorCode::ALL.len(), 54);
    }
}
