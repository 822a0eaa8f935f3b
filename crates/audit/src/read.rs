use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use crate::{
    chain,
    files::{self, Bundle},
    layout::{self, WIDTH},
    record::Record,
    search::Search,
};

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log could not be opened or read.
    #[error("cannot read the log {path}")]
    Io {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An entry is not a record.
    #[error("entry {record} of {path} is not a record")]
    Malformed {
        /// The log.
        path: PathBuf,
        /// The entry, counted from 0.
        record: u64,
        /// What JSON said.
        source: serde_json::Error,
    },
    /// Of the first form: a line is longer than any record.
    #[error("line {line} of {path} is longer than any record")]
    TooLong {
        /// The log.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
    },
    /// Of the first form: the last line has no end: a crash, or a cut.
    #[error("line {line} of {path} is unfinished: the writer crashed or the file was cut")]
    Torn {
        /// The log.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
    },
}

impl ReadError {
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            path: path.clone(),
            source,
        }
    }
}

/// The records of a log, in their order and as they stand there: reading does
/// not check the tree. Ends after the first error.
#[derive(Debug)]
pub struct Records {
    source: Source,
    number: u64,
    search: Search,
}

impl Records {
    /// Only those that `search` wants.
    pub fn that(self, search: Search) -> Self {
        Self { search, ..self }
    }
}

#[derive(Debug)]
enum Source {
    Entries(Entries),
    /// The first form, one file.
    Lines(chain::Lines),
}

impl Iterator for Records {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = match &mut self.source {
                Source::Lines(lines) => lines.next_line()?.map(|line| line.record),
                Source::Entries(entries) => {
                    let place = match entries.advance()? {
                        Ok(place) => place,
                        Err(error) => return Some(Err(error)),
                    };
                    let number = self.number;
                    self.number += 1;
                    let entry = entries.bytes.get(place).unwrap_or_default();
                    if !self.search.may_want(entry) {
                        continue;
                    }
                    Record::decode(entry).map_err(|source| {
                        entries.ended = true;
                        ReadError::Malformed {
                            path: entries.log.clone(),
                            record: number,
                            source,
                        }
                    })
                }
            };
            if record
                .as_ref()
                .is_ok_and(|record| !self.search.wants(record))
            {
                continue;
            }
            return Some(record);
        }
    }
}

/// Opens a log for reading: the folder, or, where there is none yet, the file of
/// the first form beside it. It may be written at the same time.
pub fn read(log: &Path) -> Result<Records, ReadError> {
    let old = chain::beside(log);
    let source = if !log.exists() && old.exists() {
        Source::Lines(chain::Lines::open(&old)?)
    } else {
        log.metadata().map_err(ReadError::io(log))?;
        Source::Entries(entries(log))
    };
    Ok(Records {
        source,
        number: 0,
        search: Search::default(),
    })
}

/// The entries of a log, bundle by bundle. An unfinished one, which may be being
/// written, is left out.
pub(crate) fn entries(log: &Path) -> Entries {
    Entries {
        log: log.to_owned(),
        bundle: 0,
        bytes: Vec::new(),
        place: 0,
        taken: 0,
        ended: false,
    }
}

#[derive(Debug)]
pub(crate) struct Entries {
    log: PathBuf,
    /// The number of the next bundle.
    bundle: u64,
    bytes: Vec<u8>,
    place: usize,
    /// How many entries of this bundle were taken.
    taken: u64,
    ended: bool,
}

impl Iterator for Entries {
    type Item = Result<Vec<u8>, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let place = self.advance()?;
        Some(place.map(|place| self.bytes.get(place).unwrap_or_default().to_vec()))
    }
}

impl Entries {
    /// Where the next entry stands in `bytes`.
    fn advance(&mut self) -> Option<Result<Range<usize>, ReadError>> {
        while !self.ended {
            let rest = self.bytes.get(self.place..).unwrap_or_default();
            if let Some((entry, _)) = layout::split_entry(rest) {
                let start = self.place + 2;
                self.place = start + entry.len();
                self.taken += 1;
                return Some(Ok(start..self.place));
            }
            // Only a full bundle has one after it; the last may have become full
            // since it was read.
            if self.bundle > 0 && self.taken < WIDTH {
                break;
            }
            match files::read_bundle(&self.log, self.bundle) {
                Ok(Bundle::Whole(bytes) | Bundle::Partial(_, bytes)) => {
                    self.bundle += 1;
                    (self.bytes, self.place, self.taken) = (bytes, 0, 0);
                }
                Ok(Bundle::Missing) => break,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(ReadError::io(&self.log)(error)));
                }
            }
        }
        self.ended = true;
        None
    }
}
