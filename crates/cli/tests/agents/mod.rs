//! Real agents as npm has them, and the model server that they talk to.

#![expect(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "a step that fails fails its test; each test file uses its own part"
)]

pub mod mcp_server;
pub mod project;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::host::{self, Host, Outcome, cache, eventually, finish_within, skip};

/// A decoy that the model server takes for a key.
pub const KEY: &str = "sk-decoy-real-key-4f1d9b7a2c";
/// An agent that retries takes this long at most.
const RUN: Duration = Duration::from_mins(5);

/// An agent under test.
#[derive(Debug)]
pub struct Agent {
    /// Its name and its program's.
    pub name: &'static str,
    package: &'static str,
    /// The variable with its key.
    pub key: &'static str,
    /// Words for `stockade run`: a model that the built-in server can script.
    words: &'static [&'static str],
}

pub const CLAUDE: Agent = Agent {
    name: "claude",
    package: "@anthropic-ai/claude-code@latest",
    key: "ANTHROPIC_API_KEY",
    words: &[],
};
pub const CODEX: Agent = Agent {
    name: "codex",
    package: "@openai/codex@latest",
    key: "OPENAI_API_KEY",
    words: &["--model", "gpt-5-codex"],
};
pub const GEMINI: Agent = Agent {
    name: "gemini",
    package: "@google/gemini-cli@latest",
    key: "GEMINI_API_KEY",
    words: &["--model", "gemini-2.5-pro"],
};
pub const OPENCODE: Agent = Agent {
    name: "opencode",
    package: "opencode-ai@latest",
    key: "ANTHROPIC_API_KEY",
    words: &["--model", "anthropic/claude-sonnet-4-5"],
};

impl Agent {
    /// The folder with the agent's program, installed if need be.
    fn install(&self, host: &Host) -> Result<PathBuf, String> {
        let words = ["install", "--no-audit", "--no-fund", "--loglevel=error"];
        let words = [&words[..], &["--prefix", ".", self.package]].concat();
        let folder = cache::kept("agents", self.name, |folder| {
            cache::install(host, folder, "npm", &words)
        })?;
        let bin = folder.join("node_modules/.bin");
        if !bin.join(self.name).exists() {
            return Err(format!("the package has no program {}", self.name));
        }
        Ok(bin)
    }

    /// A host on which the agent is installed, or nothing and the reason said.
    pub fn host(&self) -> Option<Host> {
        let mut host = Host::new();
        match self.install(&host) {
            Ok(bin) => {
                host.set("PATH", format!("{}:{}", bin.display(), host::PATH));
                host.set(self.key, KEY);
                Some(host)
            }
            Err(reason) => {
                skip(self.name, &reason);
                None
            }
        }
    }

    /// Runs the agent in a task called `work`, to its end.
    pub fn run(&self, host: &Host, model: &Model, prompt: &str) -> Outcome {
        self.run_with(host, model, prompt, &[])
    }

    /// The same with further words for `stockade run`.
    pub fn run_with(&self, host: &Host, model: &Model, prompt: &str, more: &[&str]) -> Outcome {
        self.run_at(host, &model.url, prompt, more)
    }

    /// The same with a model at any address.
    pub fn run_at(&self, host: &Host, url: &str, prompt: &str, more: &[&str]) -> Outcome {
        let mut words = vec!["run", self.name, prompt, "--name", "work", "--yes"];
        words.extend(["--model-url", url]);
        words.extend(self.words);
        words.extend(more);
        finish_within(host.command(&words), RUN).unwrap()
    }
}

/// A built-in model server that plays one script.
#[derive(Debug)]
pub struct Model {
    process: Child,
    url: String,
    record: PathBuf,
}

impl Model {
    /// Plays `turns` to whoever has the key.
    pub fn play(host: &Host, turns: &Value) -> Self {
        let (script, ready, record) = (
            host.path("script.json"),
            host.path("ready"),
            host.path("requests.jsonl"),
        );
        let _ = fs::remove_file(&ready);
        let _ = fs::remove_file(&record);
        let text = json!({ "name": "test", "turns": turns }).to_string();
        fs::write(&script, text).unwrap();
        let mut server = host.command(&["model-server", "--key", KEY]);
        server.arg("--script").arg(&script);
        server.arg("--ready-file").arg(&ready);
        server.arg("--record").arg(&record);
        let process = server
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the model server listens", || {
            fs::read_to_string(&ready).is_ok_and(|url| url.starts_with("http"))
        });
        let url = fs::read_to_string(&ready).unwrap().trim().to_owned();
        Self {
            process,
            url,
            record,
        }
    }

    /// What arrived, in order.
    pub fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.record).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What was not as the script expects.
    pub fn failures(&self) -> Vec<String> {
        let failures = |request: &Value| {
            let failures = request["outcome"]["failures"].as_array().cloned();
            failures.unwrap_or_default()
        };
        self.requests()
            .iter()
            .flat_map(failures)
            .map(|failure| failure.to_string())
            .collect()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A model server that others wrote, which plays a script too: `fake_llm`, where
/// it lies beside the checkout.
#[derive(Debug)]
pub struct OtherModel {
    process: Child,
    /// Where it listens.
    pub url: String,
    log: PathBuf,
}

impl OtherModel {
    /// Plays `turns` to whoever has the key; `canary` must never arrive.
    pub fn play(host: &Host, turns: &Value, canary: &str) -> Option<Self> {
        const WHAT: &str = "a model server that others wrote";
        let program = Path::new(env!("CARGO_MANIFEST_DIR"));
        let program = program.join("../../../shared/tools/fake_llm/fake_llm.py");
        if !program.exists() {
            skip(WHAT, &format!("there is no {}", program.display()));
            return None;
        }
        if !host::has("python3") {
            skip(WHAT, "python3 is not installed");
            return None;
        }
        let (script, ready, log) = (
            host.path("other-script.json"),
            host.path("other-ready"),
            host.path("other-log.jsonl"),
        );
        let text = json!({ "name": "test", "turns": turns }).to_string();
        fs::write(&script, text).unwrap();
        let mut server = host.other_command("python3");
        server.arg("-B").arg(program);
        server.args(["--listen", "127.0.0.1:0", "--key", KEY]);
        server.args(["--canary", &format!("planted={canary}")]);
        server.arg("--script").arg(&script);
        server.arg("--ready-file").arg(&ready);
        server.arg("--log").arg(&log);
        let process = server
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        eventually("the other model server listens", || {
            url = fs::read_to_string(&ready).unwrap_or_default();
            url.trim().starts_with("http")
        });
        let url = url.trim().to_owned();
        Some(Self { process, url, log })
    }

    /// Ends it. All that it was asked, and its own verdict: whether each turn
    /// came as the script expects and nothing planted arrived.
    pub fn end(mut self) -> (Vec<Value>, bool) {
        let id = Pid::from_child(&self.process);
        kill_process(id, Signal::TERM).unwrap();
        let well = self.process.wait().unwrap().success();
        let log = fs::read_to_string(&self.log).unwrap();
        let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
        (lines.collect(), well)
    }
}

impl Drop for OtherModel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
