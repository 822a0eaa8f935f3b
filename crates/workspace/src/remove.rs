//! Removing a tree that an agent made: folders it may have locked (mode 000,
//! as overlayfs' own `work/work` has), of any depth, links never followed.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, fchmod, fstat, mkdirat, openat,
        renameat, unlinkat,
    },
    io::Errno,
};

/// The depth from which a folder is first moved up, so that neither the stack
/// nor the number of open descriptors grows with what an agent made.
const DEPTH: usize = 48;

/// Removes `path` and all below it. Its absence is not an error.
pub fn folder(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Ok(metadata) if !metadata.is_dir() => return std::fs::remove_file(path),
        _ => {}
    }
    let root = open_folder(CWD, path)?;
    let mut moved = 0_u64;
    while clear(&root, &root, 0, &mut moved)? {}
    drop(root);
    std::fs::remove_dir(path)
}

/// Opens a folder for listing and makes it writable for its owner.
fn open_folder(parent: impl AsFd, name: impl rustix::path::Arg + Copy) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = match openat(parent.as_fd(), name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // By descriptor: by name, a link put there meanwhile would be
            // followed to a file elsewhere.
            let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let locked = openat(parent.as_fd(), name, path, Mode::empty())?;
            let itself = format!("/proc/self/fd/{}", locked.as_raw_fd());
            chmodat(CWD, itself.as_str(), Mode::RWXU, AtFlags::empty())?;
            openat(parent.as_fd(), name, flags, Mode::empty())?
        }
        opened => opened?,
    };
    let mode = fstat(&folder)?.st_mode;
    if mode & 0o700 != 0o700 {
        fchmod(&folder, Mode::RWXU)?;
    }
    Ok(folder)
}

/// Empties `folder`; says whether something was moved up to `root` instead,
/// which then needs another round.
fn clear(root: &OwnedFd, folder: &OwnedFd, depth: usize, moved: &mut u64) -> io::Result<bool> {
    let mut again = false;
    for (name, kind) in entries(folder)? {
        let is_folder = match kind {
            FileType::Unknown | FileType::Directory => {
                match unlinkat(folder, &name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    Err(Errno::ISDIR | Errno::PERM) => true,
                    Err(error) => return Err(error.into()),
                }
            }
            _ => false,
        };
        if !is_folder {
            unlinkat(folder, &name, AtFlags::empty())?;
            continue;
        }
        if depth >= DEPTH {
            again = true;
            move_up(root, folder, &name, moved)?;
            continue;
        }
        let inner = open_folder(folder, name.as_c_str())?;
        again |= clear(root, &inner, depth + 1, moved)?;
        drop(inner);
        unlinkat(folder, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(again)
}

fn move_up(root: &OwnedFd, folder: &OwnedFd, name: &CString, moved: &mut u64) -> io::Result<()> {
    loop {
        *moved += 1;
        let place = format!(".stockade-remove-{moved}");
        // A new name: renaming onto an existing folder would fail or nest.
        match mkdirat(root, &place, Mode::RWXU) {
            Err(Errno::EXIST) => {}
            made => {
                made?;
                // Moving a folder needs the right to change its `..`.
                drop(open_folder(folder, name.as_c_str())?);
                return Ok(renameat(folder, name, root, &place)?);
            }
        }
    }
}

fn entries(folder: &OwnedFd) -> io::Result<Vec<(CString, FileType)>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            found.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn locked_deep_and_linked_folders_go_and_what_a_link_names_stays() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        std::fs::write(kept.join("file"), "x").unwrap();
        let tree = folder.path().join("tree");
        let mut deep = tree.clone();
        for _ in 0..150 {
            deep.push("d");
        }
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("file"), "x").unwrap();
        std::os::unix::fs::symlink(&kept, tree.join("link")).unwrap();
        let locked = tree.join("locked");
        std::fs::create_dir_all(locked.join("inner")).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();

        super::folder(&tree).unwrap();
        assert!(!tree.exists());
        assert_eq!(std::fs::read(kept.join("file")).unwrap(), b"x");
    }

    #[test]
    fn a_folder_that_is_not_there_is_no_error() {
        assert!(folder(Path::new("/nonexistent/stockade")).is_ok());
    }
}
