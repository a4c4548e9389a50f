//! Holds sales of several kinds and prints how they went: `cargo run -p goodpon-gate-model --example sale`.

use std::process::ExitCode;

use goodpon_gate_model::sale::{SECOND, Sale};

fn main() -> ExitCode {
    let sale = Sale {
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
    let of_shards = [1, 4, 16].map(|shards| Sale { shards, ..sale });
    let lost_at = Some(2 * SECOND);
    let kinds = [
        ("a gate takes 50,000 calls a second", sale),
        (
            "a gate takes 10,000 calls a second",
            Sale { call: 100, ..sale },
        ),
        (
            "50,000 calls a second, a fiftieth of the customers a second",
            Sale {
                rush: 400 * SECOND,
                ..sale
            },
        ),
    ];
    for (name, kind) in kinds {
        for shards in of_shards.map(|sale| sale.shards) {
            if hold(&format!("{name}, {shards} shards"), Sale { shards, ..kind }).is_err() {
                return ExitCode::FAILURE;
            }
        }
    }
    let unbounded = Sale {
        customers: sale.customers / 10,
        coupons: sale.coupons / 10,
        longest_queue: 600 * SECOND,
        call: 1_000,
        ..sale
    };
    let last = [
        ("a server lost after 2 s", Sale { lost_at, ..sale }),
        (
            "the same, partners without hold-off",
            Sale {
                lost_at,
                hold_off: 0,
                ..sale
            },
        ),
        (
            "a tenth of customers, coupons and gate calls a second (1,000), partners without a bound on calls",
            unbounded,
        ),
    ];
    let failed = last
        .map(|(name, sale)| hold(name, sale))
        .iter()
        .any(Result::is_err);
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn hold(name: &str, sale: Sale) -> Result<(), ()> {
    println!("-- {name}");
    match sale.hold() {
        Ok(figures) => {
            println!("{figures}");
            Ok(())
        }
        Err(fault) => {
            println!("{fault}");
            Err(())
        }
    }
}
