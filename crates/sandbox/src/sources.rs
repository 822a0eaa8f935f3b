//! What of the host a sandbox is made of: cloned to detached mounts first,
//! then laid over each other where the agent works on a layer of its own.
//!
//! The kernel's table of mounts, which everybody inside can read, names for
//! each clone the folder of the host that it is a view of. What appears under
//! another name inside is therefore shown through an overlay, a file system of
//! its own whose root says nothing of where it is.

use std::{
    ffi::OsString,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Mode, statat},
    io::Errno,
};

use crate::{
    error::{During, Layer, SandboxError},
    mounts::{Detached, INERT, READ_ONLY, find, make_directory},
    root::open_directory,
    spec::{Access, Grant, SandboxSpec, Tree},
};

/// Devices that exist inside.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Mounts that were cloned from the host.
#[derive(Debug)]
pub(crate) struct Sources {
    grants: Vec<(Grant, Source)>,
    devices: Vec<(&'static str, Detached)>,
    workspace: Source,
    /// The task's own folder: its writable layers, and `work`.
    layers: Option<Detached>,
}

/// Where a mount comes from.
#[derive(Debug)]
enum Source {
    /// It is what the host has, and says so.
    Clone(Detached),
    /// A folder, or a file in it, that cannot be changed.
    View {
        folder: Detached,
        file: Option<OsString>,
    },
    /// A folder below the task's own folder, over nothing or over another one.
    Own {
        upper: PathBuf,
        work: PathBuf,
        over: Option<Detached>,
    },
}

/// Mounts that wait for their places.
#[derive(Debug)]
pub(crate) struct Mounts {
    /// In the order in which they are placed.
    pub(crate) grants: Vec<(Grant, Detached)>,
    /// By name below `/dev`.
    pub(crate) devices: Vec<(&'static str, Detached)>,
    /// The agent's tree.
    pub(crate) workspace: Detached,
}

impl Sources {
    /// Clones every source. Needs the rights to mount in the current
    /// namespace; `map` is given when files of the host's root must appear as
    /// the task's own.
    pub(crate) fn collect(spec: &SandboxSpec, map: Option<&OwnedFd>) -> Result<Self, SandboxError> {
        let (workspace, layers) = match &spec.workspace.tree {
            Tree::Directory(path) => (Source::Clone(take(Layer::Workspace, path, INERT)?), None),
            Tree::Subvolume { name, layers } => {
                let folder = Path::new(name);
                let tree = Source::Own {
                    upper: folder.join("ws"),
                    work: folder.join("work"),
                    over: None,
                };
                (tree, Some(layers))
            }
            Tree::Overlay { lower, layers } => {
                let lower = take_lower(Layer::Workspace, lower, map)?;
                let tree = Source::Own {
                    upper: "upper".into(),
                    work: "work/upper".into(),
                    over: Some(lower),
                };
                (tree, Some(layers))
            }
        };
        let mut grants = spec
            .grants
            .iter()
            .map(|grant| {
                Ok((
                    grant.clone(),
                    Source::of(grant, layers.map(PathBuf::as_path), map)?,
                ))
            })
            .collect::<Result<Vec<_>, SandboxError>>()?;
        // A mount point must exist before what is mounted below it.
        grants.sort_by(|(one, _), (other, _)| one.target.cmp(&other.target));
        let devices = DEVICES.into_iter().map(|name| {
            let path = Path::new("/dev").join(name);
            Ok((name, take(Layer::Files, &path, libc::MOUNT_ATTR_NOSUID)?))
        });
        Ok(Self {
            grants,
            devices: devices.collect::<Result<_, SandboxError>>()?,
            workspace,
            layers: layers
                .map(|path| take(Layer::Workspace, path, INERT))
                .transpose()?,
        })
    }

    /// Turns each source into one mount. Needs a private mount namespace of
    /// the task's user, and nobody who uses [`STAGE`] in it.
    pub(crate) fn lay_over(self) -> Result<Mounts, SandboxError> {
        let mut stage = match &self.layers {
            Some(layers) => Some(Stage::raise(layers).during(Layer::Workspace, "raise a stage")?),
            None => None,
        };
        let mut mount = |source: Source, what: &Path| match (source, &mut stage) {
            (Source::Clone(mount), _) => Ok(mount),
            (source, Some(stage)) => stage
                .mount(source)
                .during(Layer::Workspace, format!("lay out {}", what.display())),
            (_, None) => Err(io::Error::from(io::ErrorKind::InvalidInput))
                .during(Layer::Workspace, "find the task's own folder"),
        };
        let workspace = mount(self.workspace, Path::new("the workspace"))?;
        let grants = self.grants.into_iter().map(|(grant, source)| {
            let mount = mount(source, &grant.source)?;
            Ok((grant, mount))
        });
        Ok(Mounts {
            grants: grants.collect::<Result<_, SandboxError>>()?,
            devices: self.devices,
            workspace,
        })
    }
}

impl Source {
    /// The source of a grant. Without `layers` nothing can be laid over, and
    /// everything is a clone.
    fn of(
        grant: &Grant,
        layers: Option<&Path>,
        map: Option<&OwnedFd>,
    ) -> Result<Self, SandboxError> {
        let source = &grant.source;
        let attributes = match grant.access {
            Access::ReadOnly => INERT | READ_ONLY,
            Access::ReadWrite => INERT,
        };
        let own = layers.is_some() && source.parent() == layers;
        if grant.over.is_some() && !own {
            return Err(io::Error::from(io::ErrorKind::InvalidInput))
                .during(Layer::Files, format!("lay out {}", source.display()));
        }
        match (source.parent(), source.file_name()) {
            // The same name on both sides tells nothing new.
            _ if layers.is_none() || grant.target == *source => {
                Ok(Self::Clone(take(Layer::Files, source, attributes)?))
            }
            (_, Some(name)) if own && grant.access == Access::ReadWrite => Ok(Self::Own {
                upper: name.into(),
                work: Path::new("work").join(name),
                over: grant
                    .over
                    .as_deref()
                    .map(|over| take_lower(Layer::Files, over, map))
                    .transpose()?,
            }),
            _ if grant.access == Access::ReadWrite => {
                Ok(Self::Clone(take(Layer::Files, source, attributes)?))
            }
            (Some(parent), Some(name)) if !source.is_dir() => Ok(Self::View {
                // Nothing of the folder but the file is shown.
                folder: take_lower(Layer::Files, parent, map.filter(|_| is_closed(parent)))?,
                file: Some(name.to_owned()),
            }),
            _ => Ok(Self::View {
                folder: take(Layer::Files, source, attributes)?,
                file: None,
            }),
        }
    }
}

/// Whether others than its owner and group cannot look up names in `folder`.
fn is_closed(folder: &Path) -> bool {
    let entered_by_others = Mode::XOTH.as_raw_mode();
    folder
        .metadata()
        .is_ok_and(|folder| folder.mode() & entered_by_others == 0)
}

/// What a layer or a view of the task's own lies over; with `map`, files of the
/// host's root are the task's.
fn take_lower(layer: Layer, path: &Path, map: Option<&OwnedFd>) -> Result<Detached, SandboxError> {
    let lower = take(layer, path, INERT | READ_ONLY)?;
    if let Some(map) = map {
        let step = || format!("map the owner of {}", path.display());
        lower.map_owner(map).during(layer, step())?;
    }
    Ok(lower)
}

fn take(layer: Layer, path: &Path, attributes: u64) -> Result<Detached, SandboxError> {
    Detached::clone_of(path, attributes).during(layer, format!("take {}", path.display()))
}

/// A place in the anchor's own mount namespace that exists on every system
/// and that nothing needs once the sources are collected. Overlays name their
/// layers by paths (mount(8)), and these are the names that show inside.
const STAGE: &str = "/tmp";
/// Folders on the stage, each a mount point or a file's place.
const STAGE_INODES: u64 = 4096;

/// Where the layers of overlays have names.
struct Stage {
    scratch: Detached,
    layers: OwnedFd,
    placed: u32,
}

impl Stage {
    fn raise(layers: &Detached) -> io::Result<Self> {
        let scratch = Detached::scratch(1 << 20, STAGE_INODES, "0700")?;
        scratch.place(open_directory(Path::new(STAGE))?)?;
        make_directory(scratch.descriptor(), Path::new("empty"))?;
        layers.place(make_directory(scratch.descriptor(), Path::new("layers"))?)?;
        Ok(Self {
            layers: find(scratch.descriptor(), Path::new("layers"))?,
            scratch,
            placed: 0,
        })
    }

    fn mount(&mut self, source: Source) -> io::Result<Detached> {
        match source {
            Source::Clone(mount) => Ok(mount),
            Source::Own { upper, work, over } => self.own(&upper, &work, over.as_ref()),
            Source::View { folder, file: None } => self.view(&folder),
            Source::View {
                folder,
                file: Some(name),
            } => {
                let name = Path::new(&name);
                let view = self.view(&folder)?;
                // Linux clones nothing of what is mounted nowhere before 6.15.
                self.name(&view)?;
                let place = Path::new(&self.placed.to_string()).join(name);
                let shown = find(self.scratch.descriptor(), &place)?;
                // What another mount lies on is not the file that was meant.
                let meant = statat(folder.descriptor(), name, AtFlags::SYMLINK_NOFOLLOW)?;
                if rustix::fs::fstat(&shown)?.st_ino != meant.st_ino {
                    return Err(io::Error::other("something else is mounted there"));
                }
                Detached::clone_of_descriptor(shown, INERT | READ_ONLY)
            }
        }
    }

    /// `folder`, unchangeable.
    fn view(&mut self, folder: &Detached) -> io::Result<Detached> {
        let lower = self.name(folder)?;
        // Without an upper layer there must be two others.
        let both = format!("{lower}:{STAGE}/empty");
        let options = [
            ("source", Some("view")),
            ("lowerdir", Some(&*both)),
            ("xino", Some("off")),
            ("userxattr", None),
        ];
        Detached::new("overlay", &options, INERT | READ_ONLY)
    }

    /// The task's own folder `upper`, over another one or over nothing; then
    /// it holds whatever is written and nothing else.
    fn own(&mut self, upper: &Path, work: &Path, over: Option<&Detached>) -> io::Result<Detached> {
        let lower = match over {
            Some(over) => self.name(over)?,
            None => format!("{STAGE}/empty"),
        };
        match rustix::fs::mkdirat(&self.layers, work, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let below = |path: &Path| format!("{STAGE}/layers/{}", path.display());
        let (upper, work) = (below(upper), below(work));
        let options = [
            ("source", Some("own")),
            ("lowerdir", Some(&*lower)),
            ("upperdir", Some(&*upper)),
            ("workdir", Some(&*work)),
            ("userxattr", None),
        ];
        Detached::new("overlay", &options, INERT)
    }

    /// Gives a mount a name that says nothing.
    fn name(&mut self, mount: &Detached) -> io::Result<String> {
        self.placed += 1;
        let name = self.placed.to_string();
        mount.place(make_directory(self.scratch.descriptor(), Path::new(&name))?)?;
        Ok(format!("{STAGE}/{name}"))
    }
}
