//! Files that a task may change by one name and that have others elsewhere.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use stockade_sandbox::{Access, Grant};
use stockade_types::visible;

/// The most files and folders of all grants that are looked at.
const MOST: usize = 200_000;
/// How many names are told.
const TOLD: usize = 3;

/// What is weaker because of hard links in folders that may be changed.
pub(super) fn elsewhere(grants: &[Grant]) -> Option<String> {
    let writable = grants
        .iter()
        .filter(|grant| grant.access == Access::ReadWrite && grant.over.is_none());
    let mut looked = Looked::default();
    for grant in writable {
        looked.at(&grant.source);
    }
    looked.in_words()
}

/// The files of some folders that have more than one name.
#[derive(Default)]
struct Looked {
    entries: usize,
    /// Of each such file its first name, and how many names are outside.
    linked: HashMap<(u64, u64), (PathBuf, u64)>,
}

impl Looked {
    /// Takes in everything below `folder`, without following links.
    fn at(&mut self, folder: &Path) {
        let mut waiting = vec![folder.to_owned()];
        while let Some(path) = waiting.pop() {
            self.entries += 1;
            if self.entries > MOST {
                return;
            }
            let Ok(found) = fs::symlink_metadata(&path) else {
                continue;
            };
            if found.is_dir() {
                let entries = fs::read_dir(&path).into_iter().flatten().flatten();
                waiting.extend(entries.map(|entry| entry.path()));
            } else if found.is_file() && found.nlink() > 1 {
                let names = self.linked.entry((found.dev(), found.ino()));
                let (_, outside) = names.or_insert_with(|| (path, found.nlink()));
                *outside = outside.saturating_sub(1);
            }
        }
    }

    fn in_words(&self) -> Option<String> {
        if self.entries > MOST {
            return Some(format!(
                "folders that may be changed have more than {MOST} entries, so that files in them \
                 with other names elsewhere (hard links) are not told"
            ));
        }
        let outside = self.linked.values().filter(|(_, outside)| *outside > 0);
        let mut names: Vec<String> = outside
            .map(|(path, _)| visible::line(path.as_os_str().as_encoded_bytes()))
            .collect();
        names.sort();
        let more = names.len().saturating_sub(TOLD);
        let told = names.get(..TOLD.min(names.len()))?.join(", ");
        match (names.len(), more) {
            (0, _) => None,
            (_, 0) => Some(format!(
                "{told}: other names elsewhere (hard links) change too"
            )),
            _ => Some(format!(
                "{told} and {more} more: other names elsewhere (hard links) change too"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g1_names_outside_of_what_may_be_changed_are_told_and_those_inside_are_not() {
        let root = tempfile::tempdir().unwrap();
        let (inside, outside) = (root.path().join("inside"), root.path().join("outside"));
        fs::create_dir_all(inside.join("deep")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(inside.join("own"), "x").unwrap();
        fs::hard_link(inside.join("own"), inside.join("deep/own")).unwrap();
        let grant = |access| Grant {
            source: inside.clone(),
            target: inside.clone(),
            access,
            hidden: Vec::new(),
            over: None,
        };
        assert_eq!(elsewhere(&[grant(Access::ReadWrite)]), None);
        for name in ["a", "b", "c", "d"] {
            fs::write(outside.join(name), "x").unwrap();
            fs::hard_link(outside.join(name), inside.join("deep").join(name)).unwrap();
        }
        let told = elsewhere(&[grant(Access::ReadWrite)]).unwrap();
        assert!(
            told.contains("deep/a, ") && told.contains(" and 1 more"),
            "{told}"
        );
        assert_eq!(elsewhere(&[grant(Access::ReadOnly)]), None);
    }
}
