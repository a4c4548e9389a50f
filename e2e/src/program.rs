//! The programs under test: where they are, and commands that run them without settings of their environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Returns the path of the binary under test: `GOODPON_BIN`, else `goodpon` beside the test executable.
///
/// # Panics
/// There is none.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("GOODPON_BIN") {
        let path = PathBuf::from(path);
        assert!(
            path.is_file(),
            "GOODPON_BIN names no file: {}",
            path.display()
        );
        return path;
    }
    let me = std::env::current_exe().expect("the path of this executable");
    me.ancestors().skip(1).take(2).map(|folder| folder.join("goodpon")).find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("no goodpon binary beside {}: run `cargo build -p goodpon` first or set GOODPON_BIN", me.display())
    })
}

/// Returns the path of the program of the release before: `GOODPON_BEFORE_BIN`.
///
/// # Panics
/// It is not set, or names no file.
#[must_use]
pub fn binary_before() -> PathBuf {
    let path = std::env::var_os("GOODPON_BEFORE_BIN").unwrap_or_else(|| {
        panic!("GOODPON_BEFORE_BIN names no program: run `cargo xtask test`, which builds it, or `cargo xtask before`")
    });
    let path = PathBuf::from(path);
    assert!(
        path.is_file(),
        "GOODPON_BEFORE_BIN names no file: {}",
        path.display()
    );
    path
}

/// Makes a command of the binary with an environment that holds none of the caller's settings.
#[must_use]
pub fn command() -> Command {
    command_of(&binary())
}

/// Makes such a command of another program.
#[must_use]
pub fn command_of(program: &Path) -> Command {
    clean(Command::new(program))
}

/// Runs the binary to its end.
#[must_use]
pub fn goodpon(args: &[&str], env: &[(&str, &str)]) -> Output {
    run(&binary(), args, env)
}

/// Runs a program to its end.
pub(crate) fn run(program: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    clean(Command::new(program))
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("goodpon can be run")
}

/// Takes the settings of the caller out of a command's environment.
pub(crate) fn clean(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GOODPON_") {
            command.env_remove(name);
        }
    }
    command
}

/// Says that the suite runs as root, for whom mounts need no user namespace.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id")
        .arg("-u")
        .output()
        .expect("the id program");
    id.stdout.trim_ascii() == b"0"
}

/// Returns all that a command printed.
#[must_use]
pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
