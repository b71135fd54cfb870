//! `enroll completions` and `enroll man`.

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use std::process::ExitCode;

use crate::args::Cli;
use crate::{Failure, print_to_stdout};

/// Prints the completions of a shell.
pub(crate) fn completions(shell: Shell) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut text);
    print(text)
}

/// Prints the man page of a command, such as `keys create`.
pub(crate) fn page(path: &[String]) -> Result<ExitCode, Failure> {
    let mut root = Cli::command();
    root.build();
    let mut command = &root;
    for word in path {
        let commands = || command.get_subcommands().map(Command::get_name).collect::<Vec<_>>().join("`, `");
        let Some(found) = command.find_subcommand(word) else {
            return Err(Failure::new("man", format!("`{word}` is not a command; the commands are `{}`", commands())));
        };
        command = found;
    }
    let title = [&[NAME.to_owned()], path].concat().join("-");
    let mut text = Vec::new();
    let rendered = clap_mangen::Man::new(command.clone()).title(title).render(&mut text);
    rendered.map_err(|e| Failure::from_error("man", &e))?;
    print(text)
}

fn print(text: Vec<u8>) -> Result<ExitCode, Failure> {
    let text = String::from_utf8(text).map_err(|e| Failure::from_error("output", &e))?;
    print_to_stdout(&text)?;
    Ok(ExitCode::SUCCESS)
}

const NAME: &str = "enroll";
