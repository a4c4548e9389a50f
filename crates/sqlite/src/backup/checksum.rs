//! The SHA-256 beside a backup, as `sha256sum` writes and reads it. It finds flipped bits within texts, which no check of
//! the database can.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::{BackupError, at};

/// Digits of a SHA-256 in hex.
const DIGITS: usize = 64;

/// Bytes of a checksum's file at most: more than any that is written here.
const LARGEST: u64 = 64 * 1024;

/// The path of a file's checksum.
pub(super) fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

/// Writes a file's checksum into a new file, and waits until it is on the disk.
pub(super) fn write(file: &Path, sum_file: &Path) -> io::Result<()> {
    let mut line = line(&of(file)?, file.file_name().unwrap_or_default());
    line.push(b'\n');
    let mut options = File::options();
    let mut out = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(sum_file)?;
    out.write_all(&line)?;
    out.sync_all()
}

/// Compares a file with its checksum, if there is one.
pub(super) fn compare(file: &Path) -> Result<(), BackupError> {
    let sum_file = beside(file);
    let mut line = Vec::new();
    match File::open(&sum_file) {
        // The name in it need not be UTF-8.
        Ok(found) => {
            Read::read_to_end(&mut Read::take(found, LARGEST), &mut line).map_err(at(&sum_file))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(&sum_file)(error)),
    };
    let digits = line.strip_prefix(b"\\").unwrap_or(&line);
    let expected = digits.get(..DIGITS).unwrap_or_default();
    let found = of(file).map_err(at(file))?;
    match expected.eq_ignore_ascii_case(found.as_bytes()) {
        true => Ok(()),
        false => Err(BackupError::Unsound {
            path: file.to_owned(),
            reason: format!(
                "its SHA-256 is {found}, and not what {} says",
                sum_file.display()
            ),
        }),
    }
}

/// Formats a digest in hex.
fn of(file: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(&mut File::open(file)?, &mut Hashing(&mut digest))?;
    let mut text = String::with_capacity(DIGITS);
    for byte in digest.finalize() {
        // Writing into a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

struct Hashing<'a>(&'a mut Sha256);

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Escapes a name that would break the line. A backslash in front of the line marks that.
fn line(sum: &str, name: &OsStr) -> Vec<u8> {
    let mut escaped = Vec::new();
    for byte in name.as_bytes() {
        match byte {
            b'\\' => escaped.extend_from_slice(b"\\\\"),
            b'\n' => escaped.extend_from_slice(b"\\n"),
            b'\r' => escaped.extend_from_slice(b"\\r"),
            other => escaped.push(*other),
        }
    }
    let mark: &[u8] = match escaped.len() == name.len() {
        true => b"",
        false => b"\\",
    };
    [mark, sum.as_bytes(), b"  ", &escaped].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use super::*;

    #[test]
    fn sha256sum_takes_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["plain.db", "with two  blanks", "back\\slash", "new\nline"];
        let names = names.map(OsStr::new).into_iter();
        for name in names.chain([OsStr::from_bytes(b"no \xfe UTF-8")]) {
            let file = folder.path().join(name);
            fs::write(&file, name.as_bytes()).unwrap();
            write(&file, &beside(&file)).unwrap();
            let checked = std::process::Command::new("sha256sum")
                .args(["--strict", "--check"])
                .arg(beside(&file))
                .current_dir(folder.path())
                .output()
                .unwrap();
            assert!(checked.status.success(), "{name:?}: {checked:?}");
            assert!(compare(&file).is_ok(), "{name:?}");
            fs::write(&file, "another").unwrap();
            let refused = compare(&file).unwrap_err().to_string();
            assert!(refused.contains("its SHA-256 is"), "{refused}");
        }
    }

    #[test]
    fn a_file_without_a_checksum_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("backup.db");
        fs::write(&file, "x").unwrap();
        assert!(compare(&file).is_ok());
        fs::write(beside(&file), "").unwrap();
        assert!(compare(&file).is_err(), "an empty one is none");
    }
}
