//! The few calls for which no safe binding exists.

#![expect(
    unsafe_code,
    reason = "adopting a descriptor, signals, Landlock and wait4 have no safe binding"
)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::{DumpableBehavior, Signal},
};
use stockade_types::wire::ExitStatus;

/// The signal that stops a process and cannot be caught.
pub(crate) const STOP: i32 = libc::SIGSTOP;
/// The signal that ends a process at once.
pub(crate) const KILL: i32 = libc::SIGKILL;
/// The signal that lets a stopped process go on.
pub(crate) const CONTINUE: i32 = libc::SIGCONT;

/// A child that ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) cpu_micros: u64,
    pub(crate) peak_kib: u64,
}

/// Takes ownership of a descriptor that the parent left open.
pub(crate) fn take_descriptor(number: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: called once, first thing in `main`, for the one number that the
    // parent promises; nothing else in this process owns it, and the next
    // call fails if it is not open.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
    Ok(descriptor)
}

/// Makes this process unreadable and untraceable for others of its uid, and
/// ties its life to the parent's.
pub(crate) fn hide_from_siblings() -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Has every signal do what it does by default, here and in whatever is
/// started. What the caller ignored would else stay ignored inside, as would
/// `SIGPIPE`, which Rust's runtime ignores. By default the kernel drops what
/// is sent to process 1 (pid_namespaces(7)).
pub(crate) fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: no code of this process becomes a handler. It fails for the
        // signals that cannot be changed, which need no change.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Waits for any child to end and leaves it as it is.
pub(crate) fn wait_for_any() -> Result<i32, Errno> {
    // SAFETY: an all-zero `siginfo_t` is a valid value of that plain C struct.
    let mut seen: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOWAIT | libc::__WALL;
    // SAFETY: the pointer is to a live, writable value of the right type,
    // which the kernel fills before the call returns (waitid(2)).
    if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut seen, options) } < 0 {
        return Err(last_error());
    }
    // SAFETY: `waitid` succeeded, so the structure describes a child.
    Ok(unsafe { seen.si_pid() })
}

fn last_error() -> Errno {
    let error = std::io::Error::last_os_error();
    Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
}

/// Reaps a child that has ended; `None` if somebody else has done so.
pub(crate) fn reap(process: i32) -> Option<Ended> {
    let mut status = 0;
    // SAFETY: an all-zero `rusage` is a valid value of that plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let options = libc::WNOHANG | libc::__WALL;
    // SAFETY: both pointers are to live, writable values of the right types,
    // which the kernel fills before the call returns (wait4(2)).
    let reaped = unsafe { libc::wait4(process, &raw mut status, options, &raw mut usage) };
    if reaped != process {
        return None;
    }
    let status = if libc::WIFSIGNALED(status) {
        ExitStatus::Signal(libc::WTERMSIG(status))
    } else {
        ExitStatus::Code(libc::WEXITSTATUS(status))
    };
    let micros = |time: libc::timeval| {
        u64::try_from(
            time.tv_sec
                .saturating_mul(1_000_000)
                .saturating_add(time.tv_usec),
        )
        .unwrap_or(0)
    };
    Some(Ended {
        status,
        cpu_micros: micros(usage.ru_utime).saturating_add(micros(usage.ru_stime)),
        peak_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    })
}

/// `struct landlock_ruleset_attr` as of Landlock ABI 6 (Linux 6.12).
#[repr(C)]
struct Ruleset {
    handled_files: u64,
    handled_network: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    folder: i32,
}

/// `LANDLOCK_ACCESS_FS_REFER`: renames between folders.
const REFER: u64 = 1 << 13;
/// `LANDLOCK_SCOPE_SIGNAL`.
const SCOPE_SIGNAL: u64 = 1 << 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const RULE_PATH_BENEATH: libc::c_uint = 1;

/// Restricts this thread, and all that it starts, to signals among one
/// another. Nothing that it starts can ever leave that circle, so that one
/// signal to everybody ends them all, and nobody else.
///
/// Those that are `nested` may mount, and so keep to signals; the others'
/// restriction mentions files, as kernels want it to for renames.
///
/// Fails where the kernel has no such scope (before Linux 6.12).
pub(crate) fn confine_signals(nested: bool) -> Result<(), Errno> {
    let rules = Ruleset {
        // Rules that do not mention renames forbid them; a rule allows them.
        handled_files: if nested { 0 } else { REFER },
        handled_network: 0,
        scoped: SCOPE_SIGNAL,
    };
    // SAFETY: the kernel reads `size_of` bytes of a live value and returns a
    // new descriptor (landlock_create_ruleset(2)).
    let ruleset = check(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const rules,
            size_of::<Ruleset>(),
            0,
        )
    })?;
    let ruleset = i32::try_from(ruleset).map_err(|_| Errno::OVERFLOW)?;
    // SAFETY: the descriptor is new, so nobody else owns it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset) };
    if !nested {
        allow_renames(&ruleset)?;
    }
    // SAFETY: plain numbers; only the calling thread is restricted
    // (landlock_restrict_self(2)).
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) })?;
    Ok(())
}

/// A rule for renames anywhere.
fn allow_renames(ruleset: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty())?;
    let rule = PathBeneath {
        allowed: REFER,
        folder: root.as_raw_fd(),
    };
    // SAFETY: the kernel reads one live value of the type that the number of
    // the rule stands for (landlock_add_rule(2)).
    check(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0,
        )
    })
    .map(|_| ())
}

/// Instructions of classic BPF (`linux/bpf_common.h`).
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
/// How many the filter of [`notify_execs`] has.
const STEPS: u16 = 5;

/// Has every program that starts from here on wait until whoever holds the
/// descriptor that this returns has seen it (seccomp_unotify(2)). The filter
/// that forbids calls also holds; foreign architectures end there.
///
/// Fails if somebody listens already, as at most one may.
pub(crate) fn notify_execs() -> Result<OwnedFd, Errno> {
    let number = |call: libc::c_long| u32::try_from(call).map_err(|_| Errno::NOSYS);
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut steps: [_; STEPS as usize] = [
        // The number of the call is first in `struct seccomp_data`.
        step(LOAD, 0, 0, 0),
        step(JUMP_EQUAL, number(libc::SYS_execve)?, 2, 0),
        step(JUMP_EQUAL, number(libc::SYS_execveat)?, 1, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
        step(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: STEPS,
        filter: steps.as_mut_ptr(),
    };
    // Without the second, a signal would have the same call seen again.
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: the program points to live instructions and says how many there
    // are; the kernel copies them (seccomp(2)).
    let listener = check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    })?;
    let listener = i32::try_from(listener).map_err(|_| Errno::OVERFLOW)?;
    // SAFETY: the descriptor is new, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(listener) })
}

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 {
        Err(last_error())
    } else {
        Ok(result)
    }
}

/// Sends `signal` to every process of this namespace that this thread may
/// signal, but to this process.
pub(crate) fn signal_everyone(signal: i32) {
    // SAFETY: kill(2) touches no memory; from process 1 of a pid namespace,
    // -1 reaches that namespace's processes only and not the caller.
    unsafe { libc::kill(-1, signal) };
}

/// Sends `signal` to the process group that `leader` leads.
pub(crate) fn signal_group(leader: i32, signal: i32) {
    if leader > 1 {
        // SAFETY: kill(2) touches no memory; the number is a child of ours
        // that has not been reaped, so it names no other group.
        unsafe { libc::kill(-leader, signal) };
    }
}
