//! Files that nobody may change, and how it is seen that somebody did.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The most entries of a folder that are looked at.
const ENTRIES_MAX: usize = 1000;
/// What has an older time than this, in seconds, was given it.
const MADE_AFTER: i64 = 1_000_000_000;

/// Makes a file, with the folders above it.
pub(crate) fn plant(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Whether a file is as it was planted.
pub(crate) fn is_as_planted(path: &Path, text: &str, mode: u32) -> bool {
    is_untouched(path, mode) && fs::read(path).is_ok_and(|bytes| bytes == text.as_bytes())
}

/// Whether nothing of a file but, perhaps, its content was changed.
pub(crate) fn is_untouched(path: &Path, mode: u32) -> bool {
    let Ok(found) = fs::symlink_metadata(path) else {
        return false;
    };
    found.is_file()
        && found.mode() & 0o7777 == mode
        && found.nlink() == 1
        && found.mtime() > MADE_AFTER
        && rustix::fs::getxattr(path, "user.stockade", &mut [0; 16][..]).is_err()
}

/// Programs of a folder that would run as their owner; they no longer do.
pub(crate) fn as_owner(folder: &Path) -> io::Result<Vec<String>> {
    const AS_OWNER: u32 = 0o6000;
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let metadata = entry.metadata()?;
        if metadata.is_file() && metadata.mode() & AS_OWNER != 0 {
            found.push(format!("{} runs as its owner", entry.path().display()));
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(found)
}

/// Files of a folder that nobody planted.
pub(crate) fn new_files(
    folder: &Path,
    planted: &BTreeMap<PathBuf, (String, u32)>,
) -> io::Result<Vec<PathBuf>> {
    let own = ["socket", "log"];
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)?.take(ENTRIES_MAX) {
        let path = entry?.path();
        let is_own = own.iter().any(|name| path.ends_with(name));
        if !is_own && !planted.contains_key(&path) {
            found.push(path);
        }
    }
    Ok(found)
}
