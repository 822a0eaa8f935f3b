//! `stockade-mcp.lock`: what of which server a person approved. It stands in the
//! repository, and beside it what each digest stands for.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    catalogue::{Catalogue, ItemName, Pins},
    item::{Inexact, Item, ItemDigest, ItemKind},
    json,
    launch::Launch,
    package::{Package, Resolution},
    version::Era,
};

/// The name of the file, in the root of a repository.
pub const LOCK_FILE: &str = "stockade-mcp.lock";
/// Where the contents are, beside it.
const BODIES: &str = ".stockade/mcp";
/// The only format there is.
const FORMAT: u32 = 1;
/// The largest file that is read, in bytes.
const SIZE_MAX: u64 = 16 << 20;

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A file cannot be read or written.
    #[error("{path}: {cause}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// What stands in it is no lock.
    #[error("{path}: {reason}", path = path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An item to which nothing can be pinned.
    #[error("{item}: {cause}")]
    Item {
        /// Which.
        item: String,
        /// Why.
        cause: Inexact,
    },
}

/// Every server that was approved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// By the names that people gave them.
    pub servers: BTreeMap<String, Entry>,
}

/// What was approved of one server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// How it is started.
    pub launch: Launch,
    /// What it speaks.
    pub era: Era,
    /// Everything it offers.
    pub items: Vec<PinnedItem>,
    /// When that was approved, RFC 3339.
    pub approved_at: String,
}

/// One thing that was approved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedItem {
    /// What kind.
    pub kind: ItemKind,
    /// Its name; nothing where there is but one of a kind.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What stands for it.
    pub digest: ItemDigest,
}

impl Entry {
    /// What may be seen of the server.
    pub fn pins(&self) -> Pins {
        Pins::Approved(self.digests())
    }

    /// What stands for each item.
    pub fn digests(&self) -> BTreeMap<ItemName, ItemDigest> {
        let items = self.items.iter();
        items
            .map(|item| ((item.kind, item.name.clone()), item.digest))
            .collect()
    }
}

impl Lock {
    /// The lock in `folder`; an empty one if there is none.
    pub fn read(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(LOCK_FILE);
        let Some(bytes) = read(&path)? else {
            return Ok(Self {
                version: FORMAT,
                servers: BTreeMap::new(),
            });
        };
        let form = |reason: String| LockError::Form {
            path: path.clone(),
            reason: stockade_types::visible::line(reason.as_bytes()),
        };
        let value = json::parse(&bytes).map_err(|error| form(error.to_string()))?;
        let version = value["version"].as_u64();
        if version != Some(FORMAT.into()) {
            let version = version.map_or_else(|| "none".to_owned(), |version| version.to_string());
            return Err(form(format!(
                "its version is {version}, and this Stockade knows {FORMAT}; is there a newer one?"
            )));
        }
        let lock: Self = serde_json::from_value(value).map_err(|error| form(error.to_string()))?;
        let plain =
            |text: &str| text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic());
        for (name, entry) in &lock.servers {
            if !entry.launch.is_of_its_package() {
                return Err(form(format!("`{name}` has no program of its package")));
            }
            if !plain(name) || !plain(&entry.approved_at) {
                return Err(form(format!(
                    "`{name}` is no name of a server, or has no time"
                )));
            }
        }
        Ok(lock)
    }

    /// Writes the lock to `folder`, as a whole or not at all.
    pub fn write(&self, folder: &Path) -> Result<(), LockError> {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        write(&folder.join(LOCK_FILE), text.as_bytes())
    }

    /// Approves all of `catalogue` as what the server `name` offers, and keeps the
    /// contents beside the lock in `folder`. Nothing of the lock is written yet.
    pub fn approve(
        &mut self,
        folder: &Path,
        name: &str,
        launch: Launch,
        era: Era,
        catalogue: &Catalogue,
        approved_at: String,
    ) -> Result<(), LockError> {
        is_own(folder)?;
        let mut items = Vec::new();
        for item in &catalogue.items {
            items.push(pin(folder, item)?);
        }
        items.sort();
        let entry = Entry {
            launch,
            era,
            items,
            approved_at,
        };
        self.servers.insert(name.to_owned(), entry);
        Ok(())
    }

    /// Deletes contents beside the lock in `folder` that nothing stands for any more.
    pub fn tidy(&self, folder: &Path) -> Result<(), LockError> {
        let path = folder.join(BODIES);
        is_own(folder)?;
        let file = |cause| LockError::File {
            path: path.clone(),
            cause,
        };
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(file)?,
        };
        let entries_of = self.servers.values().flat_map(|entry| &entry.items);
        let packages = self
            .servers
            .values()
            .filter_map(|entry| entry.launch.package.as_ref());
        let packages = packages.map(|package| format!("{}.json", package.resolved));
        let known: Vec<String> = entries_of
            .map(|item| body_name(item.digest))
            .chain(packages)
            .collect();
        for entry in entries {
            let name = entry.map_err(file)?.file_name();
            let is_known = known.iter().any(|known| name == **known);
            if is_body(&name.to_string_lossy()) && !is_known {
                fs::remove_file(path.join(name)).map_err(file)?;
            }
        }
        Ok(())
    }
}

/// What `digest` stands for, if it is kept beside the lock in `folder` and unchanged.
pub fn body(folder: &Path, item: &PinnedItem) -> Option<Value> {
    let path = folder.join(BODIES).join(body_name(item.digest));
    let body = json::parse(&read(&path).ok()??).ok()?;
    let item = Item {
        kind: item.kind,
        name: item.name.clone(),
        body: body.into(),
    };
    let PinnedItem { digest, .. } = PinnedItem::of(&item).ok()?;
    (body_name(digest) == path.file_name()?.to_str()?).then(|| Arc::unwrap_or_clone(item.body))
}

/// What `launch` runs of its package `package`, if that is kept beside the lock in
/// `folder` and unchanged.
pub fn resolution(folder: &Path, launch: &Launch, package: &Package) -> Option<Resolution> {
    let name = format!("{}.json", package.resolved);
    // What names a file comes with a repository.
    let bytes = read(&folder.join(BODIES).join(is_body(&name).then_some(&name)?)).ok()??;
    let document = json::parse(&bytes).ok()?;
    let program = launch.argv.first().map(String::as_str);
    let found = Resolution::of(package.registry, &package.name, program, document).ok()?;
    let is_it = found.digest() == package.resolved && found.version() == package.version;
    is_it.then_some(found)
}

/// Keeps `resolution` beside the lock in `folder`.
pub fn keep_resolution(folder: &Path, resolution: &Resolution) -> Result<(), LockError> {
    is_own(folder)?;
    let mut text = serde_json::to_string_pretty(resolution.document()).unwrap_or_default();
    text.push('\n');
    let name = format!("{}.json", resolution.digest());
    write(&folder.join(BODIES).join(name), text.as_bytes())
}

impl PinnedItem {
    /// What pins `item`.
    pub fn of(item: &Item) -> Result<Self, Inexact> {
        Ok(Self {
            kind: item.kind,
            name: item.name.clone(),
            digest: item.digest()?,
        })
    }
}

/// Whether a file of that name can be the contents of an item.
fn is_body(name: &str) -> bool {
    let digits = name.strip_suffix(".json").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Refuses a folder for contents that leads out of the repository: what is written and
/// deleted there would be somebody else's.
fn is_own(folder: &Path) -> Result<(), LockError> {
    let mut path = folder.to_owned();
    for part in BODIES.split('/') {
        path.push(part);
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_dir()) {
            return Err(LockError::Form {
                path,
                reason: "it is no folder, and what was approved is kept in one".to_owned(),
            });
        }
    }
    Ok(())
}

fn body_name(digest: ItemDigest) -> String {
    format!("{}.json", digest.hex())
}

fn pin(folder: &Path, item: &Item) -> Result<PinnedItem, LockError> {
    let pinned = PinnedItem::of(item).map_err(|cause| LockError::Item {
        item: item.title(),
        cause,
    })?;
    let mut text = serde_json::to_string_pretty(&item.body).unwrap_or_default();
    text.push('\n');
    write(
        &folder.join(BODIES).join(body_name(pinned.digest)),
        text.as_bytes(),
    )?;
    Ok(pinned)
}

/// What stands in the file, if there is one.
fn read(path: &Path) -> Result<Option<Vec<u8>>, LockError> {
    let file = |cause| LockError::File {
        path: path.to_owned(),
        cause,
    };
    let size = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.map_err(file)?,
    };
    if !size.is_file() || size.len() > SIZE_MAX {
        return Err(LockError::Form {
            path: path.to_owned(),
            reason: "it is no file, or too large for a lock".to_owned(),
        });
    }
    fs::read(path).map(Some).map_err(file)
}

/// Writes by renaming, so that nobody reads half of it.
fn write(path: &Path, content: &[u8]) -> Result<(), LockError> {
    let file = |cause| LockError::File {
        path: path.to_owned(),
        cause,
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(file)?;
    let mut made = tempfile::NamedTempFile::new_in(folder).map_err(file)?;
    io::Write::write_all(&mut made, content).map_err(file)?;
    set_readable(made.path()).map_err(file)?;
    made.as_file().sync_all().map_err(file)?;
    made.persist(path).map_err(|error| file(error.error))?;
    Ok(())
}

/// The lock is for everybody who reads the repository.
fn set_readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn catalogue() -> Catalogue {
        let mut catalogue = Catalogue::of_server(
            &json!({ "name": "s", "version": "1" }),
            &json!({ "tools": {} }),
            Some("Be kind."),
        );
        catalogue.items.push(Item {
            kind: ItemKind::Tool,
            name: "add".to_owned(),
            body: json!({ "name": "add", "z": 1, "a": 2 }).into(),
        });
        catalogue
    }

    fn launch() -> Launch {
        Launch {
            argv: vec!["python3".to_owned(), "server.py".to_owned()],
            ..Launch::default()
        }
    }

    fn approved(folder: &Path) -> Lock {
        let mut lock = Lock::read(folder).unwrap();
        lock.approve(
            folder,
            "s",
            launch(),
            Era::Legacy,
            &catalogue(),
            "2026-01-01T00:00:00Z".to_owned(),
        )
        .unwrap();
        lock.write(folder).unwrap();
        lock
    }

    #[test]
    fn a_lock_is_read_as_it_was_written_and_has_its_contents_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let lock = approved(folder.path());
        assert_eq!(Lock::read(folder.path()).unwrap(), lock);
        let entry = &lock.servers["s"];
        assert_eq!(entry.digests(), catalogue().digests());
        let tool = entry
            .items
            .iter()
            .find(|item| item.kind == ItemKind::Tool)
            .unwrap();
        assert_eq!(
            body(folder.path(), tool),
            Some(json!({ "name": "add", "z": 1, "a": 2 }))
        );
    }

    #[test]
    fn contents_that_are_not_what_the_digest_stands_for_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let lock = approved(folder.path());
        let tool = &lock.servers["s"]
            .items
            .iter()
            .find(|item| item.kind == ItemKind::Tool)
            .unwrap();
        let path = folder.path().join(BODIES).join(body_name(tool.digest));
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace("\"z\": 1", "\"z\": 3");
        fs::write(&path, text).unwrap();
        assert_eq!(body(folder.path(), tool), None);
    }

    #[test]
    fn what_nothing_stands_for_is_tidied_away() {
        let folder = tempfile::tempdir().unwrap();
        let mut lock = approved(folder.path());
        lock.servers.clear();
        lock.tidy(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path().join(BODIES)).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_of_contents_that_leads_elsewhere_is_left_alone() {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let theirs = elsewhere.path().join(format!("{}.json", "a".repeat(64)));
        fs::write(&theirs, "{}").unwrap();
        fs::create_dir(folder.path().join(".stockade")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join(BODIES)).unwrap();
        let mut lock = Lock::read(folder.path()).unwrap();
        assert!(lock.tidy(folder.path()).is_err());
        let at = "2026-01-01T00:00:00Z".to_owned();
        let approved = lock.approve(folder.path(), "s", launch(), Era::Legacy, &catalogue(), at);
        assert!(approved.is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_no_lock_says_where_and_why() {
        let folder = tempfile::tempdir().unwrap();
        for (text, why) in [
            ("{", "EOF"),
            (r#"{"version":2,"servers":{}}"#, "its version is 2"),
            (r#"{"version":1,"servers":{},"more":1}"#, "unknown field"),
            (r#"{"version":1,"version":1,"servers":{}}"#, "stands twice"),
        ] {
            fs::write(folder.path().join(LOCK_FILE), text).unwrap();
            let error = Lock::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(LOCK_FILE) && error.contains(why), "{error}");
        }
        fs::remove_file(folder.path().join(LOCK_FILE)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.path().join(LOCK_FILE)).unwrap();
        assert!(Lock::read(folder.path()).is_err());
    }
}
