//! Starts a program by `posix_spawn`, which borrows this process's memory
//! instead of copying it. The standard library does so too, but not from a
//! static executable for a program that starts in another folder.

#![expect(unsafe_code, reason = "posix_spawn has no safe binding")]

use std::{
    ffi::{CStr, CString, c_char, c_int},
    mem::MaybeUninit,
    os::fd::{AsRawFd, OwnedFd},
};

use rustix::io::Errno;

/// What is started, and with what.
pub(crate) struct Program {
    /// Where it is.
    pub(crate) path: CString,
    /// Its name and its arguments.
    pub(crate) words: Vec<CString>,
    /// Its environment, `NAME=value` each.
    pub(crate) env: Vec<CString>,
    /// The folder in which it starts.
    pub(crate) cwd: CString,
    /// Whether it leads a process group of its own.
    pub(crate) group: bool,
}

/// A command's descriptors from number 0 on; of standard input, output and
/// error, one that is not there is `/dev/null`.
pub(crate) type Streams = Vec<OwnedFd>;

/// What runs a file that the kernel cannot: a script that names no program.
const SHELL: &CStr = c"/bin/sh";

impl Program {
    /// Starts it; every other descriptor of this process is closed on exec.
    /// Returns its process id.
    pub(crate) fn start(&self, streams: &[OwnedFd]) -> Result<i32, Errno> {
        let words = pointers(self.words.iter().map(CString::as_c_str));
        match self.spawn(&self.path, &words, streams) {
            // As execvp(3) does.
            Err(Errno::NOEXEC) => {
                let arguments = self.words.iter().skip(1).map(CString::as_c_str);
                let words = pointers([SHELL, &self.path].into_iter().chain(arguments));
                self.spawn(SHELL, &words, streams)
            }
            other => other,
        }
    }

    /// `words` end in a null pointer and outlive the call.
    fn spawn(&self, path: &CStr, words: &[*mut c_char], streams: &[OwnedFd]) -> Result<i32, Errno> {
        let mut actions = Actions::new()?;
        // In this order, so that no number is taken before what had it here
        // has got its own: this process holds 0, 1 and 2 itself.
        for number in 0..streams.len().max(3) {
            let stream = streams.get(number);
            actions.redirect(c_int::try_from(number).map_err(|_| Errno::INVAL)?, stream)?;
        }
        actions.enter(&self.cwd)?;
        let attributes = Attributes::new(self.group)?;
        let env = pointers(self.env.iter().map(CString::as_c_str));
        let mut process = 0;
        // SAFETY: every pointer is to a live value of the right type; both
        // arrays end in a null pointer, and the strings they point to are
        // static or owned by `self` (posix_spawn(3)). The actions' strings
        // live too.
        let result = unsafe {
            libc::posix_spawn(
                &raw mut process,
                path.as_ptr(),
                &raw const actions.0,
                &raw const attributes.0,
                words.as_ptr(),
                env.as_ptr(),
            )
        };
        check(result).map(|()| process)
    }
}

fn pointers<'a>(strings: impl Iterator<Item = &'a CStr>) -> Vec<*mut c_char> {
    let all = strings.map(|string| string.as_ptr().cast_mut());
    all.chain([std::ptr::null_mut()]).collect()
}

/// These calls return the error's number.
fn check(result: c_int) -> Result<(), Errno> {
    match result {
        0 => Ok(()),
        number => Err(Errno::from_raw_os_error(number)),
    }
}

struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new() -> Result<Self, Errno> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initializes the value that the pointer is to.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: it succeeded.
        Ok(Self(unsafe { actions.assume_init() }))
    }

    fn redirect(&mut self, number: c_int, stream: Option<&OwnedFd>) -> Result<(), Errno> {
        let actions = &raw mut self.0;
        // SAFETY: the value was initialized; the path is a static string.
        check(unsafe {
            match stream {
                Some(stream) => {
                    libc::posix_spawn_file_actions_adddup2(actions, stream.as_raw_fd(), number)
                }
                None => libc::posix_spawn_file_actions_addopen(
                    actions,
                    number,
                    c"/dev/null".as_ptr(),
                    libc::O_RDWR,
                    0,
                ),
            }
        })
    }

    fn enter(&mut self, folder: &CStr) -> Result<(), Errno> {
        let actions = &raw mut self.0;
        // SAFETY: the value was initialized; the call copies the string.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(actions, folder.as_ptr()) })
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: the value was initialized and is used no more.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    /// No signal blocked. None is ignored either: this process ignores none.
    fn new(group: bool) -> Result<Self, Errno> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the call initializes the value that the pointer is to.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: it succeeded.
        let mut attributes = Self(unsafe { attributes.assume_init() });
        let mut flags = libc::POSIX_SPAWN_SETSIGMASK;
        if group {
            flags |= libc::POSIX_SPAWN_SETPGROUP;
        }
        let flags = libc::c_short::try_from(flags).map_err(|_| Errno::INVAL)?;
        let mut signals = MaybeUninit::<libc::sigset_t>::uninit();
        let this = &raw mut attributes.0;
        // SAFETY: `this` was initialized; `sigemptyset` initializes the set
        // before it is read, and the attributes copy it.
        unsafe {
            libc::sigemptyset(signals.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(this, signals.as_ptr()))?;
            check(libc::posix_spawnattr_setpgroup(this, 0))?;
            check(libc::posix_spawnattr_setflags(this, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: the value was initialized and is used no more.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}
