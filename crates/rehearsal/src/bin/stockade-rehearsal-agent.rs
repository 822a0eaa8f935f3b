//! The built-in agent as a program: `stockade-rehearsal-agent PROMPT…`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use stockade_rehearsal::agent::{AgentOptions, run_agent};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if even this fails.
            let _ = writeln!(io::stderr(), "stockade-rehearsal-agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let prompt = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    if prompt.is_empty() {
        return Err("usage: stockade-rehearsal-agent PROMPT".into());
    }
    let directory = std::env::current_dir()?;
    let options =
        AgentOptions::from_environment(&prompt, &directory, |name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(run_agent(options, &mut io::stdout()))?;
    writeln!(
        io::stdout(),
        "{} turns, {} tool calls, {} input and {} output tokens",
        report.turns,
        report.tool_calls,
        report.input_tokens,
        report.output_tokens
    )?;
    Ok(())
}
