//! Descriptors of the host that nobody meant to hand over: what they show, and
//! what can be written to them and through their names.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use stockade_attempt::{End, Lent};

use crate::{files::shown, report::Report};

/// Where the descriptors of this process have names.
const NAMES: &str = "/proc/self/fd";

pub(crate) fn use_lent(lent: &[Lent], report: &Report) {
    for Lent {
        name,
        device,
        inode,
    } in lent
    {
        let steps = [
            format!("read {name} that is lent"),
            format!("write to {name} that is lent"),
        ];
        match find(*device, *inode) {
            Ok(Some(path)) => use_one(&path, &steps, report),
            Ok(None) => {
                for step in steps {
                    report.tell(step, End::Refused(libc::EBADF));
                }
            }
            Err(error) => {
                for step in steps {
                    report.tell(step, End::Unable(format!("{NAMES}: {error}")));
                }
            }
        }
    }
}

/// The name of a descriptor that refers to this.
fn find(device: u64, inode: u64) -> io::Result<Option<PathBuf>> {
    let mut paths = fs::read_dir(NAMES)?.flatten().map(|entry| entry.path());
    Ok(paths.find(|path| {
        fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (device, inode))
    }))
}

fn use_one(path: &Path, [read, write]: &[String; 2], report: &Report) {
    let kind = fs::metadata(path).map(|found| found.file_type());
    let is = |what: fn(&fs::FileType) -> bool| kind.as_ref().is_ok_and(what);
    if is(fs::FileType::is_dir) {
        let names = || {
            let names = fs::read_dir(path)?.flatten().map(|entry| entry.path());
            let files = names.filter(|path| path.is_file());
            let texts: Vec<String> = files.filter_map(|file| shown(&file).ok()).collect();
            Ok(texts.join("\n"))
        };
        report.seen(read.clone(), names());
        report.tried(write.clone(), File::create_new(path.join("created")));
    } else if is(FileTypeExt::is_socket) {
        // A socket has no name to be opened by: it is used as it is.
        report.tried(write.clone(), crate::raw::send(number(path), b"changed\n"));
    } else {
        if is(fs::FileType::is_file) {
            report.seen(read.clone(), shown(path));
        }
        let append = || {
            let mut file = File::options().append(true).open(path)?;
            file.write_all(b"changed\n")
        };
        report.tried(write.clone(), append());
    }
}

/// The number of a descriptor in its name.
fn number(path: &Path) -> i32 {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or(-1)
}
