//! Confinement for Stockade's own helpers: a program that reads hostile data
//! gets no network, few files, and little memory and time.

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

use ::landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope,
};
use rustix::{fd::OwnedFd, process::Resource};

use crate::{
    identity,
    kernel::{self, Confinement},
    lockdown, seccomp,
};

/// What a helper may use.
#[derive(Clone, Debug)]
pub struct HelperLimits {
    /// Bytes of address space.
    pub memory_bytes: u64,
    /// Seconds of processor time.
    pub cpu_seconds: u64,
    /// Bytes of any one file that it writes.
    pub file_bytes: u64,
}

impl Default for HelperLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 8 << 30,
            cpu_seconds: 600,
            file_bytes: 32 << 30,
        }
    }
}

/// Folders that every program needs to start.
const PROGRAMS: [&str; 8] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/etc", "/dev",
];

/// Makes `command` run without network, able to read only the system's
/// programs, `readable` and `writable`, and to write only the latter.
pub fn confine(
    command: &mut Command,
    readable: &[&Path],
    writable: &[&Path],
    limits: &HelperLimits,
) -> io::Result<()> {
    let me = identity::current();
    let root = me.uid == 0;
    let user_namespace = if root { 0 } else { libc::CLONE_NEWUSER };
    let maps = if root {
        Vec::new()
    } else {
        vec![
            (c"/proc/self/setgroups", b"deny".to_vec()),
            (
                c"/proc/self/uid_map",
                format!("{0} {0} 1", me.uid).into_bytes(),
            ),
            (
                c"/proc/self/gid_map",
                format!("{0} {0} 1", me.gid).into_bytes(),
            ),
        ]
    };
    let confinement = Confinement {
        namespaces: user_namespace | libc::CLONE_NEWNET | libc::CLONE_NEWIPC,
        maps,
        limits: vec![
            (libc::RLIMIT_AS, at_most(Resource::As, limits.memory_bytes)),
            (libc::RLIMIT_CPU, at_most(Resource::Cpu, limits.cpu_seconds)),
            (
                libc::RLIMIT_FSIZE,
                at_most(Resource::Fsize, limits.file_bytes),
            ),
            (libc::RLIMIT_CORE, 0),
        ],
        landlock: rules(readable, writable)?,
        filter: seccomp::filter(false),
    };
    kernel::confine_command(command, confinement);
    Ok(())
}

/// `wanted`, or what the caller may have if that is less: nobody but root can
/// raise a limit again.
fn at_most(resource: Resource, wanted: u64) -> u64 {
    let now = rustix::process::getrlimit(resource).maximum;
    now.map_or(wanted, |now| now.min(wanted))
}

fn rules(readable: &[&Path], writable: &[&Path]) -> io::Result<OwnedFd> {
    let newest = ABI::V5;
    let read = AccessFs::from_read(newest);
    let programs = PROGRAMS.iter().map(|path| (PathBuf::from(path), read));
    let null = [(PathBuf::from("/dev/null"), read | AccessFs::WriteFile)];
    let given = readable.iter().map(|path| (path.to_path_buf(), read));
    let own = writable
        .iter()
        .map(|path| (path.to_path_buf(), AccessFs::from_all(newest)));
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    for (path, rights) in programs.chain(null).chain(given).chain(own) {
        // A folder that this system does not have needs no rule.
        let Ok(folder) = PathFd::new(&path) else {
            continue;
        };
        ruleset = ruleset
            .add_rule(PathBeneath::new(folder, rights))
            .map_err(io::Error::other)?;
    }
    Option::<OwnedFd>::from(ruleset)
        .ok_or_else(|| io::Error::other("this kernel has no Landlock; see `stockade doctor`"))
}

/// Seals the calling process itself: no files but those below `folders`, no
/// change of what is said of any file, no new programs, no signals, no
/// privileges. What it has open stays usable, and sockets of the internet can
/// still be made.
///
/// For the gateway, with no folder at all, once it has read everything that it
/// needs; and for the recorder, with that of its log.
pub fn seal(folders: &[&Path]) -> io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    // Nothing is executed any more, so that the bounding set may stay.
    lockdown::clear_capabilities()?;
    rustix::thread::set_no_new_privs(true)?;
    let newest = ABI::V6;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(newest))
        // Nor signals to, or abstract sockets of, any other process.
        .and_then(|ruleset| ruleset.scope(Scope::from_all(newest)))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    for folder in folders {
        let folder = PathFd::new(folder).map_err(io::Error::other)?;
        let rights = AccessFs::from_all(newest);
        ruleset = ruleset
            .add_rule(PathBeneath::new(folder, rights))
            .map_err(io::Error::other)?;
    }
    let status = ruleset.restrict_self().map_err(io::Error::other)?;
    if status.ruleset == ::landlock::RulesetStatus::NotEnforced {
        return Err(io::Error::other(
            "this kernel has no Landlock; see `stockade doctor`",
        ));
    }
    kernel::set_seccomp_filter(&seccomp::filter_of_sealed())
}
