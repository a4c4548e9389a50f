//! A million customers for a hundred thousand coupons: nobody gets two, none is left, and who came first mostly
//! gets one. Times are simulated, and the same in each run.
#![allow(clippy::unwrap_used)]

use goodpon_gate_model::sale::{Figures, SECOND, Sale};

/// A gate that takes 50,000 calls a second.
const SALE: Sale = Sale {
    customers: 1_000_000,
    coupons: 100_000,
    shards: 1,
    call: 20,
    hold_off: SECOND / 10,
    lost_at: None,
    seed: 1,
};

fn held(name: &str, sale: Sale) -> Figures {
    let figures = sale.hold().unwrap();
    println!("{name}\n{figures}\n");
    assert_eq!((figures.issued, figures.left_over), (sale.coupons, 0));
    let all = figures.successes + figures.refused + figures.gave_up;
    assert_eq!(
        (all, figures.successes + figures.late_coupons),
        (sale.customers, sale.coupons)
    );
    figures
}

#[test]
fn one_gate_serves_who_comes_first() {
    let figures = held("1 shard", SALE);
}

#[test]
fn four_shards() {
    let figures = held("4 shards", Sale { shards: 4, ..SALE });
}

#[test]
fn sixteen_shards() {
    let figures = held("16 shards", Sale { shards: 16, ..SALE });
}

#[test]
fn a_lost_server() {
    let figures = held(
        "1 shard, lost",
        Sale {
            lost_at: Some(2 * SECOND),
            ..SALE
        },
    );
}
