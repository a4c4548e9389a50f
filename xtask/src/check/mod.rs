//! The shape of the house, held: each file beside this one looks for one kind of fault, and names the place.

mod arrows;
mod circles;
mod codes;
mod comments;
mod metrics;
mod modules;
mod references;
mod shape;
mod sources;
mod waits;
mod words;

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Runs all checks over the workspace and names everything that is wrong.
pub fn check() -> Result<()> {
    let (root, metadata) = (process::root(), process::metadata(&["--no-deps"])?);
    let sources = sources::read(&root)?;
    let mut faults = arrows::check(&metadata);
    for package in arrows::packages(&metadata) {
        faults.extend(shape::without_workspace_lints(package)?);
    }
    for source in &sources {
        faults.extend(shape::check(source));
        faults.extend(words::check(source));
    }
    faults.extend(circles::check(&sources));
    faults.extend(codes::check(&sources));
    faults.extend(metrics::check(&sources));
    faults.extend(waits::check(&sources));
    let tracked = tracked_files()?;
    let mut documents = sources::files(&root.join("docs"), "md")?;
    documents.extend(words::DOCUMENTS.iter().map(|name| root.join(name)));
    for path in documents {
        let name = sources::name_below(&root, &path);
        let text = sources::read_text(&path)?;
        faults.extend(words::check_document(&name, &text));
        faults.extend(references::check(&name, &text, &tracked));
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    if !faults.is_empty() {
        bail!("{} fault(s) in the house", faults.len());
    }
    println!("house: in order ({} files)", sources.len());
    Ok(())
}

/// Returns the repository's files below its root, those that are not yet committed included.
fn tracked_files() -> Result<BTreeSet<String>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git")
        .current_dir(process::root())
        .args(list)
        .output();
    let output = output.context("cannot run git")?;
    if !output.status.success() {
        bail!("git ls-files failed");
    }
    let names = String::from_utf8_lossy(&output.stdout);
    Ok(names.lines().map(str::to_owned).collect())
}
