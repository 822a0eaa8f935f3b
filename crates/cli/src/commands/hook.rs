//! `stockade hook`: what the rules say of a tool call, in the form of the agent that
//! asks. It is advice: agents go on where a hook fails.

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::ExitCode,
    sync::mpsc,
    time::Duration,
};

use stockade_agents::{AgentKind, EVENT_MAX, Opinion, ToolCall};
use stockade_supervisor::{effects_of_tool, objection};
use stockade_types::Verdict;

use super::policy;
use crate::{
    arguments::Hook,
    failure::{Failure, Kind},
    print::Printer,
};

/// How long an answer takes at most: agents wait longer, and go on when they do not.
const LONGEST: Duration = Duration::from_secs(20);

pub(crate) fn run(arguments: &Hook, printer: Printer) -> Result<ExitCode, Failure> {
    let agent = arguments.agent.parse::<AgentKind>();
    let agent = agent.map_err(|error| Failure::new(Kind::Usage, error.to_string()))?;
    let (answer, answered) = mpsc::channel();
    std::thread::spawn(move || answer.send(opinion()));
    let opinion = match answered.recv_timeout(LONGEST) {
        Ok(Ok(opinion)) => opinion,
        Ok(Err(failure)) => {
            let hints = failure.hints.join("; ");
            Opinion::Deny(format!(
                "Stockade cannot judge this: {} {hints}",
                failure.message
            ))
        }
        Err(_) => Opinion::Deny("Stockade could not judge this in time.".to_owned()),
    };
    let reply = opinion.answer(agent);
    if !reply.output.is_empty() {
        printer.text(&reply.output);
    }
    if !reply.error.is_empty() {
        let _ = writeln!(std::io::stderr().lock(), "{}", reply.error);
    }
    Ok(ExitCode::from(reply.code))
}

fn opinion() -> Result<Opinion, Failure> {
    let mut event = Vec::new();
    let most = EVENT_MAX as u64 + 1;
    std::io::stdin().lock().take(most).read_to_end(&mut event)?;
    if event.len() > EVENT_MAX {
        return Err(Failure::failed("the agent's event is too large."));
    }
    let call = ToolCall::of_event(&event).map_err(Failure::failed)?;
    let folder = match call.folder {
        Some(folder) => PathBuf::from(folder),
        None => std::env::current_dir()?,
    };
    let effects = effects_of_tool(&call.tool, &policy::surroundings(&folder));
    let decision = policy::rules(&folder, &[])?.decide(&effects);
    let Some(finding) = decision.findings.first() else {
        return Ok(Opinion::None);
    };
    let said = |reason: &str| {
        let rule = finding.rules.first().map_or("", String::as_str);
        objection(rule, reason, finding.instead.as_deref())
    };
    Ok(match decision.verdict {
        // What is contained is for the walls around the agent.
        Verdict::Allow | Verdict::Contain => Opinion::None,
        Verdict::Ask => Opinion::Ask(said(&format!(
            "{} A person must decide about it.",
            finding.reason
        ))),
        Verdict::Deny => Opinion::Deny(said(&finding.reason)),
    })
}
