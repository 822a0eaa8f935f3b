//! The host log: what the checkpoints of every task's log were, and when. A log
//! that is missing, cut, rolled back or rewritten does not fit it any more.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    error::LogError,
    files,
    hash::Hash,
    layout::MAX_ENTRY_BYTES,
    merkle::TreeHead,
    note::{Checkpoint, Signer},
    read::{ReadError, entries},
    record::timestamp,
    store::{self, Store},
};
use stockade_types::write_canonical_json;

/// The secret key, in the host's folder.
const KEY: &str = "key";
/// What it is checked with.
const PUBLIC_KEY: &str = "key.pub";
/// The host log.
const LOG: &str = "log";
/// How long a removed task stays in the trash.
const TRASH: time::Duration = time::Duration::days(30);
/// How long another recorder may take to write to the host log.
const PATIENCE: Duration = Duration::from_secs(20);
/// The bytes of a leaf's hash that the host log keeps: enough to tell which leaf
/// was changed. That one was, the root tells.
const FINGERPRINT: usize = 4;
/// How many of them fit into an entry, with room for the rest of it.
const FINGERPRINTS_MAX: usize = (MAX_ENTRY_BYTES - 1024) / 4 * 3 / FINGERPRINT;

/// The host's folder: the key that signs every log, and the host log.
///
/// Only a recorder opens it; whoever reads needs [`bindings`] and
/// [`key`](crate::key) alone.
#[derive(Debug)]
pub struct Host {
    folder: PathBuf,
    signer: Signer,
}

/// One entry of the host log: what a task's log was at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// When it was written.
    #[serde(with = "timestamp")]
    pub at: OffsetDateTime,
    /// The first bytes of the hashes of its last leaves.
    #[serde(default, skip_serializing_if = "Fingerprints::is_empty")]
    pub leaves: Fingerprints,
    /// The name of the log: the task's id.
    pub log: String,
    /// The root of its tree.
    pub root: Hash,
    /// How many records it had.
    pub size: u64,
    /// The form of the entry.
    #[serde(rename = "v")]
    pub version: u8,
}

impl Binding {
    /// Whether it was written before any task that is in the trash was put
    /// there: a log that is gone may have been removed for good.
    pub fn is_older_than_trash(&self) -> bool {
        OffsetDateTime::now_utc() - self.at > TRASH
    }

    /// Size and root.
    pub fn head(&self) -> TreeHead {
        TreeHead {
            size: self.size,
            root: self.root,
        }
    }
}

/// The first bytes of the hashes of consecutive leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprints(Vec<[u8; FINGERPRINT]>);

impl Fingerprints {
    fn of(leaves: &[Hash]) -> Self {
        // So many at once are not kept: what was changed is then a range.
        if leaves.len() > FINGERPRINTS_MAX {
            return Self::default();
        }
        Self(leaves.iter().map(fingerprint).collect())
    }

    /// How many leaves it tells of.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first of these leaves that is not the one that was there.
    pub(crate) fn first_other(&self, leaves: &[Hash]) -> Option<usize> {
        let mut expected = self.0.iter().enumerate();
        let other =
            expected.find(|(index, was)| leaves.get(*index).map(fingerprint) != Some(**was));
        other.map(|(index, _)| index)
    }
}

fn fingerprint(hash: &Hash) -> [u8; FINGERPRINT] {
    let [first, second, third, fourth, ..] = *hash.as_bytes();
    [first, second, third, fourth]
}

impl From<Fingerprints> for String {
    fn from(fingerprints: Fingerprints) -> Self {
        BASE64.encode(fingerprints.0.concat())
    }
}

impl TryFrom<String> for Fingerprints {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = BASE64.decode(text).map_err(|_| "this is no base64")?;
        match bytes.as_chunks() {
            (chunks, []) => Ok(Self(chunks.to_vec())),
            _ => Err("this is no whole number of fingerprints"),
        }
    }
}

impl Host {
    /// Opens the host's folder, which must exist; makes the key if there is
    /// neither key nor host log.
    pub fn open(folder: &Path) -> Result<Self, LogError> {
        let path = folder.join(KEY);
        let failed = LogError::open(&path);
        let unusable = |source| LogError::Key {
            path: path.clone(),
            source,
        };
        let read = || files::read_text(&path).map_err(&failed);
        if let Some(secret) = read()? {
            let signer = Signer::from_secret(&secret).map_err(unusable)?;
            return Ok(Self::with(folder, signer));
        }
        let _making = store::lock(folder, PATIENCE)?;
        let signer = if let Some(secret) = read()? {
            Signer::from_secret(&secret).map_err(unusable)?
        } else if folder.join(LOG).exists() {
            return Err(failed(io::ErrorKind::NotFound.into()));
        } else {
            let (signer, secret) = Signer::generate("stockade").map_err(unusable)?;
            let public = format!("{}\n", signer.key());
            files::replace(&folder.join(PUBLIC_KEY), &public)
                .and_then(|()| files::replace(&path, &secret))
                .and_then(|()| files::sync_folder(folder))
                .map_err(&failed)?;
            signer
        };
        Ok(Self::with(folder, signer))
    }

    fn with(folder: &Path, signer: Signer) -> Self {
        Self {
            folder: folder.to_owned(),
            signer,
        }
    }

    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// How the checkpoints of the log of this name begin.
    pub(crate) fn origin(&self, log: &str) -> String {
        origin(self.signer.key().name(), log)
    }

    /// Notes the checkpoint of a log, durably. `leaves` are the last ones before
    /// it.
    pub(crate) fn bind(
        &self,
        log: &str,
        checkpoint: &Checkpoint,
        leaves: &[Hash],
    ) -> Result<(), LogError> {
        let binding = Binding {
            at: OffsetDateTime::now_utc(),
            leaves: Fingerprints::of(leaves),
            log: log.to_owned(),
            root: checkpoint.head.root,
            size: checkpoint.head.size,
            version: 1,
        };
        let value = serde_json::to_value(&binding).map_err(LogError::Encode)?;
        let mut entry = String::new();
        write_canonical_json(&value, &mut entry);
        let folder = self.folder.join(LOG);
        let origin = self.signer.key().name();
        let (mut store, _) = Store::open(&folder, origin, &self.signer, PATIENCE)?;
        store.append(&[entry.into_bytes()], &mut Vec::new())?;
        store.sign(&self.signer)?;
        Ok(())
    }
}

/// How the checkpoints of the log `log` begin that the key `key` signs.
pub(crate) fn origin(key: &str, log: &str) -> String {
    format!("{key}/{log}")
}

/// Where the host log lies in the host's folder.
pub fn host_log(host: &Path) -> PathBuf {
    host.join(LOG)
}

/// Where the key lies that checkpoints are checked with.
pub(crate) fn public_key(host: &Path) -> PathBuf {
    host.join(PUBLIC_KEY)
}

/// Every entry of the host log, as it stands there; only
/// [`verify`](crate::verify) tells whether it is the one that was written.
pub fn bindings(host: &Path) -> Result<Vec<Binding>, ReadError> {
    let log = host_log(host);
    entries(&log)
        .zip(0..)
        .map(|(entry, number)| {
            serde_json::from_slice(&entry?).map_err(|source| ReadError::Malformed {
                path: log.clone(),
                record: number,
                source,
            })
        })
        .collect()
}
