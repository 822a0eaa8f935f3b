//! The socket: for its owner alone, in a folder for its owner alone, and never
//! that of another server.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Others could reach or replace the socket.
    #[error(
        "{} is open to other users, who could reach or replace a socket there; name one in a \
         folder of your own: chmod 700, or a folder that does not exist yet",
        .0.display()
    )]
    Shared(PathBuf),
    /// Another server has it.
    #[error("another `stockade serve` listens at {}; name another socket", .0.display())]
    Taken(PathBuf),
    /// Something else has that name.
    #[error("{} is there and is no socket; name another path", .0.display())]
    NotASocket(PathBuf),
    /// A path without a folder or a name.
    #[error("{} cannot name a socket; give the path of a new file", .0.display())]
    NoName(PathBuf),
    /// The system's words.
    #[error("{}: {source}", path.display())]
    System {
        /// Where.
        path: PathBuf,
        /// What.
        source: io::Error,
    },
}

/// A socket that takes connections; dropping it removes the file.
#[derive(Debug)]
pub struct Listener {
    pub(crate) socket: UnixListener,
    path: PathBuf,
    /// Held while the socket is this server's.
    _lock: File,
}

impl Listener {
    /// Listens at `path`. Its folder is made if it is missing; what a dead
    /// server left there is replaced.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenError::System {
            path: path.to_owned(),
            source,
        };
        let path = std::path::absolute(path).map_err(failed)?;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ListenError::NoName(path));
        };
        let folder = private_folder(folder)?;
        let lock = lock(&path)?;
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ListenError::NotASocket(path));
            }
            Ok(_) => fs::remove_file(&path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        // Names of sockets have at most 107 bytes; folders may have more.
        let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        let socket = UnixListener::bind(short).map_err(failed)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            socket,
            path,
            _lock: lock,
        })
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// The folder, which nobody else may enter.
fn private_folder(path: &Path) -> Result<File, ListenError> {
    let failed = |source| ListenError::System {
        path: path.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed)?;
    let folder = File::open(path).map_err(failed)?;
    let found = folder.metadata().map_err(failed)?;
    let own = found.uid() == rustix::process::geteuid().as_raw();
    if !own || found.mode() & 0o077 != 0 {
        return Err(ListenError::Shared(path.to_owned()));
    }
    Ok(folder)
}

fn lock(path: &Path) -> Result<File, ListenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |source| ListenError::System {
        path: PathBuf::from(&name),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ListenError::Taken(path.to_owned())),
        Err(error) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn the_socket_and_its_new_folder_are_for_their_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a".repeat(120)).join("socket");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(listener.path(), path);
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn an_open_folder_a_living_server_and_another_file_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let open = root.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        let bind = |path: PathBuf| Listener::bind(&path);
        assert!(matches!(
            bind(open.join("socket")),
            Err(ListenError::Shared(_))
        ));
        let own = root.path().join("own");
        let first = bind(own.join("socket")).unwrap();
        assert!(matches!(
            bind(own.join("socket")),
            Err(ListenError::Taken(_))
        ));
        assert!(first.path().exists());
        fs::write(own.join("file"), "kept").unwrap();
        assert!(matches!(
            bind(own.join("file")),
            Err(ListenError::NotASocket(_))
        ));
        assert_eq!(fs::read(own.join("file")).unwrap(), b"kept");
    }

    #[test]
    fn what_a_dead_server_left_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("own/socket");
        drop(Listener::bind(&path).unwrap());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert!(Listener::bind(&path).is_ok());
    }
}
