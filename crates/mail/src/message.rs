//! What the mails say: Korean first, English below.

use std::fmt::Write;

use goodpon_application::mail::MailContent;

/// The mail that asks a new account to confirm its address (contract §2): greets by `name`,
/// carries `link`, and says that it is valid for 30 minutes and works once.
#[must_use]
pub fn verification(name: &str, link: &str) -> MailContent {
    let name = one_line(name);
    let link = one_line(link);
    MailContent {
        subject: "[Goodpon] 이메일 주소를 인증해 주세요 / Verify your e-mail address".to_owned(),
        text: verification_text(&name, &link),
        html: verification_html(&escape_html(&name), &escape_html(&link)),
    }
}

fn verification_text(name: &str, link: &str) -> String {
    format!(
        "안녕하세요, {name}님.

Goodpon에 가입해 주셔서 감사합니다. 아래 링크를 열어 이메일 인증을 완료해 주세요.

{link}

이 링크는 30분 동안 한 번만 사용할 수 있습니다.
직접 가입하지 않으셨다면 이 메일을 무시해 주세요.

----

Hello {name},

Thank you for signing up for Goodpon. Open the link below to verify your e-mail address.

{link}

The link is valid for 30 minutes and works once.
If you did not sign up, please ignore this mail.
"
    )
}

/// `name` and `link` are escaped already. Styles are inline, as many mail programs drop others;
/// `bdi` keeps a name written from right to left from turning the rest around.
fn verification_html(name: &str, link: &str) -> String {
    const BUTTON: &str = "display:inline-block;padding:12px 20px;border-radius:6px;\
        background:#1f5eff;color:#ffffff;text-decoration:none";
    format!(
        r#"<!DOCTYPE html>
<html lang="ko">
<head><meta charset="utf-8"><title>Goodpon</title></head>
<body style="font-family:sans-serif;line-height:1.6;color:#222222">
<p>안녕하세요, <bdi>{name}</bdi>님.</p>
<p>Goodpon에 가입해 주셔서 감사합니다. 아래 버튼을 눌러 이메일 인증을 완료해 주세요.</p>
<p><a href="{link}" style="{BUTTON}">이메일 인증하기</a></p>
<p>버튼이 열리지 않으면 이 주소를 브라우저에 붙여 넣어 주세요.<br>{link}</p>
<p>이 링크는 30분 동안 한 번만 사용할 수 있습니다.<br>직접 가입하지 않으셨다면 이 메일을 무시해 주세요.</p>
<hr>
<div lang="en">
<p>Hello <bdi>{name}</bdi>,</p>
<p>Thank you for signing up for Goodpon. Press the button below to verify your e-mail address.</p>
<p><a href="{link}" style="{BUTTON}">Verify my e-mail address</a></p>
<p>If the button does not open, paste this address into your browser.<br>{link}</p>
<p>The link is valid for 30 minutes and works once.<br>If you did not sign up, please ignore this mail.</p>
</div>
</body>
</html>
"#
    )
}

/// A name must not add lines of its own to the text, nor turn its direction around: control
/// characters and separators of lines become blanks, marks of direction are left out.
fn one_line(text: &str) -> String {
    text.chars()
        .filter(|c| !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
        .map(|c| match c {
            '\u{2028}' | '\u{2029}' => ' ',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Safe as the text of an element and within a quoted attribute.
fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '<' | '>' | '"' | '\'' => {
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "https://console.example/verify?token=0123456789abcdef0123456789abcdef";

    #[test]
    fn the_text_is_korean_then_english() {
        let message = verification("김소희", LINK);
        assert_eq!(
            message.subject,
            "[Goodpon] 이메일 주소를 인증해 주세요 / Verify your e-mail address"
        );
        assert_eq!(
            message.text,
            "안녕하세요, 김소희님.\n\
             \n\
             Goodpon에 가입해 주셔서 감사합니다. 아래 링크를 열어 이메일 인증을 완료해 주세요.\n\
             \n\
             https://console.example/verify?token=0123456789abcdef0123456789abcdef\n\
             \n\
             이 링크는 30분 동안 한 번만 사용할 수 있습니다.\n\
             직접 가입하지 않으셨다면 이 메일을 무시해 주세요.\n\
             \n\
             ----\n\
             \n\
             Hello 김소희,\n\
             \n\
             Thank you for signing up for Goodpon. Open the link below to verify your e-mail address.\n\
             \n\
             https://console.example/verify?token=0123456789abcdef0123456789abcdef\n\
             \n\
             The link is valid for 30 minutes and works once.\n\
             If you did not sign up, please ignore this mail.\n"
        );
    }

    #[test]
    fn the_html_says_the_same() {
        let html = verification("김소희", LINK).html;
        assert_eq!(html.matches("<bdi>김소희</bdi>").count(), 2);
        assert_eq!(html.matches(&format!("<a href=\"{LINK}\"")).count(), 2);
        for said in [
            "30분 동안 한 번만",
            "무시해 주세요",
            "30 minutes and works once",
            "please ignore",
        ] {
            assert!(html.contains(said), "{said}");
        }
    }

    #[test]
    fn html_in_a_name_or_a_link_is_shown_and_not_obeyed() {
        let name = "<script>\"&'</bdi>";
        let message = verification(name, "http://x/verify?a=1&b=\"><img>");
        assert!(message.text.contains(name));
        assert!(!message.html.contains("<script"));
        assert!(!message.html.contains("<img"));
        assert!(
            message
                .html
                .contains("<bdi>&#60;script&#62;&#34;&#38;&#39;&#60;/bdi&#62;</bdi>")
        );
        assert!(
            message
                .html
                .contains("href=\"http://x/verify?a=1&#38;b=&#34;&#62;&#60;img&#62;\"")
        );
    }

    #[test]
    fn a_name_adds_no_line_and_no_header() {
        let plain = verification("Kim", LINK);
        let name = "Kim\r\nBcc: all@example.com\u{2028}now\u{202e}\0\n";
        let message = verification(name, LINK);
        assert_eq!(message.subject, plain.subject);
        assert_eq!(message.text.lines().count(), plain.text.lines().count());
        assert!(
            message
                .text
                .contains("Hello Kim  Bcc: all@example.com now,\n")
        );
        assert!(!message.text.contains(['\r', '\0', '\u{2028}', '\u{202e}']));
    }
}
