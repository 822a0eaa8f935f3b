use std::path::Path;

use rustix::thread::UnshareFlags;

use super::{
    Probe, WALL,
    child::{enter, in_child},
    mounts, words,
};
use crate::{
    error::{During, Layer, SandboxError},
    mounts::{Detached, INERT, READ_ONLY},
    root,
    spec::Identity,
};

/// The name of this probe.
pub(super) const NAME: &str = "file systems inside";
/// The step that fails where a container hides parts of `/proc`.
const FRESH_PROC: &str = "mount a fresh /proc";

/// The file systems of which a sandbox's root is made.
pub(super) fn probe(stand_in: Option<Identity>) -> Probe {
    match in_child(|| make(stand_in)) {
        Ok(()) => Probe::works(
            NAME,
            "tmpfs, terminals, clones by descriptor and a fresh /proc",
            WALL,
        ),
        Err(error) => {
            let mounts = mounts();
            let hidden = hidden_parts(&mounts);
            let probe = Probe::missing(NAME, words(&error));
            if error.step == FRESH_PROC && !hidden.is_empty() {
                let detail = format!(
                    "{}: this container hides {}, so that the kernel refuses another /proc",
                    probe.detail,
                    hidden.join(", ")
                );
                Probe { detail, ..probe }.fix(
                    "run Stockade on the host, or start the container with \
                     --security-opt systempaths=unconfined (docker), \
                     --security-opt unmask=ALL (podman), procMount: Unmasked (Kubernetes)"
                        .to_owned(),
                )
            } else {
                probe.fix("run Stockade on a Linux 5.19 or newer, outside a container".to_owned())
            }
        }
    }
}

fn make(stand_in: Option<Identity>) -> Result<(), SandboxError> {
    enter(stand_in, UnshareFlags::NEWNS | UnshareFlags::NEWPID)?;
    root::make_private()?;
    Detached::scratch(1 << 20, 16, "0755").during(Layer::Files, "make a tmpfs")?;
    Detached::new("devpts", &[("ptmxmode", Some("0666"))], 0)
        .during(Layer::Files, "make a terminal file system")?;
    Detached::clone_of(Path::new("/usr"), INERT | READ_ONLY).during(Layer::Files, "clone /usr")?;
    // Only a process of the new pid namespace can have its /proc.
    in_child(|| {
        Detached::new("proc", &[], 0).during(Layer::Files, FRESH_PROC)?;
        Ok(())
    })
}

/// Paths below `/proc` that something else covers. While there are any, a new
/// `/proc` in a user namespace would show what is hidden, so the kernel
/// refuses it; a cover on a folder that is always empty does not count.
fn hidden_parts(mountinfo: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|place| place.starts_with("/proc/") && *place != "/proc/sys/fs/binfmt_misc")
        .collect();
    parts.dedup();
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_container_hides_is_named_and_an_empty_folder_is_not() {
        let mountinfo = "\
            23 28 0:22 / /proc rw - proc proc rw\n\
            24 23 0:23 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw\n\
            25 23 0:24 / /proc/acpi ro - tmpfs tmpfs ro\n\
            26 23 0:5 /null /proc/kcore rw - devtmpfs devtmpfs rw\n";
        assert_eq!(hidden_parts(mountinfo), ["/proc/acpi", "/proc/kcore"]);
    }
}
