//! `cargo xtask test` and `cargo xtask torture`: runs the suites with the program that they drive.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::{
    before,
    process::{self, Guarded},
    services,
};

/// Names the program that the end-to-end tests drive.
const PROGRAM_VARIABLE: &str = "GOODPON_BIN";

/// Names this program, by which the end-to-end tests kill servers.
const XTASK_VARIABLE: &str = "GOODPON_XTASK";

/// Names the program of the release before.
const BEFORE_VARIABLE: &str = "GOODPON_BEFORE_BIN";

/// Names the back ends that the end-to-end tests run on.
const BACKEND_VARIABLE: &str = "GOODPON_E2E_BACKEND";

/// A set of back ends.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Backend {
    /// The embedded database: the server is killed.
    Embedded,
    /// MySQL, Valkey and Kafka, and each part of Goodpon apart: any of them is killed, or cut off from others.
    Scaled,
}

/// The end of a round on the embedded database.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Cut {
    /// The process is killed.
    Kill,
    /// The power fails: bytes that were not synced are lost, all of them or a part.
    Power,
    /// One or the other, by chance.
    Mix,
}

/// The options of the torture.
#[derive(Args)]
pub struct Torture {
    /// The set of back ends to torture.
    #[arg(long, value_enum, default_value = "embedded")]
    backend: Backend,
    /// The number of rounds, in each of which something is broken and mended.
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Repeats the random choices of an earlier run.
    #[arg(long)]
    seed: Option<u64>,
    /// The end of each round on the embedded database.
    #[arg(long, value_enum, default_value = "mix")]
    cut: Cut,
    /// Writes every call with its times and its answer into this file, as JSON lines.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// Attacks a running server with large numbers instead: slow readers, floods, noisy tenants, claimed addresses,
    /// stray tokens, caches.
    #[arg(long, conflicts_with_all = ["rounds", "seed", "cut", "history"])]
    abuse: bool,
    /// Exchanges the program ten times in each way, under clients that never repeat a request.
    #[arg(long, conflicts_with_all = ["rounds", "seed", "cut", "history", "abuse"])]
    upgrade: bool,
}

/// Returns the program to drive: the one in `GOODPON_BIN`, or the release build, made now.
pub fn release_program() -> Result<OsString> {
    if let Some(program) = std::env::var_os(PROGRAM_VARIABLE) {
        return Ok(program);
    }
    process::run(process::cargo().args(["build", "--release", "-p", "goodpon"]))?;
    Ok(process::target_folder()?
        .join("release/goodpon")
        .into_os_string())
}

/// Breaks things under load, again and again, and checks that nothing answered is lost.
pub fn torture(options: &Torture) -> Result<()> {
    let me = std::env::current_exe()?;
    let program = release_program()?;
    let backend = match options.backend {
        Backend::Embedded => "embedded",
        Backend::Scaled => "scaled",
    };
    let cut = match options.cut {
        Cut::Kill => "kill",
        Cut::Power => "power",
        Cut::Mix => "mix",
    };
    let mut command = process::cargo();
    command
        .args(["run", "-p", "goodpon-e2e", "--bin", "torture", "--"])
        .env(PROGRAM_VARIABLE, program)
        .env(XTASK_VARIABLE, me);
    let special = match (options.abuse, options.upgrade) {
        (true, _) => Some("--abuse"),
        (_, true) => Some("--upgrade"),
        (false, false) => None,
    };
    if let Some(special) = special {
        if let Backend::Scaled = options.backend {
            command.envs(services::up_with_settings()?);
        }
        return process::run(command.arg(special).env(BACKEND_VARIABLE, backend));
    }
    command
        .args(["--backend", backend])
        .args(["--rounds", &options.rounds.to_string()])
        .args(["--cut", cut]);
    if let Some(seed) = options.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if let Some(history) = &options.history {
        // Cargo may run it in another folder.
        command.arg("--history").arg(std::path::absolute(history)?);
    }
    process::run(&mut command)
}

/// Builds everything in one go, so that no crate is built twice with other features, and runs every test; those that
/// go end to end run on both sets of back ends.
pub fn test() -> Result<()> {
    let began = Instant::now();
    let mut variables = services::up_with_settings()?;
    // Read now: the build below may replace this program, and the path then names a deleted file.
    let me = std::env::current_exe()?;
    let me = me.to_str().context("this program's path is no UTF-8")?;
    variables.push((XTASK_VARIABLE, me.to_owned()));
    let before = before::program()?;
    let before = before.to_str().context("a path that is no UTF-8")?;
    variables.push((BEFORE_VARIABLE, before.to_owned()));
    process::run(process::cargo().args(["build", "--workspace", "--all-targets"]))?;
    let built = began.elapsed();
    let mut tally = Tally::default();
    let runs = [
        cargo_test(&[], "embedded", &variables, &mut tally),
        cargo_test(&end_to_end()?, "scaled", &variables, &mut tally),
    ];
    println!();
    println!(
        "{} passed, {} failed, {} ignored; built in {:.0} s, all done in {:.0} s",
        tally.passed,
        tally.failed.len(),
        tally.ignored,
        built.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    for name in &tally.failed {
        println!("failed: {name}");
    }
    if tally.passed == 0 {
        bail!("no test ran");
    }
    runs.into_iter().collect()
}

/// Runs the simulations that take long and whose model does not change any more.
pub fn simulate() -> Result<()> {
    process::run(
        process::cargo()
            .args(["test", "-p", "goodpon-gate-model", "--test", "sale"])
            .args(["--", "--ignored", "--nocapture"]),
    )
}

/// Returns the arguments that choose the end-to-end tests. Their package alone would be built with other features.
fn end_to_end() -> Result<Vec<String>> {
    let mut args = Vec::new();
    for entry in fs::read_dir(process::root().join("e2e/tests"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            args.extend(["--test".to_owned(), name.to_owned()]);
        }
    }
    Ok(args)
}

/// Runs `cargo test` on one set of back ends: all tests, or those that `args` choose.
fn cargo_test(
    args: &[String],
    backend: &str,
    variables: &[(&str, String)],
    tally: &mut Tally,
) -> Result<()> {
    let program = process::target_folder()?.join("debug/goodpon");
    let mut child = Guarded::spawn(
        process::cargo()
            .args(["test", "--workspace", "--no-fail-fast"])
            .args(args)
            .env(PROGRAM_VARIABLE, program)
            .env(BACKEND_VARIABLE, backend)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped()),
    )?;
    let stdout = child.child().stdout.take().context("no stdout")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        println!("{line}");
        tally.read(&line, backend);
    }
    let status = child.child().wait()?;
    match status.success() {
        true => Ok(()),
        false => bail!("cargo test ({backend} back ends) ended with {status}"),
    }
}

/// Counts of the tests by outcome, from the lines of the test programs.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: Vec<String>,
    ignored: usize,
}

impl Tally {
    /// Reads one line such as `test name ... ok`.
    fn read(&mut self, line: &str, backend: &str) {
        let Some((name, outcome)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        match outcome.split([' ', ',']).next() {
            Some("ok") => self.passed += 1,
            Some("FAILED") => self.failed.push(format!("{name} ({backend})")),
            Some("ignored") => self.ignored += 1,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn outcomes_are_counted() {
        let mut tally = Tally::default();
        for line in [
            "test a::b ... ok",
            "test src/lib.rs - f (line 3) ... ok",
            "test c ... FAILED",
            "test d ... ignored, needs root",
            "test result: FAILED. 2 passed; 1 failed",
        ] {
            tally.read(line, "scaled");
        }
        assert_eq!((tally.passed, tally.ignored), (2, 1));
        assert_eq!(tally.failed, ["c (scaled)"]);
    }
}
