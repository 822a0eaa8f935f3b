//! Fingerprints of a base tree's own files, by which they are told where they
//! must not go.

use std::{io::Read, path::Path};

use stockade_scan::{SourceIndex, SourceIndexBuilder};

use super::PoolEntry;
use crate::{
    beneath::Beneath,
    diff::is_binary,
    files::{self, FileError, failed},
    manifest::{Manifest, Tracked},
    object::FileMode,
    path::TreePath,
};

/// The name of the file that keeps them, in the entry's folder.
const FINGERPRINTS: &str = "fingerprints";
/// Larger files are made by programs, or hold no text.
const FILE_LIMIT: u64 = 1 << 20;
/// Smaller ones hold too little.
const FILE_LEAST: u64 = 256;
/// Bytes of all files that are looked at.
const TOTAL_LIMIT: u64 = 64 << 20;

/// Folders of what others wrote.
const OF_OTHERS: [&str; 5] = [
    "node_modules/",
    "vendor/",
    "third_party/",
    "third-party/",
    "dist/",
];
/// Beginnings of names of what others wrote.
const NOTICES: [&str; 5] = ["license", "licence", "copying", "notice", "unlicense"];
/// Ends of names of what programs write.
const GENERATED: [&str; 7] = [
    ".lock",
    "-lock.json",
    "-lock.yaml",
    ".min.js",
    ".min.css",
    ".map",
    "go.sum",
];

impl PoolEntry {
    /// Fingerprints of the files that the repository's people wrote. They are
    /// made when they are first asked for, and kept with the entry.
    pub fn source_index(&self) -> Result<SourceIndex, FileError> {
        let kept = self.folder.join(FINGERPRINTS);
        let known = std::fs::read(&kept).ok();
        if let Some(index) = known.and_then(|bytes| SourceIndex::from_bytes(&bytes)) {
            return Ok(index);
        }
        let index = self.index_sources()?;
        files::replace(&kept, &index.to_bytes())?;
        Ok(index)
    }

    fn index_sources(&self) -> Result<SourceIndex, FileError> {
        let tree = self.tree();
        let beneath = Beneath::open(&tree).map_err(failed("open", &tree))?;
        let mut builder = SourceIndexBuilder::default();
        let mut total = 0;
        for file in Manifest::read(&self.folder.join("manifest"))?.files() {
            total += file.size;
            if total > TOTAL_LIMIT {
                break;
            }
            if self.is_own_source(file) {
                let path = file.path.as_path();
                let content = read(&beneath, path).map_err(failed("read", path))?;
                if !is_binary(&content) {
                    builder.add(&content);
                }
            }
        }
        Ok(builder.finish())
    }

    fn is_own_source(&self, file: &Tracked) -> bool {
        let masked = &self.base.masked;
        matches!(file.mode, FileMode::Regular | FileMode::Executable)
            && (FILE_LEAST..=FILE_LIMIT).contains(&file.size)
            && !is_of_others(&file.path)
            && masked.iter().all(|masked| masked.path != file.path)
    }
}

fn is_of_others(path: &TreePath) -> bool {
    let text = String::from_utf8_lossy(path.as_bytes()).to_ascii_lowercase();
    let name = String::from_utf8_lossy(path.name()).to_ascii_lowercase();
    let within = |folder: &&str| text.starts_with(*folder) || text.contains(&format!("/{folder}"));
    OF_OTHERS.iter().any(within)
        || NOTICES.iter().any(|notice| name.starts_with(notice))
        || GENERATED.iter().any(|end| name.ends_with(end))
}

fn read(beneath: &Beneath, path: &Path) -> std::io::Result<Vec<u8>> {
    let (file, _) = beneath.file(path)?;
    let mut content = Vec::new();
    file.take(FILE_LIMIT).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_or_programs_wrote_is_not_the_repositorys_own() {
        for (path, of_others) in [
            ("src/main.rs", false),
            ("src/vendored.rs", false),
            ("a/vendor/x.go", true),
            ("node_modules/x/index.js", true),
            ("Cargo.lock", true),
            ("LICENSE-MIT", true),
            ("app/bundle.min.js", true),
        ] {
            assert_eq!(
                is_of_others(&TreePath::new(path).unwrap()),
                of_others,
                "{path}"
            );
        }
    }
}
