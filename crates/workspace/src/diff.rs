//! What a review shows: files by risk, and their hunks.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use similar::{Algorithm, ChangeTag, DiffOp, TextDiff};
use stockade_scan::{Finding, Scanner};

use stockade_types::visible;

use crate::{
    files::FileError,
    git::{Change, Git, GitDir, GitError},
    import::Imported,
    object::{FileMode, ObjectId},
    path::TreePath,
    repository::Repository,
    risk::{self, Mark, Risk, RiskRules},
    task::TaskSpace,
};

/// Larger files are not compared line by line.
const FILE_LIMIT: u64 = 1 << 20;
/// The bytes of all files that one review compares.
const TOTAL_LIMIT: u64 = 128 << 20;
/// A comparison that takes longer falls back to a coarser one.
const DIFF_TIME: std::time::Duration = std::time::Duration::from_secs(2);
/// Lines of context around a change.
const CONTEXT: usize = 3;

/// Why a review could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// A built-in rule does not compile: a mistake in Stockade.
    #[error("a built-in risk rule is not valid: {0}")]
    Rule(#[from] globset::Error),
    /// A step on the file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// One side of a changed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// What it is.
    pub mode: FileMode,
    /// Its content.
    pub blob: ObjectId,
    /// Bytes; 0 for a submodule.
    pub size: u64,
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// Its content, and maybe its mode, is another.
    Modified,
    /// Only its mode is another.
    ModeChanged,
    /// A link became a file, or the reverse.
    KindChanged,
}

/// A changed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDiff {
    /// Where it is.
    pub path: TreePath,
    /// What happened to it.
    pub status: Status,
    /// The side before, unless it is new.
    pub old: Option<Version>,
    /// The side after, unless it is gone.
    pub new: Option<Version>,
    /// Lines added; 0 if it is not compared.
    pub added: usize,
    /// Lines removed; 0 if it is not compared.
    pub removed: usize,
    /// It is not text.
    pub binary: bool,
    /// Its size in bytes, if that is why it is not compared.
    pub too_large: Option<u64>,
    /// Why to look twice, the worst first.
    pub marks: Vec<Mark>,
    /// Keys, or what looks like them, that it did not hold before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// It stays out of a merge until it is accepted by itself.
    pub held_back: bool,
}

impl FileDiff {
    /// The worst of its risks.
    pub fn risk(&self) -> Risk {
        self.marks.first().map_or(Risk::Ordinary, |mark| mark.risk)
    }
}

/// All that a task changed, the riskiest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Review {
    /// The commit before.
    pub base: ObjectId,
    /// The commit after.
    pub result: ObjectId,
    /// The changed files, by risk, then by path.
    pub files: Vec<FileDiff>,
}

/// A line of a hunk, safe to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `' '`, `'-'` or `'+'`.
    pub sign: char,
    /// Its text; every deceptive character is spelled out.
    pub text: String,
}

/// Changes that lie close together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hunk {
    /// Names the hunk in decisions: 16 hexadecimal digits that depend on both
    /// sides' content and on its place.
    pub id: String,
    /// The first line before, from 1.
    pub old_start: usize,
    /// The first line after, from 1.
    pub new_start: usize,
    /// Its lines.
    pub lines: Vec<Line>,
}

impl TaskSpace {
    /// What `imported` changes, sorted by what it would do on this machine.
    pub fn review(
        &self,
        git: &Git,
        repository: &Repository,
        imported: &Imported,
        scanner: &Scanner,
    ) -> Result<Review, DiffError> {
        let import = self.import_repository(repository)?;
        compare_commits(git, &import, &imported.base, &imported.commit, scanner)
    }

    /// The hunks of one file; none if it is binary or too large.
    pub fn hunks(
        &self,
        git: &Git,
        repository: &Repository,
        file: &FileDiff,
    ) -> Result<Vec<Hunk>, DiffError> {
        if file.binary || file.too_large.is_some() {
            return Ok(Vec::new());
        }
        let import = self.import_repository(repository)?;
        let (old, new) = sides(git, &import, file)?;
        Ok(hunks(&old, &new))
    }
}

/// What lies between two commits, with its risks.
pub(crate) fn compare_commits(
    git: &Git,
    import: &GitDir,
    base: &ObjectId,
    result: &ObjectId,
    scanner: &Scanner,
) -> Result<Review, DiffError> {
    let changes = git.diff_trees(import, base, result)?;
    let rules = RiskRules::new()?;
    let sizes = sizes(git, import, &changes)?;
    let texts = texts(git, import, &changes, &sizes)?;
    let mut files: Vec<_> = changes
        .iter()
        .map(|change| describe(change, &rules, scanner, &sizes, &texts))
        .collect();
    files.sort_by(|a, b| (a.risk(), &a.path).cmp(&(b.risk(), &b.path)));
    Ok(Review {
        base: base.clone(),
        result: result.clone(),
        files,
    })
}

/// Both sides' content, empty where there is none.
pub(crate) fn sides(
    git: &Git,
    repository: &GitDir,
    file: &FileDiff,
) -> Result<(Vec<u8>, Vec<u8>), GitError> {
    let read = |side: &Option<Version>| match side {
        Some(side) if side.mode != FileMode::Gitlink => {
            git.blob(repository, &side.blob, FILE_LIMIT)
        }
        _ => Ok(Vec::new()),
    };
    Ok((read(&file.old)?, read(&file.new)?))
}

/// The groups of operations that are one hunk each.
pub(crate) fn groups(old: &[u8], new: &[u8]) -> Vec<Vec<DiffOp>> {
    compare(old, new).grouped_ops(CONTEXT)
}

fn compare<'t>(old: &'t [u8], new: &'t [u8]) -> TextDiff<'t, 't, 't, [u8]> {
    TextDiff::configure()
        .algorithm(Algorithm::Myers)
        .timeout(DIFF_TIME)
        .diff_lines(old, new)
}

/// All operations that lead from one side to the other.
pub(crate) fn operations(old: &[u8], new: &[u8]) -> Vec<DiffOp> {
    compare(old, new).ops().to_vec()
}

/// The lines that operations count, line ends included.
pub(crate) fn lines(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// The name of one hunk.
pub(crate) fn hunk_id(old: &[u8], new: &[u8], group: &[DiffOp]) -> String {
    let mut digest = Sha256::new();
    for side in [old, new] {
        digest.update(Sha256::digest(side));
    }
    for operation in group {
        let (old, new) = (operation.old_range(), operation.new_range());
        digest.update(format!("{old:?}{new:?};"));
    }
    hex::encode(&digest.finalize()[..8])
}

fn hunks(old: &[u8], new: &[u8]) -> Vec<Hunk> {
    let diff = compare(old, new);
    let hunk = |group: Vec<DiffOp>| {
        let id = hunk_id(old, new, &group);
        let start = group
            .first()
            .map_or((0, 0), |op| (op.old_range().start, op.new_range().start));
        let lines = group
            .iter()
            .flat_map(|operation| diff.iter_changes(operation))
            .map(|change| {
                let sign = match change.tag() {
                    ChangeTag::Equal => ' ',
                    ChangeTag::Delete => '-',
                    ChangeTag::Insert => '+',
                };
                let value = change.value();
                Line {
                    sign,
                    text: visible::line(value.strip_suffix(b"\n").unwrap_or(value)),
                }
            });
        Hunk {
            id,
            old_start: start.0 + 1,
            new_start: start.1 + 1,
            lines: lines.collect(),
        }
    };
    diff.grouped_ops(CONTEXT).into_iter().map(hunk).collect()
}

type Sizes = HashMap<ObjectId, u64>;
type Texts = HashMap<ObjectId, Vec<u8>>;

fn blobs(changes: &[Change]) -> impl Iterator<Item = &ObjectId> {
    let sides = changes
        .iter()
        .flat_map(|change| [&change.old, &change.new])
        .flatten();
    sides
        .filter(|(mode, _)| *mode != FileMode::Gitlink)
        .map(|(_, id)| id)
}

fn sizes(git: &Git, repository: &GitDir, changes: &[Change]) -> Result<Sizes, GitError> {
    let mut ids: Vec<_> = blobs(changes).cloned().collect();
    ids.sort_unstable();
    ids.dedup();
    let sizes = git.object_sizes(repository, &ids)?;
    let size = |(id, answer): (_, Option<(_, u64)>)| (id, answer.map_or(0, |(_, size)| size));
    Ok(ids.into_iter().zip(sizes).map(size).collect())
}

/// The content of the files that are compared.
fn texts(
    git: &Git,
    repository: &GitDir,
    changes: &[Change],
    sizes: &Sizes,
) -> Result<Texts, GitError> {
    let mut total = 0;
    let mut fits = |id: &&ObjectId| {
        let size = sizes.get(*id).copied().unwrap_or_default();
        total += if size <= FILE_LIMIT { size } else { 0 };
        size <= FILE_LIMIT && total <= TOTAL_LIMIT
    };
    let mut ids: Vec<_> = blobs(changes).filter(&mut fits).cloned().collect();
    ids.sort_unstable();
    ids.dedup();
    let mut texts = Texts::new();
    git.read_blobs(repository, &ids, |index, _, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        texts.insert(ids[index].clone(), bytes);
        Ok(())
    })?;
    Ok(texts)
}

/// As git decides it: a zero byte near the start.
pub(crate) fn is_binary(content: &[u8]) -> bool {
    content.iter().take(8000).any(|byte| *byte == 0)
}

fn describe(
    change: &Change,
    rules: &RiskRules,
    scanner: &Scanner,
    sizes: &Sizes,
    texts: &Texts,
) -> FileDiff {
    let version = |side: &Option<(FileMode, ObjectId)>| {
        side.as_ref().map(|(mode, blob)| Version {
            mode: *mode,
            blob: blob.clone(),
            size: sizes.get(blob).copied().unwrap_or_default(),
        })
    };
    let (old, new) = (version(&change.old), version(&change.new));
    let is_link = |side: &Version| matches!(side.mode, FileMode::Symlink | FileMode::Gitlink);
    let status = match (&old, &new) {
        (None, _) => Status::Added,
        (_, None) => Status::Deleted,
        (Some(old), Some(new)) if is_link(old) != is_link(new) => Status::KindChanged,
        (Some(old), Some(new)) if old.blob == new.blob => Status::ModeChanged,
        _ => Status::Modified,
    };
    let empty = Vec::new();
    let text = |side: &Option<Version>| match side {
        Some(side) if side.mode != FileMode::Gitlink => texts.get(&side.blob),
        _ => Some(&empty),
    };
    let (mut marks, mut held_back) = rules.by_path(&change.path);
    marks.extend(risk::by_mode(
        old.as_ref().map(|v| v.mode),
        new.as_ref().map(|v| v.mode),
    ));
    let (mut added, mut removed, mut binary, mut too_large) = (0, 0, false, None);
    let mut findings = Vec::new();
    if let (Some(old), Some(new)) = (text(&old), text(&new)) {
        findings = scanner.find_new(old, new);
        marks.extend(risk::by_findings(&findings));
        held_back |= !findings.is_empty();
        binary = is_binary(old) || is_binary(new);
        if !binary {
            marks.extend(risk::by_text(&change.path, old, new));
            for operation in compare(old, new).ops() {
                let equal = matches!(operation, DiffOp::Equal { .. });
                added += if equal {
                    0
                } else {
                    operation.new_range().len()
                };
                removed += if equal {
                    0
                } else {
                    operation.old_range().len()
                };
            }
        }
    } else {
        too_large = [&old, &new]
            .into_iter()
            .flatten()
            .map(|side| side.size)
            .max();
    }
    if binary || too_large.is_some() {
        let reason = "It is not shown as text; know where it comes from before you take it.";
        marks.push(Mark {
            risk: Risk::Binary,
            reason: reason.to_owned(),
        });
    }
    if risk::is_test(&change.path) && (new.is_none() || removed > added) {
        let reason = "Tests went away: what they guarded is not checked any more.";
        marks.push(Mark {
            risk: Risk::TestRemoved,
            reason: reason.to_owned(),
        });
    }
    marks.sort_by_key(|mark| mark.risk);
    let path = change.path.clone();
    FileDiff {
        path,
        status,
        old,
        new,
        added,
        removed,
        binary,
        too_large,
        marks,
        findings,
        held_back,
    }
}
