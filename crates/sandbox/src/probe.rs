//! Finds out what this machine gives, by doing it: each layer is tried in a
//! process of its own, which then ends, with the same code that builds a
//! sandbox.
//!
//! What needs a layer that is missing is not tried; it would only repeat the
//! same refusal in other words.

mod apparmor;
mod child;
mod executable;
mod files;
mod groups;
mod identities;
mod locks;
mod namespaces;
mod network;
mod overlay;

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

pub use self::apparmor::apparmor_profile;
use crate::{error::SandboxError, spec::Identity};

/// The argument that makes the `stockade` executable a probe; the next one is
/// a folder on the file system where tasks are kept.
pub const PROBE_ARGUMENT: &str = "__probe";

/// The argument that makes it try only whether a workspace can be laid over a
/// base tree there.
pub const OVERLAY_ARGUMENT: &str = "__probe-overlay";

/// What was found about one layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What was tried.
    pub name: String,
    /// How it went.
    pub outcome: Outcome,
    /// What was seen, or the system's words.
    pub detail: String,
    /// What is lost without it, or how it is replaced.
    pub cost: String,
    /// What a person can do.
    pub fix: Option<String>,
}

/// How a probe went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It works.
    Works,
    /// It does not, and something weaker or slower takes its place.
    Weaker,
    /// It does not, and nothing can be started.
    Missing,
}

/// The `main` of a probe: prints what it found, an array of [`Probe`], as one
/// JSON document. The process must have one thread.
pub fn run(state: &Path) -> io::Result<()> {
    let text = serde_json::to_vec(&probes(state))?;
    io::stdout().write_all(&text)
}

/// The `main` of that: prints a `Result<(), SandboxError>` as one JSON document.
/// The process must have one thread.
pub fn run_overlay(state: &Path) -> io::Result<()> {
    let root = rustix::process::geteuid().is_root();
    let tried = overlay::lay_over_a_small_tree(state, root.then_some(STAND_IN));
    let text = serde_json::to_vec(&tried.map(|_| ()))?;
    io::stdout().write_all(&text)
}

/// What is lost without a wall.
const WALL: &str = "without it nothing is started";

/// As root, the ids with which the probes stand in for a task's own. They are
/// just below those of real tasks, so that no task ever shares them.
const STAND_IN: Identity = Identity {
    uid: 0x6fff_ffff,
    gid: 0x6fff_ffff,
};

/// The probes, in the order in which the layers build on each other.
fn probes(state: &Path) -> Vec<Probe> {
    let root = rustix::process::geteuid().is_root();
    let identity = identities::probe(root);
    let stand_in = root.then_some(STAND_IN);

    let mut absent = lacking(&identity);
    let wall = |name| Probe::missing(name, "");
    let user = needs(absent, wall(namespaces::USER), || {
        namespaces::user_namespaces(stand_in)
    });
    absent = absent.or(lacking(&user));
    let other = needs(absent, wall(namespaces::OTHERS), || {
        namespaces::others(stand_in)
    });
    absent = absent.or(lacking(&other));
    let capture = Probe::weaker(network::CAPTURE, "", network::CAPTURE_COST);
    let overlay = Probe::weaker(overlay::NAME, "", overlay::COST);

    let layers = [
        needs(absent, wall(files::NAME), || files::probe(stand_in)),
        needs(absent, wall(network::NAME), || network::probe(stand_in)),
        needs(absent, capture, || network::capture(stand_in)),
        needs(absent, overlay, || overlay::probe(state, stand_in)),
        locks::landlock(),
        locks::seccomp(),
        executable::probe(),
        executable::watching(),
        groups::probe(),
    ];
    [identity, user, other].into_iter().chain(layers).collect()
}

/// A layer without which others cannot even be tried.
fn lacking(probe: &Probe) -> Option<&'static str> {
    (probe.outcome == Outcome::Missing).then(|| match &*probe.name {
        namespaces::USER => namespaces::USER,
        namespaces::OTHERS => namespaces::OTHERS,
        _ => identities::NAME,
    })
}

/// What `probe` finds; or, as a layer that it needs is `absent`, `without`.
fn needs(absent: Option<&str>, without: Probe, probe: impl FnOnce() -> Probe) -> Probe {
    match absent {
        None => probe(),
        Some(absent) => Probe {
            detail: format!("not tried: it needs {absent}"),
            ..without
        },
    }
}

impl Probe {
    fn new(name: &str, outcome: Outcome, detail: String, cost: &str) -> Self {
        Self {
            name: name.to_owned(),
            outcome,
            detail,
            cost: cost.to_owned(),
            fix: None,
        }
    }

    fn works(name: &str, detail: impl Into<String>, cost: &str) -> Self {
        Self::new(name, Outcome::Works, detail.into(), cost)
    }

    fn weaker(name: &str, detail: impl Into<String>, cost: &str) -> Self {
        Self::new(name, Outcome::Weaker, detail.into(), cost)
    }

    fn missing(name: &str, detail: impl Into<String>) -> Self {
        Self::new(name, Outcome::Missing, detail.into(), WALL)
    }

    fn fix(self, fix: impl Into<Option<String>>) -> Self {
        Self {
            fix: fix.into(),
            ..self
        }
    }
}

/// The step that failed and the system's words.
fn words(error: &SandboxError) -> String {
    format!("{}: {}", error.step, error.cause)
}

/// A setting of the kernel, if there is one.
fn setting(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

/// The lines of `/proc/self/mountinfo`; none if it cannot be read.
fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}
