//! `stockade serve`: what programs ask of it over its socket, and what they
//! get.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

#[path = "../host/mod.rs"]
mod host;

mod client;
mod commands;
mod ends;
mod limits;
mod policy;
mod sandboxes;
mod secrets;
mod sessions;
mod streams;

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use self::{
    client::{Answer, Open},
    host::{Host, Outcome, Task, processes, skip},
};

/// A server. Dropping it ends it.
struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    fn start(host: &Host) -> Self {
        Self::start_with(host, &[])
    }

    /// One with further words for `serve`.
    fn start_with(host: &Host, words: &[&str]) -> Self {
        Self::of(host.command(&[&["--json", "serve"], words].concat()))
    }

    /// One for whose commands the policy counts, as people have it.
    fn start_judged(host: &Host) -> Self {
        Self::of(host.judged_command(&["--json", "serve"]))
    }

    fn of(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Ok(said) = serde_json::from_str::<Value>(&line) else {
            panic!("it said {line:?}: {:?}", child.wait_with_output());
        };
        assert_eq!(said["process"], child.id());
        Self {
            child,
            socket: said["socket"].as_str().unwrap().into(),
        }
    }

    fn get(&self, path: &str) -> Answer {
        Open::ask(&self.socket, "GET", path, &[], None).finish()
    }

    fn delete(&self, path: &str) -> Answer {
        Open::ask(&self.socket, "DELETE", path, &[], None).finish()
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.open(path, body, &[]).finish()
    }

    /// A request whose answer is not read yet.
    fn open(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Open {
        Open::ask(&self.socket, "POST", path, headers, Some(&body.to_string()))
    }

    /// Runs a text for the shell in a sandbox; its outcome.
    fn exec(&self, task: &Task, shell: &str) -> Value {
        let answer = self.post(&exec(task), &json!({ "shell": shell, "merged": true }));
        answer.done(200)
    }

    /// A new session's path.
    fn session(&self, task: &Task, wanted: &Value) -> String {
        let sessions = format!("/v1/sandboxes/{}/sessions", task.id);
        let opened = self.post(&sessions, wanted);
        let path = format!("{sessions}/{}", opened.done(201)["number"]);
        assert_eq!(opened.headers["location"], path);
        path
    }

    /// Runs a text in a session; its outcome.
    fn run(&self, session: &str, shell: &str) -> Value {
        let answer = self.post(&format!("{session}/exec"), &json!({ "shell": shell }));
        answer.done(200)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Asks it to end, and waits until it has.
    fn stop(mut self) -> Outcome {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Waits until it has ended.
    fn ended(&mut self) -> Outcome {
        let mut status = None;
        host::eventually("the server has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let mut stderr = String::new();
        let mut source = self.child.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut source, &mut stderr).unwrap();
        Outcome {
            code: status.unwrap().code().unwrap_or(-1),
            stdout: String::new(),
            stderr,
        }
    }

    /// What it has in memory, in KiB.
    fn memory(&self) -> u64 {
        let process = processes::Process::find(i32::try_from(self.child.id()).unwrap()).unwrap();
        let text = process.status("VmRSS").unwrap();
        text.trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
            let ended =
                host::holds_within(host::LONGEST, || !matches!(self.child.try_wait(), Ok(None)));
            if !ended {
                let _ = self.child.kill();
            }
        }
        let _ = self.child.wait();
    }
}

/// Where commands of a task are asked for.
fn exec(task: &Task) -> String {
    format!("/v1/sandboxes/{}/exec", task.id)
}

/// A host, a task that stays, and a server.
fn standing() -> (Host, Task, Server) {
    let host = Host::new();
    let task = host.start("sleep 1000");
    let server = Server::start(&host);
    (host, task, server)
}

/// Processes of this name on the machine.
fn named(marker: &str) -> usize {
    let all = processes::all();
    all.iter()
        .filter(|process| process.words[0].starts_with(marker))
        .count()
}

/// A name for processes that no other test has.
fn marker(what: &str) -> String {
    format!("{what}-{}", std::process::id())
}

/// A text that starts processes of this name in every way that a process can
/// leave what it was started by, and stays.
fn stubborn(marker: &str) -> String {
    format!(
        "setsid nohup bash -c 'exec -a {marker}-1 sleep 1000' >/dev/null 2>&1 & \
         (setsid bash -c '(trap \"\" TERM HUP INT; exec -a {marker}-2 sleep 1000) & exit' &) ; \
         bash -c 'exec -a {marker}-3 sleep 1000'; sleep 1000"
    )
}

/// How many of the processes of [`stubborn`] are sure to end with their tree.
fn sure_to_end(host: &Host, task: &Task) -> bool {
    let result = host.json(&["exec", &task.id, "--timeout", "1m", "--", "true"]);
    let whole = result["whole_tree"].as_bool().unwrap();
    if !whole {
        skip("ending what has left its process group", "needs Linux 6.12");
    }
    whole
}

/// A path of the test's own for another socket.
fn other_socket(host: &Host) -> PathBuf {
    host.path("other/socket")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
