//! Holders of coupons: of each template one for a user, for ever.
//!
//! Users come in no order, so their unique index is deferred. Before a coupon is issued, the user is looked up among the
//! holders that wait and in the index, unless the filter knows that the user is new; and only the writer issues.
//! The UNIQUE index is only a late alarm: it cannot undo a second coupon, but it logs an error, and `goodpon verify` names
//! the user.

use std::collections::BTreeSet;

use goodpon_domain::id::{CouponId, MerchantId, TemplateId};
use rusqlite::{Connection, OptionalExtension, params};

use crate::late::{Late, Lookup, Read, holder_filter::HolderFilter, waiting::Waiting};

/// A user and a template, in the order of the index: a user's templates stand together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    merchant: MerchantId,
    user: Box<str>,
    template: TemplateId,
}

impl Holder {
    pub(crate) fn new(merchant: MerchantId, user: &str, template: TemplateId) -> Self {
        Self {
            merchant,
            user: user.into(),
            template,
        }
    }

    pub(crate) fn add_to(&self, filter: &HolderFilter) {
        filter.add(self.template, &self.user);
    }
}

/// The index of holders. Each leads to the id of the coupon.
pub(crate) struct Holders;

impl Late for Holders {
    const NAME: &'static str = "coupon_holders";
    type Key = Holder;
    type Value = [u8; 16];
    type Position = [u8; 16];

    fn position(coupon: &[u8; 16]) -> [u8; 16] {
        *coupon
    }

    /// Counts long user ids, of up to 255 characters, for more.
    fn weight(holder: &Holder, _coupon: &[u8; 16]) -> usize {
        1 + holder.user.len() / 100
    }

    fn read_rows(
        connection: &Connection,
        from: Option<[u8; 16]>,
        mut each: impl FnMut(Read<Self>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(
            "SELECT id, merchant_id, template_id, user_id FROM coupons WHERE id >= ?1 ORDER BY id",
        )?;
        let mut rows = statement.query([from.unwrap_or_default()])?;
        while let Some(row) = rows.next()? {
            let user = row.get_ref(3)?.as_str()?;
            let (merchant, template) = (MerchantId(row.get(1)?), TemplateId(row.get(2)?));
            each(Read::Entry(
                Holder::new(merchant, user, template),
                row.get(0)?,
            ))?;
        }
        Ok(())
    }

    fn enter(connection: &Connection, entries: &[(Holder, [u8; 16])]) -> rusqlite::Result<()> {
        let mut enter = connection.prepare_cached(
            "INSERT INTO coupon_holders (merchant_id, user_id, template_id, coupon_id)
             VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?;
        for (holder, coupon) in entries {
            let (merchant, template) = (holder.merchant.0, holder.template.0);
            let rows = enter.execute(params![merchant, holder.user, template, coupon])?;
            if rows == 0 && Self::find_entered(connection, holder)? != Some(*coupon) {
                let coupon = CouponId::from_bytes(*coupon);
                tracing::error!(template, %coupon, "a user has two coupons of a template: run `goodpon verify`");
            }
        }
        Ok(())
    }
}

impl Lookup for Holders {
    fn find_entered(
        connection: &Connection,
        holder: &Holder,
    ) -> rusqlite::Result<Option<[u8; 16]>> {
        let (merchant, template) = (holder.merchant.0, holder.template.0);
        connection
            .prepare_cached(
                "SELECT coupon_id FROM coupon_holders
                 WHERE merchant_id = ?1 AND user_id = ?2 AND template_id = ?3",
            )?
            .query_row(params![merchant, holder.user, template], |row| row.get(0))
            .optional()
    }
}

impl Waiting<Holders> {
    /// The user's coupons that are not in the index. To be read before the index is.
    pub(crate) fn of_user(&self, merchant: MerchantId, user: &str) -> Vec<[u8; 16]> {
        let of_template = |template| Holder::new(merchant, user, TemplateId(template));
        self.values(of_template(i64::MIN)..=of_template(i64::MAX))
    }

    /// All coupons of a user. Within a read transaction, later ones than its beginning may be among them.
    pub(crate) fn all_of_user(
        &self,
        connection: &Connection,
        merchant: MerchantId,
        user: &str,
    ) -> rusqlite::Result<BTreeSet<[u8; 16]>> {
        self.some_of_user(connection, merchant, user, usize::MAX)
    }

    /// As [`Self::all_of_user`], with up to `most` of those in the index.
    pub(crate) fn some_of_user(
        &self,
        connection: &Connection,
        merchant: MerchantId,
        user: &str,
        most: usize,
    ) -> rusqlite::Result<BTreeSet<[u8; 16]>> {
        let waiting = self.of_user(merchant, user);
        let mut entered = connection.prepare_cached(OF_USER)?;
        let entered = entered.query_map(params![merchant.0, user], |row| row.get(0))?;
        // A set, for a coupon that waited may have been entered meanwhile. Rows are read as they are taken: a bound LIMIT
        // would have SQLite prepare the statement anew for each value.
        waiting
            .into_iter()
            .map(Ok)
            .chain(entered.take(most))
            .collect()
    }
}

pub(crate) const OF_USER: &str =
    "SELECT coupon_id FROM coupon_holders WHERE merchant_id = ?1 AND user_id = ?2";
