//! Files of the host, by path.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::report::Report;

/// The most of a file that is shown, in bytes.
const SHOWN_MAX: u64 = 4096;
/// The most names of a folder that are shown.
const NAMES_MAX: usize = 500;

pub(crate) fn read(paths: &[String], report: &Report) {
    for path in paths {
        report.seen(format!("read {path}"), shown(Path::new(path)));
    }
}

/// The beginning of a file.
pub(crate) fn shown(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SHOWN_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(crate) fn stat(paths: &[String], report: &Report) {
    for path in paths {
        report.tried(format!("stat {path}"), fs::symlink_metadata(path));
        report.tried(
            format!("access {path}"),
            rustix::fs::access(path, rustix::fs::Access::EXISTS).map_err(io::Error::from),
        );
    }
}

pub(crate) fn list(paths: &[String], report: &Report) {
    for path in paths {
        let names = fs::read_dir(path).map(|entries| {
            let entry = |entry: fs::DirEntry| {
                let metadata = entry.metadata().ok()?;
                // The name alone may be the same by chance.
                let name = entry.file_name();
                Some(format!(
                    "{} {} {}",
                    name.display(),
                    metadata.dev(),
                    metadata.ino()
                ))
            };
            let entries = entries.flatten().filter_map(entry).take(NAMES_MAX);
            entries.collect::<Vec<_>>().join("\n")
        });
        report.seen(format!("list {path}"), names);
    }
}

pub(crate) fn create(paths: &[String], report: &Report) {
    for path in paths {
        report.tried(format!("create {path}"), File::create_new(path));
    }
}

pub(crate) fn open_for_writing(paths: &[String], report: &Report) {
    for path in paths {
        report.tried(
            format!("open {path} for writing"),
            File::options().write(true).open(path),
        );
    }
}

pub(crate) fn change(paths: &[String], report: &Report) {
    for path in paths {
        let file = Path::new(path);
        let beside = PathBuf::from(format!("{path}.other"));
        let append = || {
            let mut file = File::options().append(true).open(file)?;
            file.write_all(b"changed\n")
        };
        report.tried(format!("append to {path}"), append());
        report.tried(
            format!("change the mode of {path}"),
            fs::set_permissions(file, fs::Permissions::from_mode(0o666)),
        );
        report.tried(format!("change the times of {path}"), old(file));
        report.tried(
            format!("set an attribute of {path}"),
            rustix::fs::setxattr(
                file,
                "user.stockade",
                b"changed",
                rustix::fs::XattrFlags::empty(),
            )
            .map_err(io::Error::from),
        );
        report.tried(
            format!("link {path} into the workspace"),
            fs::hard_link(file, "linked-from-outside"),
        );
        let _ = fs::remove_file("linked-from-outside");
        report.tried(format!("rename {path}"), fs::rename(file, &beside));
        report.tried(
            format!("remove {path}"),
            fs::remove_file(file).or_else(|_| fs::remove_file(&beside)),
        );
    }
}

/// Makes a file look as old as the epoch.
fn old(file: &Path) -> io::Result<()> {
    let epoch = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: epoch,
        last_modification: epoch,
    };
    Ok(utimensat(CWD, file, &times, AtFlags::empty())?)
}
