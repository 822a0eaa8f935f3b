//! Where the parts of a log lie, and how entries stand in a file: C2SP's
//! `tlog-tiles`.
//!
//! A *tile* holds 256 hashes of one level, a *bundle* the 256 entries below a
//! tile of level 0. The last of each may hold fewer; its name then says how
//! many.

use std::path::{Path, PathBuf};

use crate::hash::Hash;

/// How many hashes a tile holds, and how many entries a bundle.
pub(crate) const WIDTH: u64 = 256;
/// The height of the subtree that a tile spans: its root is one hash of the
/// next level.
pub(crate) const TILE_HEIGHT: u32 = 8;
/// The longest entry: its length stands in two bytes.
pub(crate) const MAX_ENTRY_BYTES: usize = u16::MAX as usize;
/// How many tiles or bundles stand in one folder.
pub(crate) const IN_FOLDER: u64 = 1000;
/// How long a bundle can be.
pub(crate) const MAX_BUNDLE_BYTES: u64 = WIDTH * (2 + MAX_ENTRY_BYTES as u64);
/// The newest signed state of the log.
pub(crate) const CHECKPOINT: &str = "checkpoint";

/// The number of a tile as a path: groups of three digits, all but the last
/// marked with an `x`.
fn number(index: u64) -> String {
    let mut path = format!("{:03}", index % IN_FOLDER);
    let mut rest = index / IN_FOLDER;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % IN_FOLDER);
        rest /= IN_FOLDER;
    }
    path
}

/// A whole tile of hashes.
pub(crate) fn tile(log: &Path, level: usize, index: u64) -> PathBuf {
    log.join(format!("tile/{level}/{}", number(index)))
}

/// A whole bundle of entries.
pub(crate) fn bundle(log: &Path, index: u64) -> PathBuf {
    log.join(format!("tile/entries/{}", number(index)))
}

/// The folder of the partial forms of a tile or bundle.
pub(crate) fn partial(whole: &Path) -> PathBuf {
    let mut name = whole.as_os_str().to_owned();
    name.push(".p");
    name.into()
}

/// Appends one entry to a bundle.
pub(crate) fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Option<()> {
    let length = u16::try_from(entry.len()).ok()?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Some(())
}

/// The entry at the front of a bundle's bytes, and what follows it; `None` if
/// it is not there whole.
pub(crate) fn split_entry(bundle: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bundle.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

/// The hashes of a tile; `None` if it is none.
pub(crate) fn hashes(tile: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = tile.as_chunks::<{ Hash::LENGTH }>();
    let fits = rest.is_empty() && hashes.len() as u64 <= WIDTH;
    fits.then(|| hashes.iter().copied().map(Hash::from_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let log = Path::new("log");
        for (index, path) in [
            (0, "log/tile/3/000"),
            (67, "log/tile/3/067"),
            (999, "log/tile/3/999"),
            (1_000, "log/tile/3/x001/000"),
            (1_234_067, "log/tile/3/x001/x234/067"),
        ] {
            assert_eq!(tile(log, 3, index), Path::new(path));
        }
        let whole = bundle(log, 5);
        assert_eq!(partial(&whole), Path::new("log/tile/entries/005.p"));
    }

    #[test]
    fn an_entry_is_taken_whole_or_not_at_all() {
        let mut bytes = Vec::new();
        push_entry(&mut bytes, b"abc").unwrap();
        push_entry(&mut bytes, b"").unwrap();
        assert_eq!(bytes, b"\0\x03abc\0\0");
        let (entry, rest) = split_entry(&bytes).unwrap();
        assert_eq!((entry, rest), (&b"abc"[..], &b"\0\0"[..]));
        assert_eq!(split_entry(rest), Some((&b""[..], &b""[..])));
        assert_eq!(split_entry(&bytes[..4]), None);
        let long = vec![0; MAX_ENTRY_BYTES + 1];
        assert_eq!(push_entry(&mut bytes, &long), None);
    }
}
