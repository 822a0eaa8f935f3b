mod github_app;
mod hashicorp;

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    str::FromStr,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process_group},
};
use serde::{Deserialize, Serialize};
use stockade_types::Redacted;
use zeroize::Zeroizing;

pub use self::{
    github_app::{AppToken, GITHUB_APP_ARGUMENT, GITHUB_GIVE_BACK_ARGUMENT},
    hashicorp::{HASHICORP_ARGUMENT, HashicorpField},
};
use crate::{error::VaultError, name::SecretName};

/// Where a secret's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Source {
    /// `env:VARIABLE`: a variable of whoever starts a task.
    Env(String),
    /// `command:…`: what a command of the user prints, for a shell.
    Command(String),
    /// `vault:MOUNT/data/PATH#FIELD`: a field that HashiCorp Vault tells.
    Hashicorp(HashicorpField),
    /// `github-app:APP@OWNER/REPOSITORY:…`: a token that a GitHub App makes.
    GithubApp(AppToken),
    /// `file`: the store that age encrypts.
    File,
}

/// The environment of a source: variables by name.
pub type Environment = BTreeMap<String, String>;

/// What a command may print, in bytes.
const OUTPUT_MAX: usize = 8 * 1024;
/// How long it may take: a person may have to touch a key.
const COMMAND_MAX: Duration = Duration::from_mins(1);
/// For how long a token of a GitHub App is used: four fifths of the hour that it
/// lives.
const APP_TOKEN_USED: Duration = Duration::from_mins(48);

impl FromStr for Source {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || VaultError::Source(text.chars().take(80).collect());
        if text == "file" {
            return Ok(Self::File);
        }
        match text.split_once(':').ok_or_else(refused)? {
            ("env", name) if is_variable(name) => Ok(Self::Env(name.to_owned())),
            ("command", command) if !command.trim().is_empty() && !command.contains('\0') => {
                Ok(Self::Command(command.to_owned()))
            }
            ("vault", field) => field.parse().map(Self::Hashicorp),
            ("github-app", token) => token.parse().map(Self::GithubApp),
            _ => Err(refused()),
        }
    }
}

fn is_variable(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && name.bytes().all(plain) && !name.as_bytes()[0].is_ascii_digit()
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(formatter, "env:{name}"),
            Self::Command(command) => write!(formatter, "command:{command}"),
            Self::Hashicorp(field) => write!(formatter, "vault:{field}"),
            Self::GithubApp(token) => write!(formatter, "github-app:{token}"),
            Self::File => formatter.write_str("file"),
        }
    }
}

impl TryFrom<String> for Source {
    type Error = VaultError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

impl Source {
    /// Whether it is asked while a task runs, which takes time, and may be
    /// asked again.
    pub fn is_asked(&self) -> bool {
        matches!(
            self,
            Self::Command(_) | Self::Hashicorp(_) | Self::GithubApp(_)
        )
    }

    /// For how long a value may be used at most, if it does not last.
    pub fn lifetime(&self) -> Option<Duration> {
        matches!(self, Self::GithubApp(_)).then_some(APP_TOKEN_USED)
    }

    /// Whether a value is made for whoever asks, who has to give it back.
    pub fn is_made(&self) -> bool {
        matches!(self, Self::GithubApp(_))
    }

    /// Gives back `value`, which was made by [`Self::read`]: from then on it is
    /// worth nothing. Does nothing with values that are not made.
    pub fn give_back(
        &self,
        name: &SecretName,
        value: &Redacted<String>,
        environment: &Environment,
    ) -> Result<(), VaultError> {
        if !self.is_made() {
            return Ok(());
        }
        let words = [GITHUB_GIVE_BACK_ARGUMENT];
        asked("GitHub", name, &words, Some(value), environment).map(drop)
    }

    /// The value of `name`, from a variable of `environment` or by asking in
    /// it; `None` of the store, which somebody must open.
    pub fn read(
        &self,
        name: &SecretName,
        environment: &Environment,
    ) -> Result<Option<Redacted<String>>, VaultError> {
        match self {
            Self::Env(variable) => match environment.get(variable) {
                Some(value) => check_value(name, value.clone()).map(Some),
                None => Err(VaultError::Variable {
                    name: name.clone(),
                    variable: variable.clone(),
                }),
            },
            Self::Command(command) => {
                let mut shell = program("/bin/sh");
                shell.args(["-c", command]);
                let (status, printed) = run(name, shell, None, environment)?;
                if status.success() {
                    told(name, &printed).map(Some)
                } else {
                    Err(failed(name, status.to_string()))
                }
            }
            Self::Hashicorp(field) => {
                let words = [HASHICORP_ARGUMENT, &field.to_string()];
                let printed = asked("HashiCorp Vault", name, &words, None, environment)?;
                told(name, &printed).map(Some)
            }
            Self::GithubApp(token) => {
                let words = [GITHUB_APP_ARGUMENT, &token.to_string()];
                let printed = asked("GitHub", name, &words, None, environment)?;
                told(name, &printed).map(Some)
            }
            Self::File => Ok(None),
        }
    }
}

/// `value` as the secret `name`, without a line end after it, if it can stand
/// in a header and can be told from ordinary text.
pub fn check_value(name: &SecretName, value: String) -> Result<Redacted<String>, VaultError> {
    let whole = Zeroizing::new(value);
    let value = whole.trim_end_matches(['\r', '\n']);
    if (8..=4096).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(Redacted::new(value.to_owned()))
    } else {
        Err(VaultError::Value(name.clone()))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command that tells a secret is the user's own, and runs as theirs; so does this \
              executable where it asks a server"
)]
fn program(path: &str) -> Command {
    Command::new(path)
}

/// What this executable prints, started with `words` to ask `who`.
fn asked(
    who: &'static str,
    name: &SecretName,
    words: &[&str],
    input: Option<&Redacted<String>>,
    environment: &Environment,
) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    // This executable, even after it was replaced on disk.
    let mut reader = program("/proc/self/exe");
    reader.args(words);
    let (status, printed) = run(name, reader, input, environment)?;
    if status.success() {
        return Ok(printed);
    }
    // Instead of a value it has printed why there is none.
    let reason = String::from_utf8_lossy(&printed).trim().to_owned();
    let name = name.clone();
    Err(VaultError::Asked { who, name, reason })
}

fn failed(name: &SecretName, reason: String) -> VaultError {
    VaultError::Command {
        name: name.clone(),
        reason,
    }
}

/// What `printed` tells of the secret `name`.
fn told(name: &SecretName, printed: &[u8]) -> Result<Redacted<String>, VaultError> {
    let text = std::str::from_utf8(printed).map_err(|_| VaultError::Value(name.clone()))?;
    check_value(name, text.to_owned())
}

/// Runs what tells the secret `name`. What it says on standard error stays with
/// nobody: it may tell of the secret.
fn run(
    name: &SecretName,
    mut command: Command,
    input: Option<&Redacted<String>>,
    environment: &Environment,
) -> Result<(ExitStatus, Zeroizing<Vec<u8>>), VaultError> {
    let failed = |error: io::Error| failed(name, error.to_string());
    let mut child = command
        .env_clear()
        .envs(environment)
        .stdin(input.map_or_else(Stdio::null, |_| Stdio::piped()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // Less than a pipe holds. Who does not read it says why.
        let _ = stdin.write_all(input.expose().as_bytes());
    }
    let printed = match child.stdout.take() {
        Some(stdout) => printed(stdout),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    };
    let printed = match printed {
        Ok(printed) => printed,
        Err(error) => {
            end(&mut child);
            return Err(failed(error));
        }
    };
    let status = child.wait().map_err(failed)?;
    Ok((status, printed))
}

/// Ends a command with what it started.
fn end(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// All that a command prints, within its bounds.
fn printed(mut stdout: ChildStdout) -> io::Result<Zeroizing<Vec<u8>>> {
    let deadline = Instant::now() + COMMAND_MAX;
    // As long as it may become: growing would leave copies behind.
    let mut bytes = Zeroizing::new(vec![0; OUTPUT_MAX]);
    let mut length = 0;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut ready = [PollFd::new(&stdout, PollFlags::IN)];
        match poll(&mut ready, Some(&left)) {
            Ok(0) => return Err(io::Error::other("it took longer than a minute")),
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        match stdout.read(&mut bytes[length..])? {
            0 if length == OUTPUT_MAX => {
                return Err(io::Error::other("it printed more than 8 KiB"));
            }
            0 => {
                bytes.truncate(length);
                return Ok(bytes);
            }
            read => length += read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(source: &str, environment: &[(&str, &str)]) -> Result<String, String> {
        let pairs = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let name = "test".parse().unwrap();
        let source: Source = source.parse().unwrap();
        let value = source.read(&name, &pairs.collect());
        value
            .map(|value| value.unwrap().expose().clone())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_comes_from_a_variable_or_a_command_in_that_environment() {
        let environment = [("PATH", "/usr/bin:/bin"), ("TOKEN", "decoy-0123456789")];
        assert_eq!(read("env:TOKEN", &environment).unwrap(), "decoy-0123456789");
        let command = "command:printf '%s\\n' \"$TOKEN\"";
        assert_eq!(read(command, &environment).unwrap(), "decoy-0123456789");
    }

    #[test]
    fn what_gives_no_usable_value_is_told_without_what_it_printed() {
        let path = [
            ("PATH", "/usr/bin:/bin"),
            ("SHORT", "x"),
            ("SPACED", "two words here"),
        ];
        for (source, told) in [
            ("env:MISSING", "is not set"),
            ("env:SHORT", "8 to 4096"),
            ("env:SPACED", "without spaces"),
            ("command:echo decoy-0123456789; exit 3", "exit status: 3"),
            ("command:echo decoy-0123456789 >&2", "8 to 4096"),
            ("command:yes decoy-0123456789", "more than 8 KiB"),
        ] {
            let error = read(source, &path).unwrap_err();
            assert!(
                error.contains(told) && !error.contains("decoy"),
                "{source}: {error}"
            );
        }
    }

    #[test]
    fn sources_are_read_and_written_alike() {
        for text in [
            "env:GH_TOKEN",
            "command:op read 'op://a/b'",
            "vault:secret/data/ci#token",
            "github-app:7@acme/site:contents=write",
            "file",
        ] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "env:",
            "env:A B",
            "env:1",
            "command: ",
            "vault:x",
            "github-app:x",
            "GH_TOKEN",
        ] {
            assert!(text.parse::<Source>().is_err(), "{text}");
        }
    }
}
