//! What is attacked: how an executable is run in it, and what of its work
//! reaches the host.

use std::{error::Error, path::PathBuf};

/// A failure of a target's own, in its own words.
pub type TargetError = Box<dyn Error + Send + Sync>;

/// Something that runs programs so that they can do no harm.
pub trait Target {
    /// What people call it.
    fn name(&self) -> &str;

    /// What it says of itself.
    fn facts(&self) -> Facts;

    /// Runs `words`, of which the first is a path relative to the workspace,
    /// to their end. The workspace of [`Start::New`] is a new copy.
    fn run(&mut self, words: &[String], start: Start<'_>) -> Result<Ran, TargetError>;

    /// Does what a person does with what the last start left, and returns
    /// when that is done.
    fn take_back(&mut self) -> Result<(), TargetError>;

    /// What became of a file of the workspace when it was taken back.
    fn place(&mut self, path: &str) -> Result<Place, TargetError>;

    /// Ends whatever still runs.
    fn end(&mut self) -> Result<(), TargetError>;
}

/// In which sandbox something runs.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// In any; what runs there leaves nothing that matters.
    Standing,
    /// In a new one, which then ends.
    New,
    /// In another one on the workspace of the last, which then ends.
    Again,
    /// In a new one that may use this many bytes of memory.
    Capped(u64),
    /// In a new one whose standard input is this terminal, if the target
    /// hands on terminals, or one of its own.
    Terminal(&'a std::os::fd::OwnedFd),
}

/// What a target says of itself.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Its own files, which nothing inside may change.
    pub own_files: Vec<PathBuf>,
    /// Sockets at which it takes orders.
    pub own_sockets: Vec<PathBuf>,
    /// Whether it caps memory.
    pub caps_memory: bool,
    /// Whether work comes back by review only.
    pub reviews: bool,
}

/// What was run, once it ended.
#[derive(Clone, Debug, Default)]
pub struct Ran {
    /// What it printed.
    pub output: Vec<u8>,
    /// How it ended, for people.
    pub ended: String,
}

/// Where a file of the workspace is after it was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the host, where its programs find it.
    Host,
    /// Proposed for review like any other.
    Proposed,
    /// Proposed for review, with this remark.
    Marked(String),
    /// Kept back until it is accepted by name.
    HeldBack(String),
    /// Nowhere.
    Nowhere,
}
