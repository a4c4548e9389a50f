//! Texts of the mails: Korean first, English below.

use std::fmt::Write;

use goodpon_application::ports::MailContent;

/// Writes the mail that asks the reader of `address` whether they signed up (contract §2): it says when somebody did so,
/// carries `link`, says that it is valid for 30 minutes and works once, and what to do if it was somebody else.
#[must_use]
pub fn verification(address: &str, signed_up_at: &str, link: &str) -> MailContent {
    let [html_address, html_time, html_link] = [address, signed_up_at, link].map(escape_html);
    MailContent {
        subject: "[Goodpon] 이메일 주소를 인증해 주세요 / Verify your e-mail address".to_owned(),
        text: verification_text(address, signed_up_at, link),
        html: verification_html(&html_address, &html_time, &html_link),
    }
}

fn verification_text(address: &str, signed_up_at: &str, link: &str) -> String {
    format!(
        "안녕하세요.

{signed_up_at}에 {address} 주소로 Goodpon 가입 신청이 있었습니다. 아래 링크를 열어 이메일 인증을 완료해 주세요.

{link}

이 링크는 30분 동안 한 번만 사용할 수 있습니다.
직접 가입하지 않으셨다면 아무것도 하지 않으셔도 됩니다. 인증되지 않은 계정은 24시간 뒤에 삭제됩니다.
이 주소로 Goodpon을 쓰고 싶으시면 링크를 열어 새 비밀번호를 정해 주세요. 다른 사람이 정한 비밀번호는 그때부터 쓸 수 없습니다.

----

Hello,

Somebody signed up for Goodpon with {address} at {signed_up_at}. Open the link below to verify your e-mail address.

{link}

The link is valid for 30 minutes and works once.
If it was not you, you need not do anything: an account that is not verified is deleted after 24 hours.
If you want to use Goodpon with this address, open the link and set a new password: whatever password somebody else chose is void from then on.
"
    )
}

/// Takes escaped texts. Styles are inline, because many mail programs drop others.
fn verification_html(address: &str, signed_up_at: &str, link: &str) -> String {
    const BUTTON: &str = "display:inline-block;padding:12px 20px;border-radius:6px;\
        background:#1f5eff;color:#ffffff;text-decoration:none";
    format!(
        r#"<!DOCTYPE html>
<html lang="ko">
<head><meta charset="utf-8"><title>Goodpon</title></head>
<body style="font-family:sans-serif;line-height:1.6;color:#222222">
<p>안녕하세요.</p>
<p>{signed_up_at}에 {address} 주소로 Goodpon 가입 신청이 있었습니다. 아래 버튼을 눌러 이메일 인증을 완료해 주세요.</p>
<p><a href="{link}" style="{BUTTON}">이메일 인증하기</a></p>
<p>버튼이 열리지 않으면 이 주소를 브라우저에 붙여 넣어 주세요.<br>{link}</p>
<p>이 링크는 30분 동안 한 번만 사용할 수 있습니다.<br>직접 가입하지 않으셨다면 아무것도 하지 않으셔도 됩니다. 인증되지 않은 계정은 24시간 뒤에 삭제됩니다.<br>이 주소로 Goodpon을 쓰고 싶으시면 링크를 열어 새 비밀번호를 정해 주세요. 다른 사람이 정한 비밀번호는 그때부터 쓸 수 없습니다.</p>
<hr>
<div lang="en">
<p>Hello,</p>
<p>Somebody signed up for Goodpon with {address} at {signed_up_at}. Press the button below to verify your e-mail address.</p>
<p><a href="{link}" style="{BUTTON}">Verify my e-mail address</a></p>
<p>If the button does not open, paste this address into your browser.<br>{link}</p>
<p>The link is valid for 30 minutes and works once.<br>If it was not you, you need not do anything: an account that is not verified is deleted after 24 hours.<br>If you want to use Goodpon with this address, open the link and set a new password: whatever password somebody else chose is void from then on.</p>
</div>
</body>
</html>
"#
    )
}

/// Makes a text safe within an element and within a quoted attribute.
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

    const ADDRESS: &str = "sohee@example.com";
    const TIME: &str = "2026-03-02 10:23 (Asia/Seoul)";
    const LINK: &str = "https://console.example/verify?token=0123456789abcdef0123456789abcdef";

    #[test]
    fn the_text_is_korean_then_english() {
        let message = verification(ADDRESS, TIME, LINK);
        assert_eq!(
            message.subject,
            "[Goodpon] 이메일 주소를 인증해 주세요 / Verify your e-mail address"
        );
        let (korean, english) = message.text.split_once("----").unwrap_or_default();
        for part in [korean, english] {
            assert_eq!(part.matches(LINK).count(), 1, "{part}");
            assert!(part.contains(ADDRESS) && part.contains(TIME), "{part}");
        }
        for said in ["30분 동안 한 번만", "24시간 뒤에 삭제", "새 비밀번호"] {
            assert!(korean.contains(said), "{said}");
        }
        for said in [
            "30 minutes and works once",
            "after 24 hours",
            "new password",
        ] {
            assert!(english.contains(said), "{said}");
        }
    }

    #[test]
    fn the_html_says_the_same() {
        let message = verification(ADDRESS, TIME, LINK);
        assert_eq!(
            message.html.matches(&format!("<a href=\"{LINK}\"")).count(),
            2
        );
        assert_eq!(message.html.matches(ADDRESS).count(), 2);
        assert_eq!(message.html.matches(TIME).count(), 2);
        let sentences = message.text.lines().filter(|line| {
            line.starts_with("직접") || line.starts_with("이 ") || line.starts_with("If ")
        });
        let mut count = 0;
        for sentence in sentences {
            count += 1;
            assert!(message.html.contains(sentence), "{sentence}");
        }
        assert_eq!(count, 5);
    }

    #[test]
    fn html_in_what_is_filled_in_is_shown_and_not_obeyed() {
        let message = verification("<b>&", "\"'", "http://x/verify?a=1&b=\"><img>");
        assert!(!message.html.contains("<img") && !message.html.contains("<b>"));
        assert!(
            message
                .html
                .contains("href=\"http://x/verify?a=1&#38;b=&#34;&#62;&#60;img&#62;\"")
        );
    }
}
