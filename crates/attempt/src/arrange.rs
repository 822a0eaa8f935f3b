//! Changes of the workspace, which is the agent's to change; what they do to
//! the host is seen there.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use stockade_attempt::{Act, GIT};

use crate::report::Report;

pub(crate) fn arrange(acts: &[Act], report: &Report) {
    for act in acts {
        let (step, result) = one(act);
        report.tried(step, result);
    }
}

fn one(act: &Act) -> (String, io::Result<()>) {
    match act {
        Act::Folder(path) => (format!("make {path}"), fs::create_dir_all(place(path))),
        Act::File { path, text, mode } => (format!("write {path}"), file(path, text, *mode)),
        Act::Append { path, text } => {
            let append = || {
                let mut file = File::options()
                    .append(true)
                    .create(true)
                    .open(place(path))?;
                file.write_all(text.as_bytes())
            };
            (format!("append to {path}"), append())
        }
        Act::Link { path, to } => (
            format!("link {path}"),
            above(path).and_then(|()| std::os::unix::fs::symlink(to, place(path))),
        ),
        Act::Rename { from, to } => (
            format!("rename {from} to {to}"),
            fs::rename(place(from), place(to)),
        ),
        Act::Exchange { one, other } => (
            format!("exchange {one} and {other}"),
            renameat_with(CWD, place(one), CWD, place(other), RenameFlags::EXCHANGE)
                .map_err(Into::into),
        ),
        Act::Remove(path) => {
            let path_here = place(path);
            let is_folder = fs::symlink_metadata(&path_here).is_ok_and(|found| found.is_dir());
            let removed = if is_folder {
                fs::remove_dir_all(path_here)
            } else {
                fs::remove_file(path_here)
            };
            (format!("remove {path}"), removed)
        }
        Act::Setuid(path) => {
            let copy = || {
                fs::copy(std::env::current_exe()?, place(path))?;
                fs::set_permissions(place(path), fs::Permissions::from_mode(0o6755))
            };
            (format!("make {path} run as its owner"), copy())
        }
    }
}

/// Makes a file; what is there before, a link too, is replaced.
fn file(path: &str, text: &str, mode: u32) -> io::Result<()> {
    above(path)?;
    let path = place(path);
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(mode))
}

fn above(path: &str) -> io::Result<()> {
    match place(path).parent() {
        Some(parent) => fs::create_dir_all(parent),
        None => Ok(()),
    }
}

/// Where a path of an order is.
fn place(path: &str) -> PathBuf {
    match path.strip_prefix(GIT) {
        Some(rest) => git_directory().join(rest),
        None => PathBuf::from(path),
    }
}

/// The git directory of the current folder, by way of the file that names it.
fn git_directory() -> PathBuf {
    let named = fs::read_to_string(".git").ok().and_then(|text| {
        Some(PathBuf::from(
            text.trim().strip_prefix("gitdir:")?.trim_start(),
        ))
    });
    named.unwrap_or_else(|| Path::new(".git").to_owned())
}
