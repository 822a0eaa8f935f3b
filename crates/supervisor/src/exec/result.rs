//! How a command ended.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use stockade_workspace::TreeChanges;

use crate::{caps::CapMet, judge::Contained};

/// Everything that is known of a command that ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExecResult {
    /// Its number in the task.
    pub exec: u32,
    /// Its code, or 128 and the number of the signal that ended it; 127 if it
    /// could not be started.
    pub exit: i32,
    /// Why it ended.
    pub end: ExecEnd,
    /// The signal that ended it, if one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why it could not be started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Milliseconds from the request to its end.
    pub wall_ms: f64,
    /// Milliseconds of processor time, of it and of the processes that it
    /// waited for; not of those that it left behind. Of a text of a session
    /// it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<f64>,
    /// The largest resident set among these, in KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_kib: Option<u64>,
    /// Whether its end by Stockade reaches all that it started, also what has
    /// left its process group (Linux 6.12); false if that was not asked for.
    pub whole_tree: bool,
    /// Why it ran with nothing outward, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contained: Option<Contained>,
    /// The caps that were met while it ran, by it or by others inside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<CapMet>,
    /// What the gateway refused while it ran. Others inside may have asked.
    pub denials: Vec<DenialSeen>,
    /// How many refusals there were.
    pub denials_count: u64,
    /// Of a tool of the project: what it printed, in so many words as that declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What it printed, both outputs in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<ExecText>,
    /// What it printed to standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout: Option<ExecText>,
    /// What it printed to standard error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr: Option<ExecText>,
    /// The kinds of key that seem to be in what it printed, such as
    /// `a GitHub token`. Keys that are known are taken out of it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub keys: BTreeSet<String>,
    /// Whether the whole text is kept in the task's folder, where
    /// `stockade logs --exec` finds it: only if it was cut.
    pub log: bool,
    /// Of a text of a session: whether the session's shell has ended with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub session_over: bool,
    /// The files of the workspace that changed while it ran. Others inside
    /// may have changed them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<TreeChanges>,
}

impl ExecResult {
    /// Of a command that ended by itself with `exit`; nothing else is known yet.
    pub(super) fn exited(exec: u32, exit: i32) -> Self {
        Self {
            exec,
            exit,
            end: ExecEnd::Exited,
            signal: None,
            error: None,
            wall_ms: 0.0,
            cpu_ms: None,
            peak_kib: None,
            whole_tree: false,
            contained: None,
            caps: Vec::new(),
            denials: Vec::new(),
            denials_count: 0,
            summary: None,
            output: None,
            stdout: None,
            stderr: None,
            keys: BTreeSet::new(),
            log: false,
            session_over: false,
            files: None,
        }
    }
}

/// Why a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExecEnd {
    /// By itself, with a code.
    Exited,
    /// By a signal that was not Stockade's.
    Signalled,
    /// Its time was up.
    Timeout,
    /// Its client was gone.
    ClientGone,
    /// The whole task was ended at a cap, which stands in `caps`.
    TaskEnded,
    /// It never began.
    NotStarted,
}

/// A refusal by the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DenialSeen {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u64,
    /// The rule that refused it.
    pub rule: String,
}

/// What a command printed, cleaned: no escape sequence, no other control
/// character than tab and end of line, no key of the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecText {
    /// Its head and tail, and between them lines that tell of errors.
    pub text: String,
    /// How many bytes there were, after cleaning.
    pub bytes: u64,
    /// How many lines.
    pub lines: u64,
    /// Whether `text` is not all of it.
    pub truncated: bool,
}
