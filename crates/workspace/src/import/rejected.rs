//! Which changes git's own check refuses, found by asking git: how it reads
//! `.gitmodules`, and what it takes for a file of that name, differs between
//! versions and is not repeated here.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
};

use super::{ImportError, compose, known};
use crate::{
    files::failed,
    git::{Change, Git, GitDir, GitError},
    object::ObjectId,
    remove,
    repository::Repository,
    snapshot::Skipped,
    task::TaskSpace,
};

/// How often git is asked to tell one file from its neighbours: enough for a
/// few among [`super::CHANGES`].
const QUESTIONS: u32 = 64;

/// What is asked, and where the answers are tried.
struct Check<'a> {
    git: &'a Git,
    import: &'a GitDir,
    base: &'a ObjectId,
    /// Lends the objects of the base.
    lender: PathBuf,
    /// Made anew for each question: objects that are there already are not
    /// checked again.
    folder: PathBuf,
    questions: u32,
}

impl TaskSpace {
    /// Those of `changes` that git would not let into `repository`, each with
    /// what git says of it. The repository is only read.
    pub(super) fn rejected(
        &self,
        git: &Git,
        repository: &Repository,
        import: &GitDir,
        changes: &[Change],
    ) -> Result<Vec<Skipped>, ImportError> {
        let _lock = self.lock()?;
        let mut check = Check {
            git,
            import,
            base: &self.pool().base().commit,
            lender: repository.common().objects(),
            folder: self.folder().join("check.git"),
            questions: QUESTIONS,
        };
        let mut rejected = Vec::new();
        if let Some(reason) = check.objection(changes)? {
            check.narrow(changes, &reason, &mut rejected)?;
        }
        Ok(rejected)
    }
}

impl Check<'_> {
    /// Finds those that git refuses among `changes`, of which it refuses some.
    fn narrow(
        &mut self,
        changes: &[Change],
        reason: &str,
        rejected: &mut Vec<Skipped>,
    ) -> Result<(), ImportError> {
        let (left, right) = changes.split_at(changes.len() / 2);
        if left.is_empty() || self.questions < 2 {
            rejected.extend(changes.iter().map(|change| Skipped {
                path: change.path.clone(),
                reason: match changes {
                    [_] => format!("git refuses it: {reason}"),
                    _ => format!("git refuses it or a file beside it: {reason}"),
                },
            }));
            return Ok(());
        }
        self.questions -= 2;
        for half in [left, right] {
            if let Some(reason) = self.objection(half)? {
                self.narrow(half, &reason, rejected)?;
            }
        }
        Ok(())
    }

    /// What git says against a commit of `changes`, if anything.
    fn objection(&self, changes: &[Change]) -> Result<Option<String>, ImportError> {
        let commit = compose(self.git, self.import, self.base, changes, "A check\n", 0)?;
        let scratch = self.scratch()?;
        let pack = scratch.path().join("incoming.pack");
        let file = File::create(&pack).map_err(failed("create", &pack))?;
        let wanted = format!("^{}\n{commit}\n", self.base);
        self.git
            .call(self.import, "pack-objects")
            .args(["--revs", "--thin", "--stdout", "--quiet"])
            .stream(
                |stdin| stdin.write_all(wanted.as_bytes()),
                |stdout| io::copy(stdout, &mut &file),
            )?;
        let strict = known::strict(known::list(self.git, &scratch, self.base)?);
        let checked = index_pack(self.git, &scratch, &pack, &[&strict]);
        let answer = match checked {
            Ok(()) => None,
            // It must be the check that fails, and nothing about this machine.
            Err(GitError::Failed { message, .. }) => {
                index_pack(self.git, &scratch, &pack, &[])?;
                Some(message)
            }
            Err(error) => return Err(error.into()),
        };
        self.clear()?;
        Ok(answer)
    }

    fn scratch(&self) -> Result<GitDir, ImportError> {
        self.clear()?;
        let format = self.import.format();
        Ok(GitDir::create(&self.folder, format, &[&self.lender])?)
    }

    fn clear(&self) -> Result<(), ImportError> {
        Ok(remove::folder(&self.folder).map_err(failed("remove", &self.folder))?)
    }
}

/// Takes the pack at `pack` into `repository`.
pub(super) fn index_pack(
    git: &Git,
    repository: &GitDir,
    pack: &Path,
    options: &[&OsStr],
) -> Result<(), GitError> {
    let feed = |stdin: &mut dyn Write| {
        let file = File::open(pack)?;
        io::copy(&mut BufReader::new(file), stdin).map(drop)
    };
    git.call(repository, "index-pack")
        .writes()
        .args(["--stdin", "--fix-thin"])
        .args(options)
        .stream(feed, |stdout| io::copy(stdout, &mut io::sink()))
        .map(drop)
}
