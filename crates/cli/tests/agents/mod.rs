//! Real agents as npm has them, and the model server that they talk to.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a step that fails fails its test; each test file uses its own part"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Value, json};

use crate::host::{self, Host, Outcome, eventually, finish_within, skip};

/// A decoy that the model server takes for a key.
pub const KEY: &str = "sk-decoy-real-key-4f1d9b7a2c";
/// npm fetches some hundred megabytes.
const INSTALL: Duration = Duration::from_mins(10);
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
    ///
    /// Installations are kept for the next run: where the build keeps such
    /// things if that can be written, else in the user's cache.
    fn install(&self, host: &Host) -> Result<PathBuf, String> {
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agents");
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let places: Vec<PathBuf> = [
            Some(shared),
            cache.map(|cache| cache.join("stockade-test-agents")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if let Some(bin) = places.iter().find_map(|place| self.installed(place)) {
            return Ok(bin);
        }
        let place = places
            .iter()
            .find(|place| {
                fs::create_dir_all(place).is_ok() && fs::write(place.join(".writable"), "").is_ok()
            })
            .ok_or("no folder to install it in can be written")?;
        // Other tests, and other runs of the tests, wait here.
        let lock = fs::File::create(place.join(".lock")).map_err(|error| error.to_string())?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| error.to_string())?;
        match self.installed(place) {
            Some(bin) => Ok(bin),
            None => self.install_in(host, place),
        }
    }

    fn installed(&self, place: &Path) -> Option<PathBuf> {
        let bin = place.join(self.name).join("node_modules/.bin");
        bin.join(self.name).exists().then_some(bin)
    }

    /// Appears whole, by rename.
    fn install_in(&self, host: &Host, place: &Path) -> Result<PathBuf, String> {
        let part = place.join(format!("{}.part", self.name));
        let _ = fs::remove_dir_all(&part);
        let mut npm = host.other_command("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error"])
            .arg("--prefix")
            .arg(&part)
            .arg(self.package)
            // npm is configured by the machine: its registry, its certificates.
            .env_clear()
            .envs(std::env::vars_os())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = npm.spawn().map_err(|error| format!("npm: {error}"))?;
        let outcome = host::wait_within(child, INSTALL).ok_or("npm took too long")?;
        if outcome.code != 0 {
            let reason = outcome.stderr.lines().next().unwrap_or("npm failed");
            return Err(reason.to_owned());
        }
        fs::rename(&part, place.join(self.name)).map_err(|error| error.to_string())?;
        self.installed(place)
            .ok_or_else(|| format!("the package has no program {}", self.name))
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
        let mut words = vec!["run", self.name, prompt, "--name", "work", "--yes"];
        words.extend(["--model-url", &model.url]);
        words.extend(self.words);
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
