use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    binding::Binding, error::VaultError, name::SecretName, placeholder::Shape, private,
    source::Source, store::Store,
};

/// The file's name in the user's configuration.
const CATALOGUE: &str = "secrets.toml";
/// The store's name beside it.
const STORE: &str = "secrets.age";

/// Which secrets there are, where their values come from, and where they may
/// stand: `secrets.toml` of the user's configuration. No value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    folder: PathBuf,
    written: Written,
}

/// The file as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    /// The file with the age identity that opens the store; it is locked by a
    /// passphrase without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<PathBuf>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    secret: BTreeMap<SecretName, Entry>,
}

/// One secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where its value comes from.
    pub source: Source,
    /// For how many seconds a value that a command told is used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// How its placeholders look.
    #[serde(default)]
    pub shape: Shape,
    /// Where it may stand; nowhere without one.
    #[serde(default, rename = "binding", skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<Binding>,
}

impl Entry {
    /// A secret from `source` that may stand nowhere yet.
    pub fn new(source: Source, shape: Shape) -> Self {
        Self {
            source,
            ttl_seconds: None,
            shape,
            bindings: Vec::new(),
        }
    }
}

impl Catalogue {
    /// Reads the catalogue in `folder`; without a file there is no secret.
    pub fn read(folder: &Path) -> Result<Self, VaultError> {
        let path = folder.join(CATALOGUE);
        let format = |reason: String| VaultError::Format {
            path: path.clone(),
            reason,
        };
        let written = match private::read(&path)? {
            None => Written::default(),
            Some(content) => {
                let text =
                    std::str::from_utf8(&content).map_err(|error| format(error.to_string()))?;
                toml::from_str(text).map_err(|error| format(error.to_string()))?
            }
        };
        Ok(Self {
            folder: folder.to_owned(),
            written,
        })
    }

    /// Reads the catalogue in `folder`, lets `change` change it, and writes it,
    /// while nobody else does.
    pub fn change<T, E: From<VaultError>>(
        folder: &Path,
        change: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let _lock = private::lock(folder)?;
        let mut catalogue = Self::read(folder)?;
        let result = change(&mut catalogue)?;
        catalogue.write()?;
        Ok(result)
    }

    fn write(&self) -> Result<(), VaultError> {
        let path = self.folder.join(CATALOGUE);
        let text = toml::to_string(&self.written).map_err(|error| VaultError::Format {
            path: path.clone(),
            reason: error.to_string(),
        })?;
        private::write(&path, text.as_bytes())
    }

    /// Every secret, by name.
    pub fn secrets(&self) -> &BTreeMap<SecretName, Entry> {
        &self.written.secret
    }

    /// The secret of this name.
    pub fn get(&self, name: &SecretName) -> Result<&Entry, VaultError> {
        let found = self.written.secret.get(name);
        found.ok_or_else(|| VaultError::Unknown(name.clone()))
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, name: &SecretName) -> Result<&mut Entry, VaultError> {
        let found = self.written.secret.get_mut(name);
        found.ok_or_else(|| VaultError::Unknown(name.clone()))
    }

    /// Adds a secret; one of that name must not be there.
    pub fn add(&mut self, name: SecretName, entry: Entry) -> Result<(), VaultError> {
        if self.written.secret.contains_key(&name) {
            return Err(VaultError::Exists(name));
        }
        self.written.secret.insert(name, entry);
        Ok(())
    }

    /// Takes a secret out, with its bindings.
    pub fn remove(&mut self, name: &SecretName) -> Result<Entry, VaultError> {
        let removed = self.written.secret.remove(name);
        removed.ok_or_else(|| VaultError::Unknown(name.clone()))
    }

    /// The store of values beside it.
    pub fn store(&self) -> Store {
        Store::new(self.folder.join(STORE), self.written.identity.clone())
    }

    /// The identity with which the store is opened, if it is not a passphrase.
    pub fn identity(&self) -> Option<&Path> {
        self.written.identity.as_deref()
    }

    /// Says with which identity the store is opened from now on.
    pub fn set_identity(&mut self, identity: Option<PathBuf>) {
        self.written.identity = identity;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn name(text: &str) -> SecretName {
        text.parse().unwrap()
    }

    #[test]
    fn a_catalogue_is_read_as_it_was_written_and_is_its_owners_alone() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("stockade");
        let mut entry = Entry::new("env:GH_TOKEN".parse().unwrap(), Shape::of("ghp_0123456789"));
        entry.bindings.push(Binding {
            host: "api.example.com".parse().unwrap(),
            port: None,
            methods: vec!["GET".to_owned()],
            path: Some("/v1/**".to_owned()),
            slot: crate::Slot::Header("Authorization=Bearer {}".parse().unwrap()),
            env: Some("GH_TOKEN".to_owned()),
            agent: None,
        });
        Catalogue::change(&folder, |catalogue| {
            catalogue.add(name("gh"), entry.clone())
        })
        .unwrap();
        let again = Catalogue::read(&folder).unwrap();
        assert_eq!(again.get(&name("gh")).unwrap(), &entry);
        let file = folder.join(CATALOGUE);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let twice = Catalogue::change(&folder, |catalogue| catalogue.add(name("gh"), entry));
        assert!(matches!(twice, Err(VaultError::Exists(_))));
    }

    #[test]
    fn a_catalogue_that_others_can_write_or_with_an_unknown_key_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join(CATALOGUE);
        fs::write(&file, "[secret.a]\nsource = \"file\"\nsuorce = 1\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Catalogue::read(root.path()).unwrap_err().to_string();
        assert!(
            error.contains("line 3") && error.contains("suorce"),
            "{error}"
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        let open = Catalogue::read(root.path());
        assert!(matches!(open, Err(VaultError::Writable(_))));
    }
}
