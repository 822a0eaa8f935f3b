//! `stockade doctor`: what this machine gives, found out by doing it.

mod git;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use serde::Serialize;
use serde_json::json;
use stockade_agents::{AgentError, AgentKind};
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
        printer.named_text("profile", &probe::apparmor_profile(&executable));
        return Ok(ExitCode::SUCCESS);
    }
    let state = host::state()?;
    let mut probes = layers(state.path())?;
    if worst(&probes) == Outcome::Missing {
        probes.push(Probe {
            detail: "not tried: it runs behind walls, and one is missing".to_owned(),
            ..without_git()
        });
    } else {
        probes.push(needed_git(state.path()));
        probes.extend(git_behaviour(state.path()));
    }
    let agents = agents();
    printer.json(&json!({ "probes": probes, "agents": agents }));
    for probe in &probes {
        show(probe, printer);
    }
    for agent in &agents {
        let (word, tone) = if agent.found.is_some() {
            ("found", Tone::Good)
        } else {
            ("absent", Tone::Faint)
        };
        printer.line(&format!(
            "{}  {:<30} {}",
            printer.paint(tone, &format!("{word:<7}")),
            agent.name,
            agent.words()
        ));
    }
    match worst(&probes) {
        Outcome::Missing => Err(Failure::new(
            Kind::Wall,
            "a wall is missing; no task can start here",
        )),
        Outcome::Weaker => {
            printer.line("tasks can start; what is weaker is named above");
            Ok(ExitCode::from(1))
        }
        Outcome::Works => {
            printer.line("everything is there");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn worst(probes: &[Probe]) -> Outcome {
    let outcomes = probes.iter().map(|probe| probe.outcome);
    outcomes.max().unwrap_or(Outcome::Missing)
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

/// Whether tasks can start with the git that is there.
fn needed_git(state: &Path) -> Probe {
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
    match tried {
        Ok(detail) => Probe {
            outcome: Outcome::Works,
            detail,
            ..without_git()
        },
        Err(failure) => Probe {
            detail: failure.message,
            fix: Some("install git 2.38 or newer from your distribution".to_owned()),
            ..without_git()
        },
    }
}

/// What is said of git where there is none that works.
fn without_git() -> Probe {
    Probe {
        name: "git".to_owned(),
        outcome: Outcome::Missing,
        detail: String::new(),
        cost: "without it nothing is started".to_owned(),
        fix: None,
    }
}

/// What else is known of the git that is there.
fn git_behaviour(state: &Path) -> Vec<Probe> {
    let folder = state.join(format!("git-behaviour-{}", std::process::id()));
    let (Ok(git), Ok(())) = (host::git(), fs::create_dir(&folder)) else {
        // Said already, by the probe before.
        return Vec::new();
    };
    let found = git::probes(git.program(), &folder);
    let _ = stockade_workspace::remove_folder(&folder);
    found
}

/// An agent that Stockade knows, and what of it is here.
#[derive(Debug, Serialize)]
struct Agent {
    name: &'static str,
    found: Option<Installed>,
    /// Why there is none.
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Installed {
    version: Option<String>,
    path: PathBuf,
    /// SHA-256 of what really runs.
    digest: String,
}

impl Agent {
    fn words(&self) -> String {
        match &self.found {
            Some(found) => format!(
                "{} at {}, sha256 {}…",
                found.version.as_deref().unwrap_or("unknown version"),
                found.path.display(),
                found.digest.get(..12).unwrap_or(&found.digest)
            ),
            None => self.reason.clone().unwrap_or_default(),
        }
    }
}

/// The agents that are installed.
fn agents() -> Vec<Agent> {
    let path = host::search_path();
    let agents = AgentKind::ALL.into_iter().map(|kind| {
        let (found, reason) = match stockade_agents::find(kind, &path) {
            Ok(found) => (
                Some(Installed {
                    version: found.version,
                    path: found.executable,
                    digest: found.digest,
                }),
                None,
            ),
            Err(AgentError::NotFound { .. }) => (None, Some("not on PATH".to_owned())),
            Err(error) => (None, Some(error.to_string())),
        };
        Agent {
            name: kind.as_str(),
            found,
            reason,
        }
    });
    agents.collect()
}
