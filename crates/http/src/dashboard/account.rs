//! Accounts of people who use the dashboard: sign-up, verification, login (contract §2).

use axum::extract::State;
use goodpon_application::account::{self, LoginRefusal, SignUp, SignUpRefusal};
use goodpon_domain::account::{Account, ResendRefusal, VerifyRefusal};
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::{DashboardRequest, Session};
use super::state::Dashboard;
use crate::answer::Answer;
use crate::contract_values::ContractValues;
use crate::error::ApiError;
use crate::error_code::ErrorCode;
use crate::openapi::envelope::{Success, errors};
use crate::openapi::requests::{
    LoginRequest, ResendVerificationEmailRequest, SignUpRequest, VerifyEmailRequest,
};

const VERIFIED: &str = "이메일 인증이 완료되었습니다.";
const RESENT: &str = "인증 이메일이 재전송되었습니다.";

/// An account as its owner sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountInfo<'a> {
    id: i64,
    email: &'a str,
    name: &'a str,
    verified: bool,
}

impl<'a> AccountInfo<'a> {
    fn of(account: &'a Account) -> Self {
        Self {
            id: account.id.0,
            email: &account.email,
            name: &account.name,
            verified: account.verified,
        }
    }
}

errors! { SignUpErrors: AccountEmailAlreadyExists, AccountSignUpInvalidInput }

#[utoipa::path(
    post,
    path = "/v1/accounts/sign-up",
    tag = "Account",
    operation_id = "signUp",
    summary = "회원 가입 · Sign up",
    description = "계정을 만들고 인증 이메일을 보냅니다. 아직 인증되지 않은 이메일로 다시 가입하면 이름과 비밀번호가 바뀌고 이전 링크와 토큰은 무효가 됩니다. 24시간 안에 인증하지 않은 계정은 삭제됩니다. 한 이메일로 다시 보내는 메일은 1시간에 3통, 하루에 10통까지이며, 넘으면 TOO_MANY_REQUESTS입니다. Makes an account and mails it a verification link. Signing up again with an address that is not verified yet replaces name and password and voids the link and the tokens given before. An account that is not verified within 24 hours is deleted. Beyond 3 further mails an hour or 10 a day for one address it is TOO_MANY_REQUESTS, and nothing changes.",
    request_body(content = SignUpRequest, example = json!({"email": "test@goodpon.site", "password": "correct horse battery", "name": "테스트 사용자"})),
    responses(
        (status = 200, description = "만들어진 계정 · the new account", body = Success<AccountInfo>, example = json!({"result": "SUCCESS", "data": {"id": 1, "email": "test@goodpon.site", "name": "테스트 사용자", "verified": false}, "error": null})),
        SignUpErrors,
    ),
)]
pub(super) async fn sign_up(
    State(dashboard): State<Dashboard>,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields_and_body();
    let email = fields.body("email").email();
    let password = fields.body("password").any_text();
    let name = fields.body("name").any_text();
    let input = fields.finish(|| {
        Some(SignUp {
            email: email?.into_owned(),
            password: password?.into_owned(),
            name: name?.into_owned(),
            network: request.network(),
        })
    })?;
    request.names(&input.email);
    let account = account::sign_up(dashboard.app(), input)
        .await
        .map_err(|failure| ApiError::of(failure, sign_up_code))?;
    request.is_by(&account);
    Ok(Answer::success(&AccountInfo::of(&account)))
}

fn sign_up_code(refusal: SignUpRefusal) -> ApiError {
    match refusal {
        SignUpRefusal::EmailTaken => ErrorCode::AccountEmailAlreadyExists.into(),
        SignUpRefusal::InvalidInput => ErrorCode::AccountSignUpInvalidInput.into(),
        SignUpRefusal::TooManyMails(wait) => ApiError::too_many_requests_for(wait),
    }
}

#[utoipa::path(
    get,
    path = "/v1/accounts",
    tag = "Account",
    operation_id = "getMyAccount",
    summary = "내 계정 정보 조회 · Get my account",
    description = "인증되지 않은 계정도 호출할 수 있습니다. May be called by an unverified account too.",
    responses(
        (status = 200, description = "내 계정 · my account", body = Success<AccountInfo>, example = json!({"result": "SUCCESS", "data": {"id": 1, "email": "test@goodpon.site", "name": "테스트 사용자", "verified": true}, "error": null})),
    ),
    security(("bearerAuth" = [])),
)]
pub(super) async fn get_my_account(Session(account): Session) -> Answer {
    Answer::success(&AccountInfo::of(&account))
}

/// An account with a token for it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoginResult<'a> {
    id: i64,
    email: &'a str,
    name: &'a str,
    verified: bool,
    access_token: &'a str,
}

errors! { LoginErrors: AccountNotFound, PasswordMismatch }

#[utoipa::path(
    post,
    path = "/v1/auth/login",
    tag = "Auth",
    operation_id = "login",
    summary = "로그인 · Log in",
    description = "24시간 동안 유효한 액세스 토큰을 발급합니다. Gives an access token that is valid for 24 hours.",
    request_body(content = LoginRequest, example = json!({"email": "test@goodpon.site", "password": "correct horse battery"})),
    responses(
        (status = 200, description = "계정과 액세스 토큰 · the account and its access token", body = Success<LoginResult>, example = json!({"result": "SUCCESS", "data": {"id": 1, "email": "test@goodpon.site", "name": "테스트 사용자", "verified": true, "accessToken": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"}, "error": null})),
        LoginErrors,
    ),
)]
pub(super) async fn login(
    State(dashboard): State<Dashboard>,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields_and_body();
    let email = fields.body("email").email();
    let password = fields.body("password").any_text();
    let (email, password) = fields.finish(|| Some((email?, password?)))?;
    request.names(&email);
    let (attempt, turn) = dashboard.begin_login(request.address, &email)?;
    let outcome = account::login(dashboard.app(), &email, password.into_owned(), turn).await;
    dashboard.end_login(&attempt, &outcome);
    let (account, token) = outcome.map_err(|failure| ApiError::of(failure, login_code))?;
    request.is_by(&account);
    Ok(Answer::success(&LoginResult {
        id: account.id.0,
        email: &account.email,
        name: &account.name,
        verified: account.verified,
        access_token: &token,
    }))
}

fn login_code(refusal: LoginRefusal) -> ErrorCode {
    match refusal {
        LoginRefusal::AccountNotFound => ErrorCode::AccountNotFound,
        LoginRefusal::PasswordMismatch => ErrorCode::PasswordMismatch,
    }
}

errors! { VerifyErrors: InvalidEmailVerificationToken, AccountNotFound, AccountAlreadyVerified }

#[utoipa::path(
    post,
    path = "/v1/auth/verify",
    tag = "Auth",
    operation_id = "verifyEmail",
    summary = "이메일 인증 · Verify an e-mail address",
    description = "메일로 받은 토큰으로 계정을 인증합니다. 토큰은 30분간 유효하며 한 번만 쓸 수 있습니다. Verifies by the token that was mailed: good once, for 30 minutes.",
    request_body(content = VerifyEmailRequest, example = json!({"token": "9f86d081884c7d659a2feaa0c55ad015"})),
    responses(
        (status = 200, description = "인증 완료 · verified", body = Success<String>, example = json!({"result": "SUCCESS", "data": "이메일 인증이 완료되었습니다.", "error": null})),
        VerifyErrors,
    ),
)]
pub(super) async fn verify_email(
    State(dashboard): State<Dashboard>,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields_and_body();
    let token = fields.body("token").any_text();
    let token = fields.finish(|| token)?;
    let account = account::verify(dashboard.app(), &token)
        .await
        .map_err(|failure| ApiError::of(failure, verify_code))?;
    request.is_by(&account);
    Ok(Answer::success(VERIFIED))
}

/// The code of a verification's refusal. A spent token has the code of the published API; the page behind the mailed link
/// says more.
pub(super) fn verify_code(refusal: VerifyRefusal) -> ErrorCode {
    match refusal {
        VerifyRefusal::InvalidToken | VerifyRefusal::Spent => {
            ErrorCode::InvalidEmailVerificationToken
        }
        VerifyRefusal::AccountNotFound => ErrorCode::AccountNotFound,
        VerifyRefusal::AlreadyVerified => ErrorCode::AccountAlreadyVerified,
    }
}

errors! { ResendErrors: AccountNotFound, AccountAlreadyVerified }

#[utoipa::path(
    post,
    path = "/v1/auth/verify/resend",
    tag = "Auth",
    operation_id = "resendVerificationEmail",
    summary = "인증 이메일 재전송 · Mail another verification link",
    description = "새 토큰을 보내며, 이전 토큰은 더 이상 쓸 수 없습니다. 한 이메일로 1시간에 3통, 하루에 10통까지이며, 넘으면 TOO_MANY_REQUESTS이고 마지막 토큰은 그대로 유효합니다. Mails a new token; the one before is void from then on. Beyond 3 an hour or 10 a day for one address it is TOO_MANY_REQUESTS, and the last token stays good.",
    request_body(content = ResendVerificationEmailRequest, example = json!({"email": "test@goodpon.site"})),
    responses(
        (status = 200, description = "재전송 완료 · sent", body = Success<String>, example = json!({"result": "SUCCESS", "data": "인증 이메일이 재전송되었습니다.", "error": null})),
        ResendErrors,
    ),
)]
pub(super) async fn resend_verification_email(
    State(dashboard): State<Dashboard>,
    request: DashboardRequest,
) -> Result<Answer, ApiError> {
    let mut fields = request.fields_and_body();
    let email = fields.body("email").email();
    let email = fields.finish(|| email)?;
    request.names(&email);
    account::resend_verification(dashboard.app(), &email, request.network())
        .await
        .map_err(|failure| ApiError::of(failure, resend_code))?;
    Ok(Answer::success(RESENT))
}

fn resend_code(refusal: ResendRefusal) -> ApiError {
    match refusal {
        ResendRefusal::AccountNotFound => ErrorCode::AccountNotFound.into(),
        ResendRefusal::AlreadyVerified => ErrorCode::AccountAlreadyVerified.into(),
        ResendRefusal::TooManyMails(wait) => ApiError::too_many_requests_for(wait),
    }
}
