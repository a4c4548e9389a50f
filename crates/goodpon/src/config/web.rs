//! Origins and URLs, in the one form in which browsers write them.

use url::Url;

/// Reads origins, `scheme://host[:port]` each, and brings them into the form of a browser's `Origin` header: in lower
/// case, without the scheme's default port, and with international names in ASCII.
pub(super) fn origins(text: &str) -> Result<Vec<String>, String> {
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let mut found = Vec::new();
    for word in words {
        let origin = web_url(word)
            .filter(|_| !after_scheme(word).contains(['/', '\\', '*', '?', '#', '@']))
            .map(|url| url.origin().ascii_serialization())
            .ok_or_else(|| {
                format!("{word:?} must be an origin such as https://console.example.com, without a path or *")
            })?;
        if !found.contains(&origin) {
            found.push(origin);
        }
    }
    Ok(found)
}

/// Reads the URL to which `/verify?token=…` is appended.
pub(super) fn link_base(text: &str) -> Result<String, String> {
    web_url(text)
        .filter(|_| !after_scheme(text).contains(['?', '#', '@']))
        .map(|url| url.as_str().trim_end_matches('/').to_owned())
        .ok_or_else(|| "must be a URL such as https://console.example.com".into())
}

/// Parses an http or https URL that has a host and no blanks.
fn web_url(text: &str) -> Option<Url> {
    let is_clean = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    let has_host = !after_scheme(text).starts_with(['/', '\\', ':']);
    let url = Url::parse(text).ok()?;
    let is_web = matches!(url.scheme(), "http" | "https");
    (is_clean && has_host && is_web && text.contains("://")).then_some(url)
}

fn after_scheme(text: &str) -> &str {
    text.split_once("://").map_or(text, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_origin_is_brought_into_the_form_that_browsers_send() {
        for (given, sent) in [
            ("https://Console.Example", "https://console.example"),
            ("HTTPS://a.example:443", "https://a.example"),
            ("http://a.example:80", "http://a.example"),
            ("http://a.example:443", "http://a.example:443"),
            ("https://굿폰.example", "https://xn--mf0b024e.example"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ] {
            assert_eq!(origins(given).unwrap(), [sent], "{given}");
        }
        let twice = origins("https://a.example, https://a.example:443").unwrap();
        assert_eq!(twice, ["https://a.example"]);
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused() {
        for given in [
            "https://a.example/",
            "https://a.example/x",
            "https://*.example",
            "*",
            "null",
            "a.example",
            "https:a.example",
            "https:///a.example",
            "https://u:p@a.example",
            "https://a.example?x",
            "https://a b.example",
            "https://a.example:99999",
            "https://a..%00",
            "ftp://a.example",
        ] {
            let error = origins(given).unwrap_err();
            assert!(error.contains("must be an origin"), "{given}: {error}");
        }
    }

    #[test]
    fn a_link_base_has_its_ascii_form() {
        assert_eq!(
            link_base("https://굿폰.example:443/web/").unwrap(),
            "https://xn--mf0b024e.example/web"
        );
        for given in ["https://", "https://u@a.example", "https://a.example?x=1"] {
            assert!(link_base(given).is_err(), "{given}");
        }
    }
}
