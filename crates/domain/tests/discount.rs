//! Discount arithmetic over the whole allowed range (contract §3, Redeem).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixtures;

use fixtures::{MINE, coupon, minute, runner, template};
use goodpon_domain::{
    redemption::{Order, redeem},
    template::Discount,
};
use proptest::prelude::*;

const TOP: i64 = 1_000_000_000_000;

fn order_amount() -> impl Strategy<Value = i64> {
    prop_oneof![
        0..=TOP,
        0..=i64::MAX,
        0..=250i64,
        TOP - 250..=TOP,
        i64::MAX - 250..=i64::MAX,
        (0..=TOP / 100).prop_map(|hundreds| hundreds * 100),
    ]
}

fn positive_amount() -> impl Strategy<Value = i64> {
    prop_oneof![
        1..=TOP,
        1..=i64::MAX,
        1..=250i64,
        TOP - 250..=TOP,
        Just(i64::MAX)
    ]
}

fn discount() -> impl Strategy<Value = Discount> {
    prop_oneof![
        positive_amount().prop_map(|amount| Discount::FixedAmount { amount }),
        (1..=100i64, positive_amount())
            .prop_map(|(percent, max)| Discount::Percentage { percent, max }),
    ]
}

/// Computes the contract's formula in 128 bits.
fn wide(discount: Discount, order: i64) -> i128 {
    let order = i128::from(order);
    match discount {
        Discount::FixedAmount { amount } => order.min(amount.into()),
        Discount::Percentage { percent, max } => (order * i128::from(percent))
            .div_euclid(100)
            .min(max.into()),
    }
}

/// Computes it in 64 bits, with whole hundreds and the remainder apart.
fn by_hundreds(discount: Discount, order: i64) -> i64 {
    match discount {
        Discount::FixedAmount { amount } if amount < order => amount,
        Discount::FixedAmount { .. } => order,
        Discount::Percentage { percent, max } => {
            let share = (order / 100) * percent + (order % 100) * percent / 100;
            if share < max { share } else { max }
        }
    }
}

#[test]
fn a_discount_is_exact() {
    runner(6_000)
        .run(&(discount(), order_amount()), |(discount, order)| {
            let off = discount.amount_off(order);
            prop_assert_eq!(i128::from(off), wide(discount, order));
            prop_assert_eq!(off, by_hundreds(discount, order));
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_discount_is_within_the_order_and_its_maximum() {
    runner(6_000)
        .run(&(discount(), order_amount()), |(discount, order)| {
            let off = discount.amount_off(order);
            prop_assert!((0..=order).contains(&off));
            prop_assert!(discount.max_amount().is_none_or(|max| off <= max));
            if let Discount::FixedAmount { amount } = discount {
                prop_assert!(off <= amount);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_larger_order_never_gets_less_off() {
    runner(6_000)
        .run(
            &(discount(), order_amount(), order_amount()),
            |(discount, a, b)| {
                let (small, large) = (a.min(b), a.max(b));
                let (off_small, off_large) =
                    (discount.amount_off(small), discount.amount_off(large));
                prop_assert!(off_small <= off_large);
                // A larger order never costs less either.
                prop_assert!(small - off_small <= large - off_large);
                Ok(())
            },
        )
        .unwrap();
}

#[test]
fn a_redemption_states_the_same_figures() {
    runner(2_000)
        .run(&(discount(), order_amount()), |(discount, amount)| {
            let mut template = template();
            template.terms.discount = discount;
            let order = Order {
                user_id: "u1".into(),
                amount,
                id: "o1".into(),
            };
            let done = redeem(Some(&coupon()), Some(&template), MINE, &order, minute(1));
            let done = done.unwrap().outcome;
            prop_assert_eq!(done.original_price, amount);
            prop_assert_eq!(done.discount_amount, by_hundreds(discount, amount));
            prop_assert_eq!(done.final_price, amount - done.discount_amount);
            prop_assert!(done.final_price >= 0);
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_percentage_of_small_orders_rounds_down() {
    for percent in 1..=100 {
        for order in 0..=1_000 {
            let off = Discount::Percentage { percent, max: TOP }.amount_off(order);
            assert!(off * 100 <= order * percent && order * percent < (off + 1) * 100);
        }
    }
}

#[test]
fn examples() {
    let fixed = |amount| Discount::FixedAmount { amount };
    let share = |percent, max| Discount::Percentage { percent, max };
    for (discount, order, off) in [
        (fixed(1_000), 0, 0),
        (fixed(1_000), 999, 999),
        (fixed(1_000), 1_000, 1_000),
        (fixed(1_000), 1_001, 1_000),
        (fixed(i64::MAX), i64::MAX, i64::MAX),
        (share(10, 5_000), 9, 0),
        (share(10, 5_000), 19, 1),
        (share(10, 5_000), 49_999, 4_999),
        (share(10, 5_000), 50_000, 5_000),
        (share(10, 5_000), 50_010, 5_000),
        (share(100, TOP), TOP, TOP),
        (share(100, TOP - 1), TOP, TOP - 1),
        (share(100, i64::MAX), i64::MAX, i64::MAX),
        (share(99, i64::MAX), i64::MAX, 9_131_138_316_486_228_048),
        (share(1, 1), i64::MAX, 1),
    ] {
        assert_eq!(discount.amount_off(order), off, "{discount:?} of {order}");
    }
}
