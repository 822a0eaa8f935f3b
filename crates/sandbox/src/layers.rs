//! What the kernel's version alone decides about the layers, known without
//! building anything.

use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with},
};

use crate::{
    error::{During, Layer, SandboxError},
    kernel,
};

/// The oldest Landlock with which a task starts. Without `refer` (ABI 2, Linux
/// 5.19) files cannot be renamed between folders, and every build tool fails.
pub(crate) const OLDEST_LANDLOCK: u32 = 2;

/// What each Landlock ABI added of what is used here, and with which Linux. The
/// fourth added TCP, which is the network namespace's part alone.
const ADDED: [(u32, &str, &str); 4] = [
    (2, "5.19", "renames between folders"),
    (3, "6.2", "truncation"),
    (5, "6.10", "device control"),
    (6, "6.12", "signals and abstract sockets"),
];

/// What is lost without nf_tables.
pub(crate) const WITHOUT_REDIRECT: &str = "ports 80 and 443 over IPv4 only; others lead nowhere";

/// Refuses a kernel without which no task starts and no helper is confined.
///
/// # Errors
/// Names the layer that is missing and what a person can do.
pub fn required() -> Result<(), SandboxError> {
    landlock_abi()?;
    kernel::has_seccomp_filters().during(Layer::Seccomp, "ask the kernel for filters")
}

/// What is weaker on this kernel than on a newer one, a line each.
pub fn weaker() -> Vec<String> {
    let landlock = kernel::landlock_abi().ok().and_then(landlock_lacks);
    let redirect = (!has_redirect()).then(|| {
        format!("the kernel has no nf_tables, so that the gateway serves {WITHOUT_REDIRECT}")
    });
    landlock
        .map(|lacks| format!("Landlock is older than Linux 6.12: {lacks}"))
        .into_iter()
        .chain(redirect)
        .collect()
}

/// The kernel's Landlock, which is new enough.
pub(crate) fn landlock_abi() -> Result<u32, SandboxError> {
    let abi = kernel::landlock_abi().during(Layer::Landlock, "ask the kernel for it")?;
    if abi < OLDEST_LANDLOCK {
        return Err(std::io::Error::other(format!("ABI {abi} is too old")))
            .during(Layer::Landlock, format!("need ABI {OLDEST_LANDLOCK}"));
    }
    Ok(abi)
}

/// What Landlock of this ABI guards beside files, in words.
pub(crate) fn landlock_guards(abi: u32) -> String {
    let guarded = ADDED.iter().filter(|(since, ..)| abi >= *since);
    let names: Vec<&str> = guarded.map(|(_, _, what)| *what).collect();
    names.join(", ")
}

/// What it lacks to be as this build uses it, in words.
pub(crate) fn landlock_lacks(abi: u32) -> Option<String> {
    let missing = ADDED.iter().filter(|(since, ..)| abi < *since);
    let names: Vec<String> = missing
        .map(|(_, linux, what)| format!("{what} (Linux {linux})"))
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "one wall instead of two (mounts and namespaces) for {}",
            names.join(", ")
        )
    })
}

/// Whether the kernel speaks the protocol in which redirects are set. Whether
/// it also has the redirect itself is seen when a sandbox is built.
pub fn has_redirect() -> bool {
    let socket: Result<OwnedFd, Errno> = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    );
    socket.is_ok()
}
