use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, mkdirat, mknodat, openat2,
        readlinkat, symlinkat, unlinkat,
    },
    io::Errno,
};

/// A folder below which paths are resolved without ever leaving it and
/// without following a symbolic link, whoever changes it meanwhile.
#[derive(Debug)]
pub(crate) struct Beneath(OwnedFd);

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);

impl Beneath {
    /// Opens the folder `path`, which is Stockade's or the user's own: its
    /// last component may not be a symbolic link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        Ok(openat2(
            &self.0,
            path,
            flags | OFlags::CLOEXEC,
            mode,
            RESOLVE,
        )?)
    }

    /// The folder `path`, for listing.
    pub(crate) fn folder(&self, path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY;
        Ok(Self(self.resolve(path, flags, Mode::empty())?))
    }

    /// What is at `path`, a symbolic link itself included; `None` if nothing.
    pub(crate) fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        match self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(found) => Ok(Some(rustix::fs::fstat(found)?)),
            Err(error) => match Errno::from_io_error(&error) {
                // A link on the way: the path itself does not exist here.
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// A regular file for reading. Never blocks on a pipe, never opens a
    /// device: those are errors.
    pub(crate) fn file(&self, path: &Path) -> io::Result<(File, Stat)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.resolve(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("not a regular file"));
        }
        Ok((File::from(file), stat))
    }

    /// The target of a symbolic link.
    pub(crate) fn link(&self, path: &Path) -> io::Result<Vec<u8>> {
        let link = self.resolve(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(readlinkat(link, "", Vec::new())?.into_bytes())
    }

    /// A new file for writing; an existing one is an error.
    pub(crate) fn create(&self, path: &Path, executable: bool) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let mode = if executable { 0o755 } else { 0o644 };
        Ok(File::from(self.resolve(
            path,
            flags,
            Mode::from_raw_mode(mode),
        )?))
    }

    /// A new symbolic link.
    pub(crate) fn create_link(&self, path: &Path, target: &[u8]) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(symlinkat(target, folder, name)?)
    }

    /// A new folder; its parent must exist.
    pub(crate) fn create_folder(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(mkdirat(folder, name, Mode::from_raw_mode(0o755))?)
    }

    /// The folder `path` and those above it, as far as they are missing.
    pub(crate) fn create_folders(&self, path: &Path) -> io::Result<()> {
        let mut prefix = std::path::PathBuf::new();
        for part in path.components() {
            prefix.push(part);
            match self.create_folder(&prefix) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// The mark by which overlayfs hides a path of the layer below: a
    /// character device 0/0, which needs no privilege since Linux 5.8.
    pub(crate) fn create_whiteout(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        let device = rustix::fs::makedev(0, 0);
        Ok(mknodat(
            folder,
            name,
            FileType::CharacterDevice,
            Mode::empty(),
            device,
        )?)
    }

    /// Removes a file, link or whiteout.
    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(unlinkat(folder, name, AtFlags::empty())?)
    }

    /// Removes an empty folder.
    pub(crate) fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        Ok(unlinkat(folder, name, AtFlags::REMOVEDIR)?)
    }

    /// Removes a folder that holds nothing but whiteouts, in folders or not.
    pub(crate) fn remove_whiteouts(&self, path: &Path) -> io::Result<()> {
        let folder = self.folder(path)?;
        for entry in Dir::read_from(folder.descriptor())? {
            let entry = entry?;
            let name = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
            match entry.file_type() {
                _ if [".", ".."].map(Path::new).contains(&name) => {}
                FileType::Directory => folder.remove_whiteouts(name)?,
                FileType::CharacterDevice => folder.remove(name)?,
                // Then it is not empty, and stays.
                _ => {}
            }
        }
        self.remove_folder(path)
    }

    fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                let flags = OFlags::DIRECTORY | OFlags::PATH;
                self.resolve(parent, flags, Mode::empty())?
            }
            _ => self.0.try_clone()?,
        };
        Ok((folder, name))
    }
}

/// An extended attribute of an open file or folder, if it is set and short.
pub(crate) fn attribute(file: impl AsFd, name: &str) -> Option<Vec<u8>> {
    let mut value = [0_u8; 16];
    let size = rustix::fs::fgetxattr(file, name, &mut value).ok()?;
    value.get(..size).map(<[u8]>::to_vec)
}
