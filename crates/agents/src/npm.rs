//! Packages as npm, pnpm and yarn lay them out on the disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::AgentError;

/// The longest `package.json` or launcher that is read, in bytes.
const MAX_TEXT_BYTES: u64 = 1024 * 1024;
/// How far up the directories a package or its neighbours are looked for.
const MAX_DEPTH: usize = 32;
/// How many packages a program may be made of.
const MAX_PACKAGES: usize = 256;

/// A package on the disk.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    /// Where it really is.
    pub(crate) root: PathBuf,
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    dependencies: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Description {
    name: Option<String>,
    version: Option<String>,
    #[serde(default)]
    dependencies: Map<String, Value>,
    #[serde(default)]
    optional_dependencies: Map<String, Value>,
}

/// The first bytes of a file, at most 1 MiB; `None` if there is no such file.
pub(crate) fn read_text(path: &Path) -> Result<Option<Vec<u8>>, AgentError> {
    let failed = |source| AgentError::Read {
        path: path.to_owned(),
        source,
    };
    match path.metadata() {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_TEXT_BYTES).read_to_end(&mut bytes))
        .map_err(failed)?;
    Ok(Some(bytes))
}

impl Package {
    /// The package in the directory `root`, if there is one.
    fn at(root: &Path) -> Result<Option<Self>, AgentError> {
        let path = root.join("package.json");
        let Some(bytes) = read_text(&path)? else {
            return Ok(None);
        };
        let description: Description =
            serde_json::from_slice(&bytes).map_err(|source| AgentError::PackageDescription {
                path: path.clone(),
                source,
            })?;
        let Some(name) = description.name.filter(|name| is_package_name(name)) else {
            return Ok(None);
        };
        let root = root.canonicalize().map_err(|source| AgentError::Read {
            path: path.clone(),
            source,
        })?;
        let names = [description.dependencies, description.optional_dependencies];
        let dependencies = names
            .into_iter()
            .flatten()
            .map(|(name, _range)| name)
            .filter(|name| is_package_name(name));
        Ok(Some(Self {
            root,
            name,
            version: description.version,
            dependencies: dependencies.collect(),
        }))
    }

    /// The package called `name` that `file` is a part of.
    pub(crate) fn around(file: &Path, name: &str) -> Result<Option<Self>, AgentError> {
        for directory in file.ancestors().skip(1).take(MAX_DEPTH) {
            if let Some(package) = Self::at(directory)?
                && package.name == name
            {
                return Ok(Some(package));
            }
        }
        Ok(None)
    }

    /// The package that `require(name)` finds from within this one.
    pub(crate) fn neighbour(&self, name: &str) -> Result<Option<Self>, AgentError> {
        for directory in self.root.ancestors().take(MAX_DEPTH) {
            if let Some(mut package) = Self::at(&directory.join("node_modules").join(name))? {
                // An alias: what counts is the name that it is required by.
                name.clone_into(&mut package.name);
                return Ok(Some(package));
            }
        }
        Ok(None)
    }

    /// This package and everything that it can load, without what lies within
    /// another one of them already.
    pub(crate) fn closure(&self) -> Result<Vec<Self>, AgentError> {
        let mut found: BTreeMap<String, Self> = BTreeMap::new();
        let mut seen = BTreeSet::from([self.root.clone()]);
        let mut queue = vec![self.clone()];
        while let Some(package) = queue.pop() {
            for name in &package.dependencies {
                if let Some(neighbour) = package.neighbour(name)?
                    && seen.insert(neighbour.root.clone())
                {
                    queue.push(neighbour);
                }
            }
            if seen.len() > MAX_PACKAGES {
                return Err(AgentError::TooLarge {
                    path: self.root.clone(),
                });
            }
            let within = |other: &Self| package.root.starts_with(&other.root);
            if !within(self) && !found.values().any(within) {
                found.entry(package.name.clone()).or_insert(package);
            }
        }
        Ok(std::iter::once(self.clone())
            .chain(found.into_values())
            .collect())
    }
}

/// The script that a shell launcher, as pnpm and yarn write them, would run:
/// the first quoted path from `$basedir` that is a file of the package `name`.
pub(crate) fn launcher_target(
    launcher: &Path,
    text: &[u8],
    name: &str,
) -> Result<Option<PathBuf>, AgentError> {
    let Some(directory) = launcher.parent() else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(text);
    for quoted in text.split("\"$basedir/").skip(1).take(16) {
        let Some((relative, _)) = quoted.split_once('"') else {
            continue;
        };
        let Ok(target) = directory.join(relative).canonicalize() else {
            continue;
        };
        if target.is_file() && Package::around(&target, name)?.is_some() {
            return Ok(Some(target));
        }
    }
    Ok(None)
}

/// Whether a name is one or two plain path components, as npm's rules have it.
fn is_package_name(name: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
    };
    match name.strip_prefix('@') {
        Some(scoped) => scoped
            .split_once('/')
            .is_some_and(|(scope, name)| plain(scope) && plain(name)),
        None => plain(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_name_never_leaves_its_directory() {
        for name in ["node-pty", "@google/gemini-cli", "@lydell/node-pty.x_64"] {
            assert!(is_package_name(name), "{name}");
        }
        for name in [
            "", "..", "../x", "/etc", "a/b", "@a", "@a/..", "@../a", "@a/b/c", ".bin", "a\0",
        ] {
            assert!(!is_package_name(name), "{name:?}");
        }
    }
}
