//! The seconds in which templates of a merchant recorded something.
//!
//! Entries are clustered by template, and a merchant may have very many templates. So that a page of the merchant's
//! history need not look into all of them, the first entry of a template in a second leaves a row here: at full speed
//! one for thousands of entries, and never more than one for each.

use std::collections::HashMap;

use goodpon_domain::id::{MerchantId, TemplateId};
use rusqlite::{Connection, params};

/// Beyond this number of templates the memory begins anew: a row that it lacks is written once more, without effect.
const MOST_REMEMBERED: usize = 8_192;

/// The length of a second, in microseconds.
const SECOND: i64 = 1_000_000;

/// The second of a time in microseconds.
pub(crate) const fn second(micros: i64) -> i64 {
    micros.div_euclid(SECOND)
}

/// The begin of a second and that of the next one, in microseconds.
pub(crate) const fn span(second: i64) -> (i64, i64) {
    (
        second.saturating_mul(SECOND),
        second.saturating_add(1).saturating_mul(SECOND),
    )
}

/// Writes rows that are missing because an older program, which does not write them, recorded entries. The last entry of
/// each template shows that.
pub(crate) fn catch_up(connection: &Connection) -> rusqlite::Result<()> {
    let lacks = connection.query_row(
        "SELECT EXISTS (
             SELECT 1 FROM (SELECT t.id, t.merchant_id,
                 (SELECT max(recorded_at) FROM coupon_histories WHERE template_id = t.id) AS last_at
                 FROM coupon_templates t) t
             WHERE t.last_at IS NOT NULL AND NOT EXISTS (
                 SELECT 1 FROM template_activity a WHERE a.merchant_id = t.merchant_id
                     AND a.second = t.last_at / 1000000 AND a.template_id = t.id))",
        [],
        |row| row.get::<_, bool>(0),
    )?;
    if lacks {
        tracing::info!("an older program wrote here: history pages learn of its entries");
        connection.execute_batch(
            "INSERT OR IGNORE INTO template_activity
             SELECT DISTINCT merchant_id, recorded_at / 1000000, template_id FROM coupon_histories",
        )?;
    }
    Ok(())
}

/// The last second of each template that is known to have its row, as the running group sees it.
#[derive(Default)]
pub(crate) struct Activity(HashMap<TemplateId, i64>);

impl Activity {
    /// Notes that the template records something at a time.
    pub(crate) fn note(
        &mut self,
        connection: &Connection,
        merchant: MerchantId,
        template: TemplateId,
        micros: i64,
    ) -> rusqlite::Result<()> {
        let second = second(micros);
        if self.0.get(&template) == Some(&second) {
            return Ok(());
        }
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO template_activity (merchant_id, second, template_id) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![merchant.0, second, template.0])?;
        if self.0.len() >= MOST_REMEMBERED {
            self.0.clear();
        }
        self.0.insert(template, second);
        Ok(())
    }

    /// Forgets all: the rows may be rolled back.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }
}
