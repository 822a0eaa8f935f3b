use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};

use crate::path::TreePath;

/// A longer `.gitignore` is not obeyed: its patterns become one automaton.
pub(super) const IGNORE_FILE_BYTES: u64 = 128 << 10;

/// Folders that tools fill and can fill again. Where git ignores them they are
/// listed, not saved.
#[rustfmt::skip]
const CACHES: &[&[u8]] = &[
    b"node_modules", b"target", b".venv", b"venv", b"__pycache__", b".tox", b".nox",
    b".mypy_cache", b".pytest_cache", b".ruff_cache", b".gradle", b".next", b".nuxt",
    b".parcel-cache", b".turbo", b".cache", b".cargo", b".npm", b".pnpm-store", b".yarn",
    b"vendor", b"build", b"dist", b"out", b"bower_components", b".terraform", b"DerivedData",
];

pub(super) fn is_cache(name: &[u8]) -> bool {
    CACHES.contains(&name)
}

/// The rules of the `.gitignore` files from the root to one folder.
#[derive(Clone, Default)]
pub(super) struct Rules {
    /// Each with the length of its folder's path, slash included.
    levels: Vec<(usize, std::sync::Arc<Gitignore>)>,
}

impl Rules {
    /// These rules and those of `text`, the `.gitignore` in `folder`. A line
    /// that is no pattern is passed over, as git does.
    pub(super) fn with(&self, folder: Option<&TreePath>, text: &[u8]) -> Self {
        let mut builder = GitignoreBuilder::new(".");
        for line in String::from_utf8_lossy(text).lines() {
            let _ = builder.add_line(None, line);
        }
        let mut levels = self.levels.clone();
        if let Ok(rules) = builder.build() {
            let cut = folder.map_or(0, |folder| folder.as_bytes().len() + 1);
            levels.push((cut, std::sync::Arc::new(rules)));
        }
        Self { levels }
    }

    /// Whether a path below the folder is ignored; the nearest rule decides.
    pub(super) fn ignores(&self, path: &TreePath, is_folder: bool) -> bool {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

        for (cut, rules) in self.levels.iter().rev() {
            let Some(below) = path.as_bytes().get(*cut..) else {
                continue;
            };
            match rules.matched(OsStr::from_bytes(below), is_folder) {
                Match::None => {}
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nearer_file_wins_and_anchors_are_relative_to_it() {
        let path = |text: &str| TreePath::new(text).unwrap();
        let root = Rules::default().with(None, b"*.log\n/only-here\nbuild/\n");
        let inner = root.with(Some(&path("sub")), b"!keep.log\n/local\n");
        assert!(root.ignores(&path("a/x.log"), false));
        assert!(inner.ignores(&path("sub/x.log"), false));
        assert!(!inner.ignores(&path("sub/keep.log"), false));
        assert!(inner.ignores(&path("sub/local"), false));
        assert!(!inner.ignores(&path("sub/deeper/local"), false));
        assert!(!root.ignores(&path("a/only-here"), false));
        assert!(root.ignores(&path("build"), true) && !root.ignores(&path("build"), false));
    }
}
