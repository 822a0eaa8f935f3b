//! The repository that is attacked from, and what a person does with one.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Stdio,
    time::Duration,
};

use crate::{
    decoy::is_untouched,
    error::{AttackError, During},
    process::Program,
};

/// The executable that makes attempts, as it is built for this crate.
static EXECUTABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stockade-attempt"));

/// Its name in the workspace.
pub(crate) const NAME: &str = "stockade-attempt";

/// How long one call of git may take.
const LONGEST: Duration = Duration::from_mins(1);

/// Values that are in a repository and that no task should see.
#[derive(Debug)]
pub(crate) struct Hidden<'a> {
    pub(crate) file: &'a str,
    pub(crate) branch: &'a str,
    pub(crate) stash: &'a str,
}

/// Writes the executable to `folder`; returns its path.
pub(crate) fn write_executable(folder: &Path) -> std::io::Result<std::path::PathBuf> {
    let path = folder.join(NAME);
    fs::write(&path, EXECUTABLE)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Whether the executable is as it was written.
pub(crate) fn is_executable_as_written(path: &Path) -> std::io::Result<bool> {
    Ok(is_untouched(path, 0o755) && fs::read(path)? == EXECUTABLE)
}

/// Makes a repository that holds the executable, and secrets: a file, another
/// branch, a stash.
pub(crate) fn create(
    folder: &Path,
    environment: &BTreeMap<OsString, OsString>,
    hidden: &Hidden<'_>,
) -> Result<(), AttackError> {
    fs::create_dir_all(folder).during("make the repository")?;
    let git = |words: &[&str]| git(folder, environment, words);
    git(&["init", "-q", "-b", "main"])?;
    for (name, value) in [
        ("user.name", "A Person"),
        ("user.email", "person@example.org"),
        ("commit.gpgsign", "false"),
    ] {
        git(&["config", name, value])?;
    }
    write_executable(folder).during("write the executable")?;
    fs::write(folder.join("README.md"), "to be attacked from\n").during("write a file")?;
    fs::write(folder.join(".env"), format!("TOKEN={}\n", hidden.file)).during("write a file")?;
    git(&["add", "-A"])?;
    git(&["commit", "-q", "-m", "one"])?;
    git(&["checkout", "-q", "-b", "other"])?;
    fs::write(folder.join("other.txt"), hidden.branch).during("write a file")?;
    git(&["add", "-A"])?;
    git(&["commit", "-q", "-m", "other"])?;
    git(&["checkout", "-q", "main"])?;
    fs::write(folder.join("README.md"), hidden.stash).during("write a file")?;
    git(&["stash", "-q"])
}

/// Runs git in `folder`; it must succeed.
fn git(
    folder: &Path,
    environment: &BTreeMap<OsString, OsString>,
    words: &[&str],
) -> Result<(), AttackError> {
    let step = || format!("run git {}", words.join(" "));
    let ran = call(folder, environment, words).during(step())?;
    if ran.ended == "it ended with 0" {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ran.output).into_owned();
    Err(std::io::Error::other(format!("{}: {said}", ran.ended))).during(step())
}

fn call(
    folder: &Path,
    environment: &BTreeMap<OsString, OsString>,
    words: &[&str],
) -> std::io::Result<crate::target::Ran> {
    let words: Vec<OsString> = std::iter::once("git")
        .chain(words.iter().copied())
        .map(OsString::from)
        .collect();
    let program = Program {
        words: &words,
        folder,
        environment,
        stdin: Stdio::null(),
    };
    program.run(LONGEST)
}

/// What people and their tools do in a checkout sooner or later. Whether git
/// succeeds does not matter here, only what it runs.
const USED: [&[&str]; 8] = [
    &["status"],
    &["diff"],
    &["add", "-A"],
    &["diff", "--cached"],
    &["commit", "-q", "-m", "two"],
    &["checkout", "-q", "-b", "looked-at"],
    &["log", "-1"],
    &["stash", "list"],
];

/// Works with a folder as its owner does, and with repositories in it.
pub(crate) fn use_checkout(
    folder: &Path,
    environment: &BTreeMap<OsString, OsString>,
) -> std::io::Result<()> {
    for words in USED {
        call(folder, environment, words)?;
    }
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.path().join(".git").exists() {
            call(&entry.path(), environment, &["status"])?;
        }
    }
    Ok(())
}

/// Copies a folder; links stay links.
pub(crate) fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
