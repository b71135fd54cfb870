//! Enrolls 4000 made-up people into a made-up organization in memory, and prints the report and the times.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use enroll_demo::{Demo, second_run};

const HELP: &str = "\
Enrolls 4000 made-up people into a made-up organization, in memory.
Prints the outcome counts, the people who were not simply added with the reasons, and the time of each stage.

Usage: enroll-demo [--all]

  --all   lists everyone who was not simply added, not only the first 40
  --help  prints this text

`enroll demo` does the same on a database, and writes the data to files: see `enroll demo --help`.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let all = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--all"] => true,
        ["--help" | "-h"] => return print(HELP),
        _ => {
            eprintln!("error: unknown arguments `{}`; `--help` lists the options", arguments.join(" "));
            return ExitCode::from(2);
        }
    };
    match run(all) {
        Ok(text) => print(&text),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(all: bool) -> Result<String, Box<dyn Error>> {
    let demo = Demo::new()?;
    let (first, second) = demo.enroll_twice_in_memory()?;
    Ok(demo.text(&first, all) + &second_run(&second))
}

/// Prints the text. A reader that closes the pipe early is not an error.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("error: standard output: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
