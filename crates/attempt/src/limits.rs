//! Attempts to use more than there is a cap for, and to type for a person.

use std::{
    fs::File,
    io,
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    fd::OwnedFd,
    fs::{FallocateFlags, fallocate},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use stockade_attempt::End;

use crate::{
    raw::{apart, type_on_terminal},
    report::Report,
};

/// The smallest stack of a thread, in bytes.
const STACK: usize = 16 << 10;

pub(crate) fn threads(count: u32, report: &Report) {
    let hold = Arc::new(Mutex::new(()));
    let held = hold.lock();
    let mut threads = Vec::new();
    let mut end = End::Worked;
    for _ in 0..count {
        let hold = Arc::clone(&hold);
        let started = thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || drop(hold.lock()));
        match started {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                end = End::Refused(error.raw_os_error().unwrap_or(libc::EAGAIN));
                break;
            }
        }
    }
    drop(held);
    for thread in threads {
        let _ = thread.join();
    }
    report.tell(format!("have {count} threads"), end);
}

/// Uses memory in a process of its own, of which the kernel may make an end.
pub(crate) fn memory(bytes: u64, report: &Report) {
    const PAGE: usize = 4096;
    report.tell("begin", End::Saw(String::new()));
    let ended = apart(|| {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut memory = Vec::<u8>::new();
        if memory.try_reserve_exact(bytes).is_err() {
            return u8::try_from(libc::ENOMEM).unwrap_or(u8::MAX);
        }
        memory.resize(bytes, 1);
        let pages = memory.chunks(PAGE).filter(|page| page[0] == 1).count();
        u8::from(pages == 0)
    });
    report.ended(format!("use {} MiB of memory", bytes >> 20), ended);
}

pub(crate) fn files(count: u32, report: &Report) {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    let mut open = Vec::new();
    let mut result = Ok(());
    for _ in 0..count {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    drop(open);
    report.tried(format!("open {count} files"), result);
}

/// Asks for room at once: where there is a cap the answer is no, and where
/// there is none the room is given back.
pub(crate) fn fill(folder: &str, bytes: u64, report: &Report) {
    let path = format!("{folder}/fill-{}", std::process::id());
    let filled = File::create_new(&path).and_then(|file| {
        let is_memory = rustix::fs::fstatfs(&file)?.f_type == libc::TMPFS_MAGIC;
        let room = rustix::fs::fstatvfs(&file)?;
        if is_memory && room.f_blocks.saturating_mul(room.f_frsize) >= bytes {
            // It would be taken from the machine's memory: its size says it.
            return Ok(());
        }
        fallocate(&file, FallocateFlags::empty(), 0, bytes).map_err(io::Error::from)
    });
    let _ = std::fs::remove_file(&path);
    report.tried(format!("take {} MiB in {folder}", bytes >> 20), filled);
}

/// Types on standard input and on the controlling terminal: a sandbox may have
/// taken either away.
pub(crate) fn terminal(report: &Report) {
    let own = rustix::io::dup(rustix::stdio::stdin()).map_err(io::Error::from);
    let controlling = File::open("/dev/tty").map(OwnedFd::from);
    for (name, terminal) in [
        ("the terminal of standard input", own),
        ("the controlling terminal", controlling),
    ] {
        for (how, high_bits) in [("", 0), (", with high bits", 1 << 32)] {
            let typed = match &terminal {
                Ok(terminal) => type_on_terminal(terminal, b'\n', high_bits),
                Err(error) => Err(again(error)),
            };
            report.tried(format!("type on {name}{how}"), typed);
        }
    }
}

fn again(error: &io::Error) -> io::Error {
    let number = error.raw_os_error().unwrap_or(libc::ENOTTY);
    io::Error::from_raw_os_error(number)
}
