//! The Merkle tree of RFC 6962, section 2.1.

use serde::{Deserialize, Serialize};

use crate::hash::Hash;

/// The state of a log at one size: nobody can change, remove or move one of the
/// first `size` records and keep the root.
///
/// Kept outside the log (in a merge commit, in the host log), it proves later
/// that nothing up to this size was changed or cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeHead {
    /// How many records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

/// The right edge of a growing tree: the roots of its perfect subtrees, the
/// largest first, each with the logarithm of its number of leaves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frontier {
    size: u64,
    peaks: Vec<(u32, Hash)>,
}

impl Frontier {
    /// Adds a leaf, by its hash.
    pub(crate) fn push(&mut self, leaf: Hash) {
        self.push_subtree(0, leaf);
    }

    /// Adds a perfect subtree of 2^`height` leaves; the size so far must be a
    /// multiple of that.
    pub(crate) fn push_subtree(&mut self, height: u32, root: Hash) {
        self.size += 1 << height;
        let (mut height, mut root) = (height, root);
        while let Some((_, left)) = self.peaks.pop_if(|(other, _)| *other == height) {
            root = Hash::of_node(&left, &root);
            height += 1;
        }
        self.peaks.push((height, root));
    }

    /// How many leaves there are.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The root over all leaves so far.
    pub(crate) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().map(|(_, root)| *root);
        let Some(smallest) = peaks.next() else {
            return Hash::of(&[]);
        };
        peaks.fold(smallest, |right, left| Hash::of_node(&left, &right))
    }

    /// Size and root.
    pub(crate) fn head(&self) -> TreeHead {
        TreeHead {
            size: self.size,
            root: self.root(),
        }
    }
}

/// The root of a tree over these leaves or perfect subtrees of one height.
pub(crate) fn root_of(hashes: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    for hash in hashes {
        frontier.push(*hash);
    }
    frontier.root()
}

/// Where a tree of this many leaves splits: the largest power of two below.
fn split(size: usize) -> usize {
    debug_assert!(size > 1, "a tree of one leaf has no halves");
    1 << (size - 1).ilog2()
}

/// RFC 6962, 2.1.1: the hashes that lead from leaf `index` to the root of these
/// leaves, from the bottom up. Empty if there is no such leaf.
pub(crate) fn inclusion_proof(leaves: &[Hash], index: usize) -> Vec<Hash> {
    let (mut leaves, mut index) = (leaves, index);
    let mut from_top = Vec::new();
    while leaves.len() > 1 && index < leaves.len() {
        let (left, right) = leaves.split_at(split(leaves.len()));
        if index < left.len() {
            from_top.push(root_of(right));
            leaves = left;
        } else {
            from_top.push(root_of(left));
            index -= left.len();
            leaves = right;
        }
    }
    from_top.reverse();
    from_top
}

/// RFC 9162, 2.1.3.2: whether `proof` leads from `leaf` at `index` to `head`.
pub(crate) fn includes(head: &TreeHead, index: u64, leaf: Hash, proof: &[Hash]) -> bool {
    if index >= head.size {
        return false;
    }
    let (mut place, mut last) = (index, head.size - 1);
    let mut root = leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            root = Hash::of_node(sibling, &root);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            root = Hash::of_node(&root, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    last == 0 && root == head.root
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The leaves that Certificate Transparency's own tests use.
    const LEAVES: [&[u8]; 8] = [
        &[],
        &[0x00],
        &[0x10],
        &[0x20, 0x21],
        &[0x30, 0x31],
        &[0x40, 0x41, 0x42, 0x43],
        &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
        &[
            0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d,
            0x6e, 0x6f,
        ],
    ];

    /// Their roots, by number of leaves from one on.
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count)
            .map(|number| Hash::of_leaf(&number.to_be_bytes()))
            .collect()
    }

    /// The definition of RFC 6962 to the letter.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::of(&[]),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                Hash::of_node(&by_definition(left), &by_definition(right))
            }
        }
    }

    #[test]
    fn the_known_roots_of_certificate_transparency_come_out() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Frontier::default().root().to_string(), empty);
        let mut frontier = Frontier::default();
        for (leaf, root) in LEAVES.iter().zip(ROOTS) {
            frontier.push(Hash::of_leaf(leaf));
            assert_eq!(frontier.root().to_string(), root);
        }
    }

    #[test]
    fn the_root_is_as_defined_at_every_size() {
        let leaves = leaves(600);
        let mut frontier = Frontier::default();
        for size in 0..leaves.len() {
            assert_eq!(frontier.root(), by_definition(&leaves[..size]), "{size}");
            frontier.push(leaves[size]);
        }
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proved_and_no_other_in_its_place() {
        for size in 1..=65 {
            let leaves = leaves(size);
            let head = TreeHead {
                size: size as u64,
                root: root_of(&leaves),
            };
            for (index, leaf) in leaves.iter().enumerate() {
                let proof = inclusion_proof(&leaves, index);
                assert!(includes(&head, index as u64, *leaf, &proof));
                let other = leaves[(index + 1) % size];
                assert_eq!(includes(&head, index as u64, other, &proof), size == 1);
                let beside = (index as u64 + 1) % size as u64;
                assert_eq!(includes(&head, beside, *leaf, &proof), size == 1);
            }
            assert!(!includes(&head, size as u64, leaves[0], &[]));
        }
    }

    proptest! {
        #[test]
        fn a_changed_proof_proves_nothing(
            size in 2..500_usize,
            place: prop::sample::Index,
            step: prop::sample::Index,
            bit in 0..256_usize,
        ) {
            let leaves = leaves(size);
            let index = place.index(size);
            let head = TreeHead { size: size as u64, root: root_of(&leaves) };
            let proof = inclusion_proof(&leaves, index);
            let mut changed = proof.clone();
            let step = step.index(changed.len());
            let mut bytes = *changed[step].as_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            changed[step] = Hash::from_bytes(bytes);
            prop_assert!(!includes(&head, index as u64, leaves[index], &changed));
            let shorter = &proof[..proof.len() - 1];
            prop_assert!(!includes(&head, index as u64, leaves[index], shorter));
            let longer = [&proof[..], &[head.root]].concat();
            prop_assert!(!includes(&head, index as u64, leaves[index], &longer));
        }
    }
}
