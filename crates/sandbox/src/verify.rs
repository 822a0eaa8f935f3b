//! Checks that the walls hold, from inside before anything runs, and from
//! outside once process 1 does. A wall that is only believed is not one.

mod mounts;
mod outside;

use std::io;

use rustix::{
    io::Errno,
    mount::{MountFlags, mount},
    net::{AddressFamily, SocketType},
    thread::UnshareFlags,
};

pub(crate) use self::outside::{outside, separate};
use crate::{
    error::{During, Layer, SandboxError},
    kernel, landlock,
};

/// Fields of `/proc/<pid>/status` that tell of rights given up.
const STATUS: [(&str, &str); 7] = [
    ("CapInh", "0000000000000000"),
    ("CapPrm", "0000000000000000"),
    ("CapEff", "0000000000000000"),
    ("CapBnd", "0000000000000000"),
    ("CapAmb", "0000000000000000"),
    ("NoNewPrivs", "1"),
    ("Seccomp", "2"),
];

/// Tries what must fail. Returns the names of the checks that passed. Where
/// sandboxes are nested, two of them are given up.
pub(crate) fn inside(nested: bool) -> Result<Vec<String>, SandboxError> {
    let mut passed = status("self")?;
    let mut checks = vec![
        (
            "a mount is refused",
            refused(mount("none", "/tmp", "tmpfs", MountFlags::empty(), None)),
        ),
        (
            "a packet socket is refused",
            refused(rustix::net::socket(
                AddressFamily::PACKET,
                SocketType::RAW,
                None,
            )),
        ),
        (
            "a kernel setting cannot be written",
            not_writable("/proc/sys/kernel/core_pattern"),
        ),
        (
            "the root cannot be written",
            not_writable("/stockade-probe"),
        ),
        (
            "the host's root is gone",
            // Every host has these, and nobody can be shown anything in them.
            std::fs::metadata("/sys").is_err() && std::fs::metadata("/run").is_err(),
        ),
    ];
    if !nested {
        let namespace = refused_by_system(kernel::unshare(UnshareFlags::NEWUSER));
        checks.push(("a new namespace is refused", namespace));
        checks.push((
            "a file without a Landlock rule is refused",
            landlock::holds(),
        ));
    }
    for (name, holds) in checks {
        if !holds {
            return Err(io::Error::other("it was allowed")).during(Layer::SelfTest, name);
        }
        passed.push(name.to_owned());
    }
    Ok(passed)
}

fn refused<T>(result: Result<T, Errno>) -> bool {
    matches!(
        result.err(),
        Some(Errno::PERM | Errno::ACCESS | Errno::NOSYS | Errno::AFNOSUPPORT)
    )
}

fn refused_by_system(result: io::Result<()>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn not_writable(path: &str) -> bool {
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .is_err()
}

fn status(process: &str) -> Result<Vec<String>, SandboxError> {
    let text = read(process, "status")?;
    let mut passed = Vec::new();
    for (name, wanted) in STATUS {
        let found = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
        if found != Some(wanted) {
            return Err(io::Error::other(format!(
                "it is {}",
                found.unwrap_or("not there")
            )))
            .during(Layer::SelfTest, format!("{name} must be {wanted}"));
        }
        passed.push(format!("{name} {wanted}"));
    }
    Ok(passed)
}

fn read(process: &str, file: &str) -> Result<String, SandboxError> {
    let path = format!("/proc/{process}/{file}");
    std::fs::read_to_string(&path).during(Layer::SelfTest, format!("read {path}"))
}
