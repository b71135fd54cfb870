//! What the benches of the binary share.
#![allow(dead_code, reason = "no bench uses all of it")]

use enroll::seed::Seed;
use enroll_bench::rounds;
use serde::Serialize;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether this is a smoke run: `cargo test` says so, or says nothing.
pub(crate) fn is_test() -> bool {
    let has = |what: &str| std::env::args().any(|arg| arg == what);
    has("--test") || !has("--bench")
}

/// Whether the command line asks for no bench in particular, or for this one.
pub(crate) fn is_asked_for(name: &str) -> bool {
    std::env::args().skip(1).find(|arg| !arg.starts_with('-')).is_none_or(|filter| name.contains(&filter))
}

/// A folder of a bench's own on a real disk, gone afterwards.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the folder can be made");
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

/// The binary, with nothing of the environment that it would read.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enroll"));
    let read = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("ENROLL_"));
    read.for_each(|name| {
        command.env_remove(name);
    });
    command.args(args).stdin(Stdio::null());
    command
}

/// What the binary prints once it has ended well.
pub(crate) fn output(mut command: Command) -> String {
    let output = command.output().expect("the command can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it is text")
}

/// Loads a world into a database.
pub(crate) fn seed(given: &Seed, database: &str) {
    let seed = serde_json::to_vec(given).expect("a world can be written");
    let mut child = command(&["seed", "-", "--database", database])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the command can be run");
    child.stdin.take().expect("it is piped").write_all(&seed).expect("it is read");
    assert!(child.wait().expect("it is a child").success());
}

/// Puts a result where the report finds it.
pub(crate) fn keep(name: &str, result: &impl Serialize) {
    let folder = rounds::folder();
    let kept =
        fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(name), serde_json::to_vec_pretty(result)?));
    if let Err(e) = kept {
        eprintln!("{}: {e}", folder.display());
    }
}
