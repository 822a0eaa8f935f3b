//! The one place where this crate starts programs.

use std::process::Command;

/// A command with nothing of the caller's environment but the search path.
pub(crate) fn command(program: &str) -> Command {
    let mut command = inheriting(program);
    command.env_clear();
    command.env(
        "PATH",
        std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()),
    );
    command
}

/// A command with the whole environment of the caller: the agent's own tools
/// see what the agent sees, as with every real agent.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that starts programs"
)]
pub(crate) fn inheriting(program: &str) -> Command {
    Command::new(program)
}
