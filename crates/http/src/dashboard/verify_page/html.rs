//! The HTML of the verification page: Korean with English beside it, without scripts.

use crate::error_code::ErrorCode;

/// The path of the page.
pub(in crate::dashboard) const PATH: &str = "/verify";

/// The field of the form for a person who signed up and knows the password.
pub(super) const PASSWORD: &str = "password";
/// The field of the form for an owner of the mailbox who did not sign up, or does not know the password any more.
pub(super) const NEW_PASSWORD: &str = "newPassword";

const STYLE: &str = "*{box-sizing:border-box}\
    body{margin:0;min-height:100vh;display:grid;place-items:center;\
    font:16px/1.6 system-ui,sans-serif;background:#f5f6f8;color:#1c1e21;word-break:keep-all;\
    overflow-wrap:anywhere}\
    main{width:100%;max-width:28rem;padding:2rem 1.5rem;background:#fff;border-radius:12px}\
    h1{margin:0 0 .5rem;font-size:1.25rem}h2{margin:0 0 .5rem;font-size:1.0625rem}\
    p{margin:0 0 1rem}small{color:#5a6068}\
    section{margin-top:1.5rem;padding-top:1.5rem;border-top:1px solid #d9dce1}\
    label{display:block;font-weight:600}h1 small,h2 small,label small{display:block;font-size:.875rem;font-weight:400}\
    input{width:100%;margin-top:.25rem;padding:.75rem;border:1px solid #767c85;border-radius:8px;\
    font:inherit}\
    button{width:100%;margin-top:.75rem;padding:.75rem;border:0;border-radius:8px;font:inherit;\
    background:#1f5fd0;color:#fff;cursor:pointer}\
    button.second{background:#fff;color:#1f5fd0;border:1px solid #1f5fd0}\
    input:focus-visible,button:focus-visible{outline:3px solid #8ab4f8;outline-offset:1px}\
    .fault{margin:.5rem 0 0;padding:.75rem;border-radius:8px;background:#fdecea;color:#8c1d18}\
    .fault small{color:inherit}";

/// The fault of a form that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FormFault {
    /// No password in either form.
    NothingGiven,
    /// The password is not the one chosen at sign-up.
    WrongPassword,
    /// The password was wrong too often.
    TooManyTries,
    /// The new password breaks a rule.
    BadNewPassword,
}

impl FormFault {
    fn text(self) -> (&'static str, &'static str) {
        match self {
            Self::NothingGiven => ("비밀번호를 입력해 주세요.", "Enter a password."),
            Self::WrongPassword => (
                "비밀번호가 일치하지 않습니다.",
                "That is not the password chosen at sign-up.",
            ),
            Self::TooManyTries => (
                "비밀번호를 너무 많이 잘못 입력했습니다. 아래에서 새 비밀번호를 정해 주세요.",
                "Too many wrong passwords. Set a new one below.",
            ),
            Self::BadNewPassword => (
                "8~100자의, 쉽게 추측할 수 없는 비밀번호를 정해 주세요.",
                "Choose a password of 8 to 100 characters that is not easily guessed.",
            ),
        }
    }

    fn is_about_the_new_one(self) -> bool {
        self == Self::BadNewPassword
    }

    /// The message with the attributes that tie its field to it.
    fn shown(self) -> (String, &'static str) {
        let (korean, english) = self.text();
        let message = format!(
            "<p class=\"fault\" id=\"fault\" role=\"alert\">{korean}<br><small lang=\"en\">{english}</small></p>"
        );
        (
            message,
            " aria-invalid=\"true\" aria-describedby=\"fault\" autofocus",
        )
    }
}

/// The two forms for the owner of `email`.
pub(super) fn forms(email: &str, token: &str, fault: Option<FormFault>) -> String {
    let shown = |is_new: bool| {
        let here = fault.filter(|fault| fault.is_about_the_new_one() == is_new);
        here.map_or_else(Default::default, FormFault::shown)
    };
    let ((first_fault, first), (second_fault, second)) = (shown(false), shown(true));
    // A password manager takes the account's name from the hidden e-mail field.
    let hidden = format!(
        "<input type=\"hidden\" name=\"token\" value=\"{}\">\
         <input type=\"text\" name=\"email\" value=\"{}\" autocomplete=\"username\" hidden>",
        escaped(token),
        escaped(email)
    );
    let (form, email) = (
        format!("<form method=\"post\" action=\"{PATH}\">{hidden}"),
        escaped(email),
    );
    format!(
        "<h1>이메일 인증 <small lang=\"en\">Verify your e-mail address</small></h1>\
         <p><b>{email}</b></p>\
         {form}<label for=\"password\">가입할 때 정한 비밀번호 \
         <small lang=\"en\">Password chosen at sign-up</small></label>\
         <input id=\"password\" name=\"{PASSWORD}\" type=\"password\" required \
         autocomplete=\"current-password\"{first}>{first_fault}\
         <button type=\"submit\">인증하기 · <span lang=\"en\">Verify</span></button></form>\
         <section><h2>직접 가입하지 않으셨나요? <small lang=\"en\">Did somebody else sign up?</small></h2>\
         <p>직접 가입하지 않으셨거나 비밀번호를 모르시면 새 비밀번호를 정해 주세요. 전에 정한 비밀번호와 로그인은 모두 무효가 됩니다.<br>\
         <small lang=\"en\">If it was not you, or you do not know the password, set a new one. \
         The password chosen before and all logins with it are void then.</small></p>\
         {form}<label for=\"new-password\">새 비밀번호 (8~100자) \
         <small lang=\"en\">New password, 8 to 100 characters</small></label>\
         <input id=\"new-password\" name=\"{NEW_PASSWORD}\" type=\"password\" required minlength=\"8\" \
         autocomplete=\"new-password\"{second}>{second_fault}\
         <button type=\"submit\" class=\"second\">새 비밀번호로 인증하기 · \
         <span lang=\"en\">Set it and verify</span></button></form></section>"
    )
}

/// The page after a verification.
pub(super) fn verified(with_new_password: bool) -> String {
    let (korean, english) = match with_new_password {
        true => (
            "이제 새 비밀번호로 로그인할 수 있습니다.",
            "You can log in with your new password now.",
        ),
        false => ("이제 로그인할 수 있습니다.", "You can log in now."),
    };
    format!(
        "<h1>이메일 인증이 완료되었습니다.</h1><p role=\"status\">{korean}<br>\
         <small lang=\"en\">Your e-mail address is verified. {english}</small></p>"
    )
}

/// The page behind a link that was used already.
pub(super) const VERIFIED_BEFORE: &str = "<h1>이미 인증된 이메일입니다.</h1>\
    <p role=\"status\">이 링크로 인증을 마치셨습니다. 로그인할 수 있습니다.<br>\
    <small lang=\"en\">This link was used and your e-mail address is verified already. You can log in.</small></p>";

/// The page for an error.
pub(super) fn refused(code: ErrorCode) -> String {
    let (message, english) = (code.message(), english(code));
    format!(
        "<h1>이메일 인증을 완료하지 못했습니다.</h1><p role=\"alert\">{message}<br>\
         <small lang=\"en\">{english}</small></p>"
    )
}

fn english(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidEmailVerificationToken => {
            "This link is not valid (any more): ask for another verification mail."
        }
        ErrorCode::AccountAlreadyVerified => "This account is verified already.",
        ErrorCode::AccountNotFound => "This account does not exist.",
        ErrorCode::TooManyRequests => "Too many attempts. Please try again in a moment.",
        ErrorCode::PayloadTooLarge => "The form that was sent is too large.",
        ErrorCode::ServiceUnavailable => {
            "The service is not available right now. Please try again in a moment."
        }
        _ => "Something went wrong. Please try again in a moment.",
    }
}

/// The whole document around `content`.
pub(super) fn document(content: &str) -> String {
    format!(
        "<!doctype html><html lang=\"ko\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"robots\" content=\"noindex\"><title>Goodpon 이메일 인증</title>\
         <style>{STYLE}</style></head><body><main>{content}</main></body></html>"
    )
}

/// Escapes a text so that it is safe between tags and in quoted attributes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_cannot_leave_its_attribute() {
        let page = forms("a@b.co", "\"><script>alert('&')</script>", None);
        assert!(!page.contains("<script"));
        assert!(page.contains("value=\"&quot;&gt;&lt;script&gt;alert(&#39;&amp;&#39;)"));
    }

    #[test]
    fn every_field_that_is_filled_in_has_a_label() {
        let page = forms("a@b.co", "t", None);
        for id in ["password", "new-password"] {
            assert!(page.contains(&format!("<label for=\"{id}\">")), "{id}");
            assert!(page.contains(&format!("<input id=\"{id}\"")), "{id}");
        }
        assert_eq!(page.matches("type=\"password\"").count(), 2);
        assert!(!page.contains("role=\"alert\""));
    }

    #[test]
    fn a_fault_stands_by_the_field_that_it_is_about() {
        for (fault, field) in [
            (FormFault::NothingGiven, PASSWORD),
            (FormFault::WrongPassword, PASSWORD),
            (FormFault::TooManyTries, PASSWORD),
            (FormFault::BadNewPassword, NEW_PASSWORD),
        ] {
            let page = forms("a@b.co", "t", Some(fault));
            assert_eq!(page.matches("role=\"alert\"").count(), 1);
            let input = page
                .split("<input")
                .find(|input| input.contains("aria-invalid"));
            let input = input.unwrap_or_default();
            assert!(input.contains(&format!("name=\"{field}\"")), "{fault:?}");
            assert!(input.contains(fault.text().0), "{fault:?}");
        }
    }
}
