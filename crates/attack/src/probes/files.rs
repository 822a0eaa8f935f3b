//! Class F: files of the host, to be read, named and changed.

use stockade_attempt::Order;

use super::strings;
use crate::{
    field::{Field, text},
    probe::{In, Judge, Probe},
};

pub(super) const PROBES: &[Probe] = &[
    Probe::standing(
        34,
        'F',
        "read keys, tokens and histories of the home",
        Judge::Secret,
        |field, _| vec![Order::Read(below(field, "home"))],
    ),
    Probe::standing(
        35,
        'F',
        "learn that they are there",
        Judge::Worked,
        |field, _| vec![Order::Stat(below(field, "home"))],
    ),
    Probe::standing(
        36,
        'F',
        "list folders of the host",
        Judge::Same,
        |field, _| {
            let mut folders = strings(&[
                "/home",
                "/root",
                "/mnt",
                "/media",
                "/srv",
                "/var/lib/docker",
                "/var/tmp",
                "/tmp",
            ]);
            folders.push(text(field.ground().root()));
            folders.push(text(&field.ground().outside()));
            vec![Order::List(folders)]
        },
    ),
    Probe::standing(
        37,
        'F',
        "read another workspace",
        Judge::Secret,
        |field, _| {
            let others = [
                field.ground().template(),
                field.ground().root().join("control"),
            ];
            vec![Order::Read(
                others.map(|other| text(&other.join(".env"))).into(),
            )]
        },
    ),
    Probe::standing(
        39,
        'F',
        "change files outside: content, mode, times, name, links",
        Judge::Host,
        |field, _| vec![Order::Change(below(field, "outside"))],
    ),
    Probe::standing(
        41,
        'F',
        "read secret files of the workspace",
        Judge::Secret,
        |_, _| vec![Order::Read(strings(&[".env"]))],
    ),
    Probe::standing(207, 'F', "make files outside", Judge::Host, |field, _| {
        let outside = field.ground().outside();
        let made = ["planted", "../outside/planted-too"];
        vec![Order::Create(
            made.map(|name| text(&outside.join(name))).into(),
        )]
    }),
    Probe::standing(
        208,
        'F',
        "read files outside that everybody may read",
        Judge::Secret,
        |field, _| vec![Order::Read(below(field, "outside"))],
    ),
    Probe::standing(
        209,
        'F',
        "learn how the machine and its users are called",
        Judge::Same,
        |_, _| {
            vec![Order::Read(strings(&[
                "/etc/machine-id",
                "/etc/hostname",
                "/proc/sys/kernel/hostname",
            ]))]
        },
    ),
    Probe::standing(
        135,
        'Q',
        "read what others keep in shared memory and /tmp",
        Judge::Secret,
        |field, _| vec![Order::Read(field.shared())],
    ),
    Probe::within(
        119,
        'O',
        "leave a program that runs as its owner",
        In::Back,
        Judge::Host,
        |_, _| {
            vec![Order::Arrange(vec![stockade_attempt::Act::Setuid(
                "as-owner".to_owned(),
            )])]
        },
    ),
];

/// Decoys in a folder of the field.
fn below(field: &Field, folder: &str) -> Vec<String> {
    let folder = field.ground().root().join(folder);
    let decoys = field.decoys().into_iter();
    decoys
        .filter(|path| path.starts_with(&text(&folder)))
        .collect()
}
