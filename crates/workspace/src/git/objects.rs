use std::io::{self, BufRead, Read};

use super::{Git, GitDir, GitError};
use crate::{
    object::{FileMode, ObjectId},
    path::TreePath,
};

/// One line of a recursive tree listing.
#[derive(Clone, Debug)]
pub(crate) struct TreeEntry {
    pub(crate) mode: FileMode,
    pub(crate) id: ObjectId,
    pub(crate) path: TreePath,
    /// Bytes, of a blob.
    pub(crate) size: u64,
}

/// A path that two trees disagree about. A side is absent where the path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: TreePath,
    pub(crate) old: Option<(FileMode, ObjectId)>,
    pub(crate) new: Option<(FileMode, ObjectId)>,
}

/// The most that a listing may take; some 600,000 paths of usual length.
const LISTING_LIMIT: u64 = 96 << 20;

/// One id a line, as git's batch commands read them.
pub(super) fn lines<'a>(ids: impl IntoIterator<Item = &'a ObjectId>) -> String {
    ids.into_iter().flat_map(|id| [id.as_str(), "\n"]).collect()
}

fn unexpected(command: &'static str, bytes: &[u8]) -> GitError {
    let detail = stockade_types::visible::line(bytes)
        .chars()
        .take(300)
        .collect();
    GitError::Unexpected { command, detail }
}

impl Git {
    /// The commit that `revision` names. Names that look like options are
    /// refused by git (`--end-of-options`) and by this function.
    pub(crate) fn commit(&self, repository: &GitDir, revision: &str) -> Result<ObjectId, GitError> {
        self.object(repository, &format!("{revision}^{{commit}}"))
    }

    /// The tree of `commit`.
    pub(crate) fn tree(
        &self,
        repository: &GitDir,
        commit: &ObjectId,
    ) -> Result<ObjectId, GitError> {
        self.object(repository, &format!("{commit}^{{tree}}"))
    }

    fn object(&self, repository: &GitDir, expression: &str) -> Result<ObjectId, GitError> {
        if expression.starts_with('-') || expression.contains(['\0', '\n']) {
            return Err(unexpected("rev-parse", expression.as_bytes()));
        }
        let line = self
            .call(repository, "rev-parse")
            .args(["--quiet", "--verify", "--end-of-options", expression])
            .line()?;
        line.parse()
            .map_err(|_| unexpected("rev-parse", line.as_bytes()))
    }

    /// The newest `limit` of the commits that lead from `old` to `new`, the
    /// oldest first.
    pub(crate) fn commits_between(
        &self,
        repository: &GitDir,
        old: &ObjectId,
        new: &str,
        limit: u16,
    ) -> Result<Vec<ObjectId>, GitError> {
        let output = self
            .call(repository, "rev-list")
            .args(["--topo-order", "--reverse"])
            .arg(format!("--max-count={limit}"))
            .args([new, &format!("^{old}"), "--"])
            .run()?;
        let ids = output.split(|byte| *byte == b'\n');
        ids.filter(|id| !id.is_empty())
            .map(|id| ObjectId::from_bytes(id).map_err(|_| unexpected("rev-list", id)))
            .collect()
    }

    /// Every entry below `tree`, folders included, folders before what they
    /// hold. A path that cannot be checked out safely is an error.
    pub(crate) fn list_tree(
        &self,
        repository: &GitDir,
        tree: &ObjectId,
    ) -> Result<Vec<TreeEntry>, GitError> {
        let output = self
            .call(repository, "ls-tree")
            .args(["-r", "-t", "-z", "--long", "--full-tree", tree.as_str()])
            .output_limit(LISTING_LIMIT)
            .run()?;
        records(&output).map(parse_entry).collect()
    }

    /// What `tree` has at `path`, if anything.
    pub(crate) fn entry(
        &self,
        repository: &GitDir,
        tree: &ObjectId,
        path: &str,
    ) -> Result<Option<TreeEntry>, GitError> {
        let output = self
            .call(repository, "ls-tree")
            .args(["-z", "--long", "--full-tree", tree.as_str(), "--", path])
            .run()?;
        records(&output).map(parse_entry).next().transpose()
    }

    /// The entries of one folder of `tree`; none if there is no such folder.
    pub(crate) fn list_folder(
        &self,
        repository: &GitDir,
        tree: &ObjectId,
        folder: &str,
    ) -> Result<Vec<TreeEntry>, GitError> {
        let below = format!("{folder}/");
        let output = self
            .call(repository, "ls-tree")
            .args(["-z", "--long", "--full-tree", tree.as_str(), "--", &below])
            .output_limit(LISTING_LIMIT)
            .run()?;
        records(&output).map(parse_entry).collect()
    }

    /// The paths on which two trees differ, without guessing at renames.
    pub(crate) fn diff_trees(
        &self,
        repository: &GitDir,
        old: &ObjectId,
        new: &ObjectId,
    ) -> Result<Vec<Change>, GitError> {
        let output = self
            .call(repository, "diff-tree")
            .args([
                "-r",
                "-z",
                "--raw",
                "--no-renames",
                "--no-abbrev",
                "--no-ext-diff",
            ])
            .args(["--ignore-submodules=none", old.as_str(), new.as_str()])
            .output_limit(LISTING_LIMIT)
            .run()?;
        let mut records = records(&output);
        let mut changes = Vec::new();
        while let Some(header) = records.next() {
            let path = records
                .next()
                .ok_or_else(|| unexpected("diff-tree", header))?;
            changes.push(parse_change(header, path)?);
        }
        Ok(changes)
    }

    /// Gives each blob of `ids`, in that order, to `each`, with its size and a
    /// reader of exactly that many bytes.
    pub(crate) fn read_blobs(
        &self,
        repository: &GitDir,
        ids: &[ObjectId],
        each: impl FnMut(usize, u64, &mut dyn Read) -> io::Result<()>,
    ) -> Result<(), GitError> {
        self.read_objects(repository, "blob", ids, each)
    }

    /// The same of tree objects, as git stores them.
    pub(crate) fn read_trees(
        &self,
        repository: &GitDir,
        ids: &[ObjectId],
        each: impl FnMut(usize, u64, &mut dyn Read) -> io::Result<()>,
    ) -> Result<(), GitError> {
        self.read_objects(repository, "tree", ids, each)
    }

    fn read_objects(
        &self,
        repository: &GitDir,
        kind: &str,
        ids: &[ObjectId],
        mut each: impl FnMut(usize, u64, &mut dyn Read) -> io::Result<()>,
    ) -> Result<(), GitError> {
        if ids.is_empty() {
            return Ok(());
        }
        let feed =
            |stdin: &mut dyn io::Write| ids.iter().try_for_each(|id| writeln!(stdin, "{id}"));
        self.call(repository, "cat-file")
            .args(["--batch", "--buffer"])
            .stream(feed, |stdout| {
                for index in 0..ids.len() {
                    let size = object_header(stdout, kind)?;
                    let mut content = stdout.take(size);
                    each(index, size, &mut content)?;
                    // Whatever `each` left would be taken for the next header.
                    io::copy(&mut content, &mut io::sink())?;
                    if content.limit() > 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    let mut newline = [0];
                    stdout.read_exact(&mut newline)?;
                }
                Ok(())
            })
    }

    /// The type and the size of each object, in the order asked; `None` where
    /// an object is missing.
    pub(crate) fn object_sizes(
        &self,
        repository: &GitDir,
        ids: &[ObjectId],
    ) -> Result<Vec<Option<(String, u64)>>, GitError> {
        let input = lines(ids);
        let output = self
            .call(repository, "cat-file")
            .args(["--batch-check", "--buffer"])
            .run_with(input.as_bytes())?;
        let text = String::from_utf8_lossy(&output);
        let sizes = text.lines().map(|line| {
            let mut words = line.split(' ').skip(1);
            let kind = words.next()?;
            Some((kind.to_owned(), words.next()?.parse().ok()?))
        });
        Ok(sizes.collect())
    }

    /// The whole of one blob, if it is not larger than `limit` bytes.
    pub(crate) fn blob(
        &self,
        repository: &GitDir,
        id: &ObjectId,
        limit: u64,
    ) -> Result<Vec<u8>, GitError> {
        self.call(repository, "cat-file")
            .args(["blob", id.as_str()])
            .output_limit(limit)
            .run()
    }

    /// Moves `name` from `old` to `new` in one step, or fails.
    pub(crate) fn update_ref(
        &self,
        repository: &GitDir,
        name: &str,
        new: &ObjectId,
        old: &ObjectId,
    ) -> Result<(), GitError> {
        self.call(repository, "update-ref")
            .writes()
            .args([
                "--no-deref",
                "-m",
                "stockade",
                name,
                new.as_str(),
                old.as_str(),
            ])
            .run()
            .map(drop)
    }
}

fn records(output: &[u8]) -> impl Iterator<Item = &[u8]> {
    output
        .split(|byte| *byte == 0)
        .filter(|record| !record.is_empty())
}

fn object_header(stdout: &mut dyn BufRead, kind: &str) -> io::Result<u64> {
    let mut header = Vec::new();
    stdout.take(200).read_until(b'\n', &mut header)?;
    let text = String::from_utf8_lossy(&header);
    let mut words = text.split_whitespace().skip(1);
    match (
        words.next(),
        words.next().and_then(|size| size.parse().ok()),
    ) {
        (Some(found), Some(size)) if found == kind => Ok(size),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            stockade_types::visible::line(&header),
        )),
    }
}

fn parse_entry(record: &[u8]) -> Result<TreeEntry, GitError> {
    let parse = || {
        let tab = record.iter().position(|byte| *byte == b'\t')?;
        let mut words = record[..tab]
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let mode = FileMode::parse(words.next()?)?;
        let id = ObjectId::from_bytes(words.nth(1)?).ok()?;
        let size = std::str::from_utf8(words.next()?)
            .ok()?
            .parse()
            .unwrap_or(0);
        let path = TreePath::new(&record[tab + 1..]).ok()?;
        Some(TreeEntry {
            mode,
            id,
            path,
            size,
        })
    };
    parse().ok_or_else(|| unexpected("ls-tree", record))
}

fn parse_change(header: &[u8], path: &[u8]) -> Result<Change, GitError> {
    let parse = || {
        let header = header.strip_prefix(b":")?;
        let words: Vec<_> = header.split(|byte| *byte == b' ').collect();
        let [old_mode, new_mode, old_id, new_id, _status] = words.as_slice() else {
            return None;
        };
        let side = |mode: &[u8], id: &[u8]| {
            let id = ObjectId::from_bytes(id).ok()?;
            if mode == b"000000" {
                Some(None)
            } else {
                Some(Some((FileMode::parse(mode)?, id)))
            }
        };
        let (old, new) = (side(old_mode, old_id)?, side(new_mode, new_id)?);
        Some(Change {
            path: TreePath::new(path).ok()?,
            old,
            new,
        })
    };
    parse().ok_or_else(|| unexpected("diff-tree", header))
}
