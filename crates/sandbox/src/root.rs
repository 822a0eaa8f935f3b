//! Builds the file system that the agent sees, on a tmpfs of its own.
//!
//! Everything from the host is cloned to a detached mount first; then the old
//! root is let go; the workspace, which the agent can write, is touched only
//! after that. A link planted in it leads nowhere but inside.

use std::{io::Write, path::Path};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{CWD, Mode, OFlags},
    mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount},
};

use crate::{
    error::{During, Layer, SandboxError},
    kernel::{MountAttributes, set_mount_attributes},
    mounts::{Detached, INERT, READ_ONLY, find, make_directory, make_file, relative},
    spec::{Access, Grant, SandboxSpec, Tree},
};

/// Mounts that were cloned from the host and wait for their places.
#[derive(Debug)]
pub(crate) struct Sources {
    grants: Vec<(Grant, Detached)>,
    devices: Vec<(&'static str, Detached)>,
    workspace: Source,
}

/// Where the workspace comes from.
#[derive(Debug)]
enum Source {
    Directory(Detached),
    Overlay { lower: Detached, layers: Detached },
}

/// Devices that exist inside.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Inodes of each scratch file system.
const SCRATCH_INODES: u64 = 1 << 20;
/// Bytes and inodes of the root itself, which holds mount points and a few
/// small files.
const ROOT_BYTES: u64 = 16 << 20;
const ROOT_INODES: u64 = 16_384;

impl Sources {
    /// Clones every source. Needs the rights to mount in the current
    /// namespace; `map` is given when files of the host's root must appear as
    /// the task's own.
    pub(crate) fn collect(spec: &SandboxSpec, map: Option<&OwnedFd>) -> Result<Self, SandboxError> {
        let mut grants = Vec::new();
        for grant in &spec.grants {
            let attributes = match grant.access {
                Access::ReadOnly => INERT | READ_ONLY,
                Access::ReadWrite => INERT,
            };
            let mount = Detached::clone_of(&grant.source, attributes)
                .during(Layer::Files, format!("take {}", grant.source.display()))?;
            grants.push((grant.clone(), mount));
        }
        // A mount point must exist before what is mounted below it.
        grants.sort_by(|(one, _), (other, _)| one.target.cmp(&other.target));
        let no_setuid = libc::MOUNT_ATTR_NOSUID;
        let devices = DEVICES
            .into_iter()
            .map(|name| {
                let path = Path::new("/dev").join(name);
                let mount = Detached::clone_of(&path, no_setuid);
                Ok((
                    name,
                    mount.during(Layer::Files, format!("take {}", path.display()))?,
                ))
            })
            .collect::<Result<_, SandboxError>>()?;
        let take = |path: &Path, attributes| {
            Detached::clone_of(path, attributes)
                .during(Layer::Workspace, format!("take {}", path.display()))
        };
        let workspace = match &spec.workspace.tree {
            Tree::Directory(path) => Source::Directory(take(path, INERT)?),
            Tree::Overlay { lower, layers } => {
                let lower = take(lower, INERT | READ_ONLY)?;
                if let Some(map) = map {
                    lower
                        .map_owner(map)
                        .during(Layer::Workspace, "map the owner of the base tree")?;
                }
                Source::Overlay {
                    lower,
                    layers: take(layers, INERT)?,
                }
            }
        };
        Ok(Self {
            grants,
            devices,
            workspace,
        })
    }
}

/// A place in the anchor's own mount namespace that exists on every system
/// and that nothing needs once the sources are collected.
const STAGE: &str = "/tmp";

/// Makes the current mount namespace private and turns the workspace's source
/// into one mount.
pub(crate) fn prepare_workspace(sources: &Sources) -> Result<Option<Detached>, SandboxError> {
    let Source::Overlay { lower, layers } = &sources.workspace else {
        return Ok(None);
    };
    let stage = Detached::scratch(1 << 20, 16, "0700").during(Layer::Workspace, "make a stage")?;
    let place = open_directory(Path::new(STAGE)).during(Layer::Workspace, "open the stage")?;
    stage
        .place(&place)
        .during(Layer::Workspace, "place the stage")?;
    for (name, mount) in [("lower", lower), ("layers", layers)] {
        let target = make_directory(stage.descriptor(), Path::new(name))
            .during(Layer::Workspace, "make a place")?;
        mount
            .place(&target)
            .during(Layer::Workspace, format!("place the {name}"))?;
    }
    let options = [
        ("source", Some("workspace")),
        ("lowerdir", Some("/tmp/lower")),
        ("upperdir", Some("/tmp/layers/upper")),
        ("workdir", Some("/tmp/layers/work")),
        ("userxattr", None),
    ];
    Detached::new("overlay", &options, INERT)
        .map(Some)
        .during(Layer::Workspace, "mount the overlay")
}

/// Stops mounts of this namespace from spreading to others and back.
pub(crate) fn make_private() -> Result<(), SandboxError> {
    let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", flags).during(Layer::Namespaces, "make mounts private")
}

fn open_directory(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Builds the root from `sources` and makes it this process's own.
pub(crate) fn build(
    spec: &SandboxSpec,
    sources: &Sources,
    overlay: Option<&Detached>,
    terminals: &Detached,
) -> Result<(), SandboxError> {
    let root =
        Detached::scratch(ROOT_BYTES, ROOT_INODES, "0755").during(Layer::Files, "make the root")?;
    let old = open_directory(Path::new("/")).during(Layer::Files, "open the old root")?;
    root.place(&old).during(Layer::Files, "place the root")?;
    let root = root.descriptor();

    for (grant, mount) in &sources.grants {
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
        let step = || format!("write {}", file.path.display());
        let descriptor = make_file(root, &file.path).during(Layer::Files, step())?;
        std::fs::File::from(descriptor)
            .write_all(file.content.as_bytes())
            .during(Layer::Files, step())?;
    }
    // What Landlock refuses and nothing else does; see `landlock::holds`.
    drop(
        make_file(root, &Path::new(crate::landlock::PROBE).join("file"))
            .during(Layer::Files, "make a probe")?,
    );
    devices(root, &sources.devices, terminals, spec.limits.scratch_bytes)?;
    proc(root)?;
    for path in ["/tmp", "/var/tmp"] {
        let scratch = Detached::scratch(spec.limits.scratch_bytes, SCRATCH_INODES, "1777")
            .during(Layer::Files, format!("make {path}"))?;
        place(root, &scratch, Path::new(path))?;
    }
    make_directory(root, &spec.workspace.target)
        .during(Layer::Workspace, "make its mount point")?;

    leave_old_root(root)?;

    match (overlay, &sources.workspace) {
        (Some(mount), _) | (None, Source::Directory(mount)) => {
            place(root, mount, &spec.workspace.target)?;
        }
        (None, Source::Overlay { .. }) => {}
    }
    for cover in &spec.covers {
        let step = || format!("cover {}", cover.over.display());
        let file = find(root, &cover.file).during(Layer::Files, step())?;
        let mount =
            Detached::clone_of_descriptor(file, INERT | READ_ONLY).during(Layer::Files, step())?;
        let target = find(root, &cover.over).during(Layer::Files, step())?;
        mount.place(target).during(Layer::Files, step())?;
    }
    let read_only = MountAttributes {
        set: READ_ONLY,
        ..MountAttributes::default()
    };
    set_mount_attributes(root, read_only).during(Layer::Files, "make the root read-only")
}

/// Places a mount at a path that is made for it, or that another mount has.
fn place(root: &OwnedFd, mount: &Detached, path: &Path) -> Result<(), SandboxError> {
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
        let file = make_file(root, Path::new(EMPTY)).during(Layer::Files, step())?;
        drop(file);
        let file = find(root, Path::new(EMPTY)).during(Layer::Files, step())?;
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
    scratch_bytes: u64,
) -> Result<(), SandboxError> {
    for (name, mount) in devices {
        place(root, mount, &Path::new("/dev").join(name))?;
    }
    place(root, terminals, Path::new("/dev/pts"))?;
    let shared = Detached::scratch(scratch_bytes, SCRATCH_INODES, "1777")
        .during(Layer::Files, "make /dev/shm")?;
    place(root, &shared, Path::new("/dev/shm"))?;
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

/// A fresh `/proc` of this pid namespace. The kernel allows it only while an
/// unobstructed one is still in sight, so the old root must not be gone yet.
fn proc(root: &OwnedFd) -> Result<(), SandboxError> {
    let attributes = INERT | libc::MOUNT_ATTR_NOEXEC;
    let proc = Detached::new("proc", &[], attributes).during(Layer::Files, "mount /proc")?;
    place(root, &proc, Path::new("/proc"))?;
    for name in PROC_READ_ONLY {
        let Ok(path) = find(proc.descriptor(), Path::new(name)) else {
            continue;
        };
        let step = || format!("protect /proc/{name}");
        let mount = Detached::clone_of_descriptor(&path, attributes | READ_ONLY)
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

/// The path below `root` that [`find`] would take; for messages and rules.
pub(crate) fn open_inside(path: &Path) -> std::io::Result<OwnedFd> {
    let root = open_directory(Path::new("/"))?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(
        root.as_fd(),
        relative(path),
        flags,
        Mode::empty(),
    )?)
}
