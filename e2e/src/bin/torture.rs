//! Crash rounds from the command line: `torture [--rounds N] [--seed N]`. Exit 1 on any violation.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use goodpon_e2e::Options;
use goodpon_e2e::torture::{Plan, run};

#[tokio::main]
async fn main() -> ExitCode {
    let plan = match parse(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(why) => {
            eprintln!("{why}\nusage: torture [--rounds N] [--seed N]");
            return ExitCode::from(2);
        }
    };
    match run(plan, Options::default(), |line| println!("{line}")).await {
        Ok(()) => {
            println!("nothing lost, nothing doubled in {} rounds", plan.rounds);
            ExitCode::SUCCESS
        }
        Err(violations) => {
            eprintln!("VIOLATIONS in {violations}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Plan, String> {
    let mut plan = Plan::rounds(10, time_seed());
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        let number: u64 = value
            .parse()
            .map_err(|_| format!("{flag}: no number: {value}"))?;
        match flag.as_str() {
            "--rounds" => {
                plan.rounds =
                    u32::try_from(number).map_err(|_| format!("too many rounds: {number}"))?
            }
            "--seed" => plan.seed = number,
            _ => return Err(format!("unknown flag {flag}")),
        }
    }
    Ok(plan)
}

/// A seed that differs from run to run; it is printed, so that a run can be repeated.
#[allow(clippy::disallowed_methods, reason = "a fresh seed is the purpose")]
fn time_seed() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ since.as_secs()
}
