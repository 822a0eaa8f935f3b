//! The proof that one record stands in a log: C2SP's `tlog-proof`, with the
//! record itself as its extra data.

use std::{fmt::Write as _, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use crate::{
    files,
    hash::Hash,
    merkle::{includes, inclusion_proof, root_of},
    note::{Checkpoint, NoteError, VerifierKey},
    read::{ReadError, entries},
    record::Record,
};

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// A tree cannot be higher: its size has 64 bits.
const HASHES_MAX: usize = 64;

/// Why there is no proof, or why it proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The record is not there.
    #[error(
        "the log's checkpoint covers {covered} records; there is no record {record} among them"
    )]
    NoRecord {
        /// The record.
        record: u64,
        /// How many there are.
        covered: u64,
    },
    /// The log does not have the state that its checkpoint says.
    #[error("the records are not those of the checkpoint; see `stockade audit verify`")]
    Damaged,
    /// The text is no proof.
    #[error("line {0} of the proof is not what stands there in a `{HEADER}`")]
    Form(usize),
    /// The checkpoint is not one that the key signed.
    #[error("the checkpoint of the proof is not to be trusted")]
    Checkpoint(#[source] NoteError),
    /// The proof leads elsewhere.
    #[error("the record is not the one that stands at {0} in the log")]
    Wrong(u64),
    /// What it proves is no record.
    #[error("what is proved is no record")]
    Record(#[source] serde_json::Error),
}

/// Proves that record `number` is in `log`, to whoever has the log's key.
pub fn prove(log: &Path, number: u64) -> Result<String, ProofError> {
    let failed = ReadError::io(log);
    let note = files::read_checkpoint(log).map_err(&failed)?;
    let note = note.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    let checkpoint = Checkpoint::unchecked(&note).map_err(ProofError::Checkpoint)?;
    let covered = checkpoint.head.size;
    let (mut leaves, mut wanted) = (Vec::new(), None);
    for (index, entry) in (0..covered).zip(entries(log)) {
        let entry = entry?;
        leaves.push(Hash::of_leaf(&entry));
        if index == number {
            wanted = Some(entry);
        }
    }
    if leaves.len() as u64 != covered || root_of(&leaves) != checkpoint.head.root {
        return Err(ProofError::Damaged);
    }
    let entry = wanted.ok_or(ProofError::NoRecord {
        record: number,
        covered,
    })?;
    let mut proof = format!("{HEADER}\nextra {}\nindex {number}\n", BASE64.encode(entry));
    for hash in inclusion_proof(&leaves, usize::try_from(number).unwrap_or(usize::MAX)) {
        let _ = writeln!(proof, "{}", BASE64.encode(hash.as_bytes()));
    }
    proof.push('\n');
    proof.push_str(&note);
    Ok(proof)
}

/// What a proof proves.
#[derive(Clone, Debug, PartialEq)]
pub struct Proved {
    /// The record.
    pub record: Record,
    /// Its number in the log.
    pub number: u64,
    /// The state of the log that it is in, and which log.
    pub checkpoint: Checkpoint,
}

/// Checks a proof with the key of the log that it speaks of.
pub fn check_proof(proof: &str, key: &VerifierKey) -> Result<Proved, ProofError> {
    let (head, note) = proof.split_once("\n\n").ok_or(ProofError::Form(1))?;
    let mut lines = head.lines();
    if lines.next() != Some(HEADER) {
        return Err(ProofError::Form(1));
    }
    let extra = lines.next().and_then(|line| line.strip_prefix("extra "));
    let entry = extra.and_then(|extra| BASE64.decode(extra).ok());
    let entry = entry.ok_or(ProofError::Form(2))?;
    let index = lines.next().and_then(|line| line.strip_prefix("index "));
    let number: u64 = index
        .and_then(|index| index.parse().ok())
        .ok_or(ProofError::Form(3))?;
    let mut hashes = Vec::new();
    for (line, hash) in (4..).zip(lines) {
        let bytes = BASE64
            .decode(hash)
            .ok()
            .and_then(|bytes| bytes.try_into().ok());
        hashes.push(Hash::from_bytes(bytes.ok_or(ProofError::Form(line))?));
        if hashes.len() > HASHES_MAX {
            return Err(ProofError::Form(line));
        }
    }
    let checkpoint = Checkpoint::open(note, key).map_err(ProofError::Checkpoint)?;
    if !includes(&checkpoint.head, number, Hash::of_leaf(&entry), &hashes) {
        return Err(ProofError::Wrong(number));
    }
    Ok(Proved {
        record: Record::decode(&entry).map_err(ProofError::Record)?,
        number,
        checkpoint,
    })
}
