//! Class S: changing what keeps the sandbox. Of the twelve ways of the list in
//! `docs/guarantees.md`, three are elsewhere: to end it (117), to trace it
//! (116), and to have the kernel run something for it (46).

use stockade_attempt::{Act, Order};

use super::strings;
use crate::{
    field::{CONFIGURATION, Field, TOOL, VARIABLES, text},
    probe::{In, Judge, Probe},
};

/// What the next task, and the checks before a merge, take from the repository.
const SETTINGS: &[&str] = &["stockade.toml", ".stockade/settings.toml"];

pub(super) const PROBES: &[Probe] = &[
    Probe::standing(
        142,
        'S',
        "write the sandbox's own files: plan, record, program",
        Judge::Worked,
        |_, facts| {
            vec![Order::OpenForWriting(
                facts.own_files.iter().map(|path| text(path)).collect(),
            )]
        },
    ),
    Probe::standing(
        152,
        'S',
        "change a program of the host that runs, by way of /proc",
        Judge::Host,
        // Nobody may write what runs, but its mode, times and attributes are
        // changed by whoever reaches it.
        |field, _| {
            vec![Order::Change(vec![format!(
                "/proc/{}/exe",
                field.process()
            )])]
        },
    ),
    Probe::standing(
        217,
        'S',
        "change the configuration of the tool that keeps the sandbox",
        Judge::Host,
        |field, _| vec![Order::Change(vec![of_home(field, CONFIGURATION)])],
    ),
    Probe::standing(
        218,
        'S',
        "set variables with which that tool starts",
        Judge::Host,
        |field, _| vec![Order::Change(vec![of_home(field, VARIABLES)])],
    ),
    Probe::standing(
        219,
        'S',
        "stop it by a signal",
        Judge::Worked,
        |field, _| vec![Order::Stop(field.process())],
    ),
    Probe::standing(
        220,
        'S',
        "give it orders at its socket",
        Judge::Worked,
        |field, facts| {
            let own = field.ground().outside().join("socket");
            let sockets = match facts.own_sockets.as_slice() {
                [] => vec![text(&own)],
                sockets => sockets.iter().map(|path| text(path)).collect(),
            };
            vec![Order::Unix {
                paths: sockets,
                names: Vec::new(),
            }]
        },
    ),
    Probe::standing(
        221,
        'S',
        "put another program in its place",
        Judge::Host,
        |field, _| vec![Order::Change(vec![of_home(field, TOOL)])],
    ),
    Probe::standing(
        222,
        'S',
        "put a program where it looks for git",
        Judge::Host,
        |field, _| {
            let tool = field.ground().home().join(TOOL);
            vec![Order::Create(vec![text(&tool.with_file_name("git"))])]
        },
    ),
    Probe::standing(
        223,
        'S',
        "have a library loaded into every program of the host",
        Judge::Worked,
        |field, _| {
            let mut files =
                strings(&["/etc/ld.so.preload", "/etc/ld.so.cache", "/etc/environment"]);
            files.push(of_home(field, VARIABLES));
            vec![Order::OpenForWriting(files)]
        },
    ),
    Probe::standing(
        224,
        'S',
        "change the caps of control groups, its own among them",
        Judge::Worked,
        |_, _| vec![Order::Groups, Order::Mount(strings(&["cgroup2"]))],
    ),
    Probe::within(
        225,
        'S',
        "change the settings of the next task",
        In::Back,
        Judge::HeldBack(SETTINGS),
        |_, _| {
            let file = |path: &&str| Act::File {
                path: (*path).to_owned(),
                text: "[network]\nallow = [\"**\"]\n".to_owned(),
                mode: 0o644,
            };
            vec![Order::Arrange(SETTINGS.iter().map(file).collect())]
        },
    ),
];

/// A decoy of the home.
fn of_home(field: &Field, name: &str) -> String {
    text(&field.ground().home().join(name))
}
