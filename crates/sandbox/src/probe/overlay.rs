use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, lchown},
    path::{Path, PathBuf},
};

use rustix::{
    fd::AsFd,
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
    thread::UnshareFlags,
};
use stockade_types::TaskId;

use super::{
    Probe,
    child::{enter, in_child},
    words,
};
use crate::{
    error::{During, Layer, SandboxError},
    identity, root,
    sources::Sources,
    spec::{Access, Grant, Identity, Limits, SandboxSpec, Tree, WORKSPACES, WorkspaceMount},
};

/// The name of this probe.
pub(super) const NAME: &str = "copy-on-write workspaces";
/// What is lost without it.
pub(super) const COST: &str = "tasks start only with `stockade run --backend checkout`, which copies the tree \
                    for each of them";

/// A workspace laid over a base tree, on the file system of `state`.
pub(super) fn probe(state: &Path, stand_in: Option<Identity>) -> Probe {
    let kind = kind_of(state);
    let place = format!("{} ({kind})", state.display());
    let folder = match Folder::create(state, stand_in) {
        Ok(folder) => folder,
        Err(error) => {
            return Probe::missing(NAME, format!("on {place}: {}", words(&error)))
                .fix("choose another folder for tasks: STOCKADE_STATE_DIR=FOLDER".to_owned());
        }
    };
    match folder.lay_over(stand_in) {
        Ok(moves) => {
            let moves = match moves {
                Moves::Within => "a folder of the base can be renamed",
                Moves::Copies => {
                    "renaming a folder of the base gives EXDEV, so that tools copy it instead"
                }
            };
            Probe::works(NAME, format!("an overlay on {place}; {moves}"), COST)
        }
        Err(error) => {
            let fix = match kind {
                "overlay" => {
                    "keep tasks on a real file system, such as a container's volume: \
                     STOCKADE_STATE_DIR=FOLDER"
                }
                _ => {
                    "keep tasks on ext4, xfs, btrfs or tmpfs: STOCKADE_STATE_DIR=FOLDER; \
                     the kernel must be 5.19 or newer"
                }
            };
            Probe::weaker(NAME, format!("on {place}: {}", words(&error)), COST).fix(fix.to_owned())
        }
    }
}

/// The same, as the only thing that is asked. That no tree can be made at all says
/// nothing of overlays.
pub(super) fn lay_over_a_small_tree(
    state: &Path,
    stand_in: Option<Identity>,
) -> Result<Moves, SandboxError> {
    let folder = Folder::create(state, stand_in).map_err(|error| SandboxError {
        layer: Layer::Files,
        ..error
    })?;
    folder.lay_over(stand_in)
}

/// What a file system is called, where it is one of the usual.
fn kind_of(path: &Path) -> &'static str {
    // Magic numbers of statfs(2); the kernel's type of the field differs
    // between machines, and all of them fit in 32 bits.
    let magic = rustix::fs::statfs(path).map_or(0, |found| found.f_type & 0xffff_ffff);
    match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlay",
        0xf2f5_2010 => "f2fs",
        0x2fc1_2fc1 => "zfs",
        0x6573_5546 => "fuse",
        0xf15f => "ecryptfs",
        0x0102_1997 => "9p",
        0x6969 => "nfs",
        _ => "another kind of file system",
    }
}

/// The folders of a small workspace, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn create(state: &Path, stand_in: Option<Identity>) -> Result<Self, SandboxError> {
        let path = state.join(format!("probe-{}", std::process::id()));
        let folder = Self(path);
        folder
            .fill(stand_in)
            .during(Layer::Workspace, "make a small tree")?;
        Ok(folder)
    }

    fn fill(&self, stand_in: Option<Identity>) -> io::Result<()> {
        fs::create_dir(&self.0)?;
        fs::create_dir_all(self.lower().join("folder/inner"))?;
        for name in ["changed", "removed"] {
            fs::write(self.lower().join(name), name)?;
        }
        for name in ["upper", "work"] {
            let path = self.0.join("layers").join(name);
            fs::create_dir_all(&path)?;
            if let Some(identity) = stand_in {
                lchown(&path, Some(identity.uid), Some(identity.gid))?;
            }
        }
        Ok(())
    }

    fn lower(&self) -> PathBuf {
        self.0.join("lower")
    }

    fn lay_over(&self, stand_in: Option<Identity>) -> Result<Moves, SandboxError> {
        let spec = self.spec(stand_in);
        in_child(|| lay_over(&spec))
    }

    /// A sandbox of which only the workspace is ever built.
    fn spec(&self, identity: Option<Identity>) -> SandboxSpec {
        SandboxSpec {
            task: TaskId::from_random(0),
            identity,
            // A program is shown by a view of its folder.
            grants: vec![Grant {
                source: self.lower().join("changed"),
                target: Path::new("/opt/probe").to_owned(),
                access: Access::ReadOnly,
                hidden: Vec::new(),
                over: None,
            }],
            files: Vec::new(),
            links: Vec::new(),
            covers: Vec::new(),
            trust_stores: Vec::new(),
            workspace: WorkspaceMount {
                target: Path::new(WORKSPACES).join("probe"),
                tree: Tree::Overlay {
                    lower: self.lower(),
                    layers: self.0.join("layers"),
                },
            },
            limits: Limits::default(),
            nested: false,
            watch_execs: false,
            clients: Vec::new(),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Overlayfs leaves a folder of mode 000 behind, into which even its
        // owner can look only after changing that.
        let private = fs::Permissions::from_mode(0o700);
        let _ = fs::set_permissions(self.0.join("layers/work/upper/work"), private);
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What happens when a folder of the base tree is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Moves {
    /// It is.
    Within,
    /// The kernel refuses, as across file systems.
    Copies,
}

/// Mounts the workspace as the anchor does and does in it what agents do.
fn lay_over(spec: &SandboxSpec) -> Result<Moves, SandboxError> {
    let sources = if let Some(identity) = spec.identity {
        let map = identity::owner_map(identity)?;
        Sources::collect(spec, Some(&map))?
    } else {
        enter(None, UnshareFlags::NEWNS)?;
        root::make_private()?;
        Sources::collect(spec, None)?
    };
    if spec.identity.is_some() {
        enter(spec.identity, UnshareFlags::NEWNS)?;
        root::make_private()?;
    }
    work_in(sources.lay_over()?.workspace.descriptor())
}

fn work_in(tree: impl AsFd) -> Result<Moves, SandboxError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    for (name, step) in [
        ("new", "write a new file"),
        ("changed", "change a file of the base"),
    ] {
        let file = rustix::fs::openat(&tree, name, flags, Mode::from_raw_mode(0o600));
        file.and_then(|file| rustix::io::write(&file, b"x"))
            .during(Layer::Workspace, step)?;
    }
    rustix::fs::unlinkat(&tree, "removed", AtFlags::empty())
        .during(Layer::Workspace, "remove a file of the base")?;
    match rustix::fs::statat(&tree, "removed", AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        _ => {
            return Err(io::Error::other("it is still there"))
                .during(Layer::Workspace, "remove a file of the base");
        }
    }
    match rustix::fs::renameat(&tree, "folder", &tree, "moved") {
        Ok(()) => Ok(Moves::Within),
        Err(Errno::XDEV) => Ok(Moves::Copies),
        Err(error) => Err(error).during(Layer::Workspace, "rename a folder of the base"),
    }
}
