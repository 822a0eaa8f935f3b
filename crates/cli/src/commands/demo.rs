//! `stockade demo`: the whole path on a throw-away repository, first with an
//! agent that works, then with one that tries everything it must not.

mod act;
mod hostile;

use std::{io::Write, process::ExitCode};

use serde_json::json;
use stockade_rehearsal::{
    agent::{AgentOptions, run_agent},
    demo_repository, scripts,
};

use self::act::Stage;
use crate::{
    arguments::Demo,
    failure::Failure,
    print::{Printer, Tone},
};

pub(crate) fn run(arguments: &Demo, printer: Printer) -> Result<ExitCode, Failure> {
    let clock = std::time::Instant::now();
    let stage = Stage::set(arguments.keep, printer)?;
    printer.line(&printer.paint(Tone::Strong, "1. An agent fixes a failing test"));
    demo_repository::create(&stage.repository).map_err(Failure::failed)?;
    let before = stage.test()?;
    printer.line(&format!(
        "   a new repository; its test {}",
        verdict(before, printer)
    ));
    let fixed = stage.perform(
        scripts::fix().map_err(Failure::failed)?,
        "make the failing test pass",
        None,
        Vec::new(),
        printer,
    )?;
    let merged = Stage::merge(&fixed, printer)?;
    let after = stage.test()?;
    printer.line(&format!(
        "   reviewed and merged as {}; the test {}",
        merged.get(..12).unwrap_or(&merged),
        verdict(after, printer)
    ));
    printer.line("");
    printer.line(&printer.paint(
        Tone::Strong,
        "2. A hijacked agent tries everything it must not",
    ));
    let (attempts, recorded) = hostile::run(&stage, printer)?;
    let stopped = attempts.iter().all(|attempt| attempt.held) && recorded.is_some();
    hostile::table(&attempts, printer);
    match recorded {
        Some(events) => printer.line(&format!(
            "   its record has {events} events; the chain is whole"
        )),
        None => printer.line(&printer.paint(Tone::Bad, "   its record does not verify")),
    }
    let seconds = clock.elapsed().as_secs_f64();
    let good = !before && after && stopped;
    printer.json(&json!({
        "fixed": { "failed_before": !before, "passes_after": after, "commit": merged },
        "hostile": attempts,
        "recorded": recorded,
        "all_stopped": stopped,
        "seconds": seconds,
    }));
    printer.line("");
    if good {
        printer.line(&format!(
            "{} in {seconds:.1} s, with no key, no network and no account",
            printer.paint(Tone::Good, "All of it held")
        ));
        printer.line("next: stockade doctor · stockade run codex \"make the failing test pass\"");
        Ok(ExitCode::SUCCESS)
    } else {
        Err(
            Failure::failed("the demo did not go as it must; run it again with --keep and look")
                .hint("stockade doctor"),
        )
    }
}

fn verdict(passes: bool, printer: Printer) -> String {
    if passes {
        printer.paint(Tone::Good, "passes")
    } else {
        printer.paint(Tone::Bad, "fails")
    }
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
