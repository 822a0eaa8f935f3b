//! `stockade doctor`: what this machine gives, found out by doing it.

use std::{
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use serde_json::json;
use stockade_agents::AgentKind;
use stockade_sandbox::probe::{self, Outcome, PROBE_ARGUMENT, Probe};

use crate::{
    arguments::Doctor,
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
};

pub(crate) fn run(arguments: &Doctor, printer: Printer) -> Result<ExitCode, Failure> {
    if arguments.apparmor_profile {
        let executable = std::env::current_exe()?;
        printer.text(&probe::apparmor_profile(&executable));
        return Ok(ExitCode::SUCCESS);
    }
    let state = host::state()?;
    let mut probes = layers(state.path())?;
    probes.push(git(state.path()));
    let agents = agents();
    printer.json(&json!({ "probes": probes, "agents": agents.iter().map(|(name, found)| json!({ "name": name, "found": found })).collect::<Vec<_>>() }));
    for probe in &probes {
        show(probe, printer);
    }
    for (name, found) in &agents {
        let (word, tone) = if found.is_some() {
            ("found", Tone::Good)
        } else {
            ("absent", Tone::Faint)
        };
        let detail = found.as_deref().unwrap_or("not on PATH");
        printer.line(&format!(
            "{}  {name:<30} {detail}",
            printer.paint(tone, &format!("{word:<7}"))
        ));
    }
    match probes.iter().map(|probe| probe.outcome).max() {
        Some(Outcome::Missing) => Err(Failure::new(
            Kind::Wall,
            "a wall is missing; no task can start here",
        )),
        Some(Outcome::Weaker) => {
            printer.line("tasks can start; what is weaker stands in each contract");
            Ok(ExitCode::from(1))
        }
        _ => {
            printer.line("everything is there");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn show(probe: &Probe, printer: Printer) {
    let (word, tone) = match probe.outcome {
        Outcome::Works => ("works", Tone::Good),
        Outcome::Weaker => ("weaker", Tone::Notice),
        Outcome::Missing => ("missing", Tone::Bad),
    };
    printer.line(&format!(
        "{}  {:<30} {}",
        printer.paint(tone, &format!("{word:<7}")),
        probe.name,
        probe.detail
    ));
    if probe.outcome != Outcome::Works {
        printer.line(&format!("         {}", probe.cost));
        if let Some(fix) = &probe.fix {
            printer.line(&format!("         {fix}"));
        }
    }
}

/// Tries each layer in a process of its own, which has one thread.
#[expect(
    clippy::disallowed_methods,
    reason = "the probe is this executable again"
)]
fn layers(state: &Path) -> Result<Vec<Probe>, Failure> {
    let output = Command::new("/proc/self/exe")
        .arg(PROBE_ARGUMENT)
        .arg(state)
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure::failed(format!("the probe said nothing readable: {error}")))
}

fn git(state: &Path) -> Probe {
    let folder = state.join(format!("git-probe-{}", std::process::id()));
    let tried = host::git().and_then(|git| {
        git.rehearse(&folder).map_err(Failure::failed)?;
        let version = git.version().map_err(Failure::failed)?;
        Ok(format!(
            "{version} at {}, behind walls",
            git.program().display()
        ))
    });
    let _ = stockade_workspace::remove_folder(&folder);
    let (outcome, detail, fix) = match tried {
        Ok(detail) => (Outcome::Works, detail, None),
        Err(failure) => (
            Outcome::Missing,
            failure.message,
            Some("install git 2.38 or newer from your distribution".to_owned()),
        ),
    };
    Probe {
        name: "git".to_owned(),
        outcome,
        detail,
        cost: "without it nothing is started".to_owned(),
        fix,
    }
}

/// The agents that are installed, with version and place.
fn agents() -> Vec<(String, Option<String>)> {
    let path = host::search_path();
    AgentKind::ALL
        .into_iter()
        .map(|kind| {
            let found = stockade_agents::find(kind, &path).ok().map(|found| {
                let version = found
                    .version
                    .unwrap_or_else(|| "unknown version".to_owned());
                format!("{version} at {}", found.executable.display())
            });
            (kind.to_string(), found)
        })
        .collect()
}
