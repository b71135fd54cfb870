//! `enroll`: enrolls lists of people into a database, serves that over HTTP, runs the demo and the test vectors.

mod arenas;
mod args;
mod audit;
mod background;
mod cancel;
mod database;
mod demo;
mod described;
mod doctor;
mod erase;
mod handles;
mod http;
mod import_job;
mod input;
mod keys;
mod list_file;
mod list_report;
mod list_request;
mod listings;
mod log;
mod manual;
mod migrate;
mod people_lists;
mod repeated_contacts;
mod retention;
mod retry;
mod run;
mod seed;
mod sequences;
mod serve;
mod shares;
mod sql;
mod telemetry;
mod to_fix;
mod vectors;
mod webhook_metrics;
mod webhooks;
mod work;
mod work_metrics;

use clap::Parser;
use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use enroll_demo::print::plain;
use enroll_worker::causes;

use crate::args::{Cli, Command};

fn main() -> ExitCode {
    let command = Cli::parse().command;
    if matches!(command, Command::Serve(_) | Command::Work(_)) {
        arenas::limit();
    }
    let exit_code = match command {
        Command::Run(args) => run::run(&args),
        Command::Submit(args) => background::submit(&args),
        Command::Work(args) => background::work(&args),
        Command::Status(args) => background::status(&args),
        Command::Retry(args) => background::retry(&args),
        Command::Erase(args) => erase::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Sequences(args) => listings::sequences(&args),
        Command::Enrollments(args) => listings::enrollments(&args),
        Command::Channels(args) => listings::channels(&args),
        Command::Keys(command) => keys::run(&command),
        Command::Webhooks(command) => webhooks::command::run(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Seed(args) => seed::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Vectors(args) => vectors::run(&args),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { command } => manual::page(&command),
    };
    exit_code.unwrap_or_else(|failure| {
        print_to_stderr(&format!("error: {failure}"));
        ExitCode::from(2)
    })
}

/// Why a command failed, in one line: the place (a file, an option or a database), then the problem.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn new(place: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self(plain(&format!("{place}: {problem}")))
    }

    /// Returns the failure of an error and all its causes.
    fn from_error(place: impl fmt::Display, error: &dyn Error) -> Self {
        Self::new(place, causes(error))
    }

    /// Appends a hint.
    fn with_hint(self, hint: &str) -> Self {
        Self(format!("{}; {hint}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Prints text to standard output. A reader that closes the pipe early is not an error.
fn print_to_stdout(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::from_error("standard output", &e)),
        _ => Ok(()),
    }
}

/// Prints a line to standard error.
fn print_to_stderr(line: &str) {
    // A closed standard error cannot be reported anywhere.
    drop(writeln!(io::stderr(), "{line}"));
}
