//! How a server is started, and what of that must stay as it was approved.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    lock::LockError,
    package::{Package, is_name, is_program},
};

/// The largest file that is digested, in bytes.
const PROGRAM_MAX: u64 = 2 << 30;

/// How a server is started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Launch {
    /// Program and arguments; or the URL of a server over HTTP, and headers.
    pub argv: Vec<String>,
    /// The package that the program is of, if it is of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package: Option<Package>,
    /// Names of the variables that it is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Names of the user's secrets that it may use without holding them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// What of the host it may read; relative to the lock's folder, if it is in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<PathBuf>,
    /// What of the host it may change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<PathBuf>,
    /// What it may reach, as rules for hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reaches: Vec<String>,
    /// Names that lead it to places, such as a server on this machine: `NAME=URL`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// SHA-256 of what is run: the program, and each argument that names a file.
    pub files: BTreeMap<String, String>,
}

impl Launch {
    /// Digests what `self` runs, from `folder`; programs are looked for in `search_path`.
    pub fn digested(mut self, folder: &Path, search_path: &OsStr) -> Result<Self, LockError> {
        self.files = self.found(folder, search_path)?;
        Ok(self)
    }

    /// What of it is not as it was approved, in words.
    pub fn changes(&self, folder: &Path, search_path: &OsStr) -> Result<Vec<String>, LockError> {
        let now = self.found(folder, search_path)?;
        let mut changes = Vec::new();
        for (word, digest) in &self.files {
            let found = now.get(word);
            let word = stockade_types::visible::line(word.as_bytes());
            match found {
                Some(found) if found == digest => {}
                Some(_) => changes.push(format!("`{word}` is another file than was approved")),
                None => changes.push(format!("`{word}` is no file any more")),
            }
        }
        let new = now.keys().filter(|word| !self.files.contains_key(*word));
        changes.extend(new.map(|word| {
            let word = stockade_types::visible::line(word.as_bytes());
            format!("`{word}` was no file when it was approved")
        }));
        Ok(changes)
    }

    /// Whether it runs a program of its package, if it has one, and that has a digest.
    pub(crate) fn is_of_its_package(&self) -> bool {
        let Some(package) = &self.package else {
            return true;
        };
        let digits = &package.resolved;
        is_name(package.registry, &package.name)
            && self.argv.first().is_some_and(|program| is_program(program))
            && digits.len() == 64
            && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    }

    /// Digests of the files that it runs now. What runs the program of a package stands
    /// for that.
    fn found(
        &self,
        folder: &Path,
        search_path: &OsStr,
    ) -> Result<BTreeMap<String, String>, LockError> {
        let Some(package) = &self.package else {
            return files(&self.argv, folder, search_path);
        };
        let mut argv = self.argv.clone();
        if let Some(program) = argv.first_mut() {
            package.registry.runtime().clone_into(program);
        }
        files(&argv, folder, search_path)
    }
}

/// The URL of a server over HTTP, if `argv` names one; what follows it are headers.
pub fn remote(argv: &[String]) -> Option<&str> {
    let url = argv.first()?;
    let mut schemes = ["https://", "http://"].iter();
    schemes.any(|scheme| url.starts_with(scheme)).then_some(url)
}

fn files(
    argv: &[String],
    folder: &Path,
    search_path: &OsStr,
) -> Result<BTreeMap<String, String>, LockError> {
    let mut files = BTreeMap::new();
    if remote(argv).is_some() {
        return Ok(files);
    }
    for (index, word) in argv.iter().enumerate() {
        let path = if index == 0 && !word.contains('/') {
            let found = env::split_paths(search_path).map(|place| place.join(word));
            let found = found.into_iter().find(|path| path.is_file());
            let missing = || LockError::File {
                path: word.into(),
                cause: io::Error::new(io::ErrorKind::NotFound, "there is no such program on PATH"),
            };
            found.ok_or_else(missing)?
        } else {
            folder.join(word)
        };
        // What is a link today may be another tomorrow: the file counts.
        if fs::metadata(&path).is_ok_and(|found| found.is_file()) {
            files.insert(word.clone(), digest(&path)?);
        }
    }
    Ok(files)
}

fn digest(path: &Path) -> Result<String, LockError> {
    let file = |cause| LockError::File {
        path: path.to_owned(),
        cause,
    };
    let mut hash = Sha256::new();
    let mut content = File::open(path).map_err(file)?.take(PROGRAM_MAX);
    if io::copy(&mut content, &mut hash).map_err(file)? == PROGRAM_MAX {
        return Err(file(io::Error::other("it is too large for a program")));
    }
    Ok(format!("sha256:{}", hex::encode(hash.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn what_is_run_is_another_when_its_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::write(at.join("server"), "one").unwrap();
        fs::write(at.join("data"), "x").unwrap();
        let launch = Launch {
            argv: argv("server data --flag"),
            ..Launch::default()
        };
        let launch = launch.digested(at, at.as_os_str()).unwrap();
        assert_eq!(launch.files.len(), 2);
        assert!(launch.changes(at, at.as_os_str()).unwrap().is_empty());
        fs::write(at.join("data"), "y").unwrap();
        fs::write(at.join("--flag"), "y").unwrap();
        let changes = launch.changes(at, at.as_os_str()).unwrap();
        assert_eq!(changes.len(), 2, "{changes:?}");
        fs::remove_file(at.join("server")).unwrap();
        assert!(launch.changes(at, at.as_os_str()).is_err());
    }
}
