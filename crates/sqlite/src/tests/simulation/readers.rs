//! Readers, compared with the plain model.

use std::sync::Arc;

use goodpon_application::ports::{Clock, Direction, HistoryFilter};
use goodpon_domain::{
    coupon::{CouponStatus, IssueRefusal},
    id::{MerchantId, TemplateId},
    ledger::HistoryAction,
    template::Template,
};
use goodpon_port_laws::ManualClock;
use jiff::Timestamp;
use rusqlite::Connection;

use super::plain::{Holding, Plain, PlainEntry};
use crate::{
    audit, history, idempotency,
    issue::{Early, refuse_early},
    late::holder::Holder,
    write::published::{Published, Step},
};

pub(super) const USERS: usize = 9;
/// More than any ledger has.
const ALL: usize = 10_000;

pub(super) fn user(number: usize) -> String {
    format!("user {number}")
}

pub(super) fn key(number: u8) -> [u8; 16] {
    // In no order, as digests are.
    [number.wrapping_mul(151); 16]
}

/// A reader of the store, with a connection of its own.
pub(super) struct Reader {
    pub(super) connection: Connection,
    pub(super) published: Arc<Published>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) merchant: MerchantId,
    pub(super) templates: Vec<TemplateId>,
}

impl Reader {
    fn template(&self, number: usize) -> Arc<Template> {
        let found = self
            .published
            .template_at(&self.connection, self.templates[number]);
        found.unwrap().expect("the template is gone")
    }

    fn has_one(&self, (template, number): Holding) -> bool {
        let holder = Holder::new(self.merchant, &user(number), self.templates[template]);
        let found = self.published.holders.find(&self.connection, &holder);
        found.unwrap().is_some()
    }

    fn page(&self, number: Option<usize>) -> Vec<PlainEntry> {
        let filter = HistoryFilter {
            user_id: number.map(user),
            ..HistoryFilter::default()
        };
        let (connection, merchant) = (&self.connection, self.merchant);
        let page = history::page(
            &self.published,
            connection,
            merchant,
            &filter,
            Direction::Ascending,
            None,
            ALL,
        );
        let plain = |entry: goodpon_domain::history::HistoryEntry| {
            let template = self
                .templates
                .iter()
                .position(|id| *id == entry.template_id);
            let number = entry.user_id.trim_start_matches("user ").parse().unwrap();
            PlainEntry {
                at: entry.recorded_at,
                holding: (template.unwrap(), number),
                action: entry.action,
            }
        };
        page.unwrap().into_iter().map(plain).collect()
    }

    /// Between groups everything is as the model has it.
    pub(super) fn assert_sees(&self, plain: &Plain) {
        let now = self.clock.now();
        for (number, expected) in plain.templates.iter().enumerate() {
            let template = self.template(number);
            assert_eq!(template.issue_count, expected.issued, "issues of {number}");
            assert_eq!(
                template.redeem_count, expected.redeemed,
                "redemptions of {number}"
            );
            for user in 0..USERS {
                self.assert_refuses_early(plain, &template, (number, user));
            }
        }
        for number in 0..USERS {
            self.assert_has(plain, number);
        }
        for number in plain.keys.keys() {
            let (found, expected) = (self.answer(*number, now), plain.kept(*number, now));
            assert_eq!(
                found,
                expected.map(|kept| kept.answer.clone()),
                "key {number}"
            );
        }
        assert_eq!(self.page(None), plain.ledger());
        let number = plain.ledger().len() % USERS;
        let mut of_user = plain.ledger();
        of_user.retain(|entry| entry.holding.1 == number);
        assert_eq!(
            self.page(Some(number)),
            of_user,
            "the page of user {number}"
        );
    }

    fn assert_refuses_early(&self, plain: &Plain, template: &Template, holding: Holding) {
        let has_one = plain.has(holding);
        assert_eq!(
            self.has_one(holding),
            has_one,
            "whether {holding:?} is found"
        );
        let now = self.clock.now();
        match refuse_early(&self.published, template, &user(holding.1), now) {
            Early::Refused(IssueRefusal::SoldOut) => assert!(!has_one, "{holding:?} has one"),
            Early::Refused(other) => panic!("{other:?}"),
            Early::MayHaveOne | Early::Open => {}
        }
    }

    fn assert_has(&self, plain: &Plain, number: usize) {
        let name = user(number);
        let coupons = self
            .published
            .all_coupons(&self.connection, self.merchant, &name);
        let mut seen: Vec<_> = coupons
            .unwrap()
            .into_iter()
            .map(|stored| {
                (
                    stored.coupon.id,
                    stored.coupon.status,
                    stored.coupon.order_id,
                )
            })
            .collect();
        seen.sort_by_key(|(id, ..)| *id);
        let of_user = plain.coupons.iter().filter(|(of, _)| of.1 == number);
        let mut expected: Vec<_> = of_user
            .map(|(_, coupon)| {
                let order = coupon.order.map(|order| order.to_string());
                (coupon.id, coupon.status, order)
            })
            .collect();
        expected.sort_by_key(|(id, ..)| *id);
        assert_eq!(seen, expected, "coupons of {name}");
    }

    fn answer(&self, number: u8, now: Timestamp) -> Option<String> {
        let connection = &self.connection;
        let found = idempotency::find_committed(&self.published, connection, key(number), now);
        let record = found.unwrap()?;
        Some(String::from_utf8(record.answer.body.to_vec()).unwrap())
    }

    /// While a group is being published, readers may see parts of it: those that the order of publishing allows.
    pub(super) fn assert_in_order(&self, step: Step, before: &Plain, after: &Plain) {
        let now = self.clock.now();
        for number in 0..after.templates.len() {
            let template = self.template(number);
            let holders = (0..USERS).filter(|user| self.has_one((number, *user)));
            let found = i64::try_from(holders.count()).unwrap();
            assert!(
                found >= template.issue_count,
                "{step:?}: {found} holders of {} issues are found",
                template.issue_count
            );
            for user in 0..USERS {
                if let Early::Refused(IssueRefusal::SoldOut) =
                    refuse_early(&self.published, &template, &super::readers::user(user), now)
                {
                    assert!(!after.has((number, user)), "{step:?}: {user} has one");
                }
            }
            let redeemed = self.count_redeemed(template.id);
            assert!(
                redeemed >= template.redeem_count || redeemed >= after.templates[number].redeemed,
                "{step:?}: {redeemed} coupons of {} redemptions are seen",
                template.redeem_count
            );
            let old = &before.templates[number];
            if (template.issue_count, template.redeem_count) != (old.issued, old.redeemed) {
                for number in after.keys.keys() {
                    let expected = after.kept(*number, now).map(|kept| kept.answer.clone());
                    assert_eq!(
                        self.answer(*number, now),
                        expected,
                        "{step:?}: key {number}"
                    );
                }
            }
        }
        // With a clock that was set back, new entries may stand before the position that was published earlier.
        if after.first_behind(before) > before.newest() {
            self.assert_pages_are_whole(step, after);
        }
    }

    fn count_redeemed(&self, template: TemplateId) -> i64 {
        let coupons = (0..USERS).flat_map(|number| {
            let found = self
                .published
                .all_coupons(&self.connection, self.merchant, &user(number));
            found.unwrap()
        });
        let redeemed = coupons.filter(|stored| {
            stored.coupon.template_id == template && stored.coupon.status == CouponStatus::Redeemed
        });
        i64::try_from(redeemed.count()).unwrap()
    }

    /// Up to the position that the states have published, a user's page lacks no entry.
    fn assert_pages_are_whole(&self, step: Step, after: &Plain) {
        let last = self.published.states.published();
        let last = last.map_or(i64::MIN, |last| last.micros);
        for number in 0..USERS {
            let page = self.page(Some(number));
            let mut of_user = after.ledger();
            of_user.retain(|entry| entry.holding.1 == number);
            // Entries of the very microsecond may stand before the position or behind it.
            let count = |is_shown: &dyn Fn(i64) -> bool| {
                let shown = of_user
                    .iter()
                    .filter(|entry| is_shown(entry.at.as_microsecond()));
                shown.count()
            };
            let (least, most) = (count(&|at| at < last), count(&|at| at <= last));
            assert!(
                (least..=most).contains(&page.len()) && of_user.starts_with(&page),
                "{step:?}: the page of user {number}: {page:?} of {of_user:?}"
            );
        }
    }

    /// The database by itself, as `goodpon verify` sees it.
    pub(super) fn assert_whole(&self, plain: &Plain) {
        let mut differences = audit::run(&self.connection).unwrap();
        // The simulated damage.
        differences.retain(|one| one.subject != "schema refuse");
        assert_eq!(differences, []);
        let count = "SELECT count(*) FROM coupon_histories WHERE action = ?1";
        let code = crate::codec::history_action::code(HistoryAction::Issue);
        let issues: i64 = self
            .connection
            .query_row(count, [code], |row| row.get(0))
            .unwrap();
        assert_eq!(usize::try_from(issues).unwrap(), plain.coupons.len());
    }
}
