//! Classes G, H, N and O as far as they are about processes: `/proc`,
//! descriptors, environments, privileges.

use stockade_attempt::{Order, Wanted};

use super::strings;
use crate::{
    field::{Field, text},
    probe::{In, Judge, Probe},
};

pub(super) const PROBES: &[Probe] = &[
    Probe::standing(
        43,
        'G',
        "read what other processes were started with",
        Judge::Secret,
        |field, _| vec![search(field, false, true, &[])],
    ),
    Probe::standing(
        44,
        'G',
        "go out by way of links in /proc",
        Judge::Secret,
        |field, _| {
            let decoy = text(&field.ground().outside().join("notes.txt"));
            let process = field.process();
            vec![Order::Read(vec![
                format!("/proc/1/root{decoy}"),
                format!("/proc/self/root{decoy}"),
                format!("/proc/self/root/../..{decoy}"),
                format!("/proc/{process}/root{decoy}"),
                format!("/proc/{process}/cwd/outside/notes.txt"),
                format!("/proc/thread-self/root{decoy}"),
            ])]
        },
    ),
    Probe::standing(
        46,
        'G',
        "open settings of the kernel for writing",
        Judge::Worked,
        |_, _| {
            vec![Order::OpenForWriting(strings(&[
                "/proc/sys/kernel/core_pattern",
                "/proc/sys/kernel/modprobe",
                "/proc/sys/kernel/randomize_va_space",
                "/proc/sys/vm/drop_caches",
                "/proc/sysrq-trigger",
                "/proc/self/../sys/kernel/core_pattern",
            ]))]
        },
    ),
    Probe::standing(
        48,
        'G',
        "read a process of the host: environment, memory",
        Judge::Worked,
        |field, _| {
            vec![Order::Process {
                process: field.process(),
                address: field.memory_of_process(),
            }]
        },
    ),
    Probe::standing(
        49,
        'G',
        "mount a fresh /proc in namespaces of one's own",
        Judge::Worked,
        |_, _| vec![Order::Mount(strings(&["proc"]))],
    ),
    Probe::standing(
        210,
        'G',
        "be in a namespace of the host",
        Judge::Same,
        |_, _| vec![Order::Namespaces],
    ),
    Probe::standing(
        211,
        'G',
        "read tables of the kernel and of all mounts",
        Judge::Same,
        |_, _| {
            vec![Order::Read(strings(&[
                "/proc/keys",
                "/proc/timer_list",
                "/proc/1/mountinfo",
            ]))]
        },
    ),
    Probe::standing(
        212,
        'G',
        "open devices of the machine",
        Judge::Worked,
        |_, _| {
            vec![Order::OpenForWriting(strings(&[
                "/dev/kmsg",
                "/dev/mem",
                "/dev/kvm",
                "/dev/fuse",
                "/dev/net/tun",
                "/dev/loop-control",
                "/dev/uinput",
                "/dev/vhost-vsock",
            ]))]
        },
    ),
    Probe::within(
        50,
        'H',
        "use descriptors that the caller has open",
        In::Lent,
        Judge::Secret,
        |field, _| vec![Order::Descriptors(field.lent())],
    ),
    Probe::within(
        151,
        'H',
        "write to descriptors that the caller has open, and through their names",
        In::Lent,
        Judge::Host,
        |field, _| vec![Order::Descriptors(field.lent())],
    ),
    Probe::within(
        52,
        'H',
        "type on the caller's terminal",
        In::Terminal,
        Judge::Worked,
        |_, _| vec![Order::Terminal],
    ),
    Probe::standing(
        104,
        'N',
        "find secrets in one's own environment and in readable files",
        Judge::Secret,
        |field, _| {
            let ground = field.ground();
            vec![search(
                field,
                true,
                false,
                &[
                    text(&ground.home()),
                    text(&ground.outside()),
                    "/run".to_owned(),
                ],
            )]
        },
    ),
    Probe::standing(109, 'O', "have a capability", Judge::Worked, |_, _| {
        let fields = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
        vec![Order::Status(
            fields.map(|field| wanted(field, "0000000000000000")).into(),
        )]
    }),
    Probe::standing(
        110,
        'O',
        "gain rights from programs",
        Judge::Worked,
        |_, _| vec![Order::Status(vec![wanted("NoNewPrivs", "1")])],
    ),
    Probe::standing(
        116,
        'O',
        "trace a process of the host",
        Judge::Worked,
        |field, _| vec![Order::Trace(field.process())],
    ),
    Probe::standing(
        117,
        'O',
        "end a process of the host",
        Judge::Host,
        |field, _| vec![Order::Kill(field.process())],
    ),
    Probe::standing(
        121,
        'O',
        "run without a filter of system calls",
        Judge::Worked,
        |_, _| vec![Order::Status(vec![wanted("Seccomp", "2")])],
    ),
    Probe::standing(
        160,
        'O',
        "have ids as the host has them, root's among them",
        Judge::Same,
        |_, _| {
            vec![Order::Read(strings(&[
                "/proc/self/uid_map",
                "/proc/self/gid_map",
            ]))]
        },
    ),
];

fn wanted(field: &str, value: &str) -> Wanted {
    Wanted {
        field: field.to_owned(),
        value: value.to_owned(),
    }
}

fn search(field: &Field, environment: bool, processes: bool, folders: &[String]) -> Order {
    Order::Search {
        prefix: format!("{}-", field.ground().marker()),
        environment,
        processes,
        folders: folders.to_vec(),
    }
}
