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

/// A wish for a page.
#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    /// The first day.
    pub start_date: Option<Date>,
    /// The last day.
    pub end_date: Option<Date>,
    /// Of that order.
    pub order_id: Option<String>,
    /// Of that user.
    pub user_id: Option<String>,
    /// Of that template.
    pub template_id: Option<TemplateId>,
    /// In which order.
    pub direction: Direction,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// 1 to 100.
    pub size: usize,
}

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The entries.
    pub entries: Vec<HistoryEntry>,
    /// Where the next page begins, if there is more.
    pub next_cursor: Option<String>,
}

/// Why no page is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageRefusal {
    /// Not allowed to this account.
    Access(AccessRefusal),
    /// The cursor is none of ours, or of other filters.
    InvalidCursor,
}

/// Tells a page of the merchant's coupon history.
pub async fn page(
    app: &App,
    account: AccountId,
    merchant: MerchantId,
    query: HistoryQuery,
) -> Result<HistoryPage, Failure<PageRefusal>> {
    let seal = seal(merchant, &query);
    // A cursor is part of the request's form, so it is looked at before permission is.
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

/// Ties a cursor to the merchant, filters and order that it came from.
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
    let place = format!(
        "{:016x}{}",
        position.recorded_at.as_microsecond(),
        position.id
    );
    let check = check_digits(&place, seal);
    place + &check
}

fn read_cursor(text: &str, seal: &Sha256) -> Option<HistoryPosition> {
    let (place, check) = text.split_at_checked(POSITION_DIGITS)?;
    let position = read_position(place)?;
    (check == check_digits(place, seal)).then_some(position)
}

/// Whether a text has a cursor's form. If it belongs to its query, [`page`] tells.
pub fn has_cursor_form(text: &str) -> bool {
    let parts = text.split_at_checked(POSITION_DIGITS);
    parts
        .is_some_and(|(place, check)| read_position(place).is_some() && check.len() == CHECK_DIGITS)
}

fn read_position(place: &str) -> Option<HistoryPosition> {
    let micros = i64::from_str_radix(place.get(..16)?, 16).ok()?;
    Some(HistoryPosition {
        recorded_at: Timestamp::from_microsecond(micros).ok()?,
        id: HistoryId::parse(place.get(16..)?)?,
    })
}

fn check_digits(place: &str, seal: &Sha256) -> String {
    let digest = seal.clone().chain_update(place).finalize();
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
    fn a_cursor_belongs_to_its_query_and_bears_no_tampering() {
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
        for place in 0..cursor.len() {
            let mut bytes = cursor.clone().into_bytes();
            bytes[place] ^= 1;
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
