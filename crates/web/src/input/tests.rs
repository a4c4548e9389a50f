#![allow(clippy::unwrap_used, clippy::expect_used)]
use jiff::civil::date;
use proptest::prelude::*;

use super::*;

/// The upper bound of whole numbers here.
const MAX: i64 = 1_000_000_000_000;

const PATTERN: &str = "/v1/merchants/{merchantId}/coupon-templates/{couponTemplateId}";

fn uri(text: &str) -> Uri {
    text.parse().unwrap()
}

/// Reads one member of `body`. Returns its value, or the names of the fields at fault; `None` for a malformed body.
fn body<T: Clone>(
    body: &str,
    read: impl FnOnce(Reader<'_, '_>) -> Option<T>,
) -> Result<T, Option<Vec<String>>> {
    bytes(body.as_bytes(), read)
}

fn bytes<T: Clone>(
    body: &[u8],
    read: impl FnOnce(Reader<'_, '_>) -> Option<T>,
) -> Result<T, Option<Vec<String>>> {
    let uri = uri("/");
    let mut fields = Fields::new(&uri, "/").with_body(body);
    let value = read(fields.body("a"));
    fields.finish(|| value).map_err(names)
}

fn names(malformed: Malformed) -> Option<Vec<String>> {
    match malformed {
        Malformed::Body => None,
        Malformed::Fields(fields) => Some(fields.iter().map(|f| f.field.to_owned()).collect()),
    }
}

fn at_fault<T>() -> Result<T, Option<Vec<String>>> {
    Err(Some(vec!["a".to_owned()]))
}

fn text(json: &str) -> Result<String, Option<Vec<String>>> {
    body(json, |a| a.text(1..=5).map(Cow::into_owned))
}

#[test]
fn texts() {
    for (json, value) in [
        (r#"{"a":"kim"}"#, "kim"),
        (r#" { "a" : " kim " } "#, " kim "),
        (r#"{"a":"김\u0061\n😀\ud83d\ude00"}"#, "김a\n😀😀"),
        (r#"{"\u0061":"kim"}"#, "kim"),
        (r#"{"a":15000}"#, "15000"),
        (r#"{"a":1.50}"#, "1.50"),
        (r#"{"a":-1e5}"#, "-1e5"),
        ("\u{feff}{\"a\":\"kim\"}", "kim"),
        (r#"{"b":1,"b":2,"a":"kim"}"#, "kim"),
    ] {
        assert_eq!(text(json), Ok(value.to_owned()), "{json}");
    }
}

#[test]
fn texts_at_fault() {
    for json in [
        r#"{}"#,
        r#"{"A":"x"}"#,
        r#"{"a":null}"#,
        r#"{"a":""}"#,
        r#"{"a":"123456"}"#,
        r#"{"a":true}"#,
        r#"{"a":{}}"#,
        r#"{"a":["x"]}"#,
        r#"{"a":"\u0000"}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00x"}"#,
        r#"{"a":"\ud800\ud800"}"#,
        r#"{"a":"x","a":null}"#,
    ] {
        assert_eq!(text(json), at_fault(), "{json}");
    }
}

#[test]
fn bodies_that_are_no_object_name_no_field() {
    for json in [
        "",
        " ",
        "null",
        "1",
        "\"a\"",
        "[]",
        "[{\"a\":\"x\"}]",
        "{",
        "{\"a\":\"x\"",
        "{\"a\":\"x\",}",
        "{\"a\":\"x\"} x",
        "{\"a\":\"x\"}{}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":+1}",
        "{\"a\":.5}",
        "{\"a\":NaN}",
        "{\"a\":\"\0\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\\x\"}",
        "\u{feff}\u{feff}{\"a\":\"x\"}",
        "{\"a\":\"x\"}\u{feff}",
        "\u{feff}",
    ] {
        assert_eq!(text(json), Err(None), "{json}");
    }
    assert_eq!(bytes(b"{\"a\":\"\xff\"}", |a| a.id()), Err(None));
    assert_eq!(bytes(b"{\"a\":\"\xed\xa0\x80\"}", |a| a.id()), Err(None));
}

#[test]
fn of_several_values_none_is_picked() {
    for json in [r#"{"a":"x","a":"x"}"#, r#"{"a":null,"\u0061":"x"}"#] {
        assert_eq!(text(json), at_fault(), "{json}");
    }
    for query in ["/?a=x&a=x", "/?a=&a=x", "/?a&%61=x"] {
        let uri = uri(query);
        let mut fields = Fields::new(&uri, "/");
        let value = fields.query("a").optional_text(1..=5);
        assert_eq!(
            fields.finish(|| value).map_err(names),
            at_fault(),
            "{query}"
        );
    }
}

#[test]
fn two_spellings_of_a_path_are_one() {
    let canonical = |pattern: &str, path: &str| {
        let uri = uri(path);
        Fields::new(&uri, pattern).canonical_path().into_owned()
    };
    let issue = "/v1/coupon-templates/{couponTemplateId}/issue";
    for path in ["7", "007", "%37", "%30%37", "0%30007"] {
        let path = format!("/v1/coupon-templates/{path}/issue");
        assert_eq!(
            canonical(issue, &path),
            b"/v1/coupon-templates/7/issue",
            "{path}"
        );
    }
    let redeem = "/v1/user-coupons/{userCouponId}/redeem";
    let id = "0198f2a4c1d37e5ab8c9d0e1f2a3b4c5";
    for spelt in [
        id.to_owned(),
        id.replace('0', "%30"),
        id.replace('a', "%61"),
    ] {
        let path = format!("/v1/user-coupons/{spelt}/redeem");
        assert_eq!(
            canonical(redeem, &path),
            format!("/v1/user-coupons/{id}/redeem").into_bytes()
        );
    }
    let odd = [
        "%ff",
        "%25ff",
        "%2F",
        "+7",
        "99999999999999999999",
        "A",
        "a",
    ];
    let odd: Vec<_> = odd
        .iter()
        .map(|id| canonical(redeem, &format!("/v1/user-coupons/{id}/redeem")))
        .collect();
    let distinct: std::collections::HashSet<_> = odd.iter().collect();
    assert_eq!(distinct.len(), odd.len());
}

#[test]
fn a_member_that_is_not_read_is_ignored_however_deep() {
    for (open, close) in [("[", "]"), ("{\"x\":", "}")] {
        let depth = 64 * 1024 / (open.len() + close.len());
        let deep = format!("{}1{}", open.repeat(depth), close.repeat(depth));
        let json = format!("{{\"z\":{deep},\"a\":\"kim\",\"y\":\"\\ud800\"}}");
        assert_eq!(text(&json), Ok("kim".to_owned()));
        assert_eq!(text(&format!("{{\"a\":{deep}}}")), at_fault());
        assert_eq!(text(&deep[..deep.len() - 1]), Err(None));
    }
}

#[test]
fn trimmed_texts_and_code_points() {
    let trimmed = |json: &str| body(json, |a| a.trimmed_text(1..=3).map(Cow::into_owned));
    assert_eq!(trimmed("{\"a\":\"\u{3000} a b\\n\"}"), Ok("a b".to_owned()));
    assert_eq!(trimmed("{\"a\":\"😀😀😀\"}"), Ok("😀😀😀".to_owned()));
    assert_eq!(trimmed("{\"a\":\"    \"}"), at_fault());
    assert_eq!(trimmed("{\"a\":\"abcd\"}"), at_fault());
    let optional = |json: &str| body(json, |a| a.optional_text(0..=1).map(|t| t.is_some()));
    assert_eq!(optional("{\"a\":\"\"}"), Ok(true));
    assert_eq!(optional("{}"), Ok(false));
    assert_eq!(optional("{\"a\":\"xx\"}"), at_fault());
}

#[test]
fn whole_numbers() {
    for (json, value) in [
        ("{\"a\":15000}", 15_000),
        ("{\"a\":15000.0}", 15_000),
        ("{\"a\":1.5e4}", 15_000),
        ("{\"a\":\"15000\"}", 15_000),
        ("{\"a\":-1}", -1),
        ("{\"a\":0}", 0),
        ("{\"a\":1000000000000}", MAX),
        ("{\"a\":-9223372036854775808}", i64::MIN),
    ] {
        assert_eq!(body(json, |a| a.whole(i64::MIN..=MAX)), Ok(value), "{json}");
        assert_eq!(
            body(json, |a| a.optional_whole(i64::MIN..=MAX)),
            Ok(Some(value)),
            "{json}"
        );
    }
    for json in [
        "{\"a\":1000000000001}",
        "{\"a\":9223372036854775808}",
        "{\"a\":-9223372036854775809}",
        "{\"a\":1e400}",
        "{\"a\":0.1}",
        "{\"a\":1.5}",
        "{\"a\":\"x\"}",
        "{\"a\":\" \"}",
        "{\"a\":true}",
        "{\"a\":[]}",
    ] {
        assert_eq!(
            body(json, |a| a.whole(i64::MIN..=MAX)),
            at_fault(),
            "{json}"
        );
        assert_eq!(
            body(json, |a| a.optional_whole(i64::MIN..=MAX)),
            at_fault(),
            "{json}"
        );
    }
    for json in ["{\"a\":\"\"}", "{\"a\":null}", "{}"] {
        assert_eq!(
            body(json, |a| a.whole(i64::MIN..=MAX)),
            at_fault(),
            "{json}"
        );
        assert_eq!(
            body(json, |a| a.optional_whole(i64::MIN..=MAX)),
            Ok(None),
            "{json}"
        );
    }
}

#[test]
fn dates_and_choices() {
    let given = body("{\"a\":\"2025-07-21\"}", |a| a.date());
    assert_eq!(given, Ok(date(2025, 7, 21)));
    assert_eq!(body("{\"a\":\"\"}", |a| a.date()), at_fault());
    assert_eq!(body("{\"a\":\"\"}", |a| a.optional_date()), Ok(None));
    assert_eq!(body("{\"a\":20250721}", |a| a.optional_date()), at_fault());
    assert_eq!(
        body("{\"a\":\"2025\"}", |a| a.optional_date_time()),
        at_fault()
    );
    let choices = &[("FIXED_AMOUNT", 1), ("PERCENTAGE", 2)];
    assert_eq!(body("{\"a\":\"PERCENTAGE\"}", |a| a.choice(choices)), Ok(2));
    for json in [
        "{\"a\":\"percentage\"}",
        "{\"a\":\"PERCENTAGE \"}",
        "{\"a\":1}",
        "{}",
    ] {
        assert_eq!(body(json, |a| a.choice(choices)), at_fault(), "{json}");
    }
    assert_eq!(body("{}", |a| a.optional_choice(choices)), Ok(None));
}

#[test]
fn every_fault_of_path_query_and_body_is_named() {
    let uri = uri("/v1/merchants/x/coupon-templates/9223372036854775808?size=0&userId=%ff");
    let mut fields = Fields::new(&uri, PATTERN).with_body(b"{\"name\":1,\"limit\":{}}");
    let merchant = fields.path("merchantId").id();
    let template = fields.path("couponTemplateId").id();
    let size = fields.query("size").saying("size!").optional_whole(1..=100);
    let user = fields.query("userId").optional_text(1..=255);
    let name = fields.body("name").text(1..=255);
    let limit = fields.body("limit").id();
    fields.fault("both", Some("together"));
    fields.fault("one", None);
    let malformed = fields
        .finish(|| Some((merchant?, template?, size?, user?, name?, limit?)))
        .unwrap_err();
    let fault = |(field, message)| FieldFault { field, message };
    let expected = [
        ("merchantId", None),
        ("couponTemplateId", None),
        ("size", Some("size!")),
        ("userId", None),
        ("limit", None),
        ("both", Some("together")),
        ("one", None),
    ];
    assert_eq!(malformed, Malformed::Fields(expected.map(fault).to_vec()));
}

#[test]
fn path_variables_are_decoded_and_survive_a_prefix() {
    for path in [
        "/v1/merchants/%31/coupon-templates/-2",
        "/1/coupon-templates/-2",
    ] {
        let uri = uri(path);
        let mut fields = Fields::new(&uri, PATTERN);
        assert_eq!(fields.path("merchantId").id(), Some(1));
        assert_eq!(fields.path("couponTemplateId").id(), Some(-2));
    }
    let uri = uri("/c/%ff");
    assert_eq!(Fields::new(&uri, "/c/{id}").path("id").opaque(), "");
    for path in [
        "/c/1.0", "/c/abc", "/c/%ff", "/c/", "/c/%00", "/c/1%202", "/c/+26", "/c/%2B26",
    ] {
        let uri = path.parse().unwrap();
        assert_eq!(Fields::new(&uri, "/c/{id}").path("id").id(), None, "{path}");
    }
}

#[test]
fn query_parameters() {
    let uri = uri("/?a=x+y%2B%ED%95%9C&b=&c&d=1&%65=5&f=%00&g=1.5e4&=z&h=%zz");
    let mut fields = Fields::new(&uri, "/");
    assert_eq!(fields.query("a").text(1..=5).as_deref(), Some("x y+한"));
    assert_eq!(fields.query("b").optional_whole(0..=9), Some(None));
    assert_eq!(fields.query("c").optional_text(1..=9), Some(None));
    assert_eq!(fields.query("d").optional_id(), Some(Some(1)));
    assert_eq!(fields.query("e").id(), Some(5));
    assert_eq!(fields.query("f").optional_text(1..=9), None);
    assert_eq!(fields.query("g").whole(0..=MAX), Some(15_000));
    assert_eq!(fields.query("h").any_text().as_deref(), Some("%zz"));
    assert_eq!(fields.query("missing").text(1..=9), None);
}

#[test]
fn a_body_may_be_left_out_where_that_is_said() {
    let uri = uri("/");
    for (bytes, sound) in [
        (&b""[..], true),
        (b" \n", true),
        (b"{}", true),
        (b"[]", false),
    ] {
        let mut fields = Fields::new(&uri, "/").with_optional_body(bytes);
        let given = fields.body("expiresAt").optional_date_time();
        assert_eq!(fields.finish(|| given).is_ok(), sound);
    }
}

fn read_all(fields: &mut Fields<'_>) {
    let _ = fields.body("a").trimmed_text(1..=5);
    let _ = fields.body("a").whole(0..=MAX);
    let _ = fields.body("a").optional_date_time();
    let _ = fields.body("a").choice(&[("x", 1)]);
    let _ = fields.query("a").text(0..=9);
    let _ = fields.query("a").optional_date();
    let _ = fields.path("id").id();
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let uri = uri("/");
        let mut fields = Fields::new(&uri, "/{id}").with_body(&bytes);
        read_all(&mut fields);
        prop_assert!(fields.finish(|| Some(())).is_err());
    }

    #[test]
    fn no_text_in_an_object_panics(inner in ".{0,60}|[\"\\\\u0dc8:,{}\\[\\]e.\\-]{0,60}") {
        let uri = uri("/");
        let json = format!("{{\"a\":{inner}}}");
        read_all(&mut Fields::new(&uri, "/{id}").with_body(json.as_bytes()));
        read_all(&mut Fields::new(&uri, "/{id}").with_body(inner.as_bytes()));
    }

    #[test]
    fn no_uri_panics(text in "/[!-~]{0,30}\\?a=[!-~]{0,40}") {
        if let Ok(uri) = text.parse::<Uri>() {
            read_all(&mut Fields::new(&uri, "/{id}"));
        }
    }

    #[test]
    fn accepted_text_is_unchanged(value in "[^\u{0}]{1,20}") {
        let json = serde_json::json!({ "a": value }).to_string();
        let read = body(&json, |a| a.text(1..=20).map(Cow::into_owned));
        prop_assert_eq!(read, Ok(value));
    }
}
