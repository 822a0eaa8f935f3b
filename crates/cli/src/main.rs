//! The `stockade` command: what people see. Logic lives in the libraries;
//! here words are parsed, calls are made and results are printed.

mod arguments;
mod commands;
mod failure;
mod host;
mod part;
mod print;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    arguments::Arguments,
    failure::{Failure, Kind},
    print::Printer,
};

fn main() -> ExitCode {
    // Files that a task's own user must read keep their usual modes; the
    // state directory above them is closed to everybody else.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    stockade_sandbox::keep_ended_children();
    if let Err(error) = stockade_sandbox::keep_descriptors_from_children() {
        let failure = Failure::failed(error);
        Printer::new(false).failure(&failure);
        return failure.exit_code();
    }
    if let Some(code) = part::run() {
        return code;
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misunderstood(&error),
    };
    let printer = Printer::new(arguments.json);
    match commands::run(arguments, printer) {
        Ok(code) => code,
        Err(failure) => {
            printer.failure(&failure);
            failure.exit_code()
        }
    }
}

/// Answers words that are no command, or ask for help; to a program in the
/// form that it asked for.
fn misunderstood(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os()
        .take_while(|word| word != "--")
        .any(|word| word == "--json");
    if json && error.use_stderr() {
        let failure = Failure::usage(error);
        Printer::new(true).failure(&failure);
        return failure.exit_code();
    }
    // Whether it could be printed changes nothing.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Kind::Usage as u8))
}
