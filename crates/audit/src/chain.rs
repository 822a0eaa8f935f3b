//! The first form of a record: one file of lines, each with the SHA-256 of the
//! line before. It is read, checked and taken over into a log, never written.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use crate::{
    hash::Hash,
    read::ReadError,
    record::Record,
    verify::{Fault, Verified, VerifyError},
};

/// The longest line: an event of 64 KiB and what the recorder added to it.
const MAX_LINE_BYTES: usize = 65 * 1024;

/// Where the first form of a log lies: beside it.
pub(crate) fn beside(log: &Path) -> PathBuf {
    log.with_extension("jsonl")
}

/// Checks every line against the one before. What changed the last line, or cut
/// the file after a whole one, cannot be seen in this form.
pub(crate) fn verify(path: &Path) -> Result<Verified, VerifyError> {
    let mut lines = Lines::open(path)?;
    let (mut records, mut last) = (0, Hash::ZERO);
    while let Some(line) = lines.next_line() {
        let line = line?;
        if line.record.seq != records || line.record.prev != Some(last) {
            return Err(VerifyError::Broken {
                path: path.to_owned(),
                record: records,
                fault: Fault::Edited,
            });
        }
        (records, last) = (records + 1, line.hash);
    }
    Ok(Verified::of_chain(records, last))
}

/// One line, as it stands there and as what it says.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) hash: Hash,
    pub(crate) bytes: Vec<u8>,
    pub(crate) record: Record,
}

/// The lines of a file, in their order. Ends after the first error.
#[derive(Debug)]
pub(crate) struct Lines {
    reader: BufReader<File>,
    path: PathBuf,
    number: u64,
    failed: bool,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        let file = File::open(path).map_err(ReadError::io(path))?;
        Ok(Self {
            reader: BufReader::with_capacity(256 * 1024, file),
            path: path.to_owned(),
            number: 0,
            failed: false,
        })
    }

    pub(crate) fn next_line(&mut self) -> Option<Result<Line, ReadError>> {
        if self.failed {
            return None;
        }
        let line = self.read_line().transpose();
        self.failed = matches!(line, Some(Err(_)));
        line
    }

    fn read_line(&mut self) -> Result<Option<Line>, ReadError> {
        let path = self.path.clone();
        self.number += 1;
        let line = self.number;
        let mut bytes = Vec::new();
        let mut limited = (&mut self.reader).take(MAX_LINE_BYTES as u64 + 1);
        let read = limited
            .read_until(b'\n', &mut bytes)
            .map_err(ReadError::io(&path))?;
        if read == 0 {
            return Ok(None);
        }
        if bytes.pop_if(|last| *last == b'\n').is_none() {
            return Err(if read > MAX_LINE_BYTES {
                ReadError::TooLong { path, line }
            } else {
                ReadError::Torn { path, line }
            });
        }
        let record = Record::decode(&bytes).map_err(|source| ReadError::Malformed {
            path,
            record: line - 1,
            source,
        })?;
        Ok(Some(Line {
            hash: Hash::of(&bytes),
            bytes,
            record,
        }))
    }
}
