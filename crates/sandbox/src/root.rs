//! Builds the file system that the agent sees, on a tmpfs of its own.
//!
//! Everything from the host is cloned to a detached mount first; then the old
//! root is let go; the workspace, which the agent can write, is touched only
//! after that. A link planted in it leads nowhere but inside.

use std::{fs::File, io::Write, path::Path};

use rustix::{
    fd::OwnedFd,
    fs::{CWD, Mode, OFlags},
    mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount},
};

use crate::{
    error::{During, Layer, SandboxError},
    files::{BUNDLE, TRUST_STORE},
    inside::INSIDE,
    kernel::{MountAttributes, set_mount_attributes},
    mounts::{Detached, INERT, READ_ONLY, find, make_directory, make_file},
    sources::Mounts,
    spec::{Cover, Limits, SandboxSpec},
    trust_store::pkcs12,
};

/// Folders that each sandbox has for itself and that are empty at first, with
/// their modes.
pub(crate) const SCRATCH: [(&str, &str); 3] =
    [("/tmp", "1777"), ("/var/tmp", "1777"), ("/dev/shm", "1777")];
/// Inodes of each scratch file system.
const SCRATCH_INODES: u64 = 1 << 20;
/// Bytes and inodes of the root itself, which holds mount points and a few
/// small files.
const ROOT_BYTES: u64 = 16 << 20;
const ROOT_INODES: u64 = 16_384;

/// Stops mounts of this namespace from spreading to others and back.
pub(crate) fn make_private() -> Result<(), SandboxError> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", flags).during(Layer::Namespaces, "make mounts private")
}

pub(crate) fn open_directory(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Builds the root from `mounts` and makes it this process's own.
pub(crate) fn build(
    spec: &SandboxSpec,
    mounts: &Mounts,
    terminals: &Detached,
) -> Result<(), SandboxError> {
    let root =
        Detached::scratch(ROOT_BYTES, ROOT_INODES, "0755").during(Layer::Files, "make the root")?;
    let old = open_directory(Path::new("/")).during(Layer::Files, "open the old root")?;
    root.place(&old).during(Layer::Files, "place the root")?;
    let root = root.descriptor();

    // Before the grants, of which some may lie below.
    for (path, mode) in SCRATCH {
        place(root, &scratch(path, mode, spec.limits)?, Path::new(path))?;
    }
    for (grant, mount) in &mounts.grants {
        place(root, mount, &grant.target)?;
        for hidden in &grant.hidden {
            hide(root, &grant.target.join(hidden))?;
        }
    }
    for link in &spec.links {
        let parent = make_directory(root, link.path.parent().unwrap_or(Path::new("/")))
            .during(Layer::Files, "make a folder")?;
        let name = link.path.file_name().unwrap_or_default();
        rustix::fs::symlinkat(&link.to, &parent, name)
            .during(Layer::Files, format!("link {}", link.path.display()))?;
    }
    for file in &spec.files {
        write(root, &file.path, file.content.as_bytes())?;
        if file.path == Path::new(BUNDLE) && !spec.trust_stores.is_empty() {
            write(root, Path::new(TRUST_STORE), &pkcs12(&file.content))?;
        }
    }
    for client in &spec.clients {
        let client = write(root, client, INSIDE)?;
        rustix::fs::fchmod(&client, Mode::from_raw_mode(0o555))
            .during(Layer::Files, "make a client executable")?;
    }
    // What Landlock refuses and nothing else does; see `landlock::holds`.
    drop(
        make_file(root, &Path::new(crate::landlock::PROBE).join("file"))
            .during(Layer::Files, "make a probe")?,
    );
    devices(root, &mounts.devices, terminals)?;
    place_proc(root, &new_proc()?, spec.nested)?;
    make_directory(root, &spec.workspace.target)
        .during(Layer::Workspace, "make its mount point")?;

    leave_old_root(root)?;

    place(root, &mounts.workspace, &spec.workspace.target)?;
    for Cover { file, over } in &spec.covers {
        cover(root, file, over)?;
    }
    for store in &spec.trust_stores {
        cover(root, Path::new(TRUST_STORE), store)?;
    }
    let read_only = MountAttributes {
        set: READ_ONLY,
        ..MountAttributes::default()
    };
    set_mount_attributes(root, read_only).during(Layer::Files, "make the root read-only")
}

/// Lets nothing change what is mounted at `path`.
pub(crate) fn make_read_only(root: &OwnedFd, path: &Path) -> Result<(), SandboxError> {
    let read_only = MountAttributes {
        set: READ_ONLY,
        ..MountAttributes::default()
    };
    find(root, path)
        .and_then(|mount| set_mount_attributes(&mount, read_only))
        .during(Layer::Workspace, "make it read-only")
}

/// An empty file system for the folder `path`.
pub(crate) fn scratch(path: &str, mode: &str, limits: Limits) -> Result<Detached, SandboxError> {
    Detached::scratch(limits.scratch_bytes, SCRATCH_INODES, mode)
        .during(Layer::Files, format!("make {path}"))
}

/// Writes a file that exists only inside, and returns it.
fn write(root: &OwnedFd, path: &Path, content: &[u8]) -> Result<File, SandboxError> {
    let step = || format!("write {}", path.display());
    let mut file = File::from(make_file(root, path).during(Layer::Files, step())?);
    file.write_all(content).during(Layer::Files, step())?;
    Ok(file)
}

/// Lays a file of the root over another.
fn cover(root: &OwnedFd, file: &Path, over: &Path) -> Result<(), SandboxError> {
    let step = || format!("cover {}", over.display());
    let file = find(root, file).during(Layer::Files, step())?;
    let mount =
        Detached::clone_of_descriptor(file, INERT | READ_ONLY).during(Layer::Files, step())?;
    let target = find(root, over).during(Layer::Files, step())?;
    mount.place(target).during(Layer::Files, step())
}

/// Places a mount at a path that is made for it, or that another mount has.
pub(crate) fn place(root: &OwnedFd, mount: &Detached, path: &Path) -> Result<(), SandboxError> {
    let step = || format!("place {}", path.display());
    let target = match find(root, path) {
        Ok(target) => target,
        Err(_) if mount.is_directory() => {
            make_directory(root, path).during(Layer::Files, step())?
        }
        Err(_) => {
            make_file(root, path).during(Layer::Files, step())?;
            find(root, path).during(Layer::Files, step())?
        }
    };
    mount.place(target).during(Layer::Files, step())
}

/// Lays something empty over a secret, if it is there at all.
fn hide(root: &OwnedFd, path: &Path) -> Result<(), SandboxError> {
    let step = || format!("hide {}", path.display());
    let Ok(target) = find(root, path) else {
        return Ok(());
    };
    let mode = rustix::fs::fstat(&target)
        .during(Layer::Files, step())?
        .st_mode;
    let empty = if rustix::fs::FileType::from_raw_mode(mode) == rustix::fs::FileType::Directory {
        let empty = Detached::scratch(4096, 2, "0000").during(Layer::Files, step())?;
        let read_only = MountAttributes {
            set: READ_ONLY,
            ..MountAttributes::default()
        };
        set_mount_attributes(empty.descriptor(), read_only).during(Layer::Files, step())?;
        empty
    } else {
        let file = match find(root, Path::new(EMPTY)) {
            Ok(file) => file,
            Err(_) => make_file(root, Path::new(EMPTY))
                .and_then(|_| find(root, Path::new(EMPTY)))
                .during(Layer::Files, step())?,
        };
        Detached::clone_of_descriptor(file, INERT | READ_ONLY).during(Layer::Files, step())?
    };
    empty.place(target).during(Layer::Files, step())
}

/// The empty file that is shown instead of a hidden one.
const EMPTY: &str = "/etc/stockade/hidden";

fn devices(
    root: &OwnedFd,
    devices: &[(&'static str, Detached)],
    terminals: &Detached,
) -> Result<(), SandboxError> {
    for (name, mount) in devices {
        place(root, mount, &Path::new("/dev").join(name))?;
    }
    place(root, terminals, Path::new("/dev/pts"))?;
    let directory = find(root, Path::new("/dev")).during(Layer::Files, "open /dev")?;
    for (name, to) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        rustix::fs::symlinkat(to, &directory, name)
            .during(Layer::Files, format!("link /dev/{name}"))?;
    }
    Ok(())
}

/// Parts of `/proc` that concern the whole machine: made read-only.
const PROC_READ_ONLY: [&str; 6] = ["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi"];
/// Parts of `/proc` that tell about the whole machine: made empty.
const PROC_HIDDEN: [&str; 9] = [
    "kcore",
    "keys",
    "key-users",
    "timer_list",
    "sched_debug",
    "kallsyms",
    "kpagecount",
    "kpageflags",
    "scsi",
];

/// A file system of terminals of its own.
pub(crate) fn new_terminals() -> Result<Detached, SandboxError> {
    let options = [("ptmxmode", Some("0666")), ("mode", Some("0620"))];
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    Detached::new("devpts", &options, attributes)
        .during(Layer::Files, "make a terminal file system")
}

const PROC_ATTRIBUTES: u64 = INERT | libc::MOUNT_ATTR_NOEXEC;

/// A `/proc` of this pid namespace. The kernel allows it only while another
/// one is still in sight, so the old root must not be gone yet.
pub(crate) fn new_proc() -> Result<Detached, SandboxError> {
    Detached::new("proc", &[], PROC_ATTRIBUTES).during(Layer::Files, "mount /proc")
}

/// Places `proc`, without what tells about the whole machine. Nested sandboxes
/// can have one only if nothing covers a part of this one; what is covered
/// belongs to the host's root, which nobody inside is.
pub(crate) fn place_proc(
    root: &OwnedFd,
    proc: &Detached,
    nested: bool,
) -> Result<(), SandboxError> {
    place(root, proc, Path::new("/proc"))?;
    if nested {
        return Ok(());
    }
    for name in PROC_READ_ONLY {
        let Ok(path) = find(proc.descriptor(), Path::new(name)) else {
            continue;
        };
        let step = || format!("protect /proc/{name}");
        let mount = Detached::clone_of_descriptor(&path, PROC_ATTRIBUTES | READ_ONLY)
            .during(Layer::Files, step())?;
        mount.place(&path).during(Layer::Files, step())?;
    }
    for name in PROC_HIDDEN {
        hide(root, &Path::new("/proc").join(name))?;
    }
    Ok(())
}

/// Makes `root` the root and lets the old one go.
fn leave_old_root(root: &OwnedFd) -> Result<(), SandboxError> {
    rustix::process::fchdir(root).during(Layer::Files, "enter the root")?;
    rustix::process::pivot_root(c".", c".").during(Layer::Files, "change the root")?;
    unmount(c".", UnmountFlags::DETACH).during(Layer::Files, "let the old root go")?;
    rustix::process::chdir(c"/").during(Layer::Files, "enter the new root")
}

/// Opens a path of the root that this process has now.
pub(crate) fn open_inside(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}
