//! A million customers for a hundred thousand coupons: nobody gets two, none is left, and those who came first get one,
//! but for what shards and a lost server cost. Times are simulated, and the same in each run.
//!
//! The simulation is frozen: it was made for the tables of `docs/scale.md` and is kept so that they can be made again.
//! One small sale shows in each test run that it still works; `cargo xtask simulate` holds the large ones.
#![allow(clippy::unwrap_used)]

use goodpon_gate_model::sale::{Figures, SECOND, Sale};

/// A gate that takes 50,000 calls a second.
const SALE: Sale = Sale {
    customers: 1_000_000,
    coupons: 100_000,
    shards: 1,
    rush: 8 * SECOND,
    call: 20,
    hold_off: SECOND / 10,
    longest_queue: SECOND / 5,
    lost_at: None,
    seed: 1,
};

fn hold(sale: Sale) -> Figures {
    let figures = sale.hold().unwrap();
    println!("{sale:?}\n{figures}\n");
    assert_eq!((figures.issued, figures.left_over), (sale.coupons, 0));
    let all = figures.successes + figures.refused + figures.gave_up;
    assert_eq!(
        (all, figures.successes + figures.late_coupons),
        (sale.customers, sale.coupons)
    );
    figures
}

/// In parts per 10,000.
fn share(count: usize) -> usize {
    count * 10_000 / SALE.coupons
}

/// The same sale with a tenth of everything but time.
const SMALL: Sale = Sale {
    customers: SALE.customers / 10,
    coupons: SALE.coupons / 10,
    call: SALE.call * 10,
    ..SALE
};

#[test]
fn a_small_sale_over_shards_is_exact_and_pauses_once() {
    let figures = hold(Sale { shards: 4, ..SMALL });
    assert!(figures.last_places > 0, "the shards are sealed into one");
    assert!((8 * SECOND..12 * SECOND).contains(&figures.longest_silence));
}

#[test]
#[ignore = "a long simulation of a frozen model: cargo xtask simulate"]
fn one_gate_serves_in_turn_and_without_pause() {
    let figures = hold(SALE);
    assert_eq!(
        (
            figures.out_of_turn,
            figures.after_a_refused,
            figures.last_places
        ),
        (0, 0, 0)
    );
    assert!(figures.longest_pause < SECOND / 10);
    // Sold out is answered when the last place is sure; where its partner died, the next customer helps after a second.
    assert!(figures.longest_silence < 2 * SECOND);
    assert!(
        figures.longest_wait < 10 * SECOND,
        "a publish that was stuck"
    );
}

/// Shards serve nearly in turn, and pause once.
fn hold_over(shards: usize) {
    let figures = hold(Sale { shards, ..SALE });
    assert!(share(figures.out_of_turn) < 100 && share(figures.after_a_refused) < 500);
    // The last events count for 6 s, the clocks are given 2 s, and the issuers and the loading take a little.
    assert!((8 * SECOND..12 * SECOND).contains(&figures.longest_silence));
}

#[test]
#[ignore = "a long simulation of a frozen model: cargo xtask simulate"]
fn four_shards_serve_nearly_in_turn_and_pause_once() {
    hold_over(4);
}

#[test]
#[ignore = "a long simulation of a frozen model: cargo xtask simulate"]
fn sixteen_shards_serve_nearly_in_turn_and_pause_once() {
    hold_over(16);
}

#[test]
#[ignore = "a long simulation of a frozen model: cargo xtask simulate"]
fn a_gate_that_is_too_slow_makes_customers_wait_but_stays_exact() {
    let figures = hold(Sale {
        call: 5 * SMALL.call,
        ..SMALL
    });
    assert!(
        figures.calls < SMALL.customers * 3 / 2,
        "calls do not pile up"
    );
    assert!(figures.longest_pause < SECOND);
}

#[test]
#[ignore = "a long simulation of a frozen model: cargo xtask simulate"]
fn a_lost_server_is_a_pause_and_no_coupon_lost_or_given_twice() {
    let figures = hold(Sale {
        lost_at: Some(2 * SECOND),
        ..SMALL
    });
    assert!(figures.last_places > 0);
    // Until it counts as dead 3 s more than a seal takes.
    assert!((11 * SECOND..16 * SECOND).contains(&figures.longest_pause));
}
