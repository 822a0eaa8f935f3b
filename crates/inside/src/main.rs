//! Process 1 of a sandbox: starts commands, reaps, and ends with its socket. Under
//! other names the same executable is what agents' hooks run, what leads to MCP servers
//! outside, and what a command needs before it starts.
//!
//! Process 1 runs with no privilege, no network code and no parser but that of the
//! supervisor's own requests. It is executed from a sealed memory file, so
//! nothing inside can change it, and it holds one descriptor: the socket to
//! the supervisor. When that socket closes it exits, and the kernel ends every
//! process of its namespace with it.

mod hook;
mod kernel;
mod mcp;
mod prelude;
mod program;
mod spawn;

use std::{
    collections::HashMap,
    ffi::{CString, OsStr},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    process::ExitCode,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        mpsc::{Sender, channel},
    },
    thread::Thread,
};

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags,
    },
};
use stockade_types::wire::{Exec, REQUEST_MAX, Reply, Request};

use crate::spawn::{Program, Streams};

/// The descriptor at which the socket to the supervisor is handed over.
const SOCKET: i32 = 3;
/// The argument that says that programs may make sandboxes of their own.
const NESTED: &str = "nested";
/// The argument that says that the supervisor sees every program start.
const WATCHED: &str = "watched";
/// The most descriptors that come with a request: standard input, output and
/// error, and one more.
const DESCRIPTORS: usize = 4;
/// The stack of a thread that stands for a tree; it does very little.
const TREE_STACK: usize = 128 * 1024;

/// The execs that run.
#[derive(Default)]
struct Running {
    /// By the process id of their first process, and whether they are trees
    /// that can be ended as a whole.
    known: HashMap<i32, (u32, bool)>,
    /// Those that are trees, and whom to tell that one is to be ended.
    trees: HashMap<u32, Sender<()>>,
}

struct Init {
    socket: OwnedFd,
    /// Whether what it starts may mount, as no process may whose files
    /// Landlock restricts.
    nested: bool,
    running: Mutex<Running>,
    reaper: OnceLock<Thread>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if name == prelude::NAME {
        return prelude::run(arguments);
    }
    let known = Path::new(&name).file_name();
    if known == Some(OsStr::new(hook::NAME)) {
        return hook::run(arguments);
    }
    if known == Some(OsStr::new(mcp::NAME)) {
        return mcp::run(arguments);
    }
    let options: Vec<_> = arguments.collect();
    let is_given = |option: &str| options.iter().any(|given| given == option);
    match init(is_given(NESTED), is_given(WATCHED)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn init(nested: bool, watched: bool) -> Result<(), Errno> {
    let init = Arc::new(Init {
        socket: kernel::take_descriptor(SOCKET)?,
        nested,
        running: Mutex::default(),
        reaper: OnceLock::new(),
    });
    kernel::default_signals();
    kernel::hide_from_siblings()?;
    // Before there is a second thread, so that it holds for whatever starts.
    let listener = if watched {
        Some(kernel::notify_execs()?)
    } else {
        None
    };
    let reaper = {
        let init = Arc::clone(&init);
        std::thread::spawn(move || init.reap())
    };
    let _ = init.reaper.set(reaper.thread().clone());
    init.ready(listener)?;
    init.serve()
}

impl Init {
    /// Takes requests until the supervisor is gone.
    fn serve(self: &Arc<Self>) -> Result<(), Errno> {
        let mut bytes = vec![0; REQUEST_MAX];
        while let Some((length, descriptors)) = self.receive(&mut bytes)? {
            let Ok(request) = Request::decode(bytes.get(..length).unwrap_or_default()) else {
                return Err(Errno::PROTO);
            };
            match request {
                Request::Exec(exec) => self.exec(exec, descriptors)?,
                Request::Signal { id, signal } => self.signal(id, signal),
                Request::Kill { id } => {
                    if let Some(tree) = self.running().trees.get(&id) {
                        let _ = tree.send(());
                    }
                }
                Request::EndAll => kernel::signal_everyone(kernel::KILL),
                Request::Freeze => kernel::signal_everyone(kernel::STOP),
                Request::Thaw => kernel::signal_everyone(kernel::CONTINUE),
            }
        }
        Ok(())
    }

    /// One request with its descriptors; `None` when the socket closed.
    fn receive(&self, bytes: &mut [u8]) -> Result<Option<(usize, Vec<OwnedFd>)>, Errno> {
        let mut space =
            [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
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

    /// Starts a command. Its descriptors are none, three or four, or it is
    /// refused.
    fn exec(self: &Arc<Self>, exec: Exec, streams: Streams) -> Result<(), Errno> {
        if !matches!(streams.len(), 0 | 3 | DESCRIPTORS) {
            return self.failed(exec.id, Errno::BADF.raw_os_error());
        }
        if !exec.tree {
            return self.start(&exec, streams, false).map(|_| ());
        }
        let id = exec.id;
        let (end, ended) = channel();
        self.running().trees.insert(id, end);
        let init = Arc::clone(self);
        let tree = std::thread::Builder::new().stack_size(TREE_STACK);
        let tree = tree.spawn(move || {
            let confined = kernel::confine_signals(init.nested).is_ok();
            if init.start(&exec, streams, confined) != Ok(true) || ended.recv().is_err() {
                return;
            }
            if confined {
                // Reaches those that this thread may signal: whatever
                // inherited its restriction, in one step of the kernel.
                kernel::signal_everyone(kernel::KILL);
            } else {
                init.signal(id, kernel::KILL);
            }
        });
        match tree {
            Ok(_) => Ok(()),
            Err(error) => {
                self.running().trees.remove(&id);
                self.failed(id, errno(&error))
            }
        }
    }

    /// Starts a command as a child of this thread; returns whether it runs.
    fn start(&self, exec: &Exec, streams: Streams, tree: bool) -> Result<bool, Errno> {
        // The lock is held until the exec is known, or the reaper could meet
        // a child that has ended before it has a name.
        let mut running = self.running();
        let started = program(exec).and_then(|program| program.start(&streams));
        drop(streams);
        match started {
            Ok(process) => {
                running.known.insert(process, (exec.id, tree));
                if let Some(reaper) = self.reaper.get() {
                    reaper.unpark();
                }
                Ok(true)
            }
            Err(error) => {
                drop(running);
                self.not_started(exec.id, error.raw_os_error())
            }
        }
    }

    fn not_started(&self, id: u32, errno: i32) -> Result<bool, Errno> {
        self.running().trees.remove(&id);
        self.failed(id, errno).map(|()| false)
    }

    fn failed(&self, id: u32, errno: i32) -> Result<(), Errno> {
        self.reply(Reply::Failed { id, errno })
    }

    fn signal(&self, id: u32, signal: i32) {
        let running = self.running();
        let group = running
            .known
            .iter()
            .find(|(_, (known, _))| *known == id)
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
                    let known = running.known.remove(&process);
                    if let Some((id, _)) = &known {
                        running.trees.remove(id);
                    }
                    drop(running);
                    let told = known.map(|(id, tree)| {
                        self.reply(Reply::Exited {
                            id,
                            status: ended.status,
                            cpu_micros: ended.cpu_micros,
                            peak_kib: ended.peak_kib,
                            tree,
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

    /// Tells that it runs, and hands over where programs are seen to start.
    fn ready(&self, listener: Option<OwnedFd>) -> Result<(), Errno> {
        let Some(listener) = listener else {
            return self.reply(Reply::Ready);
        };
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [listener.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        let message = Reply::Ready.encode();
        let slices = [std::io::IoSlice::new(&message)];
        let flags = SendFlags::NOSIGNAL;
        rustix::net::sendmsg(self.socket.as_fd(), &slices, &mut ancillary, flags).map(|_| ())
    }

    fn reply(&self, reply: Reply) -> Result<(), Errno> {
        rustix::net::send(self.socket.as_fd(), &reply.encode(), SendFlags::NOSIGNAL).map(|_| ())
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error())
}

/// The program to start, by way of [`prelude`] if the command needs that.
fn program(exec: &Exec) -> Result<Program, Errno> {
    let string = |bytes: &[u8]| CString::new(bytes).map_err(|_| Errno::INVAL);
    let mut words = Vec::new();
    let path = if prelude::is_needed(exec) {
        let own = [prelude::NAME.to_owned()].into_iter();
        for word in own.chain(prelude::arguments(exec)) {
            words.push(string(word.as_bytes())?);
        }
        c"/proc/self/exe".to_owned()
    } else {
        let name = exec.argv.first().map_or(&[][..], Vec::as_slice);
        string(&program::find(name, exec)?)?
    };
    for word in &exec.argv {
        words.push(string(word)?);
    }
    let env = exec.env.iter().map(|variable| string(variable));
    Ok(Program {
        path,
        words,
        env: env.collect::<Result<_, _>>()?,
        cwd: string(&exec.cwd)?,
        group: !exec.terminal,
    })
}
