//! A million customers for a hundred thousand coupons: nobody gets two, none is left, and who came first gets one,
//! but for what shards and a lost server cost. Times are simulated, and the same in each run.
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
    // Sold out is told when the last place is sure; where its partner died, who comes helps after a second.
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
fn four_shards_serve_nearly_in_turn_and_pause_once() {
    hold_over(4);
}

#[test]
fn sixteen_shards_serve_nearly_in_turn_and_pause_once() {
    hold_over(16);
}

#[test]
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
fn a_lost_server_is_a_pause_and_no_coupon_lost_or_given_twice() {
    let figures = hold(Sale {
        lost_at: Some(2 * SECOND),
        ..SMALL
    });
    assert!(figures.last_places > 0);
    // Until it counts as dead 3 s more than a seal takes.
    assert!((11 * SECOND..16 * SECOND).contains(&figures.longest_pause));
}
