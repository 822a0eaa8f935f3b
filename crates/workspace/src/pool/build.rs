use std::{
    collections::HashSet,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, statat};
use stockade_sandbox::btrfs;

use super::{
    Base, MaskedFile, PoolError, SUBVOLUME, TREE_IN_SUBVOLUME, VERSION, WORK_IN_SUBVOLUME,
};
use crate::{
    files::{self, FileError, failed},
    git::{Git, GitDir, TreeEntry},
    manifest::{Manifest, Stamp, Stamps, Tracked},
    object::{FileMode, ObjectId},
    path::TreePath,
    remove,
    repository::Repository,
    secrets::{SecretPatterns, StandIns, placeholder, shaped},
};

/// Keys beyond this many bytes of a secret file are not looked for.
const SECRET_READ: u64 = 256 << 10;

/// What the `.git` file of every tree says. The path exists only inside.
const GIT_FILE: &[u8] = b"gitdir: /agent.git\n";

/// Makes a pool entry in the empty folder `folder`.
pub(super) fn entry(
    git: &Git,
    repository: &Repository,
    commit: &ObjectId,
    secrets: &SecretPatterns,
    folder: &Path,
) -> Result<(), PoolError> {
    let format = repository.format();
    // Ours, so that neither the user's settings nor replacements apply.
    let scratch_path = folder.join("scratch.git");
    let objects = repository.common().objects();
    let scratch = GitDir::create(&scratch_path, format, &[&objects])?;

    let mut listing = list(git, &scratch, commit)?;
    let mut stand_ins = StandIns::new();
    let (masked, agent_commit) = mask(git, &scratch, commit, &listing, secrets, &mut stand_ins)?;
    if agent_commit != *commit {
        listing = list(git, &scratch, &agent_commit)?;
    }

    let pool = GitDir::create(&folder.join("repo.git"), format, &[])?;
    let tree = make_tree(folder)?;
    // Neither needs the other's result, and git packs in one thread only.
    std::thread::scope(|scope| {
        let packed = scope.spawn(|| pack(git, &scratch, &pool, &agent_commit, &listing));
        let checked_out = check_out(git, &scratch, &agent_commit, folder, &tree);
        match packed.join() {
            Ok(packed) => packed.and(checked_out),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    pool.set_shallow(&[&agent_commit])?;
    let reference = pool.path().join("refs/heads/base");
    std::fs::write(&reference, format!("{agent_commit}\n")).map_err(failed("write", &reference))?;
    // A cache of git's own making may name objects that are left out here.
    remove::folder(&scratch_path).map_err(failed("remove", &scratch_path))?;

    let submodules = listing
        .iter()
        .filter(|entry| entry.mode == FileMode::Gitlink);
    let submodules: Vec<_> = submodules.map(|entry| entry.path.clone()).collect();
    let lfs_pointers = lfs_pointers(&tree, &listing);
    let files: Vec<_> = listing.into_iter().filter_map(tracked).collect();
    let count = files.len();
    if tree.ends_with(TREE_IN_SUBVOLUME) {
        stamps(&tree, &files)?.write(&folder.join("stamps"))?;
    }
    Manifest::new(files).write(&folder.join("manifest"))?;
    let base = Base {
        version: VERSION,
        format,
        commit: commit.clone(),
        agent_commit,
        masked,
        stand_ins,
        submodules,
        lfs_pointers,
        files: count,
    };
    Ok(files::write_json(&folder.join("base.json"), &base)?)
}

/// An empty folder for the tree: on btrfs in a subvolume of its own.
fn make_tree(folder: &Path) -> Result<PathBuf, FileError> {
    let create = |path: PathBuf| {
        std::fs::create_dir(&path).map_err(failed("create the folder", &path))?;
        Ok(path)
    };
    if !btrfs::holds(folder) || btrfs::create(folder, SUBVOLUME).is_err() {
        return create(folder.join("tree"));
    }
    let subvolume = folder.join(SUBVOLUME);
    create(subvolume.join(WORK_IN_SUBVOLUME))?;
    create(subvolume.join(TREE_IN_SUBVOLUME))
}

/// What the files of the tree look like; a snapshot of it has the same numbers
/// and times.
fn stamps(tree: &Path, files: &[Tracked]) -> Result<Stamps, FileError> {
    let mut stamps = Stamps::default();
    for file in files {
        let path = tree.join(file.path.as_path());
        let stat = statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| failed("look at", &path)(error.into()))?;
        stamps.insert(file.path.clone(), Stamp::of(&stat));
    }
    Ok(stamps)
}

fn list(git: &Git, scratch: &GitDir, commit: &ObjectId) -> Result<Vec<TreeEntry>, PoolError> {
    let tree = git.tree(scratch, commit)?;
    let listing = git.list_tree(scratch, &tree)?;
    match listing
        .iter()
        .find(|entry| entry.path.names_git_directory())
    {
        Some(entry) => Err(PoolError::UnsafePath(entry.path.clone())),
        None => Ok(listing),
    }
}

/// Replaces the secret files of `commit` and returns them with the commit
/// that the agent starts from.
fn mask(
    git: &Git,
    scratch: &GitDir,
    commit: &ObjectId,
    listing: &[TreeEntry],
    secrets: &SecretPatterns,
    stand_ins: &mut StandIns,
) -> Result<(Vec<MaskedFile>, ObjectId), PoolError> {
    let is_file = |mode| matches!(mode, FileMode::Regular | FileMode::Executable);
    let secret: Vec<_> = listing
        .iter()
        .filter(|e| is_file(e.mode) && secrets.hides(&e.path))
        .collect();
    if secret.is_empty() {
        return Ok((Vec::new(), commit.clone()));
    }
    let ids: Vec<_> = secret.iter().map(|entry| entry.id.clone()).collect();
    let mut placeholders = Vec::with_capacity(secret.len());
    git.read_blobs(scratch, &ids, |index, _, content| {
        let mut bytes = Vec::new();
        content.take(SECRET_READ).read_to_end(&mut bytes)?;
        // A variable that several files have is the same in all of them.
        let mut stand_in = |name: &str, value: &str| {
            if !stand_ins.contains_key(name) {
                stand_ins.insert(name.to_owned(), shaped(value)?);
            }
            stand_ins.get(name).cloned()
        };
        placeholders.push(placeholder(&secret[index].path, &bytes, &mut stand_in));
        Ok(())
    })?;
    let tree = masked_tree(git, scratch, commit, &secret, &placeholders)?;
    let masked_listing = git.list_tree(scratch, &tree)?;
    let find = |path: &TreePath| masked_listing.iter().find(|entry| entry.path == *path);
    let masked = secret.iter().filter_map(|entry| {
        let placeholder = find(&entry.path)?.id.clone();
        let (path, original) = (entry.path.clone(), entry.id.clone());
        Some(MaskedFile {
            path,
            mode: entry.mode,
            placeholder,
            original,
        })
    });
    Ok((
        masked.collect(),
        parentless_commit(git, scratch, commit, &tree)?,
    ))
}

/// The tree of `commit` with each of `secret` replaced.
fn masked_tree(
    git: &Git,
    scratch: &GitDir,
    commit: &ObjectId,
    secret: &[&TreeEntry],
    placeholders: &[Vec<u8>],
) -> Result<ObjectId, PoolError> {
    let tree = git.tree(scratch, commit)?;
    let feed = |stdin: &mut dyn Write| {
        stdin.write_all(b"feature done\ncommit refs/heads/masked\n")?;
        stdin.write_all(b"committer Stockade <stockade@localhost> 0 +0000\ndata 0\n\n")?;
        writeln!(stdin, "M 040000 {tree} \"\"")?;
        for (entry, text) in secret.iter().zip(placeholders) {
            writeln!(
                stdin,
                "M {} inline {}",
                entry.mode.octal(),
                entry.path.quoted()
            )?;
            writeln!(stdin, "data {}", text.len())?;
            stdin.write_all(text)?;
            stdin.write_all(b"\n")?;
        }
        stdin.write_all(b"done\n")
    };
    let call = git
        .call(scratch, "fast-import")
        .writes()
        .args(["--quiet", "--done"]);
    call.stream(feed, |stdout| std::io::copy(stdout, &mut std::io::sink()))?;
    let masked = git.commit(scratch, "refs/heads/masked")?;
    Ok(git.tree(scratch, &masked)?)
}

/// A copy of `commit` over `tree`, without parents or signatures: both would
/// lead to, or vouch for, what is hidden.
fn parentless_commit(
    git: &Git,
    scratch: &GitDir,
    commit: &ObjectId,
    tree: &ObjectId,
) -> Result<ObjectId, PoolError> {
    let malformed = || PoolError::MalformedCommit(commit.clone());
    let original = git
        .call(scratch, "cat-file")
        .args(["commit", commit.as_str()])
        .run()?;
    let end = original
        .windows(2)
        .position(|pair| pair == b"\n\n")
        .ok_or_else(malformed)?;
    let mut copy = format!("tree {tree}\n").into_bytes();
    for line in original[..end].split(|byte| *byte == b'\n') {
        if [&b"author "[..], b"committer ", b"encoding "]
            .iter()
            .any(|key| line.starts_with(key))
        {
            copy.extend_from_slice(line);
            copy.push(b'\n');
        }
    }
    copy.extend_from_slice(&original[end + 1..]);
    let call = git
        .call(scratch, "hash-object")
        .writes()
        .args(["-t", "commit", "-w", "--stdin"]);
    let output = call.run_with(&copy)?;
    ObjectId::from_bytes(output.trim_ascii()).map_err(|_| malformed())
}

/// Packs exactly the commit, its trees and its blobs.
fn pack(
    git: &Git,
    scratch: &GitDir,
    pool: &GitDir,
    commit: &ObjectId,
    listing: &[TreeEntry],
) -> Result<(), PoolError> {
    let tree = git.tree(scratch, commit)?;
    let mut seen = HashSet::new();
    let entries = listing
        .iter()
        .filter(|entry| entry.mode != FileMode::Gitlink);
    let unique: Vec<_> = entries.filter(|entry| seen.insert(&entry.id)).collect();
    let feed = |stdin: &mut dyn Write| {
        writeln!(stdin, "{commit}\n{tree}")?;
        unique
            .iter()
            .try_for_each(|entry| writeln!(stdin, "{}", entry.id))
    };
    git.call(scratch, "pack-objects")
        .writes()
        .also_writes(pool.path())
        .args(["--quiet", "--window=0", "--delta-base-offset"])
        .arg(pool.path().join("objects/pack/pack"))
        .stream(feed, |stdout| std::io::copy(stdout, &mut std::io::sink()))?;
    Ok(())
}

/// Checks the commit out, in parallel, and leaves an index that fits.
fn check_out(
    git: &Git,
    scratch: &GitDir,
    commit: &ObjectId,
    folder: &Path,
    tree: &Path,
) -> Result<(), PoolError> {
    let index = folder.join("index");
    git.call(scratch, "read-tree")
        .writes()
        .also_writes(folder)
        .work_tree(tree)
        .variable("GIT_INDEX_FILE", &index)
        .args(["-m", "-u", commit.as_str()])
        .run()?;
    let git_file = tree.join(".git");
    std::fs::write(&git_file, GIT_FILE).map_err(failed("write", &git_file))?;
    Ok(())
}

fn tracked(entry: TreeEntry) -> Option<Tracked> {
    match entry.mode {
        FileMode::Tree | FileMode::Gitlink => None,
        mode => Some(Tracked {
            path: entry.path,
            mode,
            id: entry.id,
            size: entry.size,
        }),
    }
}

/// The Git LFS pointers, if the tree uses LFS at all.
fn lfs_pointers(tree: &Path, listing: &[TreeEntry]) -> Vec<TreePath> {
    let uses_lfs = listing
        .iter()
        .filter(|entry| entry.path.name() == b".gitattributes")
        .any(|e| {
            let text = std::fs::read(tree.join(e.path.as_path())).unwrap_or_default();
            String::from_utf8_lossy(&text).contains("filter=lfs")
        });
    if !uses_lfs {
        return Vec::new();
    }
    let pointer = |entry: &&TreeEntry| {
        // The specification caps a pointer at 1,024 bytes.
        entry.mode != FileMode::Tree
            && entry.mode != FileMode::Symlink
            && (100..1024).contains(&entry.size)
            && std::fs::read(tree.join(entry.path.as_path()))
                .is_ok_and(|text| text.starts_with(b"version https://git-lfs.github.com/spec/"))
    };
    listing
        .iter()
        .filter(pointer)
        .map(|entry| entry.path.clone())
        .collect()
}
