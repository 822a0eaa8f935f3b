use std::{
    fmt,
    fs::{self, DirBuilder},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{Ed25519KeyPair, KeyPair},
};
use tempfile::NamedTempFile;

use crate::{
    error::ApproverError,
    ssh::{self, Kind, PublicKey, Writer},
};

/// The file in the approvers' folder.
const FILE: &str = "key";
/// What stands before the seed.
const PREFIX: &str = "STOCKADE-APPROVAL-KEY-1 ";

/// The key of this machine, with which answers are signed until an approver is
/// enrolled. Every program of the user can use it, which is what its name in
/// the record says: `local process`.
pub struct LocalKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "LocalKey({})", self.public)
    }
}

impl LocalKey {
    /// How the record names it.
    pub const NAME: &str = "local process";

    /// The key in `folder`; made if there is none.
    pub fn open_or_make(folder: &Path) -> Result<Self, ApproverError> {
        let path = folder.join(FILE);
        let failed = |source| ApproverError::File {
            path: path.clone(),
            source,
        };
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(folder)?;
                fs::read_to_string(&path).map_err(failed)?
            }
            read => read.map_err(failed)?,
        };
        let seed = text.trim().strip_prefix(PREFIX);
        let seed = seed.and_then(|seed| BASE64.decode(seed).ok());
        let pair = seed.and_then(|seed| Ed25519KeyPair::from_seed_unchecked(&seed).ok());
        let pair = pair.ok_or(ApproverError::LocalKey { path })?;
        let public = PublicKey::ed25519(pair.public_key().as_ref());
        Ok(Self { pair, public })
    }

    /// What its signatures are checked with.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs `message` as `ssh-keygen -Y sign` would.
    pub fn sign(&self, namespace: &str, message: &[u8]) -> String {
        let signature = self.pair.sign(&ssh::signed_bytes(namespace, message));
        let value = Writer::default()
            .string(Kind::Ed25519.name().as_bytes())
            .string(signature.as_ref());
        ssh::armor(&self.public, namespace, &value.bytes())
    }
}

/// Makes the key, unless somebody else does at the same time.
fn make(folder: &Path) -> Result<(), ApproverError> {
    let mut seed = [0; 32];
    let random = SystemRandom::new();
    random.fill(&mut seed).map_err(|_| ApproverError::Random)?;
    let text = format!("{PREFIX}{}\n", BASE64.encode(seed));
    let path = folder.join(FILE);
    let kept = written_beside(folder, text.as_bytes()).and_then(|file| {
        match file.persist_noclobber(&path) {
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            kept => kept.map(drop).map_err(|error| error.error),
        }
    });
    kept.map_err(|source| ApproverError::File { path, source })
}

/// A file in `folder`, which is made for its owner alone as the file is, with
/// `bytes` on the disk. It goes away unless it is given a name.
pub(crate) fn written_beside(folder: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_key_of_a_machine_is_made_once_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("approvals");
        let keys: Vec<_> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| LocalKey::open_or_make(&folder).unwrap()))
                .collect();
            makers
                .into_iter()
                .map(|maker| maker.join().unwrap())
                .collect()
        });
        assert!(keys.iter().all(|key| key.public == keys[0].public));
        for (path, mode) in [(folder.clone(), 0o700), (folder.join(FILE), 0o600)] {
            let found = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(found & 0o777, mode, "{}", path.display());
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        assert!(!format!("{:?}", keys[0]).contains(PREFIX));
    }

    #[test]
    fn a_damaged_key_is_named_and_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), "nothing").unwrap();
        let error = LocalKey::open_or_make(folder.path()).unwrap_err();
        assert!(error.to_string().contains("holds no key"), "{error}");
        assert_eq!(fs::read(folder.path().join(FILE)).unwrap(), b"nothing");
    }
}
