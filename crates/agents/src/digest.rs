use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use crate::error::AgentError;

/// Bounds of what is digested: an installation, not a disk.
const MAX_FILES: usize = 50_000;
const MAX_BYTES: u64 = 2 << 30;

/// The SHA-256 of a file's content, in hexadecimal.
pub(crate) fn of_file(path: &Path) -> Result<String, AgentError> {
    let mut budget = MAX_BYTES;
    Ok(hex::encode(content(path, &mut budget)?))
}

/// One digest over the names and contents of everything in `directories`, in
/// the order of their names. Links count by where they point to; they are not
/// followed.
pub(crate) fn of_directories<'a>(
    directories: impl IntoIterator<Item = &'a Path>,
) -> Result<String, AgentError> {
    let mut hash = Sha256::new();
    let mut budget = MAX_BYTES;
    for directory in directories {
        let files = list(directory)?;
        for file in files {
            let path = directory.join(&file);
            let kind = fs::symlink_metadata(&path).map_err(|source| read(&path, source))?;
            let (tag, content) = if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(|source| read(&path, source))?;
                (
                    b"link",
                    Sha256::digest(target.as_os_str().as_bytes()).into(),
                )
            } else {
                (b"file", content(&path, &mut budget)?)
            };
            // Lengths are fixed but for the name, which a NUL ends.
            hash.update(tag);
            hash.update(file.as_os_str().as_bytes());
            hash.update([0]);
            hash.update(content);
        }
        hash.update(b"next");
    }
    Ok(hex::encode(hash.finalize()))
}

/// The files and links below `root`, relative to it.
fn list(root: &Path) -> Result<BTreeSet<PathBuf>, AgentError> {
    let mut files = BTreeSet::new();
    let mut directories = vec![PathBuf::new()];
    let mut seen = 0;
    while let Some(relative) = directories.pop() {
        let directory = root.join(&relative);
        for entry in fs::read_dir(&directory).map_err(|source| read(&directory, source))? {
            let entry = entry.map_err(|source| read(&directory, source))?;
            let kind = entry
                .file_type()
                .map_err(|source| read(&entry.path(), source))?;
            let name = relative.join(entry.file_name());
            seen += 1;
            if seen > MAX_FILES {
                return Err(AgentError::TooLarge {
                    path: root.to_owned(),
                });
            }
            if kind.is_dir() {
                directories.push(name);
            } else if kind.is_file() || kind.is_symlink() {
                files.insert(name);
            }
        }
    }
    Ok(files)
}

fn content(path: &Path, budget: &mut u64) -> Result<[u8; 32], AgentError> {
    let mut file = File::open(path).map_err(|source| read(path, source))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let length = match file.read(&mut buffer) {
            Ok(0) => return Ok(hash.finalize().into()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(read(path, source)),
        };
        let left = u64::try_from(length)
            .ok()
            .and_then(|length| budget.checked_sub(length));
        *budget = left.ok_or_else(|| AgentError::TooLarge {
            path: path.to_owned(),
        })?;
        hash.update(&buffer[..length]);
    }
}

fn read(path: &Path, source: io::Error) -> AgentError {
    AgentError::Read {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn digest(directory: &TempDir) -> String {
        of_directories([directory.path()]).unwrap()
    }

    #[test]
    fn any_change_below_a_directory_changes_its_digest() {
        let directory = TempDir::new().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("lib")).unwrap();
        fs::write(path("cli.js"), "run()").unwrap();
        fs::write(path("lib/chunk.js"), "part").unwrap();
        let mut seen = BTreeSet::from([digest(&directory)]);
        assert!(
            !seen.insert(digest(&directory)),
            "a digest depends on the content only"
        );

        fs::write(path("lib/chunk.js"), "evil").unwrap();
        assert!(seen.insert(digest(&directory)), "content");
        fs::rename(path("lib/chunk.js"), path("lib/other.js")).unwrap();
        assert!(seen.insert(digest(&directory)), "name");
        symlink("other.js", path("lib/link.js")).unwrap();
        assert!(seen.insert(digest(&directory)), "new link");
        fs::remove_file(path("lib/link.js")).unwrap();
        symlink("/elsewhere.js", path("lib/link.js")).unwrap();
        assert!(seen.insert(digest(&directory)), "target of a link");
    }

    #[test]
    fn a_file_has_the_digest_that_everybody_computes() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("abc");
        fs::write(&path, "abc").unwrap();
        assert_eq!(
            of_file(&path).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
