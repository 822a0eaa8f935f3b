use std::{
    collections::BTreeMap,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use age::{Decryptor, Encryptor, Identity, IdentityFile, Recipient, scrypt, secrecy::SecretString};
use stockade_types::Redacted;
use zeroize::Zeroizing;

use crate::{error::VaultError, name::SecretName, private};

/// Values by name.
type Values = BTreeMap<SecretName, Redacted<String>>;

/// What opens the store.
#[derive(Clone, Debug)]
pub enum Key {
    /// What a person typed.
    Passphrase(Redacted<String>),
    /// The file with an age identity.
    Identity(PathBuf),
}

/// Values in one file that age encrypts, for a passphrase or for an identity.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
    identity: Option<PathBuf>,
}

impl Store {
    pub(crate) fn new(path: PathBuf, identity: Option<PathBuf>) -> Self {
        Self { path, identity }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is one yet.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// What opens it: the identity that the catalogue names, or the passphrase
    /// that `ask` gets from a person.
    pub fn key<E: From<VaultError>>(
        &self,
        ask: impl FnOnce(&Self) -> Result<Redacted<String>, E>,
    ) -> Result<Key, E> {
        match &self.identity {
            Some(identity) => Ok(Key::Identity(identity.clone())),
            None => ask(self).map(Key::Passphrase),
        }
    }

    /// The values of `names`.
    pub fn values(&self, key: &Key, names: &[SecretName]) -> Result<Values, VaultError> {
        let mut all = self.read(key)?;
        let value = |name: &SecretName| match all.remove(name) {
            Some(value) => Ok((name.clone(), value)),
            None => Err(VaultError::Missing {
                path: self.path.clone(),
                name: name.clone(),
            }),
        };
        names.iter().map(value).collect()
    }

    /// Keeps values; the file is made if there is none.
    pub fn put(
        &self,
        key: &Key,
        values: impl IntoIterator<Item = (SecretName, Redacted<String>)>,
    ) -> Result<(), VaultError> {
        let mut all = self.read(key)?;
        all.extend(values);
        self.write(key, &all)
    }

    /// Lets go of a value.
    pub fn take_out(&self, key: &Key, name: &SecretName) -> Result<(), VaultError> {
        let mut all = self.read(key)?;
        all.remove(name);
        self.write(key, &all)
    }

    fn read(&self, key: &Key) -> Result<Values, VaultError> {
        let Some(locked) = private::read(&self.path)? else {
            return Ok(Values::new());
        };
        let identities = identities(key)?;
        let decryptor = Decryptor::new(locked.as_slice()).map_err(|error| self.format(error))?;
        let opened = decryptor.decrypt(identities.iter().map(AsRef::as_ref));
        let mut reader = opened.map_err(|_| VaultError::WrongKey {
            path: self.path.clone(),
            what: match key {
                Key::Passphrase(_) => "passphrase",
                Key::Identity(_) => "identity",
            },
        })?;
        // As long as it may become: growing would leave copies behind.
        let mut open = Zeroizing::new(Vec::with_capacity(locked.len()));
        let read = reader.read_to_end(&mut open);
        read.map_err(VaultError::file(&self.path))?;
        let values: BTreeMap<SecretName, String> =
            serde_json::from_slice(&open).map_err(|error| self.format(error))?;
        let redacted = values
            .into_iter()
            .map(|(name, value)| (name, Redacted::new(value)));
        Ok(redacted.collect())
    }

    fn write(&self, key: &Key, values: &Values) -> Result<(), VaultError> {
        let exposed: BTreeMap<&SecretName, &String> = values
            .iter()
            .map(|(name, value)| (name, value.expose()))
            .collect();
        let open = serde_json::to_vec(&exposed).map_err(|error| self.format(error))?;
        let open = Zeroizing::new(open);
        let locked = match key {
            Key::Passphrase(passphrase) => {
                self.seal(&scrypt::Recipient::new(text(passphrase)), &open)
            }
            Key::Identity(path) => self.seal(recipient(path)?.as_ref(), &open),
        };
        private::write(&self.path, &locked?)
    }

    fn seal(&self, recipient: &dyn Recipient, open: &[u8]) -> Result<Vec<u8>, VaultError> {
        let encryptor = Encryptor::with_recipients(std::iter::once(recipient));
        let mut locked = Vec::new();
        let mut writer = encryptor
            .map_err(|error| self.format(error))?
            .wrap_output(&mut locked)
            .map_err(VaultError::file(&self.path))?;
        let written = writer.write_all(open).and_then(|()| writer.finish());
        written.map_err(VaultError::file(&self.path))?;
        Ok(locked)
    }

    fn format(&self, error: impl std::fmt::Display) -> VaultError {
        VaultError::Format {
            path: self.path.clone(),
            reason: error.to_string(),
        }
    }
}

fn identities(key: &Key) -> Result<Vec<Box<dyn Identity>>, VaultError> {
    match key {
        Key::Passphrase(passphrase) => Ok(vec![Box::new(scrypt::Identity::new(text(passphrase)))]),
        Key::Identity(path) => identity_file(path)?
            .into_identities()
            .map_err(|error| bad_identity(path, error)),
    }
}

fn recipient(path: &Path) -> Result<Box<dyn Recipient + Send>, VaultError> {
    let recipients = identity_file(path)?.to_recipients();
    let recipients = recipients.map_err(|error| bad_identity(path, error))?;
    let first = recipients.into_iter().next();
    first.ok_or_else(|| bad_identity(path, "it holds no identity"))
}

fn text(passphrase: &Redacted<String>) -> SecretString {
    SecretString::from(passphrase.expose().clone())
}

fn identity_file(path: &Path) -> Result<IdentityFile<age::NoCallbacks>, VaultError> {
    let content = private::read(path)?;
    let content = content.ok_or_else(|| bad_identity(path, "there is no such file"))?;
    IdentityFile::from_buffer(content.as_slice()).map_err(VaultError::file(path))
}

fn bad_identity(path: &Path, reason: impl std::fmt::Display) -> VaultError {
    VaultError::Format {
        path: path.to_owned(),
        reason: format!("{reason}; `age-keygen -o FILE` makes a file with an identity"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use age::secrecy::ExposeSecret;

    use super::*;

    const VALUE: &str = "decoy-value-of-the-store-0123456789";

    fn passphrase(text: &str) -> Key {
        Key::Passphrase(Redacted::new(text.to_owned()))
    }

    #[test]
    fn a_store_opens_with_its_passphrase_only_and_holds_nothing_in_clear() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(root.path().join("s.age"), None);
        let name: SecretName = "a".parse().unwrap();
        let right = passphrase("right horse");
        store
            .put(&right, [(name.clone(), Redacted::new(VALUE.to_owned()))])
            .unwrap();
        let wrong = store.values(&passphrase("wrong horse"), std::slice::from_ref(&name));
        assert!(matches!(
            wrong,
            Err(VaultError::WrongKey {
                what: "passphrase",
                ..
            })
        ));
        let found = store.values(&right, std::slice::from_ref(&name)).unwrap();
        assert_eq!(found[&name].expose(), VALUE);
        let mut bytes = fs::read(store.path()).unwrap();
        assert!(
            !bytes
                .windows(8)
                .any(|part| VALUE.as_bytes().windows(8).any(|it| it == part))
        );
        let mode = fs::metadata(store.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Sealed: a changed byte is noticed.
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(store.path(), bytes).unwrap();
        assert!(store.values(&right, &[name]).is_err());
    }

    #[test]
    fn a_store_for_an_identity_asks_nobody_and_opens_with_no_other() {
        let root = tempfile::tempdir().unwrap();
        let [own, other] = ["own", "other"].map(|file| {
            let path = root.path().join(file);
            let identity = age::x25519::Identity::generate().to_string();
            fs::write(&path, identity.expose_secret()).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        });
        let store = Store::new(root.path().join("s.age"), Some(own));
        let key = store
            .key(|_| Err(VaultError::Locked(PathBuf::new())))
            .unwrap();
        let name: SecretName = "a".parse().unwrap();
        store
            .put(&key, [(name.clone(), Redacted::new(VALUE.to_owned()))])
            .unwrap();
        let found = store.values(&key, std::slice::from_ref(&name)).unwrap();
        assert_eq!(found[&name].expose(), VALUE);
        let wrong = store.values(&Key::Identity(other), std::slice::from_ref(&name));
        assert!(matches!(
            wrong,
            Err(VaultError::WrongKey {
                what: "identity",
                ..
            })
        ));
        store.take_out(&key, &name).unwrap();
        let gone = store.values(&key, &[name]);
        assert!(matches!(gone, Err(VaultError::Missing { .. })));
    }
}
