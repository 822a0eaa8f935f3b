use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use crate::record::{Appended, Hash, MAX_LINE_BYTES, Record};

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file could not be opened or read.
    #[error("cannot read the log {path}")]
    Io {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not a record.
    #[error("line {line} of {path} is not a record")]
    Malformed {
        /// The log.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What JSON said.
        source: serde_json::Error,
    },
    /// A line is longer than any record.
    #[error("line {line} of {path} is longer than any record")]
    TooLong {
        /// The log.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
    },
    /// The last line has no end: a crash, or a cut.
    #[error("line {line} of {path} is unfinished: the writer crashed or the file was cut")]
    Torn {
        /// The log.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
    },
}

/// What was done to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The content of a record is not what was written.
    #[error("was edited")]
    Edited,
    /// A record is missing.
    #[error("was removed")]
    Removed,
    /// A record stands at another place than it was written.
    #[error("was moved")]
    Reordered,
    /// There is a record that was not written.
    #[error("was inserted")]
    Inserted,
}

/// Why a log is not the one that was written.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The chain breaks; this is the first record that does not fit.
    #[error("record {seq} (line {line} of {path}) {fault}")]
    Broken {
        /// The log.
        path: PathBuf,
        /// Where it shows, counted from 1.
        line: u64,
        /// The first record concerned.
        seq: u64,
        /// What was most likely done to it.
        fault: Fault,
    },
    /// The log ends before a record that somebody has a receipt for.
    #[error("{path} was cut: it ends after {records} records, but record {seq} was acknowledged")]
    Truncated {
        /// The log.
        path: PathBuf,
        /// How many are left.
        records: u64,
        /// The record of the receipt.
        seq: u64,
    },
    /// The chain is whole, but it is not the one that the receipt is from.
    #[error("{path} was rewritten: record {seq} has the hash {found}, the receipt says {expected}")]
    Rewritten {
        /// The log.
        path: PathBuf,
        /// The record of the receipt.
        seq: u64,
        /// What is there.
        found: Hash,
        /// What the receipt says.
        expected: Hash,
    },
}

/// What a sound log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many records.
    pub records: u64,
    /// The hash of the last, or [`Hash::ZERO`].
    pub last_hash: Hash,
}

/// The records of a log, in the order of the file and as they stand there:
/// reading does not check the chain. Ends after the first error.
#[derive(Debug)]
pub struct Records {
    lines: Lines,
}

impl Iterator for Records {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.lines.next_line()?.map(|line| line.record))
    }
}

/// Opens a log for reading. It may be written at the same time.
pub fn read(path: &Path) -> Result<Records, ReadError> {
    Ok(Records {
        lines: Lines::open(path)?,
    })
}

/// Checks every record of the log against the chain.
///
/// What changed the last record, or cut the log after a whole record, shows
/// only against a receipt: see [`verify_against`].
pub fn verify(path: &Path) -> Result<Verified, VerifyError> {
    walk(path, None)
}

/// Checks the chain, and that it holds the record of this receipt.
pub fn verify_against(path: &Path, receipt: Appended) -> Result<Verified, VerifyError> {
    let verified = walk(path, Some(receipt))?;
    if verified.records <= receipt.seq {
        return Err(VerifyError::Truncated {
            path: path.to_owned(),
            records: verified.records,
            seq: receipt.seq,
        });
    }
    Ok(verified)
}

fn walk(path: &Path, receipt: Option<Appended>) -> Result<Verified, VerifyError> {
    let mut lines = Lines::open(path)?;
    let mut verified = Verified {
        records: 0,
        last_hash: Hash::ZERO,
    };
    while let Some(line) = lines.next_line() {
        let line = line?;
        if line.record.seq != verified.records || line.record.prev != verified.last_hash {
            return Err(diagnose(path, verified.records, &line, &mut lines)?);
        }
        if let Some(receipt) = receipt.filter(|receipt| receipt.seq == line.record.seq)
            && receipt.hash != line.hash
        {
            return Err(VerifyError::Rewritten {
                path: path.to_owned(),
                seq: receipt.seq,
                found: line.hash,
                expected: receipt.hash,
            });
        }
        verified = Verified {
            records: verified.records + 1,
            last_hash: line.hash,
        };
    }
    Ok(verified)
}

/// Says what was done where `line` is not the record number `expected` that
/// follows the ones before. The rest of the file is evidence for it.
fn diagnose(
    path: &Path,
    expected: u64,
    line: &Line,
    rest: &mut Lines,
) -> Result<VerifyError, ReadError> {
    let mut next: Option<Line> = None;
    let mut expected_is_later = false;
    while let Some(later) = rest.next_line() {
        let later = later?;
        expected_is_later |= later.record.seq == expected;
        next.get_or_insert(later);
    }
    // What follows names this very line as its predecessor.
    let line_is_intact = next
        .as_ref()
        .is_some_and(|next| next.record.prev == line.hash);
    let (seq, fault) = if line.record.seq == expected {
        match expected.checked_sub(1) {
            // The hash does not fit, so this line or the one before changed.
            Some(before) if line_is_intact || next.is_none() => (before, Fault::Edited),
            _ => (expected, Fault::Edited),
        }
    } else if expected_is_later {
        let moved = next
            .as_ref()
            .is_some_and(|next| next.record.seq != expected);
        // A foreign record in front of the expected one was put there; two
        // that changed places are each other's neighbours.
        if !moved && line.record.seq < expected {
            (line.record.seq, Fault::Inserted)
        } else {
            (line.record.seq, Fault::Reordered)
        }
    } else if line.record.seq > expected {
        (expected, Fault::Removed)
    } else {
        (line.record.seq, Fault::Inserted)
    };
    Ok(VerifyError::Broken {
        path: path.to_owned(),
        line: line.number,
        seq,
        fault,
    })
}

#[derive(Debug)]
struct Line {
    number: u64,
    hash: Hash,
    record: Record,
}

#[derive(Debug)]
struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    number: u64,
    buffer: Vec<u8>,
    failed: bool,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(|source| ReadError::Io {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            reader: BufReader::with_capacity(256 * 1024, file),
            path: path.to_owned(),
            number: 0,
            buffer: Vec::new(),
            failed: false,
        })
    }

    fn next_line(&mut self) -> Option<Result<Line, ReadError>> {
        if self.failed {
            return None;
        }
        let line = self.read_line().transpose();
        self.failed = matches!(line, Some(Err(_)));
        line
    }

    fn read_line(&mut self) -> Result<Option<Line>, ReadError> {
        let path = || self.path.clone();
        let number = self.number + 1;
        self.buffer.clear();
        let limit = MAX_LINE_BYTES as u64 + 1;
        let mut limited = (&mut self.reader).take(limit);
        let read = limited
            .read_until(b'\n', &mut self.buffer)
            .map_err(|source| ReadError::Io {
                path: path(),
                source,
            })?;
        if read == 0 {
            return Ok(None);
        }
        let Some((b'\n', line)) = self.buffer.split_last() else {
            let too_long = read > MAX_LINE_BYTES;
            return Err(if too_long {
                ReadError::TooLong {
                    path: path(),
                    line: number,
                }
            } else {
                ReadError::Torn {
                    path: path(),
                    line: number,
                }
            });
        };
        let record = serde_json::from_slice(line).map_err(|source| ReadError::Malformed {
            path: path(),
            line: number,
            source,
        })?;
        let hash = Hash::of(line);
        self.number = number;
        Ok(Some(Line {
            number,
            hash,
            record,
        }))
    }
}
