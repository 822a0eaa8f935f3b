use std::path::{Path, PathBuf};

use crate::{
    chain,
    evidence::Evidence,
    files::{self, Bundle},
    hash::Hash,
    host::{Fingerprints, origin},
    layout::{self, WIDTH},
    merkle::{Frontier, TreeHead, root_of},
    note::{Checkpoint, NoteError},
    read::ReadError,
};

/// What was done to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Its content is not what was written.
    #[error("was edited")]
    Edited,
    /// It is missing.
    #[error("was removed")]
    Removed,
    /// It stands at another place than it was written.
    #[error("was moved")]
    Reordered,
    /// It was not written.
    #[error("was inserted")]
    Inserted,
}

/// Why a log is not the one that was written.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There is no log, or none any more.
    #[error("{path} is missing")]
    Missing {
        /// The log.
        path: PathBuf,
    },
    /// The checkpoint is not one that the key signed.
    #[error("the checkpoint of {path} is not to be trusted")]
    Checkpoint {
        /// The log.
        path: PathBuf,
        /// Why not.
        source: NoteError,
    },
    /// The checkpoint is that of another log.
    #[error("{path} has the checkpoint of another log, {found}")]
    OtherLog {
        /// The log.
        path: PathBuf,
        /// Which log.
        found: String,
    },
    /// This is the first record that is not what was written.
    #[error("record {record} of {path} {fault}")]
    Broken {
        /// The log.
        path: PathBuf,
        /// The record, counted from 0.
        record: u64,
        /// What was most likely done to it.
        fault: Fault,
    },
    /// Something was changed, and whoever did so changed all that would tell
    /// where.
    #[error(
        "{path} was rewritten: the first record that is not what was written is one of {first} \
         to {last}"
    )]
    Rewritten {
        /// The log.
        path: PathBuf,
        /// Those before this one are sound.
        first: u64,
        /// The last that may be the first changed one.
        last: u64,
    },
    /// The log ends too early.
    #[error(
        "{path} was cut: record {records} and all after it are missing, of {size} that were written"
    )]
    Truncated {
        /// The log.
        path: PathBuf,
        /// How many are left.
        records: u64,
        /// How many there were.
        size: u64,
    },
    /// The checkpoint is older than one that is known from elsewhere.
    #[error(
        "the checkpoint of {path} was put back: it covers {found} records, and one of {newest} is known"
    )]
    RolledBack {
        /// The log.
        path: PathBuf,
        /// What it covers.
        found: u64,
        /// What the newest covers that is known.
        newest: u64,
    },
    /// A tile differs from the records, which are sound.
    #[error("tile {index} of level {level} of {path} was edited; the records are what was written")]
    Tile {
        /// The log.
        path: PathBuf,
        /// The tile's level.
        level: usize,
        /// Its number.
        index: u64,
    },
}

/// What a sound log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many records.
    pub records: u64,
    /// The root over all of them; of the first form, the hash of the last line.
    pub root: Hash,
    /// How many of them a checkpoint covers, be it the log's own or one from
    /// elsewhere. Those after them may be anybody's.
    pub covered: u64,
    /// Whether the signature of the checkpoint was checked.
    pub signature: bool,
    /// How many states of it that are known from elsewhere fit.
    pub known: u64,
}

impl Verified {
    pub(crate) fn of_chain(records: u64, last: Hash) -> Self {
        Self {
            records,
            root: last,
            covered: 0,
            signature: false,
            known: 0,
        }
    }
}

/// A state that the log must have had.
struct Expected<'a> {
    head: TreeHead,
    leaves: Option<&'a Fingerprints>,
}

/// Checks every record of the log in the folder `log` against its checkpoint,
/// its tiles and all that is known from elsewhere. A log of the first form is
/// checked as a chain.
pub fn verify(log: &Path, evidence: &Evidence) -> Result<Verified, VerifyError> {
    let old = chain::beside(log);
    if !log.exists() && old.exists() && evidence.bindings.is_empty() {
        return chain::verify(&old);
    }
    let checkpoint = checkpoint(log, evidence)?;
    let bound = evidence.bindings.iter().map(|binding| Expected {
        head: binding.head(),
        leaves: Some(&binding.leaves),
    });
    let kept = evidence.heads.iter().chain([&checkpoint.head]);
    let kept = kept.map(|head| Expected {
        head: *head,
        leaves: None,
    });
    let mut expected: Vec<Expected<'_>> = bound.chain(kept).collect();
    expected.sort_by_key(|expected| expected.head.size);

    let found = Found::read(log)?;
    let mut tree = Frontier::default();
    let mut sound = 0;
    for one in &expected {
        let last = usize::try_from(one.head.size).unwrap_or(usize::MAX);
        let new = tree.size()..one.head.size.min(found.leaves.len() as u64);
        for index in new {
            tree.push(found.leaves[usize::try_from(index).unwrap_or_default()]);
        }
        if last > found.leaves.len() || tree.head() != one.head {
            return Err(found.diagnose(log, &expected, one, sound)?);
        }
        sound = one.head.size;
    }
    let newest = evidence.bindings.iter().map(|binding| binding.size).max();
    if let Some(newest) = newest.filter(|newest| *newest > checkpoint.head.size) {
        return Err(VerifyError::RolledBack {
            path: log.to_owned(),
            found: checkpoint.head.size,
            newest,
        });
    }
    check_tiles(log, &found.leaves, checkpoint.head.size)?;
    for leaf in found
        .leaves
        .iter()
        .skip(usize::try_from(sound).unwrap_or(usize::MAX))
    {
        tree.push(*leaf);
    }
    Ok(Verified {
        records: tree.size(),
        root: tree.root(),
        covered: sound,
        signature: evidence.key.is_some(),
        known: expected.len() as u64 - 1,
    })
}

/// The checkpoint of a log, as far as it can be trusted.
pub fn checkpoint(log: &Path, evidence: &Evidence) -> Result<Checkpoint, VerifyError> {
    let path = || log.to_owned();
    let note = files::read_checkpoint(log)
        .map_err(ReadError::io(log))?
        .ok_or_else(|| VerifyError::Missing { path: path() })?;
    let opened = match &evidence.key {
        Some(key) => Checkpoint::open(&note, key),
        None => Checkpoint::unchecked(&note),
    };
    let checkpoint = opened.map_err(|source| VerifyError::Checkpoint {
        path: path(),
        source,
    })?;
    let right = match (&evidence.key, evidence.name.as_deref()) {
        (Some(key), Some("")) => checkpoint.origin == key.name(),
        (Some(key), Some(name)) => checkpoint.origin == origin(key.name(), name),
        (None, Some(name)) => checkpoint.origin.ends_with(name),
        (_, None) => true,
    };
    if right {
        return Ok(checkpoint);
    }
    Err(VerifyError::OtherLog {
        path: path(),
        found: checkpoint.origin,
    })
}

/// What lies there.
struct Found {
    /// The hashes of all entries, in their order.
    leaves: Vec<Hash>,
    /// The first that is not whole, where whole ones should follow.
    torn: Option<u64>,
}

impl Found {
    fn read(log: &Path) -> Result<Self, ReadError> {
        let mut found = Self {
            leaves: Vec::new(),
            torn: None,
        };
        for index in 0.. {
            let bytes = match files::read_bundle(log, index).map_err(ReadError::io(log))? {
                Bundle::Whole(bytes) | Bundle::Partial(_, bytes) => bytes,
                Bundle::Missing => break,
            };
            let mut rest = bytes.as_slice();
            while let Some((entry, after)) = layout::split_entry(rest) {
                found.leaves.push(Hash::of_leaf(entry));
                rest = after;
            }
            if !rest.is_empty() {
                found.torn = found.torn.or(Some(found.leaves.len() as u64));
            }
        }
        Ok(found)
    }

    /// Says what is wrong before `broken`, the first state that does not fit;
    /// the first `sound` records are what was written.
    fn diagnose(
        &self,
        log: &Path,
        expected: &[Expected<'_>],
        broken: &Expected<'_>,
        sound: u64,
    ) -> Result<VerifyError, ReadError> {
        let path = log.to_owned();
        let size = broken.head.size;
        let newest = expected.last().map_or(size, |one| one.head.size);
        let truncated = |records| VerifyError::Truncated {
            path: log.to_owned(),
            records,
            size: newest,
        };
        let written = written(log).map_err(ReadError::io(log))?;
        // The tiles tell what was written, as far as they have a known root.
        let proved = expected.iter().rev().find_map(|one| {
            let size = usize::try_from(one.head.size).ok()?;
            let prefix = written.get(..size)?;
            (root_of(prefix) == one.head.root).then_some(prefix)
        });
        if let Some((record, fault)) = proved.and_then(|written| first_other(&self.leaves, written))
        {
            return Ok(match fault {
                Some(fault) => VerifyError::Broken {
                    path,
                    record,
                    fault,
                },
                None => truncated(record),
            });
        }
        if let Some(record) = self.by_fingerprint(expected, sound) {
            if record >= self.leaves.len() as u64 {
                return Ok(truncated(record));
            }
            let fault = Fault::Edited;
            return Ok(VerifyError::Broken {
                path,
                record,
                fault,
            });
        }
        Ok(match self.torn {
            Some(record) if record < size => VerifyError::Broken {
                path,
                record,
                fault: Fault::Edited,
            },
            _ if (self.leaves.len() as u64) < size => truncated(self.leaves.len() as u64),
            _ => VerifyError::Rewritten {
                path,
                first: sound,
                last: size - 1,
            },
        })
    }

    /// The first record that the host log knows otherwise.
    fn by_fingerprint(&self, expected: &[Expected<'_>], sound: u64) -> Option<u64> {
        let mut others = expected.iter().filter_map(|one| {
            let leaves = one.leaves?;
            let start = one.head.size.checked_sub(leaves.len() as u64)?;
            let index = usize::try_from(start).ok()?.min(self.leaves.len());
            let other = leaves.first_other(&self.leaves[index..])?;
            Some(start + other as u64).filter(|record| *record >= sound)
        });
        others.next()
    }
}

/// The hashes that the tiles of level 0 hold, up to the first that is missing.
fn written(log: &Path) -> std::io::Result<Vec<Hash>> {
    let mut hashes = Vec::new();
    for index in 0.. {
        let Some(tile) = files::read_tile(log, 0, index)? else {
            hashes.extend(files::read_newest_tile(log, index)?);
            break;
        };
        hashes.extend(tile);
    }
    Ok(hashes)
}

/// The first place at which `found` is not what was written, and what was done
/// there; `None` for that if nothing follows.
fn first_other(found: &[Hash], written: &[Hash]) -> Option<(u64, Option<Fault>)> {
    let place = (0..written.len()).find(|place| found.get(*place) != written.get(*place))?;
    let fault = found.get(place).map(|here| {
        let missing = written[place];
        let later = &found[place + 1..];
        // Its successor moved up: it is gone. It moved down: another came.
        if written[place + 1..].first() == Some(here) && !later.contains(&missing) {
            Fault::Removed
        } else if later.first() == Some(&missing) && !written[place + 1..].contains(here) {
            Fault::Inserted
        } else if later.contains(&missing) {
            Fault::Reordered
        } else {
            Fault::Edited
        }
    });
    Some((place as u64, fault))
}

/// Compares every tile that is there with the records. One that is missing is
/// nothing: they are made from the records when it is needed.
fn check_tiles(log: &Path, leaves: &[Hash], covered: u64) -> Result<(), VerifyError> {
    let failed = ReadError::io(log);
    let mut hashes = leaves[..usize::try_from(covered).unwrap_or_default()].to_vec();
    for level in 0.. {
        let mut above = Vec::new();
        for (index, chunk) in (0..).zip(hashes.chunks(usize::try_from(WIDTH).unwrap_or_default())) {
            let width = chunk.len() as u64;
            let tile = if width == WIDTH {
                above.push(root_of(chunk));
                files::read_tile(log, level, index)
            } else {
                files::read_partial_tile(log, level, index, width)
            };
            if tile.map_err(&failed)?.is_some_and(|tile| tile != chunk) {
                return Err(VerifyError::Tile {
                    path: log.to_owned(),
                    level,
                    index,
                });
            }
        }
        if above.is_empty() {
            break;
        }
        hashes = above;
    }
    Ok(())
}
