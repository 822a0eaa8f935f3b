//! The system calls for which no safe binding exists, one function each.

#![expect(
    unsafe_code,
    reason = "system calls without a safe binding; every block says why it is sound"
)]

use std::{
    ffi::CStr,
    io,
    mem::MaybeUninit,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use rustix::{fd::RawFd, process::Pid, thread::UnshareFlags};

use crate::seccomp::Instruction;

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// How many bytes a page of memory has.
///
/// rustix would look for it in `/proc/self/auxv` before Linux 6.4, which a process
/// that is not dumpable must not open (proc(5)).
pub(crate) fn page_size() -> usize {
    // SAFETY: it reads a number that libc has known since the start (sysconf(3)).
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// Installs a seccomp filter for this process; needs `no_new_privs`.
pub(crate) fn set_seccomp_filter(instructions: &[Instruction]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: instructions.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `Instruction` has the layout of `sock_filter`; the kernel copies
    // `len` of them before the call returns and writes nothing (seccomp(2)).
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    check(result).map(|_| ())
}

/// Attributes to change on a mount.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MountAttributes<'a> {
    /// `MOUNT_ATTR_*` to set.
    pub(crate) set: u64,
    /// Whether mounts below change too.
    pub(crate) recursive: bool,
    /// Map ids as this user namespace does.
    pub(crate) map: Option<BorrowedFd<'a>>,
}

/// `mount_setattr(2)` on the mount that `mount` names.
pub(crate) fn set_mount_attributes(
    mount: impl AsFd,
    attributes: MountAttributes<'_>,
) -> io::Result<()> {
    let map = attributes.map.map(|descriptor| descriptor.as_raw_fd());
    let argument = libc::mount_attr {
        attr_set: attributes.set
            | if map.is_some() {
                libc::MOUNT_ATTR_IDMAP
            } else {
                0
            },
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(map.unwrap_or(0)).unwrap_or_default(),
    };
    let recursive = if attributes.recursive {
        libc::AT_RECURSIVE
    } else {
        0
    };
    // SAFETY: the path is a terminated empty string and the struct outlives
    // the call; the kernel reads `size_of` bytes of it (mount_setattr(2)).
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const argument,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result).map(|_| ())
}

/// In which process [`fork`] returned.
pub(crate) enum Fork {
    /// The new one.
    Child,
    /// The old one, with the new one's id.
    Parent(Pid),
}

/// Starts a copy of this process. Refuses in a process with more than one
/// thread, where the child could inherit a lock that nobody will ever open.
/// By clone(2), not clone3(2), which filters from outside, such as those of
/// containers and of Stockade, refuse because they cannot look at its flags.
pub(crate) fn fork() -> io::Result<Fork> {
    refuse_threads()?;
    let flags = libc::c_long::from(libc::SIGCHLD);
    let none = std::ptr::null::<libc::c_void>();
    // SAFETY: memory is copied, not shared, and there is one thread, so the
    // child's is consistent. It keeps the stack, and nothing is written.
    let result = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) };
    let id = check(result)?;
    match i32::try_from(id).ok().and_then(Pid::from_raw) {
        Some(id) => Ok(Fork::Parent(id)),
        None => Ok(Fork::Child),
    }
}

/// Runs `child` in a new process in new `namespaces` that shares this one's
/// memory, while this one waits until it executes a program or ends (vfork(2)).
/// No page is copied, which is most of what [`fork`] costs.
///
/// What `child` has allocated when it executes a program is never freed.
pub(crate) fn fork_sharing_memory(namespaces: UnshareFlags, child: &dyn Fn()) -> io::Result<Pid> {
    extern "C" fn begin(child: *mut libc::c_void) -> libc::c_int {
        // SAFETY: what `clone` was given below, alive while the caller waits.
        let child = unsafe { *child.cast::<&dyn Fn()>() };
        child();
        1
    }
    refuse_threads()?;
    let stack = Stack::new()?;
    let flags = libc::c_int::try_from(namespaces.bits())
        .map_err(|_| io::ErrorKind::InvalidInput)?
        | libc::CLONE_VM
        | libc::CLONE_VFORK
        | libc::SIGCHLD;
    // Of the caller's values the child gets references only, so that it drops
    // none; descriptors are its own copies.
    // SAFETY: it has its own stack, and the caller, which has one thread, does
    // not run before it is gone from this memory: they are never in it at once.
    // A panic does not pass the `extern "C"` frame.
    let result = unsafe {
        libc::clone(
            begin,
            stack.top(),
            flags,
            (&raw const child).cast_mut().cast(),
        )
    };
    let id = check(result.into())?;
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    id.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn refuse_threads() -> io::Result<()> {
    match std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count) {
        1 => Ok(()),
        _ => Err(io::Error::other("more than one thread")),
    }
}

/// The stack of a process that shares memory, above a page that nobody may
/// touch.
struct Stack(*mut libc::c_void);

impl Stack {
    const GUARD: usize = 64 << 10;
    const SIZE: usize = 1 << 20;

    fn new() -> io::Result<Self> {
        // SAFETY: a new private mapping, at a place that the kernel chooses;
        // its lowest part is then closed, and nothing refers to either yet.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let base = libc::mmap(std::ptr::null_mut(), Self::SIZE, access, flags, -1, 0);
            if base == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            let stack = Self(base);
            check(libc::mprotect(base, Self::GUARD, libc::PROT_NONE).into())?;
            Ok(stack)
        }
    }

    /// Its end: stacks grow downwards.
    fn top(&self) -> *mut libc::c_void {
        self.0.wrapping_byte_add(Self::SIZE)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this size; whoever ran on it is gone.
        unsafe { libc::munmap(self.0, Self::SIZE) };
    }
}

/// Has the kernel end this process after so many seconds (alarm(2)), even if
/// whoever started it ignores the signal.
pub(crate) fn end_after(seconds: u32) {
    // SAFETY: plain numbers; the default action runs no code of this process.
    unsafe {
        libc::signal(libc::SIGALRM, libc::SIG_DFL);
        libc::alarm(seconds);
    }
}

/// Keeps children that have ended until somebody asks how. A caller that
/// ignores `SIGCHLD` hands that on, and the kernel then forgets them.
pub fn keep_ended_children() {
    // SAFETY: a plain number; no code of this process becomes a handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Ends this process at once, running nothing else.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// Becomes the executable in `program`, with at most three `arguments` and no
/// environment. Returns only on failure. Allocates nothing, which a process
/// that shares memory would leave behind.
pub(crate) fn execute(program: impl AsFd, given: &[&CStr]) -> io::Error {
    let mut arguments = [std::ptr::null(); 4];
    if given.len() >= arguments.len() {
        return io::ErrorKind::InvalidInput.into();
    }
    for (place, argument) in arguments.iter_mut().zip(given) {
        *place = argument.as_ptr();
    }
    let environment = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both arrays end in a null pointer and live across the call, as
    // do the strings they point to (execveat(2)).
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_fd().as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// Makes `descriptor` the descriptor `number`, open across exec, and closes
/// every other from `number + 1` up.
pub(crate) fn keep_only(descriptor: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    // SAFETY: plain numbers; `dup3` with no flags leaves the copy open across
    // exec. The caller owns no descriptor at `number` (it is about to exec).
    unsafe {
        if descriptor.as_raw_fd() == number {
            check(libc::fcntl(number, libc::F_SETFD, 0).into())?;
        } else {
            check(libc::dup3(descriptor.as_raw_fd(), number, 0).into())?;
        }
    }
    close_on_exec_from(number + 1)
}

/// Keeps every descriptor that this process was started with, but for the
/// three standard ones, from the programs that it starts. A caller's open
/// file, terminal or socket would otherwise stay open in processes that
/// outlive the caller.
pub fn keep_descriptors_from_children() -> io::Result<()> {
    close_on_exec_from(libc::STDERR_FILENO + 1)
}

fn close_on_exec_from(number: RawFd) -> io::Result<()> {
    let first = libc::c_uint::try_from(number).unwrap_or(libc::c_uint::MAX);
    // SAFETY: marks descriptors close-on-exec and touches no memory; those
    // that are still used until then stay open.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    check(result).map(|_| ())
}

/// `unshare(2)`.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: unsharing descriptors is what could break other threads'
    // assumptions; no caller asks for it, and callers have one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Where a redirected connection wanted to go: `SO_ORIGINAL_DST` of the
/// connection tracker, in both its IPv4 and its IPv6 form.
pub(crate) fn original_destination(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    const SO_ORIGINAL_DST: libc::c_int = 80;
    fn option<T>(socket: BorrowedFd<'_>, level: libc::c_int) -> io::Result<T> {
        let mut value = MaybeUninit::<T>::zeroed();
        let size =
            libc::socklen_t::try_from(size_of::<T>()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut length = size;
        // SAFETY: `value` has room for `length` bytes, which is what the
        // kernel writes at most (getsockopt(2)).
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                level,
                SO_ORIGINAL_DST,
                value.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        check(result.into())?;
        if length != size {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: all-zero is a valid value of the plain C structs this is
        // used for, and the kernel filled the whole.
        Ok(unsafe { value.assume_init() })
    }
    match option::<libc::sockaddr_in>(socket, libc::IPPROTO_IP) {
        Ok(address) if i32::from(address.sin_family) == libc::AF_INET => Ok(SocketAddr::from((
            Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)),
            u16::from_be(address.sin_port),
        ))),
        _ => option::<libc::sockaddr_in6>(socket, libc::IPPROTO_IPV6).map(|address| {
            SocketAddr::from((
                Ipv6Addr::from(address.sin6_addr.s6_addr),
                u16::from_be(address.sin6_port),
            ))
        }),
    }
}

/// The version of Landlock that the kernel offers.
pub(crate) fn landlock_abi() -> io::Result<u32> {
    const VERSION: libc::c_uint = 1;
    // SAFETY: with a null attribute of size 0 the call only returns a number
    // (landlock_create_ruleset(2)).
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0,
            VERSION,
        )
    };
    check(result).map(|version| u32::try_from(version).unwrap_or(0))
}

/// Fails where the kernel takes no filter that refuses calls.
pub(crate) fn has_seccomp_filters() -> io::Result<()> {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one live integer (seccomp(2)).
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    check(result).map(|_| ())
}

/// What [`confine_command`] does between fork and exec; all of it prepared
/// before, so that the child only makes system calls.
#[derive(Debug)]
pub(crate) struct Confinement {
    /// Namespaces to leave behind, as `unshare(2)` takes them.
    pub(crate) namespaces: libc::c_int,
    /// The process's only writes to `/proc/self`: file and content.
    pub(crate) maps: Vec<(&'static CStr, Vec<u8>)>,
    /// `RLIMIT_*` and its value.
    pub(crate) limits: Vec<(libc::__rlimit_resource_t, u64)>,
    /// A Landlock rule set.
    pub(crate) landlock: OwnedFd,
    /// A seccomp filter.
    pub(crate) filter: Vec<Instruction>,
}

/// Makes `command` confine itself before it executes.
pub(crate) fn confine_command(command: &mut Command, confinement: Confinement) {
    let confine = move || -> io::Result<()> {
        let number = |result: libc::c_int| check(result.into()).map(|_| ());
        // SAFETY: each call takes numbers, or pointers to data owned by this
        // closure that the kernel only reads during the call. None allocates
        // or takes a lock, as the child of a process with threads requires
        // (signal-safety(7)).
        unsafe {
            for (resource, value) in &confinement.limits {
                let limit = libc::rlimit {
                    rlim_cur: *value,
                    rlim_max: *value,
                };
                number(libc::setrlimit(*resource, &raw const limit))?;
            }
            number(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            number(libc::prctl(libc::PR_SET_DUMPABLE, 1))?;
            number(libc::unshare(confinement.namespaces))?;
            for (file, content) in &confinement.maps {
                let descriptor = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                number(descriptor)?;
                let written = libc::write(descriptor, content.as_ptr().cast(), content.len());
                libc::close(descriptor);
                check(written.try_into().unwrap_or(-1))?;
            }
            number(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            check(libc::syscall(
                libc::SYS_landlock_restrict_self,
                confinement.landlock.as_raw_fd(),
                0,
            ))?;
        }
        set_seccomp_filter(&confinement.filter)
    };
    // SAFETY: the closure keeps to what may be done between fork and exec.
    unsafe {
        command.pre_exec(confine);
    }
}
