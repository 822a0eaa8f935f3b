//! Where rules come from, and in which order they count.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::PolicyError;

/// The most files of a folder, and the most bytes of a file, that are read.
const MOST_FILES: usize = 200;
const MOST_BYTES: usize = 1 << 20;

/// Who wrote a rule; the later, the more it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// The repository, at its base commit. It may only forbid.
    Repository,
    /// Stockade.
    Default,
    /// The user.
    User,
    /// Whoever administers the machine.
    Admin,
}

impl Layer {
    /// The name that people see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Default => "default",
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

/// A text of rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Whose it is.
    pub layer: Layer,
    /// Where it stands, for people.
    pub name: String,
    /// The rules.
    pub text: String,
}

impl Source {
    /// The texts in the files `*.cedar` of `folder`, in the order of their names;
    /// none if there is no such folder.
    pub fn of_folder(layer: Layer, folder: &Path) -> Result<Vec<Self>, PolicyError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PolicyError::Read { path, source }
        };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(folder)(error)),
        };
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in entries {
            let path = entry.map_err(failed(folder))?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "cedar")
            {
                files.push(path);
            }
            if files.len() > MOST_FILES {
                return Err(PolicyError::TooMuch {
                    path: folder.to_owned(),
                    what: "more files",
                    most: MOST_FILES,
                });
            }
        }
        files.sort();
        files
            .iter()
            .map(|file| Self::of_file(layer, file))
            .collect()
    }

    /// The text in one file.
    pub fn of_file(layer: Layer, file: &Path) -> Result<Self, PolicyError> {
        use std::io::Read;
        let failed = |source| PolicyError::Read {
            path: file.to_owned(),
            source,
        };
        let mut text = String::new();
        fs::File::open(file)
            .and_then(|opened| opened.take(MOST_BYTES as u64 + 1).read_to_string(&mut text))
            .map_err(failed)?;
        if text.len() > MOST_BYTES {
            return Err(PolicyError::TooMuch {
                path: file.to_owned(),
                what: "more bytes",
                most: MOST_BYTES,
            });
        }
        Ok(Self {
            layer,
            name: file.display().to_string(),
            text,
        })
    }
}
