//! `enroll`: enrolls lists of people into a database, serves that over HTTP, runs the demo and the test vectors.

mod again;
mod args;
mod ask;
mod background;
mod csv_import;
mod database;
mod demo;
mod http;
mod input;
mod keys;
mod read;
mod run;
mod seed;
mod serve;
mod store;
mod vectors;
mod work;

use clap::Parser;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::args::{Cli, Command};
use enroll_demo::print::plain;

fn main() -> ExitCode {
    let answer = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Submit(args) => background::submit(&args),
        Command::Work(args) => background::work(&args),
        Command::Status(args) => background::status(&args),
        Command::Retry(args) => background::retry(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Keys(command) => keys::run(&command),
        Command::Seed(args) => seed::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Vectors(args) => vectors::run(&args),
    };
    answer.unwrap_or_else(|failure| {
        tell(&format!("error: {failure}"));
        ExitCode::from(2)
    })
}

/// Bad input, or a database that failed: a line that says where, and what.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn new(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self(plain(&format!("{place}: {what}")))
    }

    /// An error with whatever caused it.
    fn caused(place: impl fmt::Display, error: &dyn Error) -> Self {
        Self::new(place, causes(error))
    }

    /// With more to be told.
    fn and(self, more: &str) -> Self {
        Self(format!("{}; {more}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An error and its causes in a line, each told once: some errors tell their cause themselves.
fn causes(error: &dyn Error) -> String {
    let one_line = |error: &dyn Error| error.to_string().trim().replace('\n', "; ");
    let mut text = one_line(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = one_line(error);
        if !text.contains(&told) {
            let _infallible = write!(text, ": {told}");
        }
        cause = error.source();
    }
    text
}

/// Prints; a reader that has seen enough is no error.
fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new("standard output", e)),
        _ => Ok(()),
    }
}

/// Says something beside the answer.
fn tell(line: &str) {
    // Nothing is left to be done where standard error is gone.
    drop(writeln!(io::stderr(), "{line}"));
}
