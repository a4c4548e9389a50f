//! The lists of a user's coupons against a filter and an order written out by hand (contract §3, Lists).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixtures;

use std::sync::Arc;

use fixtures::{ALL_TEMPLATE_STATUSES, coupon, minute, runner, template};
use goodpon_domain::{
    coupon::{Coupon, CouponStatus},
    id::CouponId,
    template::{Limit, Template, TemplateStatus},
    wallet::{HeldCoupon, available, in_hand},
};
use jiff::Timestamp;
use proptest::prelude::*;

const NOW: i64 = 100;

fn any_template() -> impl Strategy<Value = Arc<Template>> {
    let status = prop_oneof![
        6 => Just(TemplateStatus::Issuable),
        1 => prop::sample::select(ALL_TEMPLATE_STATUSES.to_vec())
    ];
    let limit = prop_oneof![
        Just(Limit::None),
        Just(Limit::IssueCount(1)),
        Just(Limit::RedeemCount(2))
    ];
    let minimum = prop_oneof![Just(None), (1..=3i64).prop_map(Some)];
    (status, limit, 0..=3i64, minimum).prop_map(|(status, limit, redeem_count, minimum)| {
        let mut template = template();
        template.status = status;
        template.terms.limit = limit;
        template.terms.min_order_amount = minimum;
        template.issue_count = 5;
        template.redeem_count = redeem_count;
        Arc::new(template)
    })
}

/// A coupon's status, and the minutes of its issue and expiry.
type AnyCoupon = (CouponStatus, i64, Option<i64>);

fn any_coupon() -> impl Strategy<Value = AnyCoupon> {
    let status = prop_oneof![
        5 => Just(CouponStatus::Issued),
        1 => Just(CouponStatus::Redeemed),
        1 => Just(CouponStatus::Expired),
        1 => Just(CouponStatus::Discarded)
    ];
    // Few distinct values, so that ties reach down to the id.
    let expiry = prop_oneof![Just(None), (NOW - 1..=NOW + 3).prop_map(Some)];
    (status, 0..3i64, expiry)
}

/// Coupons with distinct ids that say nothing about their other fields.
fn wallet() -> impl Strategy<Value = Vec<HeldCoupon>> {
    prop::collection::vec((any_coupon(), any_template()), 0..14).prop_map(|all| {
        let hold =
            |(number, ((status, issued, expires), template)): (u64, (AnyCoupon, _))| HeldCoupon {
                coupon: Coupon {
                    id: CouponId::new(minute(0), number << 8),
                    status,
                    issued_at: minute(issued),
                    expires_at: expires.map(minute),
                    ..coupon()
                },
                template,
            };
        (0u64..).zip(all).map(hold).collect()
    })
}

fn is_listed(held: &HeldCoupon) -> bool {
    let alive = match held.coupon.expires_at {
        Some(end) => minute(NOW) < end,
        None => true,
    };
    held.coupon.status == CouponStatus::Issued
        && alive
        && held.template.status != TemplateStatus::Discarded
}

fn has_redeem_place(held: &HeldCoupon) -> bool {
    match held.template.terms.limit {
        Limit::RedeemCount(max) => held.template.redeem_count < max,
        _ => true,
    }
}

fn reaches_minimum(held: &HeldCoupon, amount: i64) -> bool {
    match held.template.terms.min_order_amount {
        Some(minimum) => amount >= minimum,
        None => true,
    }
}

/// Returns whether `a` is listed before `b`: by expiry (none last), latest issue, id descending.
fn is_before(a: &Coupon, b: &Coupon) -> bool {
    let end = |one: &Coupon| one.expires_at.unwrap_or(Timestamp::MAX);
    if end(a) != end(b) {
        return end(a) < end(b);
    }
    if a.issued_at != b.issued_at {
        return a.issued_at > b.issued_at;
    }
    a.id > b.id
}

/// Sorts by picking the first of the coupons left, again and again; `favoured` ones go before the others.
fn sorted(mut left: Vec<HeldCoupon>, favoured: impl Fn(&HeldCoupon) -> bool) -> Vec<CouponId> {
    let mut order = Vec::new();
    while !left.is_empty() {
        let mut best = 0;
        for other in 1..left.len() {
            let better = match (favoured(&left[other]), favoured(&left[best])) {
                (true, false) => true,
                (false, true) => false,
                _ => is_before(&left[other].coupon, &left[best].coupon),
            };
            if better {
                best = other;
            }
        }
        order.push(left.remove(best).coupon.id);
    }
    order
}

fn ids(list: &[HeldCoupon]) -> Vec<CouponId> {
    list.iter().map(|held| held.coupon.id).collect()
}

#[test]
fn the_list_holds_what_is_in_hand_redeemable_first() {
    runner(2_000)
        .run(&wallet().prop_shuffle(), |held| {
            let listed: Vec<_> = held.iter().filter(|one| is_listed(one)).cloned().collect();
            let expected = sorted(listed, has_redeem_place);
            let list = in_hand(held, minute(NOW));
            prop_assert_eq!(ids(&list), expected);
            for one in &list {
                prop_assert_eq!(one.is_redeemable(), has_redeem_place(one));
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn available_coupons_are_redeemable_ones_with_reached_minimum_first() {
    runner(2_000)
        .run(&(wallet().prop_shuffle(), 0..=4i64), |(held, amount)| {
            let offered = |one: &&HeldCoupon| is_listed(one) && has_redeem_place(one);
            let listed: Vec<_> = held.iter().filter(offered).cloned().collect();
            let expected = sorted(listed, |one| reaches_minimum(one, amount));
            let list = available(held, amount, minute(NOW));
            prop_assert_eq!(ids(&list), expected);
            for one in &list {
                let reached = one.is_min_order_amount_reached(amount);
                prop_assert_eq!(reached, reaches_minimum(one, amount));
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn lists_do_not_depend_on_the_order_in_which_coupons_were_loaded() {
    runner(500)
        .run(&wallet(), |held| {
            let mut turned = held.clone();
            turned.reverse();
            prop_assert_eq!(
                in_hand(held.clone(), minute(NOW)),
                in_hand(turned.clone(), minute(NOW))
            );
            prop_assert_eq!(
                available(held, 2, minute(NOW)),
                available(turned, 2, minute(NOW))
            );
            Ok(())
        })
        .unwrap();
}
