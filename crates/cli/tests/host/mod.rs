//! A host for tests: a home, a repository, a state directory, and the
//! `stockade` program under test.

#![expect(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

pub mod cache;
pub mod failure;
pub mod files;
pub mod git_server;
pub mod processes;
mod program;
pub mod rules;
pub mod server;
pub mod terminal;
pub mod tls_server;
pub mod without;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use stockade_audit::{Evidence, Record, RecordKind};
use stockade_types::EventKind;
use tempfile::TempDir;

pub use self::program::*;

/// Longer than anything takes, even on a busy machine.
pub const LONGEST: Duration = Duration::from_mins(1);
/// Folders of programs; the caller's own are not a test's business.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The variable that names the folder of the git that is tried, where a machine has
/// several.
const GIT_FOLDER: &str = "STOCKADE_TEST_GIT";

/// [`PATH`], after the folder of the git that is tried.
pub fn search_path() -> String {
    match std::env::var(GIT_FOLDER) {
        Ok(folder) => format!("{folder}:{PATH}"),
        Err(_) => PATH.to_owned(),
    }
}

/// `script` for a shell inside, where the same git shall come first.
fn with_git(script: &str) -> String {
    match std::env::var(GIT_FOLDER) {
        Ok(folder) => format!("export PATH={folder}:$PATH; {script}"),
        Err(_) => script.to_owned(),
    }
}

/// A host of its own. Dropping it ends every task and looks for what is left.
#[derive(Debug)]
pub struct Host {
    root: TempDir,
    variables: BTreeMap<OsString, OsString>,
}

/// A task that was started.
#[derive(Clone, Debug)]
pub struct Task {
    /// The id.
    pub id: String,
    /// Its folder in the state directory.
    pub folder: PathBuf,
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests start the program under test, git and a few tools here"
)]
fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

impl Host {
    /// A host with a repository of one commit.
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(root.path()).unwrap();
        let own = |name: &str| path.join(name).into_os_string();
        let variables = [
            ("PATH", search_path().into()),
            ("HOME", own("home")),
            ("STOCKADE_STATE_DIR", own("state")),
        ];
        let host = Self {
            root,
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect(),
        };
        fs::create_dir(path.join("home")).unwrap();
        host.make_repository("project", &[("README.md", "a project\n")]);
        host
    }

    /// A path below the folder of this host.
    pub fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.root.path()).unwrap().join(name)
    }

    /// The repository of one commit.
    pub fn repository(&self) -> PathBuf {
        self.path("project")
    }

    /// The home of the caller.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Sets a variable of the caller.
    pub fn set(&mut self, name: &str, value: impl Into<OsString>) {
        self.variables.insert(name.into(), value.into());
    }

    /// Takes a variable from the caller.
    pub fn unset(&mut self, name: &str) {
        self.variables.remove(OsStr::new(name));
    }

    /// A repository with these files in one commit, on branch `main`.
    pub fn make_repository(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = self.path(name);
        self.git_in(
            &self.path(""),
            &["init", "-q", "-b", "main", folder.to_str().unwrap()],
        );
        for (path, content) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        self.git_in(&folder, &["add", "-A"]);
        self.git_in(&folder, &["commit", "-q", "--allow-empty", "-m", "one"]);
        folder
    }

    /// Runs git in the repository; returns what it prints.
    pub fn git(&self, arguments: &[&str]) -> String {
        self.git_in(&self.repository(), arguments)
    }

    /// Runs git in `folder`; returns what it prints.
    pub fn git_in(&self, folder: &Path, arguments: &[&str]) -> String {
        let mut git = command("git");
        git.args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", search_path())
            .env("HOME", self.path(""))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null");
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "A Person")
                .env(format!("GIT_{role}_EMAIL"), "person@example.org")
                .env(format!("GIT_{role}_DATE"), "2024-01-02T03:04:05Z");
        }
        let outcome = finish(git);
        assert_eq!(outcome.code, 0, "git {arguments:?}: {}", outcome.stderr);
        outcome.stdout
    }

    /// The program under test, in the repository, with this host's variables
    /// and no others. What it runs inside is not judged by the policy: most tests
    /// try walls, with commands that no policy would let run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut arguments = arguments.to_vec();
        let verb = arguments.iter().position(|word| *word != "--json");
        if let Some(verb) = verb.filter(|verb| ["exec", "serve"].contains(&arguments[*verb])) {
            arguments.insert(verb + 1, "--no-policy");
        }
        self.judged_command(&arguments)
    }

    /// The same, as people have it: the policy counts.
    pub fn judged_command(&self, arguments: &[&str]) -> Command {
        let mut stockade = command(env!("CARGO_BIN_EXE_stockade"));
        stockade
            .args(arguments)
            .current_dir(self.repository())
            .env_clear()
            .envs(&self.variables);
        stockade
    }

    /// Another program with the same variables.
    pub fn other_command(&self, program: &str) -> Command {
        let mut other = command(program);
        other
            .current_dir(self.repository())
            .env_clear()
            .envs(&self.variables);
        other
    }

    /// Runs the program under test.
    pub fn stockade(&self, arguments: &[&str]) -> Outcome {
        finish(self.command(arguments))
    }

    /// Runs it as people do: the policy counts for what runs inside.
    pub fn judged(&self, arguments: &[&str]) -> Outcome {
        finish(self.judged_command(arguments))
    }

    /// Runs it with `--json`; it must succeed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut with = vec!["--json"];
        with.extend(arguments);
        let outcome = self.stockade(&with);
        assert_eq!(outcome.code, 0, "{arguments:?}: {}", outcome.stderr);
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// Starts a task that runs `script` in bash, with further words for `run`.
    pub fn start_with(&self, words: &[&str], script: &str) -> Task {
        let mut arguments = vec!["run", "--detach"];
        arguments.extend(words);
        let script = with_git(script);
        arguments.extend(["--", "bash", "-c", &script]);
        let started = self.json(&arguments);
        self.task(started["task"].as_str().unwrap())
    }

    /// Starts a task that runs `script` in bash.
    pub fn start(&self, script: &str) -> Task {
        self.start_with(&[], script)
    }

    /// A task by its id.
    pub fn task(&self, id: &str) -> Task {
        Task {
            id: id.to_owned(),
            folder: self.state().join("tasks").join(id),
        }
    }

    /// Runs `script` in bash as a task of its own; returns what it prints.
    pub fn look(&self, script: &str) -> String {
        let script = with_git(script);
        let outcome = self.stockade(&["run", "--", "bash", "-c", &script]);
        assert_eq!(outcome.code, 0, "{script}: {outcome:?}");
        outcome.stdout
    }

    /// Runs `script` in bash in a task's sandbox: exit code and output.
    pub fn exec(&self, task: &Task, script: &str) -> (i64, String) {
        let script = with_git(script);
        let words = ["--json", "exec", &task.id, "--", "bash", "-c", &script];
        let mut command = self.command(&words);
        command.stdin(Stdio::null());
        let outcome = finish(command);
        let document: Value = serde_json::from_str(&outcome.stdout)
            .unwrap_or_else(|error| panic!("{script}: {error}: {outcome:?}"));
        (
            document["exit"].as_i64().unwrap(),
            document["output"].as_str().unwrap().to_owned(),
        )
    }

    /// The one task that there is.
    pub fn only_task(&self) -> Task {
        let tasks = self.json(&["ls"]);
        let [task] = tasks.as_array().unwrap().as_slice() else {
            panic!("not one task: {tasks}");
        };
        self.task(task["id"].as_str().unwrap())
    }

    /// What `ls` says of a task.
    pub fn status(&self, task: &Task) -> Value {
        let tasks = self.json(&["ls"]);
        let mut tasks = tasks.as_array().unwrap().iter();
        tasks
            .find(|status| status["id"] == *task.id)
            .unwrap()
            .clone()
    }

    /// Waits until a task is in the state of this name; returns the state.
    pub fn wait_for_state(&self, task: &Task, name: &str) -> Value {
        let mut state = Value::Null;
        eventually(&format!("{} is {name}", task.id), || {
            state = self.status(task)["state"].clone();
            state["name"] == name
        });
        state
    }
}

impl Task {
    /// Waits until nobody holds a task's lock: its last word is written.
    pub fn wait_until_settled(&self) {
        eventually(&format!("the supervisor of {} is gone", self.id), || {
            processes::all()
                .iter()
                .all(|process| !process.is_supervisor_of(&self.folder))
        });
    }

    /// The record, which must be whole.
    pub fn record(&self) -> Vec<Record> {
        let state = self.folder.ancestors().nth(2).unwrap();
        let evidence = Evidence::of(&state.join("audit"), &self.id).unwrap();
        let path = self.folder.join("record");
        let verified = || stockade_audit::verify(&path, &evidence).unwrap().records;
        loop {
            let before = verified();
            let records: Vec<Record> = stockade_audit::read(&path)
                .unwrap()
                .map(Result::unwrap)
                .collect();
            // A task that runs may have written between the two looks.
            if verified() == before {
                assert_eq!(usize::try_from(before).unwrap(), records.len());
                return records;
            }
        }
    }

    /// What the gateway refused, in order: host, port and rule.
    pub fn denied(&self) -> Vec<(String, u64, String)> {
        let text = |body: &Value, name: &str| body[name].as_str().unwrap().to_owned();
        self.record()
            .iter()
            .filter(|record| record.kind == RecordKind::Event(EventKind::Denied))
            .map(|record| {
                let body = &record.body;
                let port = body["port"].as_u64().unwrap();
                (text(body, "host"), port, text(body, "rule"))
            })
            .collect()
    }

    /// The last events of the record, which must be whole.
    pub fn last_events(&self, count: usize) -> Vec<EventKind> {
        let events: Vec<EventKind> = self
            .record()
            .iter()
            .filter_map(|record| match record.kind {
                RecordKind::Event(kind) => Some(kind),
                RecordKind::Upkeep(_) => None,
            })
            .collect();
        events[events.len().saturating_sub(count)..].to_vec()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let state = self.state();
        if state.exists() {
            let _ = finish_within(self.command(&["stop", "--all"]), LONGEST);
        }
        let mut left = Vec::new();
        holds_within(LONGEST, || {
            left = processes::naming(&state);
            left.is_empty()
        });
        for process in &left {
            process.kill();
        }
        make_removable(&self.path(""));
        if !std::thread::panicking() {
            assert!(left.is_empty(), "left behind: {left:?}");
        }
    }
}

/// Lets its owner remove a folder; overlay's own has no rights at all.
fn make_removable(folder: &Path) {
    let open = fs::Permissions::from_mode(0o700);
    let _ = fs::set_permissions(folder, open);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_removable(&entry.path());
        }
    }
}

/// A script that counts in the file `n` for as long as it lives.
pub const COUNTING: &str =
    "i=0; while :; do i=$((i+1)); echo $i > n.new; mv n.new n; sleep 0.02; done";

/// How far [`COUNTING`] is; 0 before it has begun.
pub fn count(host: &Host, task: &Task) -> u64 {
    let (exit, text) = host.exec(task, "test ! -e n || cat n");
    assert_eq!(exit, 0, "{text}");
    let text = text.trim();
    if text.is_empty() {
        return 0;
    }
    text.parse().unwrap()
}

/// Waits until a file of the workspace is there.
pub fn wait_for_file(host: &Host, task: &Task, name: &str) {
    eventually(name, || host.exec(task, &format!("test -e {name}")).0 == 0);
}

/// Says that a part of a test was not run; it counts as nothing.
///
/// Written past the test runner's capture, which hides what passing tests print.
pub fn skip(what: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIP {what}: {reason}");
}

/// Whether a program is there, on the `PATH` of these hosts.
pub fn has(program: &str) -> bool {
    PATH.split(':')
        .any(|folder| Path::new(folder).join(program).exists())
}

/// Whether the tests run as the machine's root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
