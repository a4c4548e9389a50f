//! The form of answers: the envelope, the headers, and the whole table of codes and messages (contract §1 and §6).

use serde_json::{Value, json};

use crate::client::{Answer, Api};

/// The message of a field at fault, unless the contract gives another.
pub const INVALID_VALUE: &str = "유효하지 않은 값입니다.";

use Api::{Dashboard, Partner};

/// All codes of contract §6, with the APIs that use each, its status and its message.
pub const CODES: &[(&[Api], &str, u16, &str)] = &[
    (BOTH, "BAD_REQUEST", 400, "잘못된 요청입니다."),
    (BOTH, "UNAUTHORIZED", 401, "인증이 필요합니다."),
    (BOTH, "FORBIDDEN", 403, "접근 권한이 없습니다."),
    (BOTH, "NOT_FOUND", 404, "존재하지 않는 경로입니다."),
    (
        BOTH,
        "METHOD_NOT_ALLOWED",
        405,
        "지원하지 않는 메서드입니다.",
    ),
    (BOTH, "PAYLOAD_TOO_LARGE", 413, "요청 본문이 너무 큽니다."),
    (
        BOTH,
        "TOO_MANY_REQUESTS",
        429,
        "요청이 너무 많습니다. 잠시 후 다시 시도해주세요.",
    ),
    (
        BOTH,
        "INTERNAL_SERVER_ERROR",
        500,
        "서버 내 오류가 발생했습니다.",
    ),
    (
        BOTH,
        "SERVICE_UNAVAILABLE",
        503,
        "일시적으로 처리할 수 없습니다. 잠시 후 다시 시도해주세요.",
    ),
    (
        D,
        "ACCOUNT_NOT_VERIFIED",
        403,
        "계정이 아직 인증되지 않았습니다.",
    ),
    (
        D,
        "ACCOUNT_SIGN_UP_INVALID_INPUT",
        400,
        "계정 생성에 필요한 입력값이 올바르지 않습니다.",
    ),
    (
        D,
        "ACCOUNT_ALREADY_VERIFIED",
        400,
        "이미 인증된 계정입니다.",
    ),
    (
        D,
        "ACCOUNT_EMAIL_ALREADY_EXISTS",
        400,
        "이미 사용 중인 이메일입니다.",
    ),
    (D, "ACCOUNT_NOT_FOUND", 404, "존재하지 않는 계정입니다."),
    (D, "PASSWORD_MISMATCH", 401, "비밀번호가 일치하지 않습니다."),
    (
        D,
        "INVALID_EMAIL_VERIFICATION_TOKEN",
        400,
        "유효하지 않은 이메일 인증 토큰입니다.",
    ),
    (D, "MERCHANT_NOT_FOUND", 404, "존재하지 않는 상점입니다."),
    (
        D,
        "NO_MERCHANT_ACCESS_PERMISSION",
        403,
        "해당 상점에 접근할 수 있는 권한이 없습니다.",
    ),
    (
        D,
        "COUPON_TEMPLATE_VALIDATION_FAILED",
        400,
        "잘못된 쿠폰 템플릿 생성 요청입니다. 각 필드의 오류를 확인하세요.",
    ),
    (
        BOTH,
        "COUPON_TEMPLATE_NOT_FOUND",
        404,
        "존재하지 않는 쿠폰 템플릿입니다.",
    ),
    (
        D,
        "COUPON_TEMPLATE_INVALID_STATUS_TO_PUBLISH",
        400,
        "쿠폰 템플릿을 발행할 수 있는 상태가 아닙니다.",
    ),
    (
        D,
        "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT",
        403,
        "상점이 소유한 쿠폰 템플릿이 아닙니다.",
    ),
    (
        P,
        "COUPON_TEMPLATE_NOT_OWNED_BY_MERCHANT",
        403,
        "해당 쿠폰 템플릿은 현재 상점에서 소유하고 있지 않습니다.",
    ),
    (
        P,
        "INVALID_IDEMPOTENCY_KEY",
        400,
        "멱등키는 300자 이하여야 합니다.",
    ),
    (
        P,
        "IDEMPOTENT_REQUEST_PROCESSING",
        409,
        "이전 멱등 요청이 아직 처리 중입니다. 잠시 후 다시 시도해주세요.",
    ),
    (
        P,
        "IDEMPOTENT_REQUEST_PAYLOAD_MISMATCH",
        422,
        "재시도된 요청의 본문이 처음 요청과 다릅니다. 멱등키를 새로 생성해주세요.",
    ),
    (
        P,
        "INVALID_CREDENTIALS",
        401,
        "인증 정보가 유효하지 않습니다. Client ID와 Client Secret을 확인해주세요.",
    ),
    (P, "CLIENT_ID_MISSING", 400, "Client Id가 누락되었습니다."),
    (
        P,
        "CLIENT_SECRET_MISSING",
        400,
        "Client Secret이 누락되었습니다.",
    ),
    (
        P,
        "COUPON_ALREADY_ISSUED",
        400,
        "사용자가 이미 발급한 쿠폰입니다.",
    ),
    (
        P,
        "COUPON_NOT_ISSUABLE_PERIOD",
        400,
        "쿠폰을 발급할 수 있는 기간이 아닙니다.",
    ),
    (
        P,
        "COUPON_NOT_REDEEMABLE",
        400,
        "해당 쿠폰을 사용할 수 있는 상태가 아닙니다.",
    ),
    (
        P,
        "COUPON_TEMPLATE_MAX_ISSUE_COUNT_EXCEEDED",
        400,
        "쿠폰 템플릿의 최대 발급 수량을 초과했습니다.",
    ),
    (
        P,
        "COUPON_TEMPLATE_MAX_REDEEM_COUNT_EXCEEDED",
        400,
        "쿠폰 템플릿의 최대 사용 수량을 초과했습니다.",
    ),
    (
        P,
        "COUPON_TEMPLATE_NOT_ISSUABLE",
        400,
        "해당 쿠폰을 발급할 수 있는 상태가 아닙니다.",
    ),
    (
        P,
        "COUPON_TEMPLATE_REDEEM_CONDITION_NOT_MET",
        400,
        "쿠폰 사용 조건을 충족하지 못했습니다.",
    ),
    (
        P,
        "USER_COUPON_ALREADY_CANCELLED",
        400,
        "해당 쿠폰은 이미 취소된 쿠폰입니다.",
    ),
    (
        P,
        "USER_COUPON_ALREADY_REDEEMED",
        400,
        "해당 쿠폰은 이미 사용된 쿠폰입니다.",
    ),
    (
        P,
        "USER_COUPON_CANCEL_NOT_ALLOWED",
        400,
        "해당 쿠폰은 사용 취소할 수 없는 상태입니다.",
    ),
    (
        P,
        "USER_COUPON_CANCEL_ORDER_ID_MISMATCH",
        400,
        "쿠폰 사용 취소 시 쿠폰을 사용했던 주문 ID와 동일해야 합니다.",
    ),
    (
        P,
        "USER_COUPON_EXPIRED",
        400,
        "해당 쿠폰은 만료된 쿠폰입니다.",
    ),
    (
        P,
        "USER_COUPON_NOT_OWNED_BY_USER",
        403,
        "해당 쿠폰은 사용자가 소유한 쿠폰이 아닙니다.",
    ),
    (P, "USER_COUPON_NOT_FOUND", 404, "존재하지 않는 쿠폰입니다."),
    (
        D,
        "CLIENT_SECRET_LIMIT_EXCEEDED",
        400,
        "유효한 시크릿은 최대 5개까지 발급할 수 있습니다.",
    ),
    (
        D,
        "CLIENT_SECRET_NOT_FOUND",
        404,
        "존재하지 않는 시크릿입니다.",
    ),
    (
        D,
        "LAST_CLIENT_SECRET",
        400,
        "마지막으로 남은 시크릿은 만료할 수 없습니다.",
    ),
    (
        D,
        "ALREADY_A_MEMBER",
        400,
        "이미 상점에 등록된 구성원입니다.",
    ),
    (D, "MEMBER_NOT_FOUND", 404, "존재하지 않는 구성원입니다."),
    (
        D,
        "OWNER_NOT_REMOVABLE",
        400,
        "상점의 소유자는 제외할 수 없습니다.",
    ),
    (
        D,
        "MERCHANT_LIMIT_EXCEEDED",
        400,
        "만들 수 있는 상점 수를 초과했습니다.",
    ),
    (
        D,
        "COUPON_TEMPLATE_LIMIT_EXCEEDED",
        400,
        "만들 수 있는 쿠폰 템플릿 수를 초과했습니다.",
    ),
    (
        D,
        "MEMBER_LIMIT_EXCEEDED",
        400,
        "등록할 수 있는 구성원 수를 초과했습니다.",
    ),
    (
        D,
        "OWNER_ONLY",
        403,
        "상점의 소유자만 할 수 있는 작업입니다.",
    ),
    (
        D,
        "COUPON_TEMPLATE_INVALID_STATUS_TO_DISCARD",
        400,
        "쿠폰 템플릿을 폐기할 수 있는 상태가 아닙니다.",
    ),
];
const BOTH: &[Api] = &[Dashboard, Partner];
const D: &[Api] = &[Dashboard];
const P: &[Api] = &[Partner];

/// Returns status and message of a code in an API.
///
/// # Panics
/// The contract has no such code there.
#[must_use]
pub fn code(api: Api, code: &str) -> (u16, &'static str) {
    let row = CODES
        .iter()
        .find(|row| row.0.contains(&api) && row.1 == code);
    row.map(|row| (row.2, row.3))
        .unwrap_or_else(|| panic!("the contract has no {code} in {api:?}"))
}

impl Answer {
    /// Asserts the form of every answer of both APIs: trace id, content type, all keys of the envelope and no others.
    ///
    /// # Panics
    /// The answer has another form.
    pub fn assert_envelope(&self) {
        let trace = self.header("X-Goodpon-Trace-Id").unwrap_or_default();
        assert!(is_lower_hex(&trace, 32), "{self}: trace id {trace:?}");
        let kind = self.header("Content-Type").unwrap_or_default();
        assert!(
            kind.starts_with("application/json"),
            "{self}: content type {kind:?}"
        );
        assert_eq!(keys(&self.json), ["data", "error", "result"], "{self}");
        if self.json["result"] == "SUCCESS" {
            assert!(self.json["error"].is_null(), "{self}");
            assert_eq!(self.status, 200, "{self}");
            return;
        }
        assert_eq!(self.json["result"], "ERROR", "{self}");
        assert!(self.json["data"].is_null(), "{self}");
        assert_eq!(
            keys(&self.json["error"]),
            ["code", "data", "message"],
            "{self}"
        );
        for entry in self.json["error"]["data"].as_array().into_iter().flatten() {
            assert_eq!(keys(entry), ["field", "message"], "{self}");
        }
        if [409, 429, 503].contains(&self.status) {
            let seconds = self.header("Retry-After").unwrap_or_default();
            assert!(
                seconds.parse::<u32>().is_ok(),
                "{self}: Retry-After {seconds:?}"
            );
        }
    }

    /// Asserts a success and returns its data.
    ///
    /// # Panics
    /// It is none.
    #[track_caller]
    pub fn ok(&self) -> &Value {
        self.assert_envelope();
        assert_eq!(self.json["result"], "SUCCESS", "{self}");
        &self.json["data"]
    }

    /// Asserts a refusal with the status and message of its code, and returns `error.data`.
    ///
    /// # Panics
    /// It is another answer.
    #[track_caller]
    pub fn refused(&self, code: &str) -> &Value {
        let (status, message) = self::code(self.api, code);
        self.assert_envelope();
        assert_eq!(self.code(), Some(code), "{self}");
        assert_eq!(self.status, status, "{self}");
        assert_eq!(self.json["error"]["message"], message, "{self}");
        &self.json["error"]["data"]
    }

    /// Asserts BAD_REQUEST with exactly these fields at fault, in any order, each with the usual message.
    ///
    /// # Panics
    /// It is another answer.
    #[track_caller]
    pub fn bad_fields(&self, fields: &[&str]) {
        let mut expected: Vec<_> = fields.iter().map(|field| (*field, INVALID_VALUE)).collect();
        expected.sort_unstable();
        self.bad_entries(&expected);
    }

    /// Asserts BAD_REQUEST with exactly these `(field, message)` entries, in any order.
    ///
    /// # Panics
    /// It is another answer.
    #[track_caller]
    pub fn bad_entries(&self, entries: &[(&str, &str)]) {
        let data = self.refused("BAD_REQUEST");
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let found = data
            .as_array()
            .unwrap_or_else(|| panic!("{self}: no fields in it"));
        let mut found: Vec<_> = found
            .iter()
            .map(|entry| (text(entry, "field"), text(entry, "message")))
            .collect();
        let mut expected: Vec<_> = entries
            .iter()
            .map(|(field, message)| ((*field).to_owned(), (*message).to_owned()))
            .collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{self}");
    }

    /// Asserts the BAD_REQUEST of a body that is no JSON object: `error.data` null.
    ///
    /// # Panics
    /// It is another answer.
    #[track_caller]
    pub fn bad_body(&self) {
        assert!(self.refused("BAD_REQUEST").is_null(), "{self}");
    }

    /// Asserts COUPON_TEMPLATE_VALIDATION_FAILED with exactly these entries in this order.
    ///
    /// # Panics
    /// It is another answer.
    #[track_caller]
    pub fn validation_failed(&self, entries: &[(&str, &str)]) {
        let expected: Vec<_> = entries
            .iter()
            .map(|(field, message)| json!({"field": field, "message": message}))
            .collect();
        assert_eq!(
            self.refused("COUPON_TEMPLATE_VALIDATION_FAILED"),
            &Value::Array(expected),
            "{self}"
        );
    }

    /// Asserts that no cache may keep it, as with every answer that has a secret.
    ///
    /// # Panics
    /// A cache may keep it.
    #[track_caller]
    pub fn no_store(&self) -> &Self {
        let cache = self.header("Cache-Control").unwrap_or_default();
        assert!(
            cache.contains("no-store"),
            "{self}: Cache-Control {cache:?}"
        );
        self
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} -> {} {}",
            self.call,
            self.status,
            String::from_utf8_lossy(&self.bytes)
        )
    }
}

/// Returns the keys of an object, sorted.
#[must_use]
pub fn keys(value: &Value) -> Vec<String> {
    let mut keys: Vec<_> = value
        .as_object()
        .into_iter()
        .flat_map(|object| object.keys().cloned())
        .collect();
    keys.sort();
    keys
}

/// Asserts that an object has exactly these keys.
///
/// # Panics
/// It has others.
#[track_caller]
pub fn exact_keys(value: &Value, expected: &[&str]) {
    let mut expected: Vec<_> = expected.iter().map(|key| (*key).to_owned()).collect();
    expected.sort();
    assert_eq!(keys(value), expected, "{value}");
}

/// Says that a text consists of `digits` lowercase hex digits.
#[must_use]
pub fn is_lower_hex(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// Says that a text is a date-time as contract §1 writes it: no offset, 0 to 6 fraction digits, no trailing zero.
#[must_use]
pub fn is_local_date_time(text: &str) -> bool {
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text, None), |(whole, fraction)| (whole, Some(fraction)));
    let fraction_fits = fraction.is_none_or(|digits| {
        (1..=6).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.ends_with('0')
    });
    whole.len() == 19 && whole.parse::<jiff::civil::DateTime>().is_ok() && fraction_fits
}
