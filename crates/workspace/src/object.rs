use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The hash that names a repository's objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectFormat {
    /// SHA-1 with collision detection: 40 hexadecimal digits.
    #[default]
    Sha1,
    /// SHA-256: 64 hexadecimal digits.
    Sha256,
}

impl ObjectFormat {
    /// The name git gives it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
        }
    }

    /// The bytes of an id where it is not written as text.
    pub(crate) fn id_bytes(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// The id of the tree with no entries; git knows it without storing it.
    pub(crate) fn empty_tree(self) -> &'static str {
        match self {
            Self::Sha1 => "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
            Self::Sha256 => "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
        }
    }
}

/// The full name of an object, in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectId(String);

/// Why a string is not an object id.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is not an object id: expected 40 or 64 hexadecimal digits", visible(.0))]
pub struct ObjectIdError(String);

fn visible(text: &str) -> String {
    stockade_types::visible::line(text.as_bytes())
}

impl ObjectId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// From the bytes of the hash itself, as tree objects hold it.
    pub(crate) fn from_raw(hash: &[u8]) -> Self {
        Self(hex::encode(hash))
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, ObjectIdError> {
        String::from_utf8_lossy(bytes).parse()
    }
}

impl FromStr for ObjectId {
    type Err = ObjectIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if matches!(text.len(), 40 | 64) && text.bytes().all(digit) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ObjectIdError(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ObjectId {
    type Error = ObjectIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> Self {
        id.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What kind of thing a tree entry is. Git knows no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileMode {
    /// A file, `100644`.
    Regular,
    /// A file that may be run, `100755`.
    Executable,
    /// A symbolic link, `120000`.
    Symlink,
    /// Another repository's commit (a submodule), `160000`.
    Gitlink,
    /// A folder, `040000`.
    Tree,
}

impl FileMode {
    /// The mode as git writes it, if it is one that git itself makes. The
    /// group-writable `100664` of old repositories counts as a plain file.
    pub(crate) fn parse(octal: &[u8]) -> Option<Self> {
        match octal {
            b"100644" | b"100664" => Some(Self::Regular),
            b"100755" => Some(Self::Executable),
            b"120000" => Some(Self::Symlink),
            b"160000" => Some(Self::Gitlink),
            b"040000" | b"40000" => Some(Self::Tree),
            _ => None,
        }
    }

    /// The mode as fast-import and `mktree` read it.
    pub(crate) fn octal(self) -> &'static str {
        match self {
            Self::Regular => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Gitlink => "160000",
            Self::Tree => "040000",
        }
    }
}
