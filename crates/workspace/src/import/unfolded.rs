//! What a tree unfolds to, told from its objects alone: a few hundred of them
//! can name a million paths, and a folder can stand in itself a thousand deep.

use std::collections::HashMap;

use super::bundle::{BundleError, BundleLimits};
use crate::{
    git::{Git, GitDir},
    object::{ObjectFormat, ObjectId},
};

/// A folder: where among the others, and how long its name is.
type Folder = (usize, u64);

/// One tree object.
#[derive(Default)]
struct Tree {
    entries: u64,
    longest_name: u64,
    folders: Vec<Folder>,
}

/// All below one tree.
#[derive(Clone, Copy)]
struct Extent {
    paths: u64,
    depth: u64,
    path_bytes: u64,
}

#[derive(Default)]
struct Trees {
    known: HashMap<ObjectId, usize>,
    all: Vec<Tree>,
    /// Of each tree once it is known.
    extents: Vec<Option<Extent>>,
}

/// Refuses `trees` if one of them, with all below it, is over a limit.
pub(super) fn check(
    git: &Git,
    repository: &GitDir,
    trees: Vec<ObjectId>,
    limits: &BundleLimits,
) -> Result<(), BundleError> {
    let mut found = Trees::default();
    for id in &trees {
        found.place(id.clone());
    }
    let mut unread = trees;
    // Those of the base are met one level at a time.
    for _ in 0..=limits.depth {
        if unread.is_empty() {
            break;
        }
        unread = found.read(git, repository, &unread)?;
    }
    if !unread.is_empty() {
        return Err(too_deep(limits));
    }
    for at in 0..found.all.len() {
        found.extent(at, 0, limits)?;
    }
    Ok(())
}

fn too_deep(limits: &BundleLimits) -> BundleError {
    BundleError::TooLarge {
        what: "more folders in each other",
        limit: limits.depth,
    }
}

impl Trees {
    /// The place of a tree, and whether it is new.
    fn place(&mut self, id: ObjectId) -> (usize, bool) {
        let next = self.all.len();
        let at = *self.known.entry(id).or_insert(next);
        if at == next {
            self.all.push(Tree::default());
            self.extents.push(None);
        }
        (at, at == next)
    }

    /// Reads trees that have their place; returns those below that are new.
    fn read(
        &mut self,
        git: &Git,
        repository: &GitDir,
        ids: &[ObjectId],
    ) -> Result<Vec<ObjectId>, BundleError> {
        let mut unread = Vec::new();
        git.read_trees(repository, ids, |index, _, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            let (at, _) = self.place(ids[index].clone());
            let mut tree = Tree::default();
            for (name, folder) in entries(&bytes, repository.format()) {
                tree.entries += 1;
                tree.longest_name = tree.longest_name.max(name);
                if let Some(id) = folder {
                    let (below, new) = self.place(id.clone());
                    tree.folders.push((below, name));
                    unread.extend(new.then_some(id));
                }
            }
            self.all[at] = tree;
            Ok(())
        })?;
        Ok(unread)
    }

    /// What the tree at this place unfolds to, `level` folders down.
    fn extent(
        &mut self,
        at: usize,
        level: u64,
        limits: &BundleLimits,
    ) -> Result<Extent, BundleError> {
        if let Some(extent) = self.extents[at] {
            return Ok(extent);
        }
        if level > limits.depth {
            return Err(too_deep(limits));
        }
        let mut extent = Extent {
            paths: self.all[at].entries,
            depth: 0,
            path_bytes: self.all[at].longest_name,
        };
        for (below, name) in std::mem::take(&mut self.all[at].folders) {
            let below = self.extent(below, level + 1, limits)?;
            extent.paths = extent.paths.saturating_add(below.paths);
            extent.depth = extent.depth.max(below.depth + 1);
            extent.path_bytes = extent.path_bytes.max(name + 1 + below.path_bytes);
        }
        let over = [
            (extent.paths, limits.paths, "more paths in a tree"),
            (
                extent.path_bytes,
                limits.path_bytes,
                "longer paths, in bytes,",
            ),
        ];
        for (found, limit, what) in over {
            if found > limit {
                return Err(BundleError::TooLarge { what, limit });
            }
        }
        if extent.depth > limits.depth {
            return Err(too_deep(limits));
        }
        self.extents[at] = Some(extent);
        Ok(extent)
    }
}

/// The entries of a tree object that passed git's check: the length of each
/// name, and the tree where it is a folder.
fn entries(mut tree: &[u8], format: ObjectFormat) -> impl Iterator<Item = (u64, Option<ObjectId>)> {
    let id_length = format.id_bytes();
    std::iter::from_fn(move || {
        let end = tree.iter().position(|byte| *byte == 0)?;
        let space = tree[..end].iter().position(|byte| *byte == b' ')?;
        let (mode, name) = (&tree[..space], &tree[space + 1..end]);
        let id = tree.get(end + 1..end + 1 + id_length)?;
        let folder = (mode == b"40000").then(|| ObjectId::from_raw(id));
        tree = &tree[end + 1 + id_length..];
        Some((name.len() as u64, folder))
    })
}
