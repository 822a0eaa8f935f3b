//! One call that waits for us, as the kernel passes it (seccomp_unotify(2)).

#![expect(unsafe_code, reason = "these ioctls have no safe binding")]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

/// A process that wants to execute a program, and waits.
pub(super) struct Notification(libc::seccomp_notif);

/// What the kernel fills. A kernel that knows more of a call may write more
/// than this build's structure holds.
#[repr(C)]
struct Room {
    notification: libc::seccomp_notif,
    reserve: [u64; 32],
}

impl Notification {
    /// The next one; `None` if the process has ended meanwhile. Called when the
    /// listener is readable, so it does not wait.
    pub(super) fn receive(listener: &OwnedFd) -> io::Result<Option<Self>> {
        loop {
            // SAFETY: all-zero is a valid value of this plain C structure, and
            // what the kernel wants to find in it.
            let mut room: Room = unsafe { std::mem::zeroed() };
            // SAFETY: the pointer is to a live, zeroed value that is at least
            // as large as the structure that this request fills.
            let received = unsafe {
                libc::ioctl(
                    listener.as_raw_fd(),
                    libc::SECCOMP_IOCTL_NOTIF_RECV,
                    &raw mut room,
                )
            };
            if received == 0 {
                return Ok(Some(Self(room.notification)));
            }
            match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
                error => return Err(error),
            }
        }
    }

    /// The thread that waits, as this process counts.
    pub(super) fn thread(&self) -> i32 {
        self.0.pid.cast_signed()
    }

    /// Where the program's path is in its memory.
    pub(super) fn program(&self) -> u64 {
        let [first, second, ..] = self.0.data.args;
        if self.is_by_descriptor() {
            second
        } else {
            first
        }
    }

    /// Where the pointers to the arguments are.
    pub(super) fn arguments(&self) -> u64 {
        let [_, second, third, ..] = self.0.data.args;
        if self.is_by_descriptor() {
            third
        } else {
            second
        }
    }

    /// Whether it is `execveat`, whose first argument is a folder.
    fn is_by_descriptor(&self) -> bool {
        i64::from(self.0.data.nr) == libc::SYS_execveat
    }

    /// Has the kernel go on with the call; false if the process has ended.
    pub(super) fn go_on(self, listener: &OwnedFd) -> io::Result<bool> {
        let response = libc::seccomp_notif_resp {
            id: self.0.id,
            val: 0,
            error: 0,
            flags: CONTINUE,
        };
        // SAFETY: the pointer is to a live value of the type that this request
        // reads.
        let sent = unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw const response,
            )
        };
        if sent == 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            error => Err(error),
        }
    }
}

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const CONTINUE: u32 = 1;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`.
const SYNC_WAKE_UP: u64 = 1;

/// Has the kernel (since Linux 6.6) run whoever listens on the processor of
/// whoever asks, which waits meanwhile. Older ones do without.
pub(super) fn wake_at_once(listener: &OwnedFd) {
    // SAFETY: the request takes a number, not a pointer.
    unsafe {
        libc::ioctl(
            listener.as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS,
            SYNC_WAKE_UP,
        )
    };
}
