//! Class O: system calls that would change the walls or the machine.

use libc::c_long;
use stockade_attempt::{Call, Order};

use crate::probe::{Judge, Probe};

/// In place of a descriptor.
const NONE: i64 = -1;

/// A call: name, number, arguments. None does harm where it is allowed: what
/// they point to is nothing, and numbers are invalid.
type Row = (&'static str, c_long, &'static [i64]);

/// Mounts.
const MOUNTS: &[Row] = &[
    ("mount", libc::SYS_mount, &[0, 0, 0, 0, 0]),
    ("umount2", libc::SYS_umount2, &[0, 0]),
    ("pivot_root", libc::SYS_pivot_root, &[0, 0]),
    ("chroot", libc::SYS_chroot, &[0]),
    ("open_tree", libc::SYS_open_tree, &[NONE, 0, 0]),
    ("move_mount", libc::SYS_move_mount, &[NONE, 0, NONE, 0, 0]),
    ("fsopen", libc::SYS_fsopen, &[0, 0]),
    ("fsconfig", libc::SYS_fsconfig, &[NONE, 0, 0, 0, 0]),
    ("fsmount", libc::SYS_fsmount, &[NONE, 0, 0]),
    ("fspick", libc::SYS_fspick, &[NONE, 0, 0]),
    (
        "mount_setattr",
        libc::SYS_mount_setattr,
        &[NONE, 0, 0, 0, 0],
    ),
    ("open_tree_attr", 467, &[NONE, 0, 0, 0, 0]),
    ("statmount", 457, &[0, 0, 0, 0]),
    ("listmount", 458, &[0, 0, 0, 0]),
    (
        "open_by_handle_at",
        libc::SYS_open_by_handle_at,
        &[NONE, 0, 0],
    ),
];

/// Namespaces; each in a process of its own, so that nothing is left of them.
const NAMESPACES: &[Row] = &[
    ("setns", libc::SYS_setns, &[NONE, 0]),
    ("unshare user", libc::SYS_unshare, &[0x1000_0000]),
    ("unshare user and mount", libc::SYS_unshare, &[0x1002_0000]),
    (
        "unshare user and network",
        libc::SYS_unshare,
        &[0x5000_0000],
    ),
    (
        "unshare user, by high bits",
        libc::SYS_unshare,
        &[0x1_1000_0000],
    ),
    ("clone user", libc::SYS_clone, &[0x1000_0011, 0, 0, 0, 0]),
    ("clone3", libc::SYS_clone3, &[0, 0]),
];

/// The kernel itself, and parts of it that are often exploited.
const MACHINE: &[Row] = &[
    ("bpf", libc::SYS_bpf, &[99, 0, 0]),
    (
        "perf_event_open",
        libc::SYS_perf_event_open,
        &[0, 0, NONE, NONE, 0],
    ),
    ("userfaultfd", libc::SYS_userfaultfd, &[1]),
    ("add_key", libc::SYS_add_key, &[0, 0, 0, 0, 0]),
    ("request_key", libc::SYS_request_key, &[0, 0, 0, 0]),
    ("keyctl", libc::SYS_keyctl, &[0, -3, 0]),
    ("kcmp", libc::SYS_kcmp, &[1, 1, 99, 0, 0]),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, &[NONE, 0, 0]),
    ("init_module", libc::SYS_init_module, &[0, 0, 0]),
    ("finit_module", libc::SYS_finit_module, &[NONE, 0, 99]),
    ("delete_module", libc::SYS_delete_module, &[0, 0]),
    ("kexec_load", libc::SYS_kexec_load, &[0, 99, 0, 99]),
    ("reboot", libc::SYS_reboot, &[0, 0, 0, 0]),
    ("swapon", libc::SYS_swapon, &[0, 0]),
    ("swapoff", libc::SYS_swapoff, &[0]),
    ("quotactl", libc::SYS_quotactl, &[NONE, 0, 0, 0]),
    ("quotactl_fd", libc::SYS_quotactl_fd, &[NONE, 0, 0, 0]),
    (
        "personality without random addresses",
        libc::SYS_personality,
        &[0x0004_0000],
    ),
    ("syslog", libc::SYS_syslog, &[10, 0, 0]),
    ("acct", libc::SYS_acct, &[1]),
];

const CLOCKS_AND_NAMES: &[Row] = &[
    ("settimeofday", libc::SYS_settimeofday, &[1, 0]),
    ("clock_settime", libc::SYS_clock_settime, &[99, 0]),
    ("clock_adjtime", libc::SYS_clock_adjtime, &[99, 0]),
    ("sethostname", libc::SYS_sethostname, &[1, NONE]),
    ("setdomainname", libc::SYS_setdomainname, &[1, NONE]),
];

const URING: &[Row] = &[
    ("io_uring_setup", libc::SYS_io_uring_setup, &[0, 0]),
    (
        "io_uring_enter",
        libc::SYS_io_uring_enter,
        &[NONE, 0, 0, 0, 0, 0],
    ),
    (
        "io_uring_register",
        libc::SYS_io_uring_register,
        &[NONE, 0, 0, 0],
    ),
];

/// Calls as programs for another architecture make them on this one.
#[cfg(target_arch = "x86_64")]
const FOREIGN: &[Row] = &[
    ("getpid of x32", 0x4000_0027, &[]),
    ("mount of x32", 0x4000_00a5, &[0, 0, 0, 0, 0]),
];
#[cfg(not(target_arch = "x86_64"))]
const FOREIGN: &[Row] = &[];

pub(super) const PROBES: &[Probe] = &[
    Probe::standing(
        72,
        'J',
        "make a ring of system calls",
        Judge::Called,
        |_, _| of(URING),
    ),
    Probe::standing(
        112,
        'O',
        "change mounts and the root",
        Judge::Called,
        |_, _| of(MOUNTS),
    ),
    Probe::standing(
        113,
        'O',
        "enter or make namespaces",
        Judge::Called,
        |_, _| of(NAMESPACES),
    ),
    Probe::standing(
        115,
        'O',
        "reach parts of the kernel that no program needs",
        Judge::Called,
        |_, _| of(MACHINE),
    ),
    Probe::standing(
        213,
        'O',
        "change clocks and names of the machine",
        Judge::Called,
        |_, _| of(CLOCKS_AND_NAMES),
    ),
    Probe::standing(
        214,
        'O',
        "make calls of another architecture",
        Judge::Called,
        |_, _| [vec![Order::Foreign], of(FOREIGN)].concat(),
    ),
    Probe::standing(
        215,
        'O',
        "mount other file systems in namespaces of one's own",
        Judge::Worked,
        |_, _| vec![Order::Mount(["tmpfs", "mqueue"].map(str::to_owned).into())],
    ),
];

fn of(rows: &[Row]) -> Vec<Order> {
    let call = |(name, number, arguments): &Row| Call {
        name: (*name).to_owned(),
        number: *number,
        arguments: arguments.to_vec(),
    };
    vec![Order::Calls(rows.iter().map(call).collect())]
}
