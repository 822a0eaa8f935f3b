//! Which system calls are refused, and why.

use std::collections::BTreeMap;

use super::program::{Action, Condition, Rule, Test};

/// The last call that exists inside: `futex_requeue` (Linux 6.7). Of those
/// after it, `statmount` and `listmount` (457, 458) tell the sources of mounts,
/// the `lsm_*` calls (459 to 461) and the file attribute calls (463 to 469) are
/// not needed, and of newer ones nothing is known. The numbers are the same on
/// every architecture since 424.
pub(super) const NEWEST_KNOWN: u32 = 456;

const PERMISSION: Action = Action::Errno(1); // EPERM
const NO_SUCH_CALL: Action = Action::Errno(38); // ENOSYS
const NO_SUCH_FAMILY: Action = Action::Errno(97); // EAFNOSUPPORT

/// Kernel, devices, time, tracing and accounting of the whole machine.
const MACHINE: &[libc::c_long] = &[
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// Mounts and namespaces: everything that could change what is seen.
const MOUNTS: &[libc::c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
];

/// Kernel interfaces that are large, seldom needed and often exploited.
const SURFACE: &[libc::c_long] = &[
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
];

/// Answered as if the kernel did not have them, so that programs use what
/// they used before.
const ABSENT: &[libc::c_long] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Its flags are behind a pointer, where no filter can look.
    libc::SYS_clone3,
];

/// CLONE_NEW{TIME,NS,CGROUP,UTS,IPC,USER,PID,NET} of clone(2).
const NEW_NAMESPACES: u32 = 0x7e02_0080;

pub(super) fn rules() -> BTreeMap<u32, Rule> {
    let mut rules = BTreeMap::new();
    let mut deny = |numbers: &[libc::c_long], action| {
        for number in numbers {
            if let Ok(number) = u32::try_from(*number) {
                rules.insert(number, Rule::Always(action));
            }
        }
    };
    deny(MACHINE, PERMISSION);
    deny(MOUNTS, PERMISSION);
    deny(SURFACE, PERMISSION);
    deny(ABSENT, NO_SUCH_CALL);
    for (number, rule) in tested() {
        if let Ok(number) = u32::try_from(number) {
            rules.insert(number, rule);
        }
    }
    rules
}

/// What making a sandbox takes: namespaces, mounts in them, a host name. The
/// agent's own namespaces belong to a user namespace that it has no rights in,
/// so that it can change none of them by these; only new ones.
const SANDBOXES: &[libc::c_long] = &[
    libc::SYS_clone,
    libc::SYS_unshare,
    libc::SYS_sethostname,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
];

/// Lets programs make sandboxes of their own.
pub(super) fn allow_sandboxes(rules: &mut BTreeMap<u32, Rule>) {
    rules.retain(|number, _| !SANDBOXES.contains(&(*number).into()));
}

/// What a part of Stockade that is sealed never does: start programs, reach
/// into other processes, and change what is said of files, which Landlock lets
/// everybody change.
const NOT_SEALED: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kill,
    libc::SYS_pidfd_send_signal,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchmodat2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
];

/// Takes away what a sealed part never does, and sockets with a path: Landlock
/// does not keep it from those of others.
pub(super) fn seal(rules: &mut BTreeMap<u32, Rule>) {
    for number in NOT_SEALED {
        if let Ok(number) = u32::try_from(*number) {
            rules.insert(number, Rule::Always(PERMISSION));
        }
    }
    let socket = u32::try_from(libc::SYS_socket);
    if let Some(Rule::When(clauses, _)) = socket.ok().and_then(|number| rules.get_mut(&number)) {
        clauses.retain(|(tests, _)| *tests != [is(0, UNIX)]);
    }
}

fn has(argument: u8, bits: u32) -> Test {
    Test {
        argument,
        mask: bits,
        condition: Condition::Differs(0),
    }
}

fn is(argument: u8, value: u32) -> Test {
    Test {
        argument,
        mask: u32::MAX,
        condition: Condition::Equals(value),
    }
}

/// The calls that depend on their arguments.
fn tested() -> [(libc::c_long, Rule); 6] {
    const TIOCSTI: u32 = 0x5412;
    const TIOCLINUX: u32 = 0x541c;
    let refuse = |tests: &[Test]| {
        Rule::When(
            tests.iter().map(|test| (vec![*test], PERMISSION)).collect(),
            Action::Allow,
        )
    };
    let personality = [0, u32::MAX].map(|persona| (vec![is(0, persona)], Action::Allow));
    [
        (libc::SYS_ioctl, refuse(&[is(1, TIOCSTI), is(1, TIOCLINUX)])),
        (libc::SYS_clone, refuse(&[has(0, NEW_NAMESPACES)])),
        (libc::SYS_unshare, refuse(&[has(0, NEW_NAMESPACES)])),
        (
            libc::SYS_personality,
            Rule::When(personality.into(), PERMISSION),
        ),
        (libc::SYS_socket, sockets()),
        (
            libc::SYS_socketpair,
            Rule::When(vec![(vec![is(0, UNIX)], Action::Allow)], NO_SUCH_FAMILY),
        ),
    ]
}

const UNIX: u32 = 1;
const IPV4: u32 = 2;
const IPV6: u32 = 10;
const NETLINK: u32 = 16;

/// Unix sockets, TCP, UDP, and the route protocol of netlink, which libc asks
/// for interfaces. No other family, and no other protocol: not MPTCP, SCTP,
/// DCCP, UDP-Lite, ICMP or raw IP.
fn sockets() -> Rule {
    const STREAM: u32 = 1;
    const DATAGRAM: u32 = 2;
    const TCP: u32 = 6;
    const UDP: u32 = 17;
    // The lower four bits are the type, above them are flags (socket(2)).
    let kind = |value| Test {
        argument: 1,
        mask: 0xf,
        condition: Condition::Equals(value),
    };
    let mut clauses = vec![
        (vec![is(0, UNIX)], Action::Allow),
        (vec![is(0, NETLINK), is(2, 0)], Action::Allow),
        (vec![is(0, NETLINK)], PERMISSION),
    ];
    for family in [IPV4, IPV6] {
        for (of_kind, protocol) in [(STREAM, TCP), (DATAGRAM, UDP)] {
            for protocol in [0, protocol] {
                clauses.push((
                    vec![is(0, family), kind(of_kind), is(2, protocol)],
                    Action::Allow,
                ));
            }
        }
        clauses.push((vec![is(0, family)], PERMISSION));
    }
    Rule::When(clauses, NO_SUCH_FAMILY)
}
