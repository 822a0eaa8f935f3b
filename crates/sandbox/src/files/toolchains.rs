//! Toolchains that the user has on `PATH` outside the system's folders.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::secrets_below;
use crate::spec::{Access, Grant};

/// Toolchains as they appear inside.
#[derive(Clone, Debug, Default)]
pub struct Toolchains {
    /// Their folders, read-only, at neutral places.
    pub grants: Vec<Grant>,
    /// What goes in front of the system's folders on the inside `PATH`.
    pub path: Vec<String>,
    /// Variables that the toolchains need: name and value.
    pub variables: Vec<(String, String)>,
}

/// Folders that the sandbox shows anyway.
const SHOWN: [&str; 5] = ["/usr", "/bin", "/sbin", "/lib", "/lib64"];
/// The most toolchains that are looked at; a longer `PATH` is cut.
const MOST: usize = 24;

/// Finds the toolchains of `path`, the value of a `PATH` variable. `home` is
/// the user's home; `rustup` overrides where Rust's toolchains are; what
/// `hidden` names is not shown of any of them.
pub fn find_toolchains(
    path: &OsStr,
    home: &Path,
    rustup: Option<&Path>,
    hidden: &[PathBuf],
) -> Toolchains {
    let mut found = Toolchains::default();
    // A home may be reached by a link.
    let home = &std::fs::canonicalize(home).unwrap_or_else(|_| home.to_owned());
    for folder in std::env::split_paths(path).take(MOST) {
        // What a relative folder means depends on where one stands.
        let Ok(real) = std::fs::canonicalize(&folder) else {
            continue;
        };
        let shown = SHOWN.iter().any(|shown| real.starts_with(shown));
        if !folder.is_absolute() || !real.is_dir() || shown || holds_more(&real, home) {
            continue;
        }
        let (root, below) = installation(&real, home);
        let target = place(&root);
        if !found.grants.iter().any(|grant| grant.target == target) {
            found.grants.push(read_only(root, &target, hidden));
        }
        let inside = if below.as_os_str().is_empty() {
            target
        } else {
            target.join(below)
        };
        let inside = inside.to_string_lossy().into_owned();
        if !found.path.contains(&inside) {
            found.path.push(inside);
        }
    }
    let rustup = rustup.map_or_else(|| home.join(".rustup"), Path::to_owned);
    if rustup.join("toolchains").is_dir() {
        let target = PathBuf::from("/opt/stockade/rustup");
        found.variables.push((
            "RUSTUP_HOME".to_owned(),
            target.to_string_lossy().into_owned(),
        ));
        found
            .variables
            .push(("RUSTUP_AUTO_INSTALL".to_owned(), "0".to_owned()));
        found.grants.push(read_only(rustup, &target, hidden));
    }
    found
}

/// Where a folder of the host appears: always at the same place, which does
/// not tell its name (FNV-1a of the path).
fn place(root: &Path) -> PathBuf {
    let hash = root
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    PathBuf::from(format!("/opt/stockade/{:08x}", hash >> 32))
}

/// Whether `folder` holds more than programs: a home or what holds homes, a
/// folder right below the root, a repository with its history.
fn holds_more(folder: &Path, home: &Path) -> bool {
    let near_root = folder
        .parent()
        .is_none_or(|parent| parent.parent().is_none());
    near_root || home.starts_with(folder) || folder.join(".git").exists()
}

/// The folder to show for a folder on `PATH`, and the latter relative to it.
///
/// A `bin` shows its installation, so that libraries beside it are found —
/// but never a folder that holds more than programs.
fn installation(folder: &Path, home: &Path) -> (PathBuf, PathBuf) {
    let alone = (folder.to_owned(), PathBuf::new());
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else {
        return alone;
    };
    let shared = [".local", ".cargo", "snap"]
        .iter()
        .any(|kept| parent == home.join(kept));
    if name == "bin" && !shared && !holds_more(parent, home) {
        (parent.to_owned(), PathBuf::from(name))
    } else {
        alone
    }
}

fn read_only(source: PathBuf, target: &Path, patterns: &[PathBuf]) -> Grant {
    let hidden = secrets_below(&source, patterns);
    Grant {
        source,
        target: target.to_owned(),
        access: Access::ReadOnly,
        hidden,
        over: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_shows_its_installation_but_never_a_home() {
        let home = tempfile::tempdir().unwrap();
        let home = std::fs::canonicalize(home.path()).unwrap();
        for folder in ["bin", ".local/bin", ".cargo/bin", ".nvm/v20/bin"] {
            std::fs::create_dir_all(home.join(folder)).unwrap();
        }
        let path = std::env::join_paths(
            ["bin", ".local/bin", ".cargo/bin", ".nvm/v20/bin"].map(|folder| home.join(folder)),
        )
        .unwrap();
        let found = find_toolchains(&path, &home, None, &[]);
        let sources: Vec<_> = found
            .grants
            .iter()
            .map(|grant| grant.source.clone())
            .collect();
        let expected =
            ["bin", ".local/bin", ".cargo/bin", ".nvm/v20"].map(|folder| home.join(folder));
        assert_eq!(sources, expected);
        let last = found.path.last().unwrap();
        assert!(
            last.starts_with("/opt/stockade/") && last.ends_with("/bin"),
            "{last}"
        );
        assert!(!last.contains("nvm"), "{last}");
    }

    #[test]
    fn a_folder_that_holds_more_than_programs_is_not_granted() {
        let root = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(root.path()).unwrap();
        for folder in ["homes/alice", "project/bin", "project/.git", "tool/bin"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let home = root.join("homes/alice");
        let sources = |folders: &[&str]| -> Vec<PathBuf> {
            let path = std::env::join_paths(folders.iter().map(|folder| root.join(folder)));
            let found = find_toolchains(&path.unwrap(), &home, None, &[]);
            let sources = found.grants.into_iter().map(|grant| grant.source);
            sources.collect()
        };
        assert_eq!(
            sources(&["homes/alice", "homes", ".", "project"]),
            [] as [PathBuf; 0]
        );
        assert_eq!(sources(&["project/bin"]), [root.join("project/bin")]);
        assert_eq!(sources(&["tool/bin"]), [root.join("tool")]);
        for path in [".", "", "bin", "/", "/proc"] {
            assert!(
                find_toolchains(OsStr::new(path), &home, None, &[])
                    .grants
                    .is_empty(),
                "{path}"
            );
        }
        let (shown, _) = installation(Path::new("/opt/bin"), &home);
        assert_eq!(shown, Path::new("/opt/bin"));
    }

    #[test]
    fn folders_of_the_system_and_missing_ones_are_not_granted_again() {
        let found = find_toolchains(
            OsStr::new("/usr/bin:/bin:/no/such/folder"),
            Path::new("/nowhere"),
            None,
            &[],
        );
        assert!(found.grants.is_empty() && found.path.is_empty());
    }
}
