//! Process 1 of a sandbox: starts commands, reaps, and ends with its socket.
//!
//! It runs with no privilege, no network code and no parser but that of the
//! supervisor's own requests. It is executed from a sealed memory file, so
//! nothing inside can change it, and it holds one descriptor: the socket to
//! the supervisor. When that socket closes it exits, and the kernel ends every
//! process of its namespace with it.

mod kernel;
mod session;

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    process::{Command, ExitCode, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::Thread,
};

use rustix::{
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags},
};
use stockade_types::wire::{Exec, REQUEST_MAX, Reply, Request};

/// The descriptor at which the socket to the supervisor is handed over.
const SOCKET: i32 = 3;

/// The execs that run, by the process id of their first process.
#[derive(Default)]
struct Running {
    id_of: HashMap<i32, u32>,
}

struct Init {
    socket: OwnedFd,
    running: Mutex<Running>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if arguments.next().as_deref() == Some(OsStr::new(session::NAME)) {
        return session::run(arguments);
    }
    match init() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn init() -> Result<(), Errno> {
    let init = Arc::new(Init {
        socket: kernel::take_descriptor(SOCKET)?,
        running: Mutex::default(),
    });
    kernel::hide_from_siblings()?;
    let reaper = {
        let init = Arc::clone(&init);
        std::thread::spawn(move || init.reap())
    };
    init.reply(Reply::Ready)?;
    init.serve(reaper.thread())
}

impl Init {
    /// Takes requests until the supervisor is gone.
    fn serve(&self, reaper: &Thread) -> Result<(), Errno> {
        let mut bytes = vec![0; REQUEST_MAX];
        while let Some((length, descriptors)) = self.receive(&mut bytes)? {
            let Ok(request) = Request::decode(bytes.get(..length).unwrap_or_default()) else {
                return Err(Errno::PROTO);
            };
            match request {
                Request::Exec(exec) => self.start(&exec, descriptors, reaper)?,
                Request::Signal { id, signal } => self.signal(id, signal),
                Request::Freeze => kernel::signal_everyone(kernel::STOP),
                Request::Thaw => kernel::signal_everyone(kernel::CONTINUE),
            }
        }
        Ok(())
    }

    /// One request with its descriptors; `None` when the socket closed.
    fn receive(&self, bytes: &mut [u8]) -> Result<Option<(usize, Vec<OwnedFd>)>, Errno> {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let message = loop {
            let mut slices = [std::io::IoSliceMut::new(bytes)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            match rustix::net::recvmsg(self.socket.as_fd(), &mut slices, &mut ancillary, flags) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        let descriptors = ancillary
            .drain()
            .filter_map(|part| match part {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        Ok((message.bytes > 0).then_some((message.bytes, descriptors)))
    }

    /// Starts a command. Its descriptors are exactly three, or it is refused.
    fn start(&self, exec: &Exec, descriptors: Vec<OwnedFd>, reaper: &Thread) -> Result<(), Errno> {
        let Ok([stdin, stdout, stderr]) = <[OwnedFd; 3]>::try_from(descriptors) else {
            return self.reply(Reply::Failed {
                id: exec.id,
                errno: Errno::BADF.raw_os_error(),
            });
        };
        let mut command = command(exec);
        command
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(stderr));
        // The lock is held until the exec is known, or the reaper could meet
        // a child that has ended before it has a name.
        let mut running = self.running();
        match command.spawn() {
            Ok(child) => {
                let process = i32::try_from(child.id()).map_err(|_| Errno::OVERFLOW)?;
                running.id_of.insert(process, exec.id);
                self.reply(Reply::Started { id: exec.id })?;
                reaper.unpark();
                Ok(())
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error());
                self.reply(Reply::Failed { id: exec.id, errno })
            }
        }
    }

    fn signal(&self, id: u32, signal: i32) {
        let running = self.running();
        let group = running
            .id_of
            .iter()
            .find(|(_, known)| **known == id)
            .map(|(process, _)| *process);
        if let Some(group) = group {
            kernel::signal_group(group, signal);
        }
    }

    /// Reaps every child, adopted ones too, and reports those that are execs.
    fn reap(&self) {
        loop {
            match kernel::wait_for_any() {
                Ok(process) => {
                    // With the lock, no command is just being started: one that
                    // cannot be executed is reaped by whoever started it.
                    let mut running = self.running();
                    let Some(ended) = kernel::reap(process) else {
                        continue;
                    };
                    let id = running.id_of.remove(&process);
                    drop(running);
                    let told = id.map(|id| {
                        self.reply(Reply::Exited {
                            id,
                            status: ended.status,
                            cpu_micros: ended.cpu_micros,
                            peak_kib: ended.peak_kib,
                        })
                    });
                    if told.is_some_and(|told| told.is_err()) {
                        return;
                    }
                }
                // No child: `start` wakes this thread with the next one.
                Err(Errno::CHILD) => std::thread::park(),
                Err(_) => {}
            }
        }
    }

    fn reply(&self, reply: Reply) -> Result<(), Errno> {
        rustix::net::send(self.socket.as_fd(), &reply.encode(), SendFlags::NOSIGNAL).map(|_| ())
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The command to start; one with a terminal goes through [`session`].
#[expect(
    clippy::disallowed_methods,
    reason = "process 1 is what starts programs inside"
)]
fn command(exec: &Exec) -> Command {
    let mut words = exec.argv.iter().map(|word| OsStr::from_bytes(word));
    let mut command = if exec.terminal {
        let mut command = Command::new("/proc/self/exe");
        command.arg0(session::NAME);
        command
    } else {
        let mut command = Command::new(words.next().unwrap_or_default());
        command.process_group(0);
        command
    };
    command
        .args(words)
        .current_dir(OsStr::from_bytes(&exec.cwd))
        .env_clear();
    for variable in &exec.env {
        if let Some(at) = variable.iter().position(|byte| *byte == b'=') {
            let (name, value) = variable.split_at(at);
            command.env(
                OsStr::from_bytes(name),
                OsStr::from_bytes(value.get(1..).unwrap_or_default()),
            );
        }
    }
    command
}
