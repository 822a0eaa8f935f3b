use std::{fs, io, io::Write, os::fd::AsFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{PidfdFlags, WaitOptions, pidfd_open, waitpid},
};

use super::{Probe, WALL, child::in_child, setting, words};
use crate::{
    error::{During, Layer, SandboxError},
    kernel::{self, Fork},
    sealed,
};

const NAME: &str = "sealed executables";
const WATCHING: &str = "process descriptors";
/// A small program that does nothing, to be run from memory.
const PROGRAMS: [&str; 2] = ["/usr/bin/true", "/bin/true"];

/// A program in memory that nobody can change can be run; process 1 is one.
pub(super) fn probe() -> Probe {
    match in_child(run_sealed) {
        Ok(()) => Probe::works(NAME, "a sealed memory file holds and runs", WALL),
        Err(error) => {
            let setting = setting("/proc/sys/vm/memfd_noexec");
            let fix = match setting.as_deref() {
                Some("2") => "sudo sysctl vm.memfd_noexec=0",
                _ => {
                    "the kernel needs CONFIG_MEMFD_CREATE, and no mount or module may keep \
                      memory files from running"
                }
            };
            Probe::missing(NAME, words(&error)).fix(fix.to_owned())
        }
    }
}

fn run_sealed() -> Result<(), SandboxError> {
    let program = PROGRAMS.iter().find_map(|path| fs::read(path).ok());
    let program = program
        .ok_or(io::ErrorKind::NotFound)
        .map_err(io::Error::from)
        .during(Layer::Processes, "find a program to run")?;
    let mut file = sealed::executable("probe", &program)
        .during(Layer::Processes, "make a sealed memory file")?;
    if file.write_all(b"x").is_ok() {
        return Err(io::Error::other("it was written all the same"))
            .during(Layer::Processes, "seal a memory file");
    }
    let step = "run a memory file";
    match kernel::fork().during(Layer::Processes, step)? {
        Fork::Child => {
            let error = kernel::execute(&file, &[c"true"]);
            kernel::exit_now(error.raw_os_error().unwrap_or(i32::from(u8::MAX)))
        }
        Fork::Parent(child) => {
            let ended =
                waitpid(Some(child), WaitOptions::empty()).during(Layer::Processes, step)?;
            match ended.and_then(|(_, status)| status.exit_status()) {
                Some(0) => Ok(()),
                Some(number) => Err(io::Error::from_raw_os_error(number)),
                None => Err(io::Error::other("it was killed")),
            }
            .during(Layer::Processes, step)
        }
    }
}

/// The end of a process can be waited for without its number.
pub(super) fn watching() -> Probe {
    let tried = in_child(|| {
        let step = "watch a process";
        match kernel::fork().during(Layer::Processes, step)? {
            Fork::Child => kernel::exit_now(0),
            Fork::Parent(child) => {
                let watched =
                    pidfd_open(child, PidfdFlags::empty()).during(Layer::Processes, step)?;
                let moment = Timespec {
                    tv_sec: 5,
                    tv_nsec: 0,
                };
                let mut events = [PollFd::from_borrowed_fd(watched.as_fd(), PollFlags::IN)];
                let told = poll(&mut events, Some(&moment));
                // Not left for a first process that may never take it away.
                let _ = waitpid(Some(child), WaitOptions::empty());
                if told.during(Layer::Processes, step)? == 1 {
                    Ok(())
                } else {
                    Err(io::Error::other("its end was not told")).during(Layer::Processes, step)
                }
            }
        }
    });
    match tried {
        Ok(()) => Probe::works(WATCHING, "the end of a process is told", WALL),
        Err(error) => {
            Probe::missing(WATCHING, words(&error)).fix("start Linux 5.19 or newer".to_owned())
        }
    }
}
