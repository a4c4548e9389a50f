//! Builds the program of the release before, for the test in which it serves beside this one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, target_folder};

/// The commit of that release: the last one with schema version 1.
const COMMIT: &str = "70a0108a2b74322759c3c7d99e985bff6a2bcd49";

/// Builds the program, unless that was done before, and returns its path.
pub fn program() -> Result<PathBuf> {
    let folder = target_folder()?.join("before");
    let program = folder.join(format!("goodpon-{COMMIT}"));
    if program.is_file() {
        return Ok(program);
    }
    let source = folder.join("source");
    unpack(&source)?;
    rename(&source)?;
    // Into the common target folder, with the features of the whole workspace: most dependencies are the same, and are
    // built once. The program of this tree is put in its place again when that is built. Not --locked, for the names in
    // the lock file change with the manifest; all else in it is kept.
    let target = target_folder()?;
    process::run(
        process::cargo()
            .args(["build", "--workspace", "--bin", "goodpon"])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(&source),
    )?;
    // Under another name first: a copy that was cut off is not taken for the program.
    let copy = folder.join("goodpon.copy");
    fs::copy(target.join("debug/goodpon"), &copy)?;
    fs::rename(&copy, &program)?;
    fs::remove_dir_all(&source)?;
    Ok(program)
}

/// Gives its crates a version of their own. To cargo, crates of two trees that agree in name and version are the same,
/// and it would take the build of the one for that of the other.
fn rename(source: &Path) -> Result<()> {
    let manifest = source.join("Cargo.toml");
    let text = fs::read_to_string(&manifest)?;
    let version = "version = \"0.1.0\"\n";
    if !text.contains(version) {
        bail!("the manifest of commit {COMMIT} does not say {version}");
    }
    let renamed = text.replacen(version, "version = \"0.1.0-before\"\n", 1);
    Ok(fs::write(manifest, renamed)?)
}

/// Puts the files of that commit into a folder.
fn unpack(source: &Path) -> Result<()> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(process::root()).args(arguments);
        command
    };
    let there = git(&["cat-file", "-e", &format!("{COMMIT}^{{commit}}")]).output();
    if !there.context("the git program")?.status.success() {
        bail!(
            "the history lacks commit {COMMIT}, the release before, whose program is tested beside this one: \
             `git fetch --unshallow` brings it"
        );
    }
    if source.exists() {
        fs::remove_dir_all(source)?;
    }
    fs::create_dir_all(source)?;
    let archive = source.join("source.tar");
    let archive = archive.to_str().context("a path that is no UTF-8")?;
    process::run(&mut git(&[
        "archive",
        "--format=tar",
        "-o",
        archive,
        COMMIT,
    ]))?;
    process::run(
        Command::new("tar")
            .current_dir(source)
            .args(["-xf", archive]),
    )
}
