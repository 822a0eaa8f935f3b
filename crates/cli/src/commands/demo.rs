//! `stockade demo`.

use std::{io::Write, process::ExitCode};

use stockade_rehearsal::agent::{AgentOptions, run_agent};

use crate::{arguments::Demo, failure::Failure, print::Printer};

pub(crate) fn run(_arguments: &Demo, _printer: &Printer) -> Result<ExitCode, Failure> {
    Err(Failure::failed("not yet"))
}

/// The `main` of the built-in agent, which runs inside a sandbox.
pub(crate) fn built_in_agent() -> ExitCode {
    let run = || -> Result<(), Box<dyn std::error::Error>> {
        let prompt = std::env::args().skip(2).collect::<Vec<_>>().join(" ");
        let folder = std::env::current_dir()?;
        let options =
            AgentOptions::from_environment(&prompt, &folder, |name| std::env::var(name).ok())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let report = runtime.block_on(run_agent(options, &mut std::io::stdout()))?;
        writeln!(
            std::io::stdout(),
            "{} turns, {} tool calls, {} input and {} output tokens",
            report.turns,
            report.tool_calls,
            report.input_tokens,
            report.output_tokens
        )?;
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if even this fails.
            let _ = writeln!(std::io::stderr(), "the built-in agent: {error}");
            ExitCode::FAILURE
        }
    }
}
