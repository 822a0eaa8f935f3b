//! The stage of the demo and what is played on it: a repository, a state
//! directory of its own, the built-in model server, and the built-in agent in
//! a real sandbox.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use stockade_budget::Cap;
use stockade_rehearsal::{
    script::Script,
    server::{ServerHandle, ServerOptions},
    transcript::{Canary, Transcript},
};
use stockade_supervisor::{
    Host, Runs, StateDirectory, TaskState, Wish, begin, gateway::Keys, prepare,
};
use stockade_types::Redacted;
use stockade_workspace::{Accepted, MergePlan};

use crate::{
    commands::{merge, work::Work},
    failure::{Failure, Kind},
    host,
    print::{Printer, Tone},
};

/// The decoy that the model server takes for a key.
const KEY: &str = "sk-ant-demo-decoy-key-0000000000000000";
const KEY_NAME: &str = "ANTHROPIC_API_KEY";
/// Seconds that an act may take.
const LONGEST: u64 = 60;

/// Where the demo plays.
pub(super) struct Stage {
    folder: PathBuf,
    keep: bool,
    pub(super) repository: PathBuf,
    pub(super) host: Host,
    agent: PathBuf,
}

/// A task that was played to its end.
pub(super) struct Played {
    pub(super) work: Work,
    pub(super) transcript: Transcript,
}

impl Stage {
    /// Makes a folder for it all inside the caller's state directory, which
    /// is on a disk that works for tasks.
    pub(super) fn set(keep: bool, printer: Printer) -> Result<Self, Failure> {
        let mut host = host::host()?;
        let folder = host
            .state
            .path()
            .join(format!("demo-{}", std::process::id()));
        host.state = StateDirectory::open(Some(folder.join("state")), None, None)?;
        let agent = folder.join("agent");
        // A copy: what runs inside must not be the file that runs outside.
        std::fs::copy("/proc/self/exe", &agent)?;
        if keep {
            printer.line(&format!("kept in {}", folder.display()));
        }
        Ok(Self {
            repository: folder.join("repository"),
            folder,
            keep,
            host,
            agent,
        })
    }

    /// The folder of the demo, which no sandbox shows.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the repository's own test passes on the host.
    #[expect(
        clippy::disallowed_methods,
        reason = "the demo's own test of its own repository"
    )]
    pub(super) fn test(&self) -> Result<bool, Failure> {
        let output = Command::new("/bin/sh")
            .arg("test.sh")
            .current_dir(&self.repository)
            .output()?;
        Ok(output.status.success())
    }

    /// Plays `script` with the built-in agent in a sandbox, to its end.
    pub(super) fn perform(
        &self,
        script: Script,
        prompt: &str,
        request_limit: Option<u64>,
        canaries: Vec<Canary>,
        printer: Printer,
    ) -> Result<Played, Failure> {
        let server = Server::start(script, canaries)?;
        let runs = Runs::BuiltIn {
            program: self.agent.clone(),
            prompt: prompt.to_owned(),
        };
        let wish = Wish {
            model_url: Some(server.url.parse().map_err(Failure::failed)?),
            cap: Cap {
                requests: request_limit,
                ..Cap::default()
            },
            forget_extra: true,
            ..Wish::new(self.repository.clone(), runs, LONGEST)
        };
        let prepared = prepare(&self.host, &wish)?;
        let contract = &prepared.plan.contract;
        printer.line(&format!(
            "   contract: may change a copy of the repository and its own home, reaches {} host, hides {}",
            contract.reaches.len(),
            contract.masked.join(", "),
        ));
        let mut keys = Keys::default();
        keys.add_model(KEY_NAME, Redacted::new(KEY.to_owned()));
        let clock = std::time::Instant::now();
        let times = begin(&self.host, &prepared, &keys)?;
        let status = prepared.task.wait_until_settled()?;
        let milliseconds = clock.elapsed().as_secs_f64() * 1e3;
        printer.line(&format!(
            "   sandbox, gateway and agent up in {:.0} ms; {} after {milliseconds:.0} ms",
            times.start.as_secs_f64() * 1e3,
            printer.paint(Tone::Faint, status.state.name()),
        ));
        if let TaskState::Failed { reason } = &status.state {
            return Err(Failure::new(Kind::Failed, reason.clone())
                .hint(format!("see {}", prepared.task.path().display())));
        }
        let work = Work::of(&self.host.state, prepared.task, status)?;
        Ok(Played {
            work,
            transcript: server.transcript.clone(),
        })
    }

    /// Plans to merge all of an act's work that is not held back; changes nothing.
    pub(super) fn plan(played: &Played) -> Result<(Accepted, MergePlan), Failure> {
        let accepted = merge::accepted(&played.work)?;
        let target = played.work.status.branch.clone().unwrap_or_default();
        let plan = merge::plan(&played.work, &accepted, &target, &merge::Form::default())?;
        Ok((accepted, plan))
    }

    /// Accepts and merges all of an act's work that is not held back.
    pub(super) fn merge(played: &Played, printer: Printer) -> Result<String, Failure> {
        match Self::plan(played)? {
            (_, MergePlan::Ready(approval)) => {
                merge::land(&played.work, &approval, printer.silent())?;
                Ok(approval.new_commit.to_string())
            }
            (_, other) => Err(Failure::failed(format!(
                "the fix cannot be merged: {other:?}"
            ))),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.keep {
            let _ = stockade_workspace::remove_folder(&self.folder);
        }
    }
}

/// The model server on a thread of its own, until dropped.
struct Server {
    url: String,
    transcript: Transcript,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Server {
    fn start(script: Script, canaries: Vec<Canary>) -> Result<Self, Failure> {
        let (ready, started) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error.to_string()))),
            };
            runtime.block_on(async {
                let mut options = ServerOptions::new(script, KEY);
                options.canaries = canaries;
                match ServerHandle::start(options).await {
                    Ok(server) => {
                        let _ = ready.send(Ok((server.base_url(), server.transcript().clone())));
                        let _ = stopped.await;
                    }
                    Err(error) => drop(ready.send(Err(error.to_string()))),
                }
            });
        });
        let (url, transcript) = started
            .recv()
            .map_err(Failure::failed)?
            .map_err(Failure::failed)?;
        Ok(Self {
            url,
            transcript,
            stop: Some(stop),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}
