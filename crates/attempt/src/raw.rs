//! The calls for which no safe binding exists.

#![expect(
    unsafe_code,
    reason = "system calls by number, and processes to make them in, have no safe binding"
)]

use std::{
    os::fd::{AsRawFd, OwnedFd},
    process::abort,
};

/// How a process of [`apart`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this code.
    Code(u8),
    /// By this signal.
    Signal(i32),
}

/// Runs `work` in a process of its own, which ends with what it returns.
pub(crate) fn apart(work: impl FnOnce() -> u8) -> std::io::Result<Ended> {
    // SAFETY: this executable has one thread whenever this is called, so the
    // child may do whatever the parent may (fork(2)).
    let child = unsafe { libc::fork() };
    match child {
        -1 => Err(std::io::Error::last_os_error()),
        0 => {
            let code = work();
            // SAFETY: ends this process without running anything else of it.
            unsafe { libc::_exit(i32::from(code)) }
        }
        child => wait(child),
    }
}

fn wait(child: i32) -> std::io::Result<Ended> {
    let mut status = 0;
    // SAFETY: the pointer is to a live, writable integer (waitpid(2)).
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    if libc::WIFSIGNALED(status) {
        Ok(Ended::Signal(libc::WTERMSIG(status)))
    } else {
        Ok(Ended::Code(
            u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX),
        ))
    }
}

/// Makes a system call in a process of its own, which then ends with 0, or
/// with the error number.
pub(crate) fn call_apart(number: i64, with: [i64; 6]) -> std::io::Result<Ended> {
    apart(|| {
        // SAFETY: whatever the call does to the memory of this process, the
        // next thing that the process does is to end.
        let returned =
            unsafe { libc::syscall(number, with[0], with[1], with[2], with[3], with[4], with[5]) };
        if returned >= 0 {
            return 0;
        }
        error_code(&std::io::Error::last_os_error())
    })
}

/// Makes a system call without arguments as programs of 32 bits do.
#[cfg(target_arch = "x86_64")]
pub(crate) fn call_of_32_bits(number: i32) -> i32 {
    let returned;
    // SAFETY: the interrupt changes no register but the one that is returned
    // and the four that are named, and a call without arguments no memory.
    unsafe {
        core::arch::asm!(
            "int 0x80",
            inlateout("eax") number => returned,
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    returned
}

/// An error as the code of a process; never 0.
pub(crate) fn error_code(error: &std::io::Error) -> u8 {
    error
        .raw_os_error()
        .and_then(|number| u8::try_from(number).ok())
        .filter(|number| *number != 0)
        .unwrap_or(u8::MAX)
}

/// Enters new namespaces, as `flags` of unshare(2) say.
pub(crate) fn unshare(flags: i32) -> std::io::Result<()> {
    // SAFETY: unshare(2) with namespace flags touches no memory, and this
    // executable has one thread.
    match unsafe { libc::unshare(flags) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Leaves the caller and goes on in a child with a session of its own; the
/// caller gets `false`.
pub(crate) fn leave() -> std::io::Result<bool> {
    // SAFETY: one thread; see `apart`.
    match unsafe { libc::fork() } {
        -1 => Err(std::io::Error::last_os_error()),
        0 => {
            // SAFETY: both touch no memory; the first cannot fail in a child
            // that leads no group. One more fork gives up the session's lead.
            unsafe {
                libc::setsid();
                match libc::fork() {
                    0 => Ok(true),
                    -1 => abort(),
                    _ => libc::_exit(0),
                }
            }
        }
        child => wait(child).map(|_| false),
    }
}

/// Reads `buffer.len()` bytes at `address` of another process's memory, or of
/// this one's if it is that process's own.
pub(crate) fn read_memory(process: i32, address: usize, buffer: &mut [u8]) -> std::io::Result<()> {
    let local = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address),
        iov_len: buffer.len(),
    };
    // SAFETY: `local` describes the buffer, which the caller lends for
    // writing; `remote` is looked at by the kernel, in the other process.
    let read =
        unsafe { libc::process_vm_readv(process, &raw const local, 1, &raw const remote, 1, 0) };
    if read < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// Sends bytes to the socket that is this descriptor, which nobody handed over.
pub(crate) fn send(descriptor: i32, bytes: &[u8]) -> std::io::Result<()> {
    // SAFETY: the pointer and the length are those of a live slice, which is
    // only read; that the descriptor may be none is answered by an error.
    let sent = unsafe {
        libc::send(
            descriptor,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    if sent < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}

/// Becomes the tracer of a process without stopping it, and lets it go.
pub(crate) fn seize(process: i32) -> std::io::Result<()> {
    // SAFETY: PTRACE_SEIZE takes no memory of ours; what was seized is let go
    // when this process, which is a child made for it, ends.
    match unsafe { libc::ptrace(libc::PTRACE_SEIZE, process, 0, 0) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Types `byte` on a terminal, with the number of the request as it is or with
/// bits that the kernel ignores.
pub(crate) fn type_on_terminal(
    terminal: &OwnedFd,
    byte: u8,
    high_bits: u64,
) -> std::io::Result<()> {
    let request = high_bits | libc::TIOCSTI;
    // SAFETY: the request reads one byte at the pointer, which is live.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), request, &raw const byte) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
