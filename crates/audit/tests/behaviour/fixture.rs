//! A log, its host's folder, and what somebody kept of it.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use serde_json::json;
use stockade_audit::{
    Appended, Evidence, Host, Log, LogError, Redact, Redaction, TreeHead, Verified, VerifierKey,
    VerifyError, bindings, verify,
};
use stockade_types::{Event, EventKind};
use tempfile::TempDir;

/// The name of the log.
pub(crate) const NAME: &str = "t-1";

pub(crate) fn event(number: u64) -> Event {
    Event::new(EventKind::NetworkRequest, json!({ "number": number }))
}

/// Nobody whose secrets stay out.
#[derive(Debug)]
pub(crate) struct NoSecrets;

impl Redact for NoSecrets {
    fn redact(&self, _: &str) -> Option<Redaction> {
        None
    }
}

pub(crate) struct Place {
    _directory: TempDir,
    pub(crate) log: PathBuf,
    pub(crate) host: PathBuf,
    heads: RefCell<Vec<TreeHead>>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let host = directory.path().join("host");
        fs::create_dir(&host).unwrap();
        Self {
            log: directory.path().join("record"),
            host,
            _directory: directory,
            heads: RefCell::default(),
        }
    }

    pub(crate) fn try_open(&self) -> Result<Log, LogError> {
        Log::open(&self.log, NAME, Host::open(&self.host)?)
    }

    pub(crate) fn open(&self) -> Log {
        self.try_open().unwrap()
    }

    /// Records events of these numbers, and binds the log as a recorder does at
    /// its end.
    pub(crate) fn write(&self, numbers: Range<u64>) -> Vec<Appended> {
        let mut log = self.open();
        let events: Vec<Event> = numbers.map(event).collect();
        let receipts = log.append_all(&events).unwrap();
        log.bind().unwrap();
        receipts.into_iter().map(Result::unwrap).collect()
    }

    pub(crate) fn key(&self) -> VerifierKey {
        stockade_audit::key(&self.host).unwrap()
    }

    /// Keeps a receipt elsewhere.
    pub(crate) fn keep(&self, receipt: Appended) {
        self.keep_head(TreeHead {
            size: receipt.seq + 1,
            root: receipt.root,
        });
    }

    pub(crate) fn keep_head(&self, head: TreeHead) {
        self.heads.borrow_mut().push(head);
    }

    pub(crate) fn forget(&self) {
        self.heads.borrow_mut().clear();
    }

    /// How many states the host log knows.
    pub(crate) fn bindings(&self) -> u64 {
        bindings(&self.host).map_or(0, |bindings| bindings.len() as u64)
    }

    /// Everything that is known.
    pub(crate) fn evidence(&self) -> Evidence {
        // Before anything was written there is neither key nor host log.
        let mut evidence = Evidence::of(&self.host, NAME).unwrap_or_default();
        evidence.heads.clone_from(&self.heads.borrow());
        evidence
    }

    pub(crate) fn verify(&self) -> Result<Verified, VerifyError> {
        verify(&self.log, &self.evidence())
    }

    /// Changes a file of the log.
    pub(crate) fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.log.join(file);
        let text = String::from_utf8(fs::read(&path).unwrap()).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Every file of the log.
    pub(crate) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        contents(&self.log)
    }
}

/// Every file below a folder.
pub(crate) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}
