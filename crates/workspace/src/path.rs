use std::{ffi::OsStr, fmt, os::unix::ffi::OsStrExt, path::Path};

use serde::{Deserialize, Serialize};

/// A path inside a tree as git stores it: bytes, relative, `/` between
/// components, no empty component, no `.` or `..`.
///
/// `Display` shows it with every deceptive character spelled out. As JSON it
/// is the plain text where that is safe, else the form that git quotes:
/// `"a\012b"` with the quotes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TreePath(Vec<u8>);

/// Why bytes are not a path inside a tree.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a path inside the tree")]
pub struct TreePathError(String);

impl TreePath {
    /// A path from its bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, TreePathError> {
        let bytes = bytes.into();
        let valid = |part: &[u8]| !part.is_empty() && part != b"." && part != b"..";
        if bytes.contains(&0) || !bytes.split(|byte| *byte == b'/').all(valid) {
            return Err(TreePathError(stockade_types::visible::line(&bytes)));
        }
        Ok(Self(bytes))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path for the file system; always relative.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The components, first to last.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }

    /// The last component.
    pub fn name(&self) -> &[u8] {
        self.components().next_back().unwrap_or_default()
    }

    /// The folder that holds it, unless that is the root.
    pub fn parent(&self) -> Option<Self> {
        let cut = self.0.iter().rposition(|byte| *byte == b'/')?;
        Some(Self(self.0[..cut].to_vec()))
    }

    /// All folders above it, the nearest first.
    pub(crate) fn ancestors(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// The name of a file in this folder; `name` must be one component.
    pub(crate) fn join(&self, name: &[u8]) -> Self {
        Self([&self.0, b"/".as_slice(), name].concat())
    }

    /// Whether any component could be taken for `.git`, on any file system.
    pub fn names_git_directory(&self) -> bool {
        self.components().any(names_git_directory)
    }

    /// Whether any component could be taken for a file that git reads from a
    /// tree, `.gitmodules` and the like, on any file system: NTFS has short
    /// names with a `~`.
    pub(crate) fn may_name_file_of_git(&self) -> bool {
        let plain = plain(&self.0);
        plain.contains(".git") || plain.contains('~')
    }

    /// The path in the quoted form of git's streams, always with quotes.
    pub(crate) fn quoted(&self) -> String {
        use fmt::Write;

        let mut text = String::from("\"");
        for byte in &self.0 {
            match byte {
                b'"' | b'\\' => {
                    text.push('\\');
                    text.push(char::from(*byte));
                }
                0x20..=0x7e => text.push(char::from(*byte)),
                byte => {
                    // Writing to a `String` cannot fail.
                    let _ = write!(text, "\\{byte:03o}");
                }
            }
        }
        text.push('"');
        text
    }

    fn unquoted(text: &str) -> Option<Vec<u8>> {
        let mut rest = text.strip_prefix('"')?.strip_suffix('"')?.bytes();
        let mut bytes = Vec::new();
        while let Some(byte) = rest.next() {
            if byte != b'\\' {
                bytes.push(byte);
                continue;
            }
            match rest.next()? {
                escaped @ (b'"' | b'\\') => bytes.push(escaped),
                first @ b'0'..=b'3' => {
                    let digits = [first, rest.next()?, rest.next()?];
                    let digits = std::str::from_utf8(&digits).ok()?;
                    bytes.push(u8::from_str_radix(digits, 8).ok()?);
                }
                _ => return None,
            }
        }
        Some(bytes)
    }
}

/// Whether one component could be taken for `.git`.
///
/// Covers case, the NTFS short name `git~1`, NTFS alternate streams and
/// trailing dots and spaces, and the code points that HFS+ ignores in names;
/// the same tests as git's own `core.protectHFS` and `core.protectNTFS`.
pub(crate) fn names_git_directory(component: &[u8]) -> bool {
    let plain = plain(component);
    // A backslash separates components on Windows.
    plain.split('\\').any(|part| {
        let part = part.split(':').next().unwrap_or_default();
        let part = part.trim_end_matches(['.', ' ']);
        part == ".git" || part == "git~1"
    })
}

/// In lower case, without the characters that do not show.
fn plain(name: &[u8]) -> String {
    String::from_utf8_lossy(name)
        .chars()
        .filter(|c| !stockade_types::visible::is_deceptive(*c))
        .collect::<String>()
        .to_ascii_lowercase()
}

impl fmt::Display for TreePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&stockade_types::visible::line(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self}")
    }
}

impl From<TreePath> for String {
    fn from(path: TreePath) -> Self {
        match std::str::from_utf8(&path.0) {
            Ok(text) if !text.starts_with('"') && !text.chars().any(char::is_control) => {
                text.to_owned()
            }
            _ => path.quoted(),
        }
    }
}

impl TryFrom<String> for TreePath {
    type Error = TreePathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.starts_with('"') {
            let bytes = Self::unquoted(&text)
                .ok_or_else(|| TreePathError(stockade_types::visible::line(text.as_bytes())))?;
            return Self::new(bytes);
        }
        Self::new(text.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_spelling_of_the_git_directory_is_seen() {
        for name in [
            ".git",
            ".GIT",
            "git~1",
            "GIT~1",
            ".git.",
            ".git ",
            ".git. .",
            ".git::$INDEX_ALLOCATION",
            ".g\u{200c}it",
            "x\\.git",
        ] {
            assert!(names_git_directory(name.as_bytes()), "{name}");
        }
        for name in [
            ".gitignore",
            ".github",
            "git",
            "git~2",
            ".gitmodules",
            "digit",
        ] {
            assert!(!names_git_directory(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_path_that_climbs_or_is_absolute_is_refused() {
        for bytes in ["", "/etc", "a//b", "a/../b", "./a", "a/", "a\0b"] {
            assert!(TreePath::new(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn a_path_survives_json(bytes in proptest::collection::vec(1u8.., 1..40)) {
            if let Ok(path) = TreePath::new(bytes) {
                let json = serde_json::to_string(&path).unwrap();
                prop_assert_eq!(serde_json::from_str::<TreePath>(&json).unwrap(), path);
            }
        }
    }
}
