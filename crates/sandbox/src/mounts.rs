//! Mounts by descriptor: made detached, given attributes, then placed at a
//! target that was resolved without following any link.

use std::{
    io,
    path::{Component, Path},
};

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
    },
};

use crate::kernel::{MountAttributes, set_mount_attributes};

/// A mount that is not in the tree yet.
#[derive(Debug)]
pub(crate) struct Detached {
    descriptor: OwnedFd,
    is_directory: bool,
}

/// Mount attributes, as mount_setattr(2) names them.
pub(crate) const READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
/// Neither setuid executables nor devices.
pub(crate) const INERT: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;

impl Detached {
    /// A clone of the mounts at a host path, with everything below it.
    pub(crate) fn clone_of(source: &Path, attributes: u64) -> io::Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        Self::adopt(open_tree(CWD, source, flags)?, attributes)
    }

    /// A clone of what `descriptor` refers to, with everything below it.
    pub(crate) fn clone_of_descriptor(descriptor: impl AsFd, attributes: u64) -> io::Result<Self> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE
            | OpenTreeFlags::AT_EMPTY_PATH;
        Self::adopt(open_tree(descriptor, c"", flags)?, attributes)
    }

    fn adopt(descriptor: OwnedFd, attributes: u64) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&descriptor)?.st_mode);
        let attributes = MountAttributes {
            set: attributes,
            recursive: true,
            map: None,
        };
        set_mount_attributes(&descriptor, attributes)?;
        Ok(Self {
            descriptor,
            is_directory: kind == FileType::Directory,
        })
    }

    /// A new instance of a file system.
    pub(crate) fn new(
        kind: &str,
        options: &[(&str, Option<&str>)],
        attributes: u64,
    ) -> io::Result<Self> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (name, value) in options {
            match value {
                Some(value) => fsconfig_set_string(context.as_fd(), *name, *value)?,
                None => fsconfig_set_flag(context.as_fd(), *name)?,
            }
        }
        fsconfig_create(context.as_fd())?;
        let attributes = u32::try_from(attributes).map_err(|_| Errno::INVAL)?;
        let descriptor = fsmount(
            context.as_fd(),
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::from_bits_retain(attributes),
        )?;
        Ok(Self {
            descriptor,
            is_directory: true,
        })
    }

    /// A private tmpfs of at most `bytes` and `inodes`.
    pub(crate) fn scratch(bytes: u64, inodes: u64, mode: &str) -> io::Result<Self> {
        let (size, inodes) = (bytes.to_string(), inodes.to_string());
        let options = [
            ("size", Some(&*size)),
            ("nr_inodes", Some(&*inodes)),
            ("mode", Some(mode)),
        ];
        Self::new("tmpfs", &options, INERT)
    }

    /// Whether its root is a folder.
    pub(crate) fn is_directory(&self) -> bool {
        self.is_directory
    }

    /// Maps the owner of its files as the user namespace `map` does.
    pub(crate) fn map_owner(&self, map: impl AsFd) -> io::Result<()> {
        let attributes = MountAttributes {
            set: 0,
            recursive: true,
            map: Some(map.as_fd()),
        };
        set_mount_attributes(&self.descriptor, attributes)
    }

    /// Puts it on top of whatever `target` refers to.
    pub(crate) fn place(&self, target: impl AsFd) -> io::Result<()> {
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(self.descriptor.as_fd(), c"", target.as_fd(), c"", flags)?;
        Ok(())
    }

    /// Its root, for paths below it.
    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }
}

/// Opens `path` below `root` as a place for a mount, following nothing.
pub(crate) fn find(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat2(
        root,
        relative(path),
        flags,
        Mode::empty(),
        resolve,
    )?)
}

/// `path` without its leading slash; the root itself is `.`.
pub(crate) fn relative(path: &Path) -> &Path {
    let path = path.strip_prefix("/").unwrap_or(path);
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

/// Makes the folder `path` below `root` with its parents, and opens it. What
/// exists must be a folder, not a link to one.
pub(crate) fn make_directory(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let mut current = rustix::fs::openat(root, c".", flags, Mode::empty())?;
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::RootDir | Component::CurDir => continue,
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        };
        match rustix::fs::mkdirat(&current, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        current = rustix::fs::openat(&current, name, flags, Mode::empty())?;
    }
    Ok(current)
}

/// Makes an empty file below `root`, with its folders, and opens it.
pub(crate) fn make_file(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let parent = make_directory(&root, path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(
        &parent,
        name,
        flags,
        Mode::from_raw_mode(0o644),
    )?)
}
