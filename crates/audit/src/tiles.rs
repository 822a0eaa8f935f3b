//! The tree of a growing log, and its tiles on disk.
//!
//! Tiles are made from the entries and not synced: one that is missing is made
//! again.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    files::{self, Bundle},
    hash::Hash,
    layout::{self, TILE_HEIGHT, WIDTH},
    merkle::{Frontier, TreeHead, root_of},
};

/// The right edge of the tree, for one writer.
#[derive(Debug)]
pub(crate) struct Tiles {
    log: PathBuf,
    /// The hashes of each level that fill no tile yet.
    edges: Vec<Vec<Hash>>,
    frontier: Frontier,
}

impl Tiles {
    /// Takes the tree over the first `bundles` whole bundles from the tiles.
    pub(crate) fn open(log: &Path, bundles: u64) -> io::Result<Self> {
        let mut tiles = Self {
            log: log.to_owned(),
            edges: vec![Vec::new()],
            frontier: Frontier::default(),
        };
        let mut count = bundles;
        for level in 1_usize.. {
            if count == 0 {
                break;
            }
            let unfinished = count - count % WIDTH..count;
            let roots: io::Result<Vec<Hash>> = unfinished
                .map(|index| tiles.tile_root(level - 1, index))
                .collect();
            tiles.edges.push(roots?);
            count /= WIDTH;
        }
        let levels: Vec<(u32, &Vec<Hash>)> = (0..).zip(&tiles.edges).collect();
        for (level, edge) in levels.into_iter().rev() {
            for root in edge {
                tiles.frontier.push_subtree(level * TILE_HEIGHT, *root);
            }
        }
        Ok(tiles)
    }

    /// The root of a whole tile, which is made again if it is not there.
    fn tile_root(&self, level: usize, index: u64) -> io::Result<Hash> {
        if let Some(hashes) = files::read_tile(&self.log, level, index)? {
            return Ok(root_of(&hashes));
        }
        let hashes = match level.checked_sub(1) {
            Some(below) => (index * WIDTH..(index + 1) * WIDTH)
                .map(|index| self.tile_root(below, index))
                .collect::<io::Result<Vec<Hash>>>()?,
            None => match files::read_bundle(&self.log, index)? {
                Bundle::Whole(bytes) => leaves(&bytes).0,
                Bundle::Partial(..) | Bundle::Missing => Vec::new(),
            },
        };
        if hashes.len() as u64 != WIDTH {
            return Err(io::ErrorKind::InvalidData.into());
        }
        files::write_tile(&layout::tile(&self.log, level, index), &hashes)?;
        Ok(root_of(&hashes))
    }

    /// Adds a leaf, and writes each tile that it fills.
    pub(crate) fn push(&mut self, leaf: Hash) -> io::Result<()> {
        self.frontier.push(leaf);
        let mut carried = Some(leaf);
        for level in 0.. {
            let Some(hash) = carried.take() else { break };
            if self.edges.len() == level {
                self.edges.push(Vec::new());
            }
            let edge = &mut self.edges[level];
            edge.push(hash);
            if edge.len() as u64 == WIDTH {
                let full = std::mem::take(edge);
                let path = layout::tile(&self.log, level, self.count(level) / WIDTH - 1);
                files::write_tile(&path, &full)?;
                files::remove_partials(&path, None)?;
                carried = Some(root_of(&full));
            }
        }
        Ok(())
    }

    /// Writes the unfinished tile of each level, in place of the one before.
    pub(crate) fn publish(&self) -> io::Result<()> {
        for (level, edge) in self.edges.iter().enumerate() {
            if edge.is_empty() {
                continue;
            }
            let whole = layout::tile(&self.log, level, self.count(level) / WIDTH);
            let width = edge.len() as u64;
            let path = layout::partial(&whole).join(width.to_string());
            files::write_tile(&path, edge)?;
            files::remove_partials(&whole, Some(width))?;
        }
        Ok(())
    }

    /// How many hashes a level has in all.
    fn count(&self, level: usize) -> u64 {
        (0..level).fold(self.frontier.size(), |count, _| count / WIDTH)
    }

    /// How many leaves the last, unfinished bundle has.
    pub(crate) fn unfinished(&self) -> u64 {
        self.edges[0].len() as u64
    }

    /// Size and root.
    pub(crate) fn head(&self) -> TreeHead {
        self.frontier.head()
    }

    /// How many leaves there are.
    pub(crate) fn size(&self) -> u64 {
        self.frontier.size()
    }
}

/// The hashes of the whole entries of a bundle, and how many bytes they fill.
pub(crate) fn leaves(bundle: &[u8]) -> (Vec<Hash>, u64) {
    let mut hashes = Vec::new();
    let mut rest = bundle;
    while let Some((entry, after)) = layout::split_entry(rest) {
        hashes.push(Hash::of_leaf(entry));
        rest = after;
    }
    (hashes, (bundle.len() - rest.len()) as u64)
}
