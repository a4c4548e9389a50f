//! The chores of a developer of Goodpon: `cargo xtask help` lists them.

mod before;
mod bench;
mod check;
mod dependencies;
mod process;
mod services;
mod test_run;

use std::process::ExitCode;

use clap::Parser;

/// Chores of the Goodpon workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
enum Chore {
    /// Fails on what breaks the rules of the house: arrows between crates, circles between files, unsafe code, long files,
    /// codes as digits in SQL, metrics without description, waits without deadline in tests, words that are riddles.
    Check,
    /// Fails on a licence that is not allowed and on a crate that comes in several versions, by the rules of deny.toml.
    Deps,
    /// Builds everything, runs every test and sums up.
    Test,
    /// Builds the program of the release before from the history, and prints where it is: `GOODPON_BEFORE_BIN`.
    Before,
    /// Holds the large simulated sales of docs/scale.md, which no other chore runs: their model is frozen.
    Simulate,
    /// Kills the server under load and checks that nothing answered is lost.
    Torture(test_run::Torture),
    /// Starts and stops real servers of the scaled-out set, for tests and development.
    Services(services::Options),
    /// Measures throughput, latency, memory and start-up time against a server without a store.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let done = match Chore::parse() {
        Chore::Check => check::check(),
        Chore::Deps => dependencies::check(),
        Chore::Test => test_run::test(),
        Chore::Before => before::program().map(|program| println!("{}", program.display())),
        Chore::Simulate => test_run::simulate(),
        Chore::Torture(options) => test_run::torture(&options),
        Chore::Services(options) => services::run(&options),
        Chore::Bench(options) => bench::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
