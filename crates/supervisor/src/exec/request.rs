//! What is asked for, and whether it can be had.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use stockade_approval::Input;
use stockade_sandbox::Isolation;
use stockade_types::{Denial, wire};

use crate::project::{ProjectTool, ToolCall};

/// The most bytes that argv and environment have together: what one request
/// to process 1 holds, with room for the task's own variables.
const WORDS_MAX: usize = 128 * 1024;

/// How many open files the shell of a session needs: it keeps two descriptors
/// where texts seldom have theirs.
pub(super) const SESSION_FILES: u64 = 64;

/// A command to run inside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecRequest {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Text for a shell, instead of `argv`.
    pub shell: Option<String>,
    /// A tool that the project declares, instead of both; it says all but what becomes of
    /// what it prints.
    pub tool: Option<ToolCall>,
    /// The folder, absolute inside or relative to the workspace.
    pub cwd: Option<String>,
    /// Variables on top of the task's own.
    pub env: BTreeMap<String, String>,
    /// The sandbox of its own that it runs in, instead of the task's. When it
    /// ends, so does everything that it started.
    pub isolation: Option<Isolation>,
    /// What it reads.
    pub stdin: Stdin,
    /// What becomes of what it prints.
    pub report: Report,
    /// Whether both its outputs are one, in the order of printing.
    pub merged: bool,
    /// Caps on each process that it starts.
    pub limits: ExecLimits,
    /// After how many milliseconds it is ended, with everything it started.
    pub timeout_ms: Option<u64>,
    /// Whether to tell which files changed meanwhile.
    pub files: bool,
    /// Whether it is ended, with everything it started, when its client goes.
    pub leashed: bool,
    /// Whether a person has set the task's policy aside for it. The record says so.
    pub no_policy: bool,
}

/// What a command reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stdin {
    /// Nothing: the end of input at once.
    #[default]
    Nothing,
    /// These bytes, in base64.
    Bytes(String),
    /// What the client types.
    Typed,
}

impl Stdin {
    /// The bytes that are known before the command starts.
    pub(super) fn bytes(&self) -> Result<Vec<u8>, ExecError> {
        match self {
            Self::Bytes(bytes) => STANDARD.decode(bytes).map_err(|_| ExecError::Base64),
            Self::Nothing | Self::Typed => Ok(Vec::new()),
        }
    }

    /// What a person who is asked is told of it.
    pub(crate) fn input(&self) -> Result<Option<Input>, ExecError> {
        Ok(match self {
            Self::Nothing => None,
            Self::Bytes(_) => Some(Input::given(&self.bytes()?)),
            Self::Typed => Some(Input::Later),
        })
    }
}

/// What becomes of what a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// It is passed on as it comes; a slow client slows the command down.
    #[default]
    Streamed,
    /// It is passed on as it comes, as cleaned text in whole characters.
    Shown,
    /// It comes with the result, cleaned, and cut in the middle if long.
    Collected,
    /// Nothing; it goes to the sandbox's `/dev/null`.
    Discarded,
}

/// Caps on each process of a command, which the kernel keeps. They can only
/// be narrower than the sandbox's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExecLimits {
    /// Seconds of processor time.
    pub cpu_seconds: Option<u64>,
    /// Bytes of address space.
    pub address_bytes: Option<u64>,
    /// Bytes of one file.
    pub file_bytes: Option<u64>,
    /// Open files.
    pub open_files: Option<u64>,
}

impl From<ExecLimits> for wire::ExecLimits {
    fn from(limits: ExecLimits) -> Self {
        let cap = |most: Option<u64>| most.unwrap_or(u64::MAX);
        Self {
            cpu_seconds: cap(limits.cpu_seconds),
            address_bytes: cap(limits.address_bytes),
            file_bytes: cap(limits.file_bytes),
            open_files: cap(limits.open_files),
        }
    }
}

/// A shell that stays: what is set in it holds for every text that it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionRequest {
    /// The folder, absolute inside or relative to the workspace.
    pub cwd: Option<String>,
    /// Variables on top of the task's own.
    pub env: BTreeMap<String, String>,
    /// Whether both its outputs are one, in the order of printing.
    pub merged: bool,
    /// Caps on each process that it starts.
    pub limits: ExecLimits,
    /// Whether a person has set the task's policy aside for all its texts.
    pub no_policy: bool,
}

/// A text for the shell of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionText {
    /// The text.
    pub text: String,
    /// What becomes of what it prints; it is never discarded.
    pub report: Report,
    /// After how many milliseconds the session is ended, with everything that
    /// was started in it.
    pub timeout_ms: Option<u64>,
    /// Whether to tell which files changed meanwhile.
    pub files: bool,
}

/// Whose fault it is that a request was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The request's: it will never work.
    Request,
    /// The request's: the task's policy does not let it run.
    Policy,
    /// Nobody's: it does not fit how the task stands.
    #[default]
    State,
    /// Stockade's, or the machine's.
    Own,
}

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// There is nothing to run, or two things.
    #[error("say what to run: a program with its arguments, a text for the shell, or a tool")]
    NoCommand,
    /// A word that no program can be given.
    #[error("arguments, variables and folders cannot hold the character NUL")]
    Nul,
    /// A tool that there is not, or arguments that it does not take.
    #[error("{0}")]
    Tool(String),
    /// Argv and environment are too long.
    #[error(
        "arguments and variables have {bytes} bytes together, more than the {WORDS_MAX} that \
         are passed; write them to a file or to standard input"
    )]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// A variable with a name that is none.
    #[error("`{0}` is no name of a variable")]
    Name(String),
    /// A variable that is Stockade's to set.
    #[error("{0} is set by Stockade for every command and cannot be changed")]
    Kept(String),
    /// A variable that holds a key of the task.
    #[error("{0} holds a key; a key does not go inside, the gateway puts it into requests")]
    Key(String),
    /// Too few open files for the shell of a session.
    #[error(
        "a session needs at least {SESSION_FILES} open files; ask for more, or leave the cap out"
    )]
    FewFiles,
    /// Standard input that is not base64.
    #[error("standard input is not base64")]
    Base64,
    /// The task's policy does not let it run.
    #[error("{0}")]
    Denied(Box<Denial>),
    /// Everything inside stands still.
    #[error("the task is paused; `stockade resume` lets it go on, then commands run again")]
    Paused,
    /// The task ends or has ended.
    #[error("the task is being ended")]
    Ended,
    /// What the command would be recorded in is gone.
    #[error("the record: {0}")]
    Record(#[from] stockade_audit::RecordError),
    /// The sandbox could not be asked.
    #[error("the sandbox: {0}")]
    Sandbox(#[from] std::io::Error),
    /// A sandbox of its own could not be built.
    #[error("a sandbox of its own: {0}")]
    Fresh(stockade_sandbox::SandboxError),
    /// The workspace could not be looked at.
    #[error("which files change cannot be told: {0}")]
    Files(String),
}

impl ExecError {
    /// Whose fault it is.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::NoCommand
            | Self::Tool(_)
            | Self::Nul
            | Self::TooLong { .. }
            | Self::Name(_)
            | Self::Kept(_)
            | Self::Key(_)
            | Self::FewFiles
            | Self::Base64 => Fault::Request,
            Self::Denied(_) => Fault::Policy,
            Self::Paused | Self::Ended => Fault::State,
            Self::Record(_) | Self::Sandbox(_) | Self::Files(_) | Self::Fresh(_) => Fault::Own,
        }
    }
}

impl ExecRequest {
    /// The command that is meant, if it is one of `tools`; and how much is told of what
    /// that prints, in bytes.
    pub(super) fn of_tool(
        &self,
        tools: &BTreeMap<String, ProjectTool>,
    ) -> Result<Option<(Self, usize)>, ExecError> {
        let Some(call) = &self.tool else {
            return Ok(None);
        };
        if !self.argv.is_empty() || self.shell.is_some() {
            return Err(ExecError::NoCommand);
        }
        let tool = tools.get(&call.name).ok_or_else(|| {
            let known: Vec<_> = tools.keys().map(String::as_str).collect();
            let name = stockade_types::visible::beginning(&call.name, 64);
            ExecError::Tool(if known.is_empty() {
                "the project declares no tools; stockade.toml has them in [tools]".to_owned()
            } else {
                format!("there is no tool `{name}`; there are: {}", known.join(", "))
            })
        })?;
        let request = tool.request(&call.arguments, self);
        let request = request
            .map_err(|problem| ExecError::Tool(format!("the tool `{}`: {problem}", call.name)))?;
        Ok(Some((request, tool.output_bytes)))
    }

    /// Program and arguments.
    pub(crate) fn words(&self) -> Result<Vec<String>, ExecError> {
        match (&self.shell, self.argv.is_empty()) {
            (None, false) => Ok(self.argv.clone()),
            (Some(text), true) => Ok(["/bin/bash", "-c", text].map(str::to_owned).to_vec()),
            _ => Err(ExecError::NoCommand),
        }
    }

    /// The folder, from that of the task's main command.
    pub(crate) fn folder(&self, base: &str) -> String {
        let base = Path::new(base);
        let folder = self
            .cwd
            .as_ref()
            .map_or_else(|| base.into(), |cwd| base.join(cwd));
        folder.to_string_lossy().into_owned()
    }

    /// The same, with no network if it is `contained`.
    pub(crate) fn within(&self, contained: bool) -> Cow<'_, Self> {
        let within = self.isolation.unwrap_or_default().contained();
        if !contained || self.isolation == Some(within) {
            return Cow::Borrowed(self);
        }
        Cow::Owned(Self {
            isolation: Some(within),
            ..self.clone()
        })
    }

    /// Whether it must be possible to end it with everything it started, beside
    /// what else runs in its sandbox.
    pub(crate) fn is_tree(&self) -> bool {
        self.isolation.is_none() && (self.timeout_ms.is_some() || self.leashed)
    }

    /// Checks words and variables: `kept` are the names that nobody sets,
    /// `is_key` tells values that stay outside.
    pub(crate) fn check(
        &self,
        kept: &[String],
        is_key: impl Fn(&str) -> bool,
    ) -> Result<(), ExecError> {
        let words = self.argv.iter().chain(&self.shell).chain(&self.cwd);
        let mut bytes = 0;
        for word in words.chain(self.env.values()) {
            if word.contains('\0') {
                return Err(ExecError::Nul);
            }
            bytes += word.len() + 1;
        }
        bytes += self.env.keys().map(|name| name.len() + 1).sum::<usize>();
        if bytes > WORDS_MAX {
            return Err(ExecError::TooLong { bytes });
        }
        for (name, value) in &self.env {
            if !is_name(name) {
                return Err(ExecError::Name(name.clone()));
            }
            if kept.contains(name) {
                return Err(ExecError::Kept(name.clone()));
            }
            if is_key(value) {
                return Err(ExecError::Key(name.clone()));
            }
        }
        Ok(())
    }
}

/// Whether shells take it for a name (POSIX, XBD 3.216).
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &str, value: &str) -> ExecRequest {
        ExecRequest {
            argv: vec!["true".to_owned()],
            env: BTreeMap::from([(name.to_owned(), value.to_owned())]),
            ..ExecRequest::default()
        }
    }

    #[test]
    fn variables_need_a_name_and_may_neither_be_stockades_nor_hold_a_key() {
        let check = |request: &ExecRequest| {
            request.check(&["SSL_CERT_FILE".to_owned()], |value| {
                value.contains("sk-1")
            })
        };
        assert!(check(&with("FORCE_COLOR", "1")).is_ok());
        for name in ["", "1A", "A-B", "A B", "A=B", "Ä"] {
            assert!(
                matches!(check(&with(name, "")), Err(ExecError::Name(_))),
                "{name}"
            );
        }
        assert!(matches!(check(&with("A", "x\0y")), Err(ExecError::Nul)));
        assert!(matches!(
            check(&with("A", "a sk-1")),
            Err(ExecError::Key(_))
        ));
        assert!(matches!(
            check(&with("SSL_CERT_FILE", "/x")),
            Err(ExecError::Kept(_))
        ));
        let long = with("A", &"x".repeat(WORDS_MAX));
        assert!(matches!(check(&long), Err(ExecError::TooLong { .. })));
    }

    #[test]
    fn a_command_is_either_words_or_a_text_for_the_shell() {
        let words = with("A", "");
        assert_eq!(words.words().unwrap(), ["true"]);
        let shell = ExecRequest {
            shell: Some("a | b".to_owned()),
            ..ExecRequest::default()
        };
        assert_eq!(shell.words().unwrap(), ["/bin/bash", "-c", "a | b"]);
        let both = ExecRequest {
            shell: Some(String::new()),
            ..words
        };
        assert!(both.words().is_err());
        assert!(ExecRequest::default().words().is_err());
    }
}
