use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, statat, utimensat};

use crate::{
    files::{FileError, failed},
    manifest::{Stamp, Stamps, Tracked},
    object::FileMode,
    path::TreePath,
};

/// More threads than this only wait for the same disk.
const THREADS: usize = 8;

/// Copies the base tree `from` to `to`, which nobody else can write yet.
/// Contents are shared where the file system can (`copy_file_range`), times
/// are kept. Returns the stamps of the copies.
pub(super) fn tree(
    from: &Path,
    to: &Path,
    files: &[Tracked],
    submodules: &[TreePath],
) -> Result<Stamps, FileError> {
    // A parent sorts before what it holds.
    let mut folders: BTreeSet<TreePath> = submodules.iter().cloned().collect();
    for path in files.iter().map(|file| &file.path).chain(submodules) {
        for ancestor in path.ancestors() {
            if !folders.insert(ancestor) {
                break;
            }
        }
    }
    fs::create_dir_all(to).map_err(failed("create the folder", to))?;
    for folder in &folders {
        let folder = to.join(folder.as_path());
        fs::create_dir(&folder).map_err(failed("create the folder", &folder))?;
    }
    let git_file = to.join(".git");
    fs::copy(from.join(".git"), &git_file).map_err(failed("write", &git_file))?;

    let next = AtomicUsize::new(0);
    let worker = || {
        let mut stamps = Vec::new();
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            let target = to.join(file.path.as_path());
            let stamp = one(&from.join(file.path.as_path()), &target, file.mode)
                .map_err(failed("copy to", &target))?;
            stamps.push((file.path.clone(), stamp));
        }
        Ok(stamps)
    };
    let threads = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(THREADS);
    let copied: Vec<Result<_, FileError>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let crashed = |_| {
            Err(failed("copy to", to)(std::io::Error::other(
                "a thread ended early",
            )))
        };
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(crashed))
            .collect()
    });
    let mut stamps = Stamps::default();
    for part in copied {
        for (path, stamp) in part? {
            stamps.insert(path, stamp);
        }
    }
    Ok(stamps)
}

fn one(from: &Path, to: &Path, mode: FileMode) -> std::io::Result<Stamp> {
    if mode == FileMode::Symlink {
        symlink(fs::read_link(from)?, to)?;
    } else {
        fs::copy(from, to)?;
    }
    let source = statat(CWD, from, AtFlags::SYMLINK_NOFOLLOW)?;
    let nanoseconds = |value| i64::try_from(value).unwrap_or_default();
    let time = |seconds, nanosecond| Timespec {
        tv_sec: seconds,
        tv_nsec: nanosecond,
    };
    let times = Timestamps {
        last_access: time(source.st_atime, nanoseconds(source.st_atime_nsec)),
        last_modification: time(source.st_mtime, nanoseconds(source.st_mtime_nsec)),
    };
    utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Stamp::of(&statat(CWD, to, AtFlags::SYMLINK_NOFOLLOW)?))
}
