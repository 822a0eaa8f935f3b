//! What a task gets from the user's checkout besides the commit: changes that
//! are not committed yet, and ignored files that the project asks for.

use std::{io::Read, path::Path};

use ignore::gitignore::GitignoreBuilder;
use rustix::fs::{FileType, Stat};

use crate::{
    beneath::Beneath,
    files::{FileError, failed},
    git::{Call, Git, GitError},
    path::TreePath,
    repository::Repository,
    secrets::{SecretPatterns, StandIns, placeholder},
    snapshot::Skipped,
    task::{TaskSpace, TreeWriter},
};

/// Bytes of one file that is brought.
const FILE_LIMIT: u64 = 256 << 20;
/// Bytes of all files that are brought at once.
const TOTAL_LIMIT: u64 = 1 << 30;
/// The file that lists, in the syntax of `.gitignore`, which ignored files a
/// new working tree needs; several tools share it.
const INCLUDE_FILE: &str = ".worktreeinclude";

/// Why files could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum HydrateError {
    /// A step on the file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// What was brought into a task's tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// Files and links that were written.
    pub written: Vec<TreePath>,
    /// Paths that were deleted, because the user did.
    pub deleted: Vec<TreePath>,
    /// Files whose place a placeholder took.
    pub hidden: Vec<TreePath>,
    /// What was left out, and why.
    pub skipped: Vec<Skipped>,
}

/// One way: from the user's checkout into a task's tree.
struct Carrier<'a> {
    from: Beneath,
    /// What the commit has.
    base: Beneath,
    to: TreeWriter,
    secrets: &'a SecretPatterns,
    stand_ins: &'a StandIns,
    bytes: u64,
    brought: Brought,
}

impl TaskSpace {
    /// Brings the user's uncommitted changes and untracked files. In hidden
    /// ones `stand_ins` stand for the values of their variables. Call it before
    /// the agent starts, and take a snapshot after it.
    pub fn bring_changes(
        &self,
        git: &Git,
        repository: &Repository,
        secrets: &SecretPatterns,
        stand_ins: &StandIns,
    ) -> Result<Brought, HydrateError> {
        let base = self.pool().base();
        let output = in_checkout(git, repository, "diff-index")
            .args([
                "--name-only",
                "-z",
                "--no-renames",
                "--ignore-submodules=all",
            ])
            .args([base.commit.as_str(), "--"])
            .run()?;
        let untracked = in_checkout(git, repository, "ls-files")
            .args(["-z", "--others", "--exclude-standard"])
            .run()?;
        let mut carrier = self.carrier(repository, secrets, stand_ins)?;
        // A file that the commit hides is hidden in its new form too.
        let is_masked = |path: &TreePath| base.masked.iter().any(|masked| masked.path == *path);
        let (gone, there): (Vec<_>, Vec<_>) = paths(&output)
            .chain(paths(&untracked))
            .filter(|path| !is_masked(path))
            .partition(|path| carrier.is_gone(path));
        // First what makes way: a folder may have come where a link was, or a link
        // where a folder was.
        for path in gone {
            carrier.delete(path)?;
        }
        for path in there {
            carrier.carry(path)?;
        }
        Ok(carrier.brought)
    }

    /// Brings the ignored files that `.worktreeinclude` of the base lists.
    pub fn bring_included(
        &self,
        git: &Git,
        repository: &Repository,
        secrets: &SecretPatterns,
        stand_ins: &StandIns,
    ) -> Result<Brought, HydrateError> {
        let tree = self.pool().tree();
        let base = Beneath::open(&tree).map_err(failed("open", &tree))?;
        let Ok((file, _)) = base.file(Path::new(INCLUDE_FILE)) else {
            return Ok(Brought::default());
        };
        let mut text = String::new();
        let listed = tree.join(INCLUDE_FILE);
        file.take(1 << 20)
            .read_to_string(&mut text)
            .map_err(failed("read", &listed))?;
        let mut builder = GitignoreBuilder::new(".");
        for line in text.lines() {
            let _ = builder.add_line(None, line);
        }
        let Ok(rules) = builder.build() else {
            return Ok(Brought::default());
        };
        let output = in_checkout(git, repository, "ls-files")
            .args(["-z", "--others", "--ignored", "--exclude-standard"])
            .run()?;
        let mut carrier = self.carrier(repository, secrets, stand_ins)?;
        for path in paths(&output) {
            if rules
                .matched_path_or_any_parents(path.as_path(), false)
                .is_ignore()
            {
                if is_taken(&base, &path) {
                    carrier.skip(path, "the base has something else in its place");
                } else {
                    carrier.carry(path)?;
                }
            }
        }
        Ok(carrier.brought)
    }

    fn carrier<'a>(
        &self,
        repository: &Repository,
        secrets: &'a SecretPatterns,
        stand_ins: &'a StandIns,
    ) -> Result<Carrier<'a>, FileError> {
        let from = repository.worktree();
        let to = TreeWriter::new(self, &self.writable_tree())?;
        let from = Beneath::open(from).map_err(failed("open", from))?;
        let tree = self.pool().tree();
        let base = Beneath::open(&tree).map_err(failed("open", &tree))?;
        Ok(Carrier {
            from,
            base,
            to,
            secrets,
            stand_ins,
            bytes: 0,
            brought: Brought::default(),
        })
    }
}

/// Reads the user's checkout as the user's own git would, but changes nothing
/// in it, not even the index.
fn in_checkout<'a>(git: &'a Git, repository: &'a Repository, command: &'static str) -> Call<'a> {
    git.call(repository.checkout(), command)
        .own_attributes()
        .work_tree(repository.worktree())
}

fn paths(output: &[u8]) -> impl Iterator<Item = TreePath> {
    // A trailing slash marks a repository inside; that is not brought.
    output
        .split(|byte| *byte == 0)
        .filter_map(|path| TreePath::new(path).ok())
}

/// Whether the base has something at `path`, or above it something that is no folder.
fn is_taken(base: &Beneath, path: &TreePath) -> bool {
    let is_folder = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let stands_in_the_way = |folder: TreePath| match base.stat(folder.as_path()) {
        Ok(found) => found.is_some_and(|stat| !is_folder(stat)),
        Err(_) => true,
    };
    !matches!(base.stat(path.as_path()), Ok(None)) || path.ancestors().any(stands_in_the_way)
}

impl Carrier<'_> {
    /// Whether the checkout no longer has the file or link `path`: there is nothing,
    /// or, where the base has no folder, one now.
    fn is_gone(&self, path: &TreePath) -> bool {
        let is_folder = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match self.from.stat(path.as_path()) {
            Ok(None) => true,
            Ok(Some(stat)) if is_folder(stat) => {
                let before = self.base.stat(path.as_path());
                matches!(before, Ok(Some(before)) if !is_folder(before))
            }
            _ => false,
        }
    }

    fn delete(&mut self, path: TreePath) -> Result<(), FileError> {
        if !path.names_git_directory() {
            self.to.delete(&path)?;
            self.brought.deleted.push(path);
        }
        Ok(())
    }

    fn carry(&mut self, path: TreePath) -> Result<(), FileError> {
        if path.names_git_directory() {
            return Ok(());
        }
        match self.from.stat(path.as_path()) {
            Ok(None) => {}
            Ok(Some(stat)) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => self.link(path)?,
                FileType::RegularFile => self.file(path, stat.st_mode & 0o100 != 0)?,
                FileType::Directory => {}
                _ => self.skip(path, "it is neither a file nor a link"),
            },
            Err(error) => self.skip(path, error),
        }
        Ok(())
    }

    fn link(&mut self, path: TreePath) -> Result<(), FileError> {
        match self.from.link(path.as_path()) {
            // It would lead somewhere else, or nowhere, inside.
            Ok(target) if target.starts_with(b"/") => {
                self.skip(path, "it is a link to an absolute path");
            }
            Ok(target) => {
                self.to.link(&path, &target)?;
                self.brought.written.push(path);
            }
            Err(error) => self.skip(path, error),
        }
        Ok(())
    }

    fn file(&mut self, path: TreePath, executable: bool) -> Result<(), FileError> {
        let (mut file, stat) = match self.from.file(path.as_path()) {
            Ok(opened) => opened,
            Err(error) => {
                self.skip(path, error);
                return Ok(());
            }
        };
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        if size > FILE_LIMIT || self.bytes + size > TOTAL_LIMIT {
            self.skip(
                path,
                format!("it has {size} bytes, which is too much to bring"),
            );
            return Ok(());
        }
        self.bytes += size;
        if self.secrets.hides(&path) {
            let mut content = Vec::new();
            let source = (&mut file).take(256 << 10).read_to_end(&mut content);
            source.map_err(failed("read", path.as_path()))?;
            let mut stand_in = |name: &str, _: &str| self.stand_ins.get(name).cloned();
            let text = placeholder(&path, &content, &mut stand_in);
            self.to.file(&path, executable, &mut text.as_slice())?;
            self.brought.hidden.push(path);
            return Ok(());
        }
        self.to
            .file(&path, executable, &mut file.take(FILE_LIMIT))?;
        self.brought.written.push(path);
        Ok(())
    }

    fn skip(&mut self, path: TreePath, reason: impl std::fmt::Display) {
        let reason = stockade_types::visible::line(reason.to_string().as_bytes());
        self.brought.skipped.push(Skipped { path, reason });
    }
}
