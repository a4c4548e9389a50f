//! The coupon history, page by page (contract §2.2).

use goodpon_domain::{
    history::{HistoryEntry, HistoryPosition},
    id::{AccountId, HistoryId, MerchantId, TemplateId},
    merchant::AccessRefusal,
};
use jiff::{Timestamp, civil::Date};
use sha2::{Digest, Sha256};

use crate::{
    App, Failure,
    merchant::require_member,
    ports::{Direction, HistoryFilter},
    turns::Tenant,
};

/// A request for a page. All filters that are set must hold.
#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    /// Filters by the first day, inclusive.
    pub start_date: Option<Date>,
    /// Filters by the last day, inclusive.
    pub end_date: Option<Date>,
    /// Filters by the order.
    pub order_id: Option<String>,
    /// Filters by the user who has the coupon.
    pub user_id: Option<String>,
    /// Filters by the coupon's template.
    pub template_id: Option<TemplateId>,
    /// The order of entries.
    pub direction: Direction,
    /// The `next_cursor` of the page before; `None` for the first page.
    pub cursor: Option<String>,
    /// The most entries of the page: 1 to 100.
    pub size: usize,
}

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The entries.
    pub entries: Vec<HistoryEntry>,
    /// The cursor of the next page; `None` if this is the last one.
    pub next_cursor: Option<String>,
}

/// Why a page is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageRefusal {
    /// The account may not read this merchant's history.
    Access(AccessRefusal),
    /// The cursor was not given out by this program, or for another merchant, filter or order.
    InvalidCursor,
}

/// Returns a page of the merchant's coupon history.
pub async fn page(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
    query: HistoryQuery,
) -> Result<HistoryPage, Failure<PageRefusal>> {
    let seal = seal(merchant, &query);
    // A cursor is a field of the request, so it is checked before permission, like the other fields (contract §1).
    let after = match &query.cursor {
        Some(text) => {
            let position = read_cursor(text, &seal);
            Some(position.ok_or(Failure::Refused(PageRefusal::InvalidCursor))?)
        }
        None => None,
    };
    require_member(app, account, merchant)
        .await
        .map_err(|failure| failure.map(PageRefusal::Access))?;
    let filter = HistoryFilter {
        from: query.start_date.map(|date| app.zone.start_of_day(date)),
        until: query.end_date.map(|date| app.zone.end_of_day(date)),
        order_id: query.order_id,
        user_id: query.user_id,
        template_id: query.template_id,
    };
    let _turn = app.turns.take(Tenant::Merchant(merchant)).await?;
    let mut entries = app
        .stores
        .histories
        .page(merchant, &filter, query.direction, after, query.size + 1)
        .await?;
    let has_more = entries.len() > query.size;
    entries.truncate(query.size);
    let last = entries.last().filter(|_| has_more);
    let next_cursor = last.map(|entry| {
        let position = HistoryPosition {
            recorded_at: entry.recorded_at,
            id: entry.id,
        };
        write_cursor(position, &seal)
    });
    Ok(HistoryPage {
        entries,
        next_cursor,
    })
}

/// Hashes the merchant, filters and order, which the check digits of a cursor depend on: a cursor fits no other query.
fn seal(merchant: MerchantId, query: &HistoryQuery) -> Sha256 {
    let mut hasher = Sha256::new();
    let parts = format!(
        "{merchant} {:?} {:?} {:?} {:?} {:?} {:?}",
        query.start_date,
        query.end_date,
        query.order_id,
        query.user_id,
        query.template_id,
        query.direction
    );
    hasher.update(parts);
    hasher
}

const POSITION_DIGITS: usize = 48;
const CHECK_DIGITS: usize = 16;

fn write_cursor(position: HistoryPosition, seal: &Sha256) -> String {
    let digits = format!(
        "{:016x}{}",
        position.recorded_at.as_microsecond(),
        position.id
    );
    let check = check_digits(&digits, seal);
    digits + &check
}

fn read_cursor(text: &str, seal: &Sha256) -> Option<HistoryPosition> {
    let (position_digits, check) = text.split_at_checked(POSITION_DIGITS)?;
    let position = read_position(position_digits)?;
    (check == check_digits(position_digits, seal)).then_some(position)
}

/// Returns whether a text has the form of a cursor. [`page`] checks whether it belongs to its query.
pub fn has_cursor_form(text: &str) -> bool {
    let parts = text.split_at_checked(POSITION_DIGITS);
    parts.is_some_and(|(position, check)| {
        read_position(position).is_some() && check.len() == CHECK_DIGITS
    })
}

fn read_position(digits: &str) -> Option<HistoryPosition> {
    let micros = i64::from_str_radix(digits.get(..16)?, 16).ok()?;
    Some(HistoryPosition {
        recorded_at: Timestamp::from_microsecond(micros).ok()?,
        id: HistoryId::parse(digits.get(16..)?)?,
    })
}

fn check_digits(position_digits: &str, seal: &Sha256) -> String {
    let digest = seal.clone().chain_update(position_digits).finalize();
    digest[..CHECK_DIGITS / 2]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_of_another_query_or_with_a_changed_bit_is_refused() {
        let query = HistoryQuery {
            user_id: Some("u".into()),
            ..HistoryQuery::default()
        };
        let ours = seal(MerchantId(1), &query);
        let recorded_at = Timestamp::from_microsecond(1_700_000_000_000_001).unwrap();
        let position = HistoryPosition {
            recorded_at,
            id: HistoryId::new(recorded_at, 7),
        };
        let cursor = write_cursor(position, &ours);
        assert_eq!(read_cursor(&cursor, &ours), Some(position));
        assert_eq!(read_cursor(&cursor, &seal(MerchantId(2), &query)), None);
        assert_eq!(
            read_cursor(&cursor, &seal(MerchantId(1), &HistoryQuery::default())),
            None
        );
        for index in 0..cursor.len() {
            let mut bytes = cursor.clone().into_bytes();
            bytes[index] ^= 1;
            let tampered = String::from_utf8(bytes).unwrap();
            assert_eq!(read_cursor(&tampered, &ours), None, "{tampered}");
        }
        for junk in [
            "",
            "x",
            "가나다라마바사아자차카타파하가나다라마바사아자차카타파하",
        ] {
            assert_eq!(read_cursor(junk, &ours), None);
        }
    }
}
