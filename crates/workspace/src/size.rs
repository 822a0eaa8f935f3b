//! How much of a disk a tree takes that an agent made.

use std::{os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat},
    io::Errno,
};

/// Folders inside one another that are looked into; each takes a descriptor.
const DEPTH: usize = 128;

/// What a file takes beside its blocks: the inode and the name, of which file
/// systems tell only that there are fewer left. Without it empty files would
/// cost nothing, and there would be no end to them.
pub const INODE_BYTES: u64 = 1024;

/// What a tree takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes that are allocated, and [`INODE_BYTES`] for each file; of a file
    /// with several names its share.
    pub bytes: u64,
    /// When something in it last changed, in nanoseconds of the system's clock:
    /// a file, its mode, or the names in a folder.
    pub changed: i128,
    /// Whether all of it was looked at: not so where a folder is too deep, or
    /// closed to its owner.
    pub complete: bool,
}

/// What the tree `folder` takes, links not followed. What vanishes meanwhile
/// does not count; a folder that is not there takes nothing.
pub fn allocated(folder: &Path) -> Size {
    let mut size = Size {
        bytes: 0,
        changed: 0,
        complete: true,
    };
    match open(CWD, folder) {
        Ok(folder) => {
            if let Ok(stat) = fstat(&folder) {
                size.changed = changed(&stat);
            }
            add(&folder, 0, &mut size);
        }
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
        Err(_) => size.complete = false,
    }
    size
}

fn open(parent: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn changed(stat: &Stat) -> i128 {
    i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec)
}

fn add(folder: &OwnedFd, depth: usize, size: &mut Size) {
    let Ok(entries) = Dir::read_from(folder) else {
        size.complete = false;
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        size.changed = size.changed.max(changed(&stat));
        // In units of 512 bytes, whatever the file system's (stat(2)).
        let bytes = u64::try_from(stat.st_blocks).unwrap_or_default() * 512 + INODE_BYTES;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            size.bytes += bytes / stat.st_nlink.max(1);
            continue;
        }
        size.bytes += bytes;
        match open(folder, name) {
            Ok(inner) if depth < DEPTH => add(&inner, depth + 1, size),
            Err(Errno::NOENT) => {}
            _ => size.complete = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_whatever_their_names_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        std::fs::create_dir_all(tree.join("inner")).unwrap();
        let empty = allocated(&tree);
        std::fs::write(tree.join("inner/file"), vec![1; 1 << 20]).unwrap();
        std::fs::hard_link(tree.join("inner/file"), tree.join("again")).unwrap();
        std::os::unix::fs::symlink("/usr", tree.join("link")).unwrap();
        let full = allocated(&tree);
        assert!(full.complete);
        let grown = full.bytes - empty.bytes;
        assert!((1 << 20..(1 << 20) + 65_536).contains(&grown), "{grown}");
        assert_eq!(allocated(&folder.path().join("absent")).bytes, 0);
        assert!(full.changed > empty.changed);
        assert_eq!(allocated(&tree).changed, full.changed);
        std::fs::remove_file(tree.join("again")).unwrap();
        assert!(allocated(&tree).changed > full.changed);
    }

    #[test]
    fn empty_files_are_not_free() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..100 {
            std::fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        assert!(allocated(folder.path()).bytes >= 100 * INODE_BYTES);
    }

    #[test]
    fn a_tree_too_deep_to_look_into_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut deep = folder.path().to_owned();
        for _ in 0..DEPTH + 2 {
            deep.push("d");
        }
        std::fs::create_dir_all(&deep).unwrap();
        assert!(!allocated(folder.path()).complete);
    }
}
