//! The one place that starts git as the user would: with the user's credentials
//! and a network, in a repository that nobody but Stockade has written.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Read,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::{PushError, Remote};
use stockade_types::visible;

use crate::{
    attended,
    files::{FileError, failed},
    git::{Git, GitDir},
    settings::UserEnvironment,
};

/// Long enough for a slow line, and for a person to find their token.
const LONGEST: Duration = Duration::from_mins(30);
/// What is kept of what git prints: some 100,000 branches.
const OUTPUT_LIMIT: u64 = 16 << 20;
/// What is kept of what git, helpers and the server say.
const SAID_LIMIT: u64 = 64 << 10;
/// The lines of it that are shown.
const SAID_LINES: usize = 32;

/// The name that the remote has in the repository from which it is pushed.
pub(super) const DESTINATION: &str = "destination";

/// Settings that win over whatever a user's say.
const PINNED: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.alternateRefsCommand", "false"),
    ("core.commitGraph", "false"),
    ("core.pager", "cat"),
    ("core.editor", "false"),
    // The push goes to the place that was shown.
    ("http.followRedirects", "false"),
    ("push.followTags", "false"),
    ("push.gpgSign", "false"),
    ("push.negotiate", "false"),
    ("push.recurseSubmodules", "no"),
    ("submodule.recurse", "false"),
    ("transfer.fsckObjects", "true"),
    ("gc.auto", "0"),
    ("gc.recentObjectsHook", "false"),
    ("maintenance.auto", "false"),
    ("protocol.allow", "never"),
    ("protocol.ext.allow", "never"),
];

/// Variables that say the same to every program that git starts.
const VARIABLES: &[(&str, &str)] = &[
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_ADVICE", "0"),
    ("GIT_PAGER", "cat"),
    ("GIT_EDITOR", "false"),
];

/// The user's git in a clean repository.
pub(super) struct AsUser<'a> {
    pub(super) git: &'a Git,
    pub(super) environment: &'a UserEnvironment,
    pub(super) remote: &'a Remote,
    /// It has no settings, hooks or refs, and borrows the user's objects.
    pub(super) repository: &'a GitDir,
}

/// How a run ended.
pub(super) struct Ran {
    pub(super) succeeded: bool,
    /// What git printed, for programs.
    pub(super) output: Vec<u8>,
    /// What was said to people, safe to show.
    pub(super) said: Vec<String>,
}

impl AsUser<'_> {
    pub(super) fn run(&self, arguments: &[String]) -> Result<Ran, PushError> {
        let file = |name: &str| self.repository.path().join(name);
        let (out, said) = (file("out"), file("said"));
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::null())
            .stdout(create(&out)?)
            .stderr(create(&said)?);
        let spawned = command.spawn();
        let child = spawned.map_err(|error| PushError::Run(error.to_string()))?;
        let status = attended::wait(child, LONGEST);
        let status = status.map_err(|error| PushError::Run(error.to_string()))?;
        let mut lines = self.lines(&read(&said, SAID_LIMIT)?);
        if status.is_none() {
            let minutes = LONGEST.as_secs() / 60;
            lines.insert(0, format!("it was ended after {minutes} minutes"));
        }
        let ran = Ran {
            succeeded: status.is_some_and(|status| status.success()),
            output: read(&out, OUTPUT_LIMIT)?,
            said: lines,
        };
        for path in [&out, &said] {
            fs::remove_file(path).map_err(failed("remove", path))?;
        }
        Ok(ran)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a push needs the user's credentials and a network; git opens no repository of others"
    )]
    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(self.git.program());
        command
            .arg("--no-pager")
            .args(arguments)
            .current_dir(self.repository.path())
            .env_clear()
            .envs(
                self.environment
                    .others
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .env("PATH", self.remote.search_path())
            .env("GIT_DIR", self.repository.path())
            .envs(VARIABLES.iter().copied())
            // Wins over every setting of protocols.
            .env("GIT_ALLOW_PROTOCOL", self.remote.transport());
        let settings = self.settings();
        for (index, (key, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        command
    }

    /// What the user's settings say of logging in, the place, and what is pinned.
    /// Not as arguments, which every user of the machine sees.
    fn settings(&self) -> Vec<(String, OsString)> {
        let own = |key: &str, value: &str| (key.to_owned(), OsString::from(value));
        let remote = self.remote;
        let mut settings = remote.settings().to_vec();
        settings.push(own(&format!("remote.{DESTINATION}.url"), remote.url()));
        settings.extend(PINNED.iter().map(|(key, value)| own(key, value)));
        let protocol = format!("protocol.{}.allow", remote.transport());
        settings.push(own(&protocol, "always"));
        settings
    }

    /// What was said, line by line, and never the place as only git may know it.
    fn lines(&self, said: &[u8]) -> Vec<String> {
        let lines = said.split(|byte| matches!(*byte, b'\n' | b'\r'));
        let lines = lines.map(|line| visible::line(line.trim_ascii()));
        lines
            .filter(|line| !line.is_empty())
            .map(|line| line.replace(self.remote.url(), self.remote.shown()))
            .take(SAID_LINES)
            .collect()
    }
}

impl Ran {
    /// The line that says why it failed.
    pub(super) fn reason(&self) -> String {
        let telling = |line: &&String| line.starts_with("fatal: ") || line.starts_with("error: ");
        let line = self.said.iter().find(telling).or(self.said.first());
        let line = line.map_or("no reason given", String::as_str);
        let line = line.strip_prefix("fatal: ").unwrap_or(line);
        line.chars().take(500).collect()
    }
}

fn create(path: &Path) -> Result<Stdio, FileError> {
    File::create(path)
        .map(Stdio::from)
        .map_err(failed("create", path))
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(failed("read", path))?;
    Ok(bytes)
}
