//! A verb, what it must end with, and what it may change outside.

use std::path::PathBuf;

use crate::host::{Host, Outcome, files::Outside, finish, terminal::Terminal};

/// How a verb has to end, and below which paths of the host it may change
/// something; all else must stay as it is.
pub(crate) struct Verb<'a> {
    pub(crate) words: &'a [&'a str],
    pub(crate) code: i32,
    pub(crate) changes: &'a [&'a str],
}

/// A verb that changes nothing outside.
pub(crate) fn quiet<'a>(words: &'a [&'a str], code: i32) -> Verb<'a> {
    Verb {
        words,
        code,
        changes: &[],
    }
}

/// What merging into the checked-out branch changes of the repository itself.
pub(crate) const MERGED: [&str; 3] = [
    "project/.git/index",
    "project/.git/logs",
    "project/.git/refs/heads/main",
];

/// Shows whether anything of an agent's ran on the host.
pub(crate) struct Canary(PathBuf);

impl Canary {
    pub(crate) fn new(host: &Host) -> Self {
        Self(host.path("canary"))
    }

    /// The command that every payload tries to have run. Where it cannot leave
    /// a file because git may not write there, it holds up whoever runs it.
    pub(crate) fn command(&self) -> String {
        let path = self.0.display();
        format!("test -e /agent.git || touch {path} || sleep ${{CANARY_SLEEP:-600}}")
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.0.exists()
    }

    /// Runs the verb and compares how it ended, and what is different then.
    pub(crate) fn survives(&self, host: &Host, verb: &Verb<'_>) -> Outcome {
        let outcome = self.watched(host, verb, || finish(host.command(verb.words)));
        assert_eq!(outcome.code, verb.code, "{:?}: {outcome:?}", verb.words);
        outcome
    }

    /// The same at a terminal, where `typed` is typed once `prompt` is shown.
    pub(crate) fn survives_typing(&self, host: &Host, verb: &Verb<'_>, prompt: &str, typed: &str) {
        let outcome = self.watched(host, verb, || {
            let mut terminal = Terminal::start(host.command(verb.words));
            terminal.wait_for(prompt);
            terminal.send(typed);
            terminal.finish()
        });
        assert_eq!(outcome.code, verb.code, "{:?}: {outcome:?}", verb.words);
    }

    fn watched(&self, host: &Host, verb: &Verb<'_>, run: impl FnOnce() -> Outcome) -> Outcome {
        let before = Outside::of(host);
        let outcome = run();
        assert!(
            self.is_alive(),
            "{:?} ran a payload: {outcome:?}",
            verb.words
        );
        for path in before.changed(&Outside::of(host)) {
            // What it is, or the folders that it is in.
            let above = format!("{path}/");
            let lawful = |change: &&str| path.starts_with(change) || change.starts_with(&above);
            let lawful = verb.changes.iter().any(lawful);
            assert!(lawful, "{:?} changed {path}: {outcome:?}", verb.words);
        }
        outcome
    }
}
