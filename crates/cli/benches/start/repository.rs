//! A repository of many small files.

use std::{
    fmt::Write as _,
    io::{self, BufWriter, Write},
    path::PathBuf,
    process::Stdio,
};

use crate::{
    failure::Failure,
    place::{Place, finish},
};

/// Files in one folder.
pub(crate) const IN_A_FOLDER: u32 = 50;
/// Folders in one folder of the first level.
const FOLDERS: u32 = 40;
/// Sizes of files: 0.5 to 4.5 KiB, 2.5 KiB on average.
const SIZES: std::ops::Range<u64> = 512..4608;

/// Makes the repository, packed and checked out as a clone would be.
pub(crate) fn make(place: &Place, files: u32) -> Result<(), Failure> {
    let folder = place.repository();
    let name = folder.to_string_lossy();
    place.git(place.folder(), &["init", "-q", "-b", "main", &name])?;
    let mut git = place.command("git");
    git.args([
        "-c",
        "core.compression=1",
        "fast-import",
        "--quiet",
        "--depth=0",
    ])
    .stdin(Stdio::piped());
    let mut child = git.spawn().map_err(|source| Failure::Start {
        program: "git".to_owned(),
        source,
    })?;
    let written = match child.stdin.take() {
        Some(stdin) => write(&mut BufWriter::with_capacity(1 << 20, stdin), files),
        None => Ok(()),
    };
    let status = child.wait().map_err(Failure::file(&folder))?;
    written.map_err(Failure::file(&folder))?;
    if !status.success() {
        return Err(Failure::Ended {
            words: "git fast-import".to_owned(),
            code: status.code(),
            stderr: "see above".to_owned(),
        });
    }
    place.git(
        &folder,
        &["-c", "checkout.workers=0", "reset", "-q", "--hard"],
    )?;
    place.sync()
}

/// A new commit of the same files: nothing is kept for it.
pub(crate) fn new_commit(place: &Place) -> Result<(), Failure> {
    let mut git = place.command("git");
    git.args(["commit", "-q", "--allow-empty", "-m", "Another commit"]);
    finish(git).map(drop)
}

/// The path of the file of this number.
pub(crate) fn path(number: u32) -> PathBuf {
    let folder = number / IN_A_FOLDER;
    PathBuf::from(format!(
        "part{:03}/module{:02}/file{:02}.txt",
        folder / FOLDERS,
        folder % FOLDERS,
        number % IN_A_FOLDER
    ))
}

fn write(to: &mut impl Write, files: u32) -> io::Result<()> {
    writeln!(to, "commit refs/heads/main")?;
    writeln!(
        to,
        "committer A Person <person@example.org> 1700000000 +0000"
    )?;
    writeln!(to, "data 4\none\n")?;
    let mut random = Random(0x5eed);
    let mut text = String::new();
    for number in 0..files {
        let size = SIZES.start + random.next() % (SIZES.end - SIZES.start);
        text.clear();
        while (text.len() as u64) < size {
            let _ = writeln!(
                text,
                "let word_{:x} = {};",
                random.next() % 0xffff,
                random.next()
            );
        }
        writeln!(to, "M 644 inline {}", path(number).display())?;
        writeln!(to, "data {}", text.len())?;
        to.write_all(text.as_bytes())?;
        writeln!(to)?;
    }
    to.flush()
}

/// Numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
