use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Write},
};

use super::{known, rejected::index_pack, unfolded};
use crate::{
    files::{FileError, failed},
    git::{Git, GitDir, GitError},
    object::ObjectId,
    remove,
    task::TaskSpace,
};

/// Why the commits that an agent made were not taken.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is not a bundle of a known version.
    #[error("the agent's commits did not arrive as a git bundle: {0}")]
    Malformed(&'static str),
    /// Something in it is over a limit.
    #[error("the agent's commits have {what} than the {limit} allowed")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The stream from the sandbox broke.
    #[error("the agent's commits could not be read: {0}")]
    Read(io::Error),
    /// A step on the file system failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Git refused the objects.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// How much an agent may hand over as commits.
#[derive(Clone, Copy, Debug)]
pub struct BundleLimits {
    /// Bytes of the whole bundle.
    pub bytes: u64,
    /// Objects in its pack.
    pub objects: u32,
    /// Branches and tags.
    pub references: usize,
    /// Bytes of one object, unpacked.
    pub object_bytes: u64,
    /// Bytes of all trees together, unpacked.
    pub tree_bytes: u64,
    /// Paths of one tree and all below it.
    pub paths: u64,
    /// Folders in each other.
    pub depth: u64,
    /// Bytes of one path.
    pub path_bytes: u64,
}

impl Default for BundleLimits {
    fn default() -> Self {
        Self {
            bytes: 512 << 20,
            objects: 200_000,
            references: 64,
            object_bytes: 256 << 20,
            tree_bytes: 128 << 20,
            paths: 500_000,
            depth: 128,
            path_bytes: 3_000,
        }
    }
}

/// A commit that the agent made, in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentCommit {
    /// Its name in the agent's repository, `refs/heads/…`.
    pub reference: String,
    /// The commit.
    pub commit: ObjectId,
    /// Its tree; equal to a snapshot's when the agent committed all its work.
    pub tree: ObjectId,
}

/// What the agent had checked out, if that holds commits of its own.
pub(crate) const HEAD: &str = "refs/agent/head";

struct Header {
    references: Vec<(ObjectId, String)>,
}

impl TaskSpace {
    /// Takes a bundle that git wrote *inside the sandbox* into quarantine.
    ///
    /// Git on the host never reads the agent's repository: only this stream,
    /// whose header is parsed here and whose pack is indexed with every check
    /// (`index-pack --strict`). On any error the quarantine is emptied.
    pub fn import_bundle(
        &self,
        git: &Git,
        bundle: impl Read,
        limits: &BundleLimits,
    ) -> Result<Vec<AgentCommit>, BundleError> {
        let _lock = self.lock()?;
        let quarantine = self.empty_quarantine()?;
        let base = &self.pool().base().agent_commit;
        let taken = take(git, &quarantine, base, bundle, limits);
        if taken.is_err() {
            self.empty_quarantine()?;
        }
        taken
    }

    /// Forgets what was taken before: the agent has no commits of its own.
    pub fn forget_commits(&self) -> Result<(), BundleError> {
        let _lock = self.lock()?;
        if self.quarantine().path().is_dir() {
            self.empty_quarantine()?;
        }
        Ok(())
    }

    fn empty_quarantine(&self) -> Result<GitDir, BundleError> {
        let old = self.quarantine();
        remove::folder(old.path()).map_err(failed("remove", old.path()))?;
        let base = self.pool().base();
        let objects = self.pool().git_dir().objects();
        let quarantine = GitDir::create(old.path(), base.format, &[&objects])?;
        quarantine.set_shallow(&[&base.agent_commit])?;
        Ok(quarantine)
    }
}

fn take(
    git: &Git,
    quarantine: &GitDir,
    base: &ObjectId,
    bundle: impl Read,
    limits: &BundleLimits,
) -> Result<Vec<AgentCommit>, BundleError> {
    let mut bundle = BufReader::new(bundle.take(limits.bytes + 1));
    let header = header(&mut bundle, limits)?;
    let pack_path = quarantine.path().join("incoming.pack");
    let mut pack = File::create(&pack_path).map_err(failed("create", &pack_path))?;
    let mut start = [0_u8; 12];
    bundle.read_exact(&mut start).map_err(BundleError::Read)?;
    let count = u32::from_be_bytes([start[8], start[9], start[10], start[11]]);
    if &start[..4] != b"PACK" {
        return Err(BundleError::Malformed("no pack follows its header"));
    }
    if count > limits.objects {
        return Err(BundleError::TooLarge {
            what: "more objects",
            limit: limits.objects.into(),
        });
    }
    pack.write_all(&start)
        .map_err(failed("write", &pack_path))?;
    io::copy(&mut bundle, &mut pack).map_err(BundleError::Read)?;
    if bundle.get_ref().limit() == 0 {
        return Err(BundleError::TooLarge {
            what: "more bytes",
            limit: limits.bytes,
        });
    }
    drop(pack);
    let largest = format!("--max-input-size={}", limits.bytes);
    let strict = known::strict(known::list(git, quarantine, base)?);
    index_pack(git, quarantine, &pack_path, &[&strict, largest.as_ref()])?;
    std::fs::remove_file(&pack_path).map_err(failed("remove", &pack_path))?;
    objects_within(git, quarantine, limits)?;
    let mut commits = Vec::new();
    for (commit, reference) in header.references {
        // Named by its place in the list: a name from inside is only shown.
        let name = format!("refs/agent/{}", commits.len());
        let commit = git.commit(quarantine, commit.as_str())?;
        git.call(quarantine, "update-ref")
            .writes()
            .args([&name, commit.as_str()])
            .run()?;
        if reference == "HEAD" {
            git.call(quarantine, "update-ref")
                .writes()
                .args([HEAD, commit.as_str()])
                .run()?;
        }
        let tree = git.tree(quarantine, &commit)?;
        commits.push(AgentCommit {
            reference,
            commit,
            tree,
        });
    }
    Ok(commits)
}

/// Reads the text before the pack: a signature, prerequisites (`-id`), and
/// `id name` lines, to an empty line.
fn header(bundle: &mut impl BufRead, limits: &BundleLimits) -> Result<Header, BundleError> {
    let mut line = |limit: u64| -> Result<Vec<u8>, BundleError> {
        let mut line = Vec::new();
        bundle
            .take(limit)
            .read_until(b'\n', &mut line)
            .map_err(BundleError::Read)?;
        line.pop_if(|byte| *byte == b'\n')
            .map(|_| line)
            .ok_or(BundleError::Malformed(
                "a line of its header is too long or cut off",
            ))
    };
    if !matches!(
        line(64)?.as_slice(),
        b"# v2 git bundle" | b"# v3 git bundle"
    ) {
        return Err(BundleError::Malformed("its signature is missing"));
    }
    let mut references = Vec::new();
    for _ in 0..limits.references * 2 + 16 {
        let line = line(4096)?;
        if line.is_empty() {
            return Ok(Header { references });
        }
        if line.starts_with(b"@") || line.starts_with(b"-") {
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        let (id, name) = text
            .split_once(' ')
            .ok_or(BundleError::Malformed("a name is missing"))?;
        let id = id
            .parse()
            .map_err(|_| BundleError::Malformed("an object id is malformed"))?;
        references.push((id, stockade_types::visible::line(name.as_bytes())));
    }
    Err(BundleError::TooLarge {
        what: "more references",
        limit: limits.references as u64,
    })
}

/// Compares every object of the pack, and what its trees unfold to, with the
/// limits.
fn objects_within(
    git: &Git,
    quarantine: &GitDir,
    limits: &BundleLimits,
) -> Result<(), BundleError> {
    let ids = packed(git, quarantine)?;
    let sizes = git.object_sizes(quarantine, &ids)?;
    let mut trees = Vec::new();
    let mut tree_bytes = 0;
    for (id, found) in ids.into_iter().zip(sizes) {
        let Some((kind, size)) = found else {
            continue;
        };
        if size > limits.object_bytes {
            return Err(BundleError::TooLarge {
                what: "an object with more bytes",
                limit: limits.object_bytes,
            });
        }
        if kind == "tree" {
            tree_bytes += size;
            trees.push(id);
        }
    }
    if tree_bytes > limits.tree_bytes {
        return Err(BundleError::TooLarge {
            what: "trees with more bytes",
            limit: limits.tree_bytes,
        });
    }
    unfolded::check(git, quarantine, trees, limits)
}

/// The objects that are in a pack of the repository's own.
fn packed(git: &Git, repository: &GitDir) -> Result<Vec<ObjectId>, BundleError> {
    let folder = repository.objects().join("pack");
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(failed("list", &folder))? {
        let path = entry.map_err(failed("list", &folder))?.path();
        if path.extension().is_none_or(|extension| extension != "idx") {
            continue;
        }
        let index = std::fs::read(&path).map_err(failed("read", &path))?;
        let listing = git.call(repository, "show-index").run_with(&index)?;
        let id = |line: &[u8]| ObjectId::from_bytes(line.split(|byte| *byte == b' ').nth(1)?).ok();
        ids.extend(listing.split(|byte| *byte == b'\n').filter_map(id));
    }
    Ok(ids)
}
