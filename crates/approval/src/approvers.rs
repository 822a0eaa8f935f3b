use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    answer::{Authority, Signed},
    error::{AnswerError, ApproverError},
    local::{LocalKey, written_beside},
    ssh::PublicKey,
    statement::Decision,
};

/// The file in the approvers' folder.
const FILE: &str = "approvers.json";
/// What is locked while the file is changed.
const LOCK: &str = "lock";
const FORMAT: u32 = 1;
/// The most keys.
const KEYS_MAX: usize = 256;

/// Whose answers count: people, each with one key or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approvers {
    format: u32,
    approvers: Vec<Approver>,
}

/// A key of a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approver {
    /// Who that is. Several keys of one name are one person's.
    pub name: String,
    /// The key.
    pub key: PublicKey,
    /// Where its file is, for `ssh-keygen` to find the private half.
    pub file: PathBuf,
}

impl Default for Approvers {
    fn default() -> Self {
        Self {
            format: FORMAT,
            approvers: Vec::new(),
        }
    }
}

impl Approvers {
    /// Those in `folder`; nobody if it holds no list.
    pub fn read(folder: &Path) -> Result<Self, ApproverError> {
        let path = folder.join(FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(ApproverError::File { path, source }),
            Ok(text) => text,
        };
        serde_json::from_slice(&text).map_err(|source| ApproverError::Format { path, source })
    }

    /// Changes the list in `folder`, wholly or not at all; of several who do,
    /// one at a time.
    pub fn change<T>(
        folder: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, ApproverError>,
    ) -> Result<T, ApproverError> {
        // The folder is made with the key.
        LocalKey::open_or_make(folder)?;
        let failed = |path: PathBuf| move |source| ApproverError::File { path, source };
        let lock = folder.join(LOCK);
        let held = File::create(&lock).and_then(|file| file.lock().map(|()| file));
        let _held = held.map_err(failed(lock))?;
        let mut approvers = Self::read(folder)?;
        let result = change(&mut approvers)?;
        let path = folder.join(FILE);
        let text = serde_json::to_vec_pretty(&approvers).map_err(io::Error::from);
        let written = text.and_then(|text| {
            let file = written_beside(folder, &text)?;
            file.persist(&path).map_err(|error| error.error)
        });
        written.map_err(failed(path))?;
        Ok(result)
    }

    /// Enrols a key for `name`.
    pub fn add(&mut self, name: &str, key: PublicKey, file: PathBuf) -> Result<(), ApproverError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_@".contains(&b);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(ApproverError::Name(name.to_owned()));
        }
        if let Some(known) = self.approvers.iter().find(|known| known.key == key) {
            return Err(ApproverError::Known(known.name.clone()));
        }
        if self.approvers.len() >= KEYS_MAX {
            return Err(ApproverError::Full(KEYS_MAX));
        }
        self.approvers.push(Approver {
            name: name.to_owned(),
            key,
            file,
        });
        Ok(())
    }

    /// Lets no key of `name` approve anything more; how many there were.
    pub fn remove(&mut self, name: &str) -> Result<usize, ApproverError> {
        let before = self.approvers.len();
        self.approvers.retain(|approver| approver.name != name);
        match before - self.approvers.len() {
            0 => Err(ApproverError::Unknown(name.to_owned())),
            removed => Ok(removed),
        }
    }

    /// All keys, in the order in which they were enrolled.
    pub fn all(&self) -> &[Approver] {
        &self.approvers
    }

    /// The key to sign with: that of `name`; without a name the first one that
    /// shows presence, if that is needed, or the first one. `None` is this
    /// machine's own key.
    pub fn signer(
        &self,
        name: Option<&str>,
        grave: bool,
    ) -> Result<Option<&Approver>, ApproverError> {
        let mut own = self.approvers.iter();
        if let Some(name) = name {
            let named = |approver: &&Approver| approver.name == name;
            let mut named = self.approvers.iter().filter(named).peekable();
            let first = named.peek().copied();
            let first = first.ok_or_else(|| ApproverError::Unknown(name.to_owned()))?;
            let strong = named.find(|approver| approver.key.is_security_key());
            return Ok(Some(strong.filter(|_| grave).unwrap_or(first)));
        }
        let strong = own.find(|approver| approver.key.is_security_key());
        Ok(strong.filter(|_| grave).or(self.approvers.first()))
    }

    /// Whose answer `signed` is. With nobody enrolled, this machine's own key
    /// counts; after that only to refuse, which it always may.
    pub fn authority(&self, signed: &Signed, local: &PublicKey) -> Result<Authority, AnswerError> {
        let presence = signed.verify()?.presence;
        let enrolled = self.approvers.iter();
        let mut enrolled = enrolled.filter(|approver| approver.key == signed.key);
        let name = match enrolled.next() {
            Some(approver) => approver.name.clone(),
            None if signed.key != *local => {
                return Err(AnswerError::Stranger(signed.key.fingerprint()));
            }
            None if signed.statement.decision == Decision::Deny || self.approvers.is_empty() => {
                LocalKey::NAME.to_owned()
            }
            None => return Err(AnswerError::LocalProcess),
        };
        Ok(Authority { name, presence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{NAMESPACE, tests::statement};

    fn key(seed: u8) -> PublicKey {
        PublicKey::ed25519(&[seed; 32])
    }

    fn signed(local: &LocalKey, decision: Decision) -> Signed {
        let mut statement = statement();
        statement.decision = decision;
        let signature = local.sign(NAMESPACE, statement.text().as_bytes());
        Signed {
            statement,
            key: local.public().clone(),
            signature,
        }
    }

    #[test]
    fn the_list_of_approvers_is_kept_and_many_who_change_it_lose_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("approvals");
        assert_eq!(Approvers::read(&folder).unwrap(), Approvers::default());
        std::thread::scope(|scope| {
            for seed in 0..16 {
                let folder = &folder;
                scope.spawn(move || {
                    let file = PathBuf::from("/k.pub");
                    Approvers::change(folder, |list| list.add("ann", key(seed), file)).unwrap();
                });
            }
        });
        let list = Approvers::read(&folder).unwrap();
        assert_eq!(list.all().len(), 16);
        let removed = Approvers::change(&folder, |list| list.remove("ann")).unwrap();
        assert_eq!(removed, 16);
        assert!(Approvers::change(&folder, |list| list.remove("ann")).is_err());
        fs::write(folder.join(FILE), "{").unwrap();
        let error = Approvers::read(&folder).unwrap_err().to_string();
        assert!(error.contains(FILE), "{error}");
    }

    #[test]
    fn one_key_has_one_owner_and_a_name_cannot_pass_for_the_machines_own() {
        let mut list = Approvers::default();
        list.add("ann", key(1), PathBuf::new()).unwrap();
        let known = list.add("bob", key(1), PathBuf::new()).unwrap_err();
        assert!(known.to_string().contains("ann"), "{known}");
        for name in ["", LocalKey::NAME, "a\u{202e}b", "a\nb", &"x".repeat(65)] {
            assert!(list.add(name, key(2), PathBuf::new()).is_err(), "{name}");
        }
        assert!(list.signer(Some("bob"), false).is_err());
        assert_eq!(list.signer(None, true).unwrap().unwrap().name, "ann");
        assert_eq!(Approvers::default().signer(None, true).unwrap(), None);
    }

    #[test]
    fn g4_the_key_of_the_machine_approves_until_somebody_is_enrolled_and_strangers_never() {
        let folder = tempfile::tempdir().unwrap();
        let local = LocalKey::open_or_make(folder.path()).unwrap();
        let own = local.public();
        let mut list = Approvers::default();
        let yes = signed(&local, Decision::Approve);
        let authority = list.authority(&yes, own).unwrap();
        assert_eq!(
            (&*authority.name, authority.presence),
            (LocalKey::NAME, false)
        );
        // A key that lies elsewhere is a stranger's.
        let stranger = list.authority(&yes, &key(1)).unwrap_err();
        assert!(matches!(stranger, AnswerError::Stranger(_)));
        list.add("ann", key(1), PathBuf::new()).unwrap();
        assert_eq!(list.authority(&yes, own), Err(AnswerError::LocalProcess));
        let no = signed(&local, Decision::Deny);
        assert!(list.authority(&no, own).is_ok());
        // What was signed as a no is no yes.
        let mut turned = no;
        turned.statement.decision = Decision::Approve;
        assert!(matches!(
            list.authority(&turned, own),
            Err(AnswerError::Signature(_))
        ));
    }
}
