use std::{
    io::{self, BufRead, Read, Write},
    os::unix::fs::FileExt,
};

use super::{
    SnapshotError, SnapshotLimits,
    walk::{Found, Put},
};
use crate::{
    beneath::Beneath,
    git::{Git, GitDir, GitError},
    object::{FileMode, ObjectId},
    path::TreePath,
};

/// Files up to this size are read whole before a byte of them is sent.
const WHOLE: u64 = 8 << 20;

/// What a snapshot's commits say and stand on.
pub(super) struct Parent<'a> {
    pub(super) number: u32,
    pub(super) label: &'a str,
    /// Seconds since the epoch.
    pub(super) time: u64,
    pub(super) base: &'a ObjectId,
}

pub(super) struct Commits {
    pub(super) importable: ObjectId,
    pub(super) with_ignored: ObjectId,
}

/// Saves what was found as two commits: what may be imported, and, on top of
/// it, the ignored files. Files that cannot be read move to `found.skipped`.
pub(super) fn save(
    git: &Git,
    shadow: &GitDir,
    parent: &Parent<'_>,
    root: &Beneath,
    found: &mut Found,
    limits: &SnapshotLimits,
) -> Result<Commits, SnapshotError> {
    let feed = |stdin: &mut dyn Write| {
        stdin.write_all(b"feature done\nfeature get-mark\n")?;
        let saved = blobs(stdin, root, found, limits)?;
        commits(stdin, parent, found, &saved)?;
        stdin.write_all(b"done\n")
    };
    let read = |stdout: &mut dyn BufRead| {
        let mut answers = String::new();
        stdout.take(4096).read_to_string(&mut answers)?;
        Ok(answers)
    };
    let call = git
        .call(shadow, "fast-import")
        .writes()
        .args(["--quiet", "--done", "--force"]);
    let answers = call.stream(feed, read)?;
    let mut ids = answers.lines().map(str::parse);
    if let (Some(Ok(importable)), Some(Ok(with_ignored))) = (ids.next(), ids.next()) {
        return Ok(Commits {
            importable,
            with_ignored,
        });
    }
    let detail = stockade_types::visible::line(answers.as_bytes());
    Err(GitError::Unexpected {
        command: "fast-import",
        detail,
    }
    .into())
}

/// Sends the content of every file; the mark of each is its place in
/// `found.puts` plus one. Those that fail are taken out and listed.
fn blobs(
    stdin: &mut dyn Write,
    root: &Beneath,
    found: &mut Found,
    limits: &SnapshotLimits,
) -> io::Result<Vec<usize>> {
    let mut marks = Vec::with_capacity(found.puts.len());
    let mut kept = Vec::with_capacity(found.puts.len());
    for (index, put) in std::mem::take(&mut found.puts).into_iter().enumerate() {
        let mark = index + 1;
        match blob(stdin, root, &put, mark, limits)? {
            Ok(()) => {
                marks.push(mark);
                kept.push(put);
            }
            Err(reason) => found.skip(limits, put.path, reason),
        }
    }
    found.puts = kept;
    Ok(marks)
}

/// Sends one blob. The outer error is about git, the inner about the file.
fn blob(
    stdin: &mut dyn Write,
    root: &Beneath,
    put: &Put,
    mark: usize,
    limits: &SnapshotLimits,
) -> io::Result<Result<(), String>> {
    let path = put.path.as_path();
    let unreadable = |error: &io::Error| format!("it cannot be read: {error}");
    if put.link {
        return match root.link(path) {
            Ok(target) => send(stdin, mark, &target).map(Ok),
            Err(error) => Ok(Err(unreadable(&error))),
        };
    }
    let (mut file, stat) = match root.file(path) {
        Ok(opened) => opened,
        Err(error) => return Ok(Err(unreadable(&error))),
    };
    let size = u64::try_from(stat.st_size).unwrap_or_default();
    if size > limits.file_bytes {
        return Ok(Err("it grew beyond the limit while it was read".to_owned()));
    }
    if size <= WHOLE {
        let mut content = Vec::new();
        return match (&mut file).take(WHOLE + 1).read_to_end(&mut content) {
            Ok(read) if read as u64 <= WHOLE => send(stdin, mark, &content).map(Ok),
            Ok(_) => Ok(Err("it grew while it was read".to_owned())),
            Err(error) => Ok(Err(unreadable(&error))),
        };
    }
    write!(stdin, "blob\nmark :{mark}\ndata {size}\n")?;
    let mut buffer = vec![0; 256 << 10];
    let mut position = 0;
    let mut failure = None;
    while position < size {
        let want = usize::try_from(size - position)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = match file.read_at(&mut buffer[..want], position) {
            Ok(0) => Err("it shrank while it was read".to_owned()),
            Ok(read) => Ok(read),
            Err(error) => Err(unreadable(&error)),
        };
        let count = match read {
            Ok(count) => count,
            Err(reason) => {
                // The length is promised; the blob will not be used.
                buffer.fill(0);
                failure.get_or_insert(reason);
                want
            }
        };
        stdin.write_all(&buffer[..count])?;
        position += count as u64;
    }
    stdin.write_all(b"\n")?;
    Ok(failure.map_or(Ok(()), Err))
}

fn send(stdin: &mut dyn Write, mark: usize, content: &[u8]) -> io::Result<()> {
    write!(stdin, "blob\nmark :{mark}\ndata {}\n", content.len())?;
    stdin.write_all(content)?;
    stdin.write_all(b"\n")
}

fn commits(
    stdin: &mut dyn Write,
    parent: &Parent<'_>,
    found: &Found,
    marks: &[usize],
) -> io::Result<()> {
    let Parent {
        number,
        label,
        time,
        base,
    } = parent;
    let (first, second) = (
        marks.last().unwrap_or(&0) + 1,
        marks.last().unwrap_or(&0) + 2,
    );
    let committer = format!("committer Stockade <stockade@localhost> {time} +0000");
    let message = format!("Snapshot {number}: {label}\n");
    let length = message.len();
    write!(
        stdin,
        "commit refs/snap/{number}\nmark :{first}\n{committer}\n"
    )?;
    write!(stdin, "data {length}\n{message}\nfrom {base}\n")?;
    for path in &found.deletes {
        delete(stdin, path)?;
    }
    modify(stdin, found, marks, false)?;
    writeln!(stdin)?;
    write!(
        stdin,
        "commit refs/snap/{number}-all\nmark :{second}\n{committer}\n"
    )?;
    write!(stdin, "data {length}\n{message}\nfrom :{first}\n")?;
    modify(stdin, found, marks, true)?;
    write!(stdin, "\nget-mark :{first}\nget-mark :{second}\n")
}

fn delete(stdin: &mut dyn Write, path: &TreePath) -> io::Result<()> {
    writeln!(stdin, "D {}", path.quoted())
}

fn modify(stdin: &mut dyn Write, found: &Found, marks: &[usize], ignored: bool) -> io::Result<()> {
    for (put, mark) in found
        .puts
        .iter()
        .zip(marks)
        .filter(|(put, _)| put.ignored == ignored)
    {
        let mode = match (put.link, put.executable) {
            (true, _) => FileMode::Symlink,
            (false, true) => FileMode::Executable,
            (false, false) => FileMode::Regular,
        };
        writeln!(stdin, "M {} :{mark} {}", mode.octal(), put.path.quoted())?;
    }
    Ok(())
}
