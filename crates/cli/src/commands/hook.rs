//! `stockade hook`: what the rules say of a tool call, in the form of the agent that
//! asks. It is advice: agents go on where a hook fails.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc,
    time::Duration,
};

use stockade_agents::{AgentKind, EVENT_MAX, Opinion, Reply, Tool, ToolCall};
use stockade_policy::{Finding, effects_of_text, effects_of_words};
use stockade_types::{Effect, EffectKind, Verdict};

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
    let reply = Reply::of(agent, &opinion);
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
    let effects = effects(&call.tool, &folder);
    let decision = policy::rules(&folder, &[])?.decide(&effects);
    let Some(finding) = decision.findings.first() else {
        return Ok(Opinion::None);
    };
    Ok(match decision.verdict {
        // What is contained is for the walls around the agent.
        Verdict::Allow | Verdict::Contain => Opinion::None,
        Verdict::Ask => Opinion::Ask(sentence(finding, "A person must decide about it.")),
        Verdict::Deny => Opinion::Deny(sentence(finding, "")),
    })
}

/// A tool call does what the command does that is judged for it.
fn effects(tool: &Tool, folder: &Path) -> Vec<Effect> {
    let around = policy::surroundings(folder);
    let words = |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        effects_of_words(&words, &around)
    };
    match tool {
        Tool::Shell(text) => effects_of_text(text, &around),
        Tool::Words(words) => effects_of_words(words, &around),
        Tool::Read(file) => words(&["cat", "--", file]),
        Tool::Write(files) => {
            let files = files.iter().map(String::as_str);
            words(&["tee", "--"].into_iter().chain(files).collect::<Vec<_>>())
        }
        Tool::Fetch(url) => words(&["curl", "--", url]),
        Tool::Mcp(name) => vec![Effect::new(EffectKind::McpCall, "mcp").on(name.as_str())],
        Tool::Other(_) => Vec::new(),
    }
}

fn sentence(finding: &Finding, more: &str) -> String {
    let rule = finding.rules.first().map_or("", String::as_str);
    let instead = finding.instead.as_ref();
    let instead = instead.map_or_else(String::new, |instead| format!(" Instead: {instead}"));
    let more = if more.is_empty() {
        String::new()
    } else {
        format!(" {more}")
    };
    format!("Stockade ({rule}): {}{more}{instead}", finding.reason)
}
