//! The shape of the house, held: each file beside this one looks for one kind of fault, and names the place.

mod arrows;
mod circles;
mod codes;
mod comments;
mod metrics;
mod shape;
mod sources;
mod waits;
mod words;

use anyhow::{Result, bail};

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
    let mut documents = sources::files(&root.join("docs"), "md")?;
    documents.extend(words::DOCUMENTS.iter().map(|name| root.join(name)));
    for path in documents {
        let name = sources::name_below(&root, &path);
        faults.extend(words::check_document(&name, &sources::read_text(&path)?));
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
