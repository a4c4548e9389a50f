//! Values that the contract bounds (§1), read from the fields of a request.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use goodpon_domain::name::looks_empty;
use goodpon_web::input::Reader;

/// The largest amount, in whole units of the merchant's currency (contract §1).
pub(crate) const MAX_AMOUNT: i64 = 1_000_000_000_000;
/// The largest count (contract §1).
pub(crate) const MAX_COUNT: i64 = 1_000_000_000;
/// The largest `validityDays` (contract §1).
pub(crate) const MAX_VALIDITY_DAYS: i64 = 36_500;
/// The longest e-mail address that is read, in characters.
pub(crate) const MAX_EMAIL: usize = 255;

/// Readers of values that the contract bounds. As every reader, each returns `None` where the field is at fault.
pub(crate) trait ContractValues<'a>: Sized {
    /// A name: a text without the white space around it, whose number of characters is in the range after that, and of
    /// which one can be seen.
    fn name(self, characters: RangeInclusive<usize>) -> Option<Cow<'a, str>>;

    /// An e-mail address in any form, up to [`MAX_EMAIL`].
    fn email(self) -> Option<Cow<'a, str>>;

    /// An amount up to [`MAX_AMOUNT`]; a rule of the domain says whether it may be 0 or less.
    fn amount(self) -> Option<i64>;

    /// An amount that may be absent.
    fn optional_amount(self) -> Option<Option<i64>>;

    /// The amount of an order: 0 to [`MAX_AMOUNT`].
    fn order_amount(self) -> Option<i64>;

    /// A count up to [`MAX_COUNT`], or none; a rule of the domain says whether it may be 0 or less.
    fn optional_count(self) -> Option<Option<i64>>;

    /// Days up to [`MAX_VALIDITY_DAYS`], or none; a rule of the domain says whether they may be 0 or less.
    fn optional_validity_days(self) -> Option<Option<i64>>;
}

impl<'a> ContractValues<'a> for Reader<'_, 'a> {
    fn name(self, characters: RangeInclusive<usize>) -> Option<Cow<'a, str>> {
        self.trimmed_text_where(characters, |name| !looks_empty(name))
    }

    fn email(self) -> Option<Cow<'a, str>> {
        self.text(0..=MAX_EMAIL)
    }

    fn amount(self) -> Option<i64> {
        self.whole(i64::MIN..=MAX_AMOUNT)
    }

    fn optional_amount(self) -> Option<Option<i64>> {
        self.optional_whole(i64::MIN..=MAX_AMOUNT)
    }

    fn order_amount(self) -> Option<i64> {
        self.whole(0..=MAX_AMOUNT)
    }

    fn optional_count(self) -> Option<Option<i64>> {
        self.optional_whole(i64::MIN..=MAX_COUNT)
    }

    fn optional_validity_days(self) -> Option<Option<i64>> {
        self.optional_whole(i64::MIN..=MAX_VALIDITY_DAYS)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use goodpon_web::input::{Fields, Malformed};
    use http::Uri;

    use super::*;

    /// Reads the member `a` of a body.
    fn read<T>(body: &str, read: impl FnOnce(Reader<'_, '_>) -> Option<T>) -> Result<T, Malformed> {
        let uri = Uri::from_static("/");
        let mut fields = Fields::new(&uri, "/").with_body(body.as_bytes());
        let value = read(fields.body("a"));
        fields.finish(|| value)
    }

    #[test]
    fn amounts_counts_and_days_have_bounds() {
        assert_eq!(read(r#"{"a":1e12}"#, |a| a.amount()), Ok(MAX_AMOUNT));
        assert_eq!(read(r#"{"a":-1}"#, |a| a.amount()), Ok(-1));
        assert!(read(r#"{"a":1000000000001}"#, |a| a.amount()).is_err());
        assert_eq!(read(r#"{"a":""}"#, |a| a.optional_amount()), Ok(None));
        assert!(read(r#"{"a":1000000000001}"#, |a| a.optional_amount()).is_err());
        assert_eq!(read(r#"{"a":0}"#, |a| a.order_amount()), Ok(0));
        assert!(read(r#"{"a":-1}"#, |a| a.order_amount()).is_err());
        let most = read(r#"{"a":1e9}"#, |a| a.optional_count());
        assert_eq!(most, Ok(Some(MAX_COUNT)));
        assert!(read(r#"{"a":1000000001}"#, |a| a.optional_count()).is_err());
        let most = read(r#"{"a":36500}"#, |a| a.optional_validity_days());
        assert_eq!(most, Ok(Some(MAX_VALIDITY_DAYS)));
        assert!(read(r#"{"a":36501}"#, |a| a.optional_validity_days()).is_err());
    }

    #[test]
    fn of_a_name_something_can_be_seen() {
        let name = |body: &str| read(body, |a| a.name(1..=3).map(Cow::into_owned));
        assert_eq!(name(r#"{"a":" 김 "}"#).unwrap(), "김");
        for body in [
            r#"{"a":"  "}"#,
            "{\"a\":\"\u{3164}\"}",
            r#"{"a":"abcd"}"#,
            "{}",
        ] {
            assert!(name(body).is_err(), "{body}");
        }
    }
}
