//! The bodies of requests, for the documents. Requests are read leniently, by [`goodpon_web::input`].

use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::words;

macro_rules! requests {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)+ }
    )+) => {$(
        $(#[$doc])*
        #[derive(Debug, ToSchema)]
        #[schema(rename_all = "camelCase")]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)+ }
    )+};
}

requests! {
    /// A sign-up.
    SignUpRequest {
        /// 사용자 이메일 · the address, which becomes the login.
        #[schema(max_length = 255, format = Email)]
        email: String,
        /// 사용자 비밀번호, 8~100자, 쉽게 추측할 수 없는 것 · 8 to 100 characters, and not one that is guessed first.
        #[schema(min_length = 8, max_length = 100, format = Password)]
        password: String,
        /// 사용자 이름, 1~50자, 보이는 글자가 있어야 합니다 · 1 to 50 characters of which one can be seen.
        #[schema(min_length = 1, max_length = 50)]
        name: String,
    }

    /// A login.
    LoginRequest {
        /// 계정 이메일 · the address, without regard to case.
        #[schema(max_length = 255, format = Email)]
        email: String,
        /// 계정 비밀번호 · the password.
        #[schema(format = Password)]
        password: String,
    }

    /// A verification.
    VerifyEmailRequest {
        /// 이메일 인증 토큰 · the token that was mailed.
        #[schema(min_length = 32, max_length = 32)]
        token: String,
    }

    /// A wish for another verification mail.
    ResendVerificationEmailRequest {
        /// 인증 이메일을 재전송할 계정의 이메일 · the address that signed up.
        #[schema(max_length = 255, format = Email)]
        email: String,
    }

    /// A merchant to be.
    CreateMerchantRequest {
        /// 상점 이름, 1~255자 · 1 to 255 characters.
        #[schema(min_length = 1, max_length = 255)]
        name: String,
    }

    /// The end of a secret.
    ExpireClientSecretRequest {
        /// 만료 시각 (yyyy-MM-ddTHH:mm:ss), 없으면 즉시 · when, or at once.
        #[schema(pattern = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?$")]
        expires_at: Option<String>,
    }

    /// A member to be.
    AddMemberRequest {
        /// 추가할 계정의 이메일 · the address of a verified account.
        #[schema(max_length = 255, format = Email)]
        email: String,
    }

    /// A template to be.
    CreateCouponTemplateRequest {
        /// 쿠폰 템플릿 이름, 1~255자 · 1 to 255 characters.
        #[schema(min_length = 1, max_length = 255)]
        name: String,
        /// 쿠폰 템플릿 설명, 0~255자 · 0 to 255 characters.
        #[schema(max_length = 255)]
        description: String,
        /// 최소 주문 금액 · the least order amount.
        #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
        min_order_amount: Option<i64>,
        /// 할인 유형 · how the discount is reckoned.
        #[schema(schema_with = discount_type)]
        discount_type: String,
        /// 할인 금액 또는 비율 · the amount, or the percentage.
        #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
        discount_value: i64,
        /// 최대 할인 금액 (PERCENTAGE 선택 시) · the most that a percentage takes off.
        #[schema(minimum = 1, maximum = 1_000_000_000_000_i64)]
        max_discount_amount: Option<i64>,
        /// 쿠폰 발급 시작 날짜 (yyyy-MM-dd) · the first day of issue.
        #[schema(format = Date)]
        issue_start_date: String,
        /// 쿠폰 발급 종료 날짜 (yyyy-MM-dd) · the last day of issue.
        #[schema(format = Date)]
        issue_end_date: Option<String>,
        /// 쿠폰 유효 기간 (일 단위) · days for which a coupon is good.
        #[schema(minimum = 1, maximum = 36_500)]
        validity_days: Option<i64>,
        /// 쿠폰 절대 만료 날짜 (yyyy-MM-dd) · the last day of all its coupons.
        #[schema(format = Date)]
        absolute_expiry_date: Option<String>,
        /// 쿠폰 제한 유형 · what is limited.
        #[schema(schema_with = limit_type)]
        limit_type: String,
        /// 최대 발급 수량 (ISSUE_COUNT 선택 시) · how many are ever issued.
        #[schema(minimum = 1, maximum = 1_000_000_000)]
        max_issue_count: Option<i64>,
        /// 최대 사용 수량 (REDEEM_COUNT 선택 시) · how many are redeemed at once.
        #[schema(minimum = 1, maximum = 1_000_000_000)]
        max_redeem_count: Option<i64>,
    }

    /// A template's end.
    DiscardCouponTemplateRequest {
        /// 폐기 사유, 0~255자 · why; 0 to 255 characters.
        #[schema(max_length = 255)]
        reason: String,
    }

    /// A coupon to be.
    IssueCouponRequest {
        /// 고객사의 고유 사용자 ID, 1~255자 · the shop's own id of the user.
        #[schema(min_length = 1, max_length = 255)]
        user_id: String,
    }

    /// A redemption.
    RedeemCouponRequest {
        /// 고객사의 고유 사용자 ID · the shop's own id of the user.
        #[schema(min_length = 1, max_length = 255)]
        user_id: String,
        /// 주문 금액, 0 이상 · the order's amount, 0 or more.
        #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
        order_amount: i64,
        /// 고유한 주문 ID, 1~255자 · the shop's own id of the order.
        #[schema(min_length = 1, max_length = 255)]
        order_id: String,
    }

    /// The cancellation of a redemption.
    CancelCouponRedemptionRequest {
        /// 고유한 주문 ID · the order for which the coupon was redeemed.
        #[schema(min_length = 1, max_length = 255)]
        order_id: String,
        /// 쿠폰 사용 취소 사유, 0~255자 · why; 0 to 255 characters.
        #[schema(max_length = 255)]
        cancel_reason: String,
    }
}

fn discount_type() -> Object {
    words::schema::discount_type()
}

fn limit_type() -> Object {
    words::schema::limit_type()
}
