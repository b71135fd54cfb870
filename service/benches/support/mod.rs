//! Shared code of the benches of the binary.
#![allow(dead_code, reason = "each bench uses a part of it")]

use enroll::seed::Seed;
use enroll_bench::rounds;
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns true for a short test run: `cargo test` passes `--test`, or no `--bench`.
pub(crate) fn is_test() -> bool {
    let has = |what: &str| std::env::args().any(|arg| arg == what);
    has("--test") || !has("--bench")
}

/// Returns true if the command line selects this bench, or names none.
pub(crate) fn is_selected(name: &str) -> bool {
    std::env::args().skip(1).find(|arg| !arg.starts_with('-')).is_none_or(|filter| name.contains(&filter))
}

/// A temporary folder on a real disk. It is deleted at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the folder can be created");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {e}", self.0.display());
        }
    }
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("it is UTF-8")
}

/// Returns a command for the binary, without its environment variables.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enroll"));
    let variables = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("ENROLL_"));
    variables.for_each(|name| {
        command.env_remove(name);
    });
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command that must succeed. Returns its standard output.
pub(crate) fn output(mut command: Command) -> String {
    let output = command.output().expect("the command can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it is text")
}

/// Loads a seed into a database.
pub(crate) fn load_seed(rows: &Seed, database: &str) {
    let seed = serde_json::to_vec(rows).expect("the seed can be written");
    let mut child = command(&["seed", "-", "--database", database])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the command can be run");
    child.stdin.take().expect("it is piped").write_all(&seed).expect("it is read");
    assert!(child.wait().expect("it is a child").success());
}

/// Stores a result for the report.
pub(crate) fn store(name: &str, result: &impl Serialize) {
    let folder = rounds::folder();
    let stored =
        fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(name), serde_json::to_vec_pretty(result)?));
    if let Err(e) = stored {
        eprintln!("{}: {e}", folder.display());
    }
}
