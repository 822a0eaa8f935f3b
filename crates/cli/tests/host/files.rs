//! What can be told of files: whether any of them is another one now.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::Host;

/// A file: kind and mode, times, and content or target.
pub type State = (u32, i64, i64, Vec<u8>);

/// What can be told of each file below `folder`.
pub fn state_of(folder: &Path) -> BTreeMap<PathBuf, State> {
    let mut found = BTreeMap::new();
    walk(folder, &mut found);
    found
}

fn walk(folder: &Path, found: &mut BTreeMap<PathBuf, State>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let content = if kind.is_file() {
            fs::read(&path).unwrap()
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            target.into_os_string().into_encoded_bytes()
        } else {
            if kind.is_dir() {
                walk(&path, found);
            }
            Vec::new()
        };
        let metadata = fs::symlink_metadata(&path).unwrap();
        let told = (
            metadata.mode(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            content,
        );
        found.insert(path, told);
    }
}

/// Everything of a host that is not Stockade's own: the repository with its
/// `.git`, the home, and whatever lies beside them.
#[derive(Debug)]
pub struct Outside {
    root: PathBuf,
    files: BTreeMap<PathBuf, State>,
}

impl Outside {
    /// How it is now.
    pub fn of(host: &Host) -> Self {
        let root = host.path("");
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&root).unwrap().flatten() {
            let path = entry.path();
            if path != host.state() && path.is_dir() {
                walk(&path, &mut files);
            }
            if path != host.state() {
                files.insert(path, (0, 0, 0, Vec::new()));
            }
        }
        // A folder's times tell no more than the entries that it has.
        for (mode, seconds, nanoseconds, _) in files.values_mut() {
            if *mode & libc::S_IFMT == libc::S_IFDIR {
                (*seconds, *nanoseconds) = (0, 0);
            }
        }
        Self { root, files }
    }

    /// The paths that are new, gone or different in `later`, but for objects
    /// and names that an import brings: nobody's branch knows of them.
    pub fn changed(&self, later: &Self) -> BTreeSet<String> {
        let paths = self.files.keys().chain(later.files.keys());
        paths
            .filter(|path| self.files.get(*path) != later.files.get(*path))
            .map(|path| path.strip_prefix(&self.root).unwrap_or(path))
            .map(|path| path.to_string_lossy().into_owned())
            .filter(|path| {
                let imported = ["project/.git/objects", "project/.git/refs/stockade"];
                !imported.iter().any(|folder| path.starts_with(folder))
            })
            .collect()
    }
}
