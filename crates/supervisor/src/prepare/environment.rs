//! The environment inside: an allow-list, never the caller's.

use stockade_agents::Launch;
use stockade_sandbox::INSIDE_HOME;
use stockade_types::env;

use super::Host;
use crate::{secrets::PlannedSecret, state::TaskDirectory};

/// Folders of programs inside, after those of toolchains.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The first port that tasks get, ten each.
const PORTS_FROM: u64 = 20_000;
const PORT_BLOCKS: u64 = 1_000;

/// Variables of the caller that are handed inside: how to print, nothing else.
pub const PASSED: [&str; 12] = [
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_MESSAGES",
    "LC_NUMERIC",
    "LC_TIME",
    "TERM",
    "COLORTERM",
    "TZ",
    "NO_COLOR",
    "CI",
];

pub(super) fn inside(
    host: &Host,
    task: &TaskDirectory,
    launch: &Launch,
    secrets: &[PlannedSecret],
) -> Vec<(String, String)> {
    let placeholders = secrets.iter().flat_map(|secret| {
        let variables = secret.variables.iter();
        variables.map(|name| (name.clone(), secret.bound.placeholder.clone()))
    });
    let of_task = [
        (env::TASK, task.id().to_string()),
        (env::PORT_BASE, port_base(task).to_string()),
    ];
    let of_task = of_task.map(|(name, value)| (name.to_owned(), value));
    let more = of_task.into_iter().chain(placeholders);
    of_program(host, more.chain(launch.env.iter().cloned()))
}

/// The environment of any program inside, and `more`; of a name that stands twice the
/// last counts.
pub(crate) fn of_program(
    host: &Host,
    more: impl IntoIterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let home = host.home.clone().unwrap_or_default();
    let toolchains = super::toolchains(host, &home);
    let mut path = toolchains.path;
    path.push(SYSTEM_PATH.to_owned());
    let own = [
        ("PATH", path.join(":")),
        ("HOME", INSIDE_HOME.to_owned()),
        ("USER", "agent".to_owned()),
        ("LOGNAME", "agent".to_owned()),
        ("SHELL", "/bin/bash".to_owned()),
        ("TMPDIR", "/tmp".to_owned()),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    let mut variables: Vec<(String, String)> = vec![("TERM".into(), "xterm-256color".into())];
    for (name, value) in own
        .into_iter()
        .chain(host.passed.iter().cloned())
        .chain(toolchains.variables)
        .chain(more)
    {
        variables.retain(|(known, _)| *known != name);
        variables.push((name, value));
    }
    variables
}

/// A block of ports for a task: from its id, so that it stays the same. Two
/// tasks may share one; each has a network of its own.
fn port_base(task: &TaskDirectory) -> u64 {
    let sum = task
        .id()
        .as_str()
        .bytes()
        .fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte));
    PORTS_FROM + 10 * (sum % PORT_BLOCKS)
}
