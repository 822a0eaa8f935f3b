//! Known places of secrets, hidden wherever a grant would show them.

use std::path::{Path, PathBuf};

/// Relative to a home or to any folder that looks like one.
pub const DEFAULT_SECRET_PATHS: [&str; 34] = [
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".config/gcloud",
    ".kube",
    ".docker",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".config/git/credentials",
    ".config/gh",
    ".config/hub",
    ".config/op",
    ".password-store",
    ".vault-token",
    ".terraform.d",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    "credentials.toml",
    ".bash_history",
    ".zsh_history",
    ".python_history",
    ".node_repl_history",
    ".psql_history",
    ".mysql_history",
    ".local/share/keyrings",
    ".mozilla",
    ".config/google-chrome",
    ".config/chromium",
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".gemini/oauth_creds.json",
];

/// Which of `patterns` exist below `root`, at its top and one level down.
pub fn secrets_below(root: &Path, patterns: &[PathBuf]) -> Vec<PathBuf> {
    let mut bases = vec![PathBuf::new()];
    let children = std::fs::read_dir(root).into_iter().flatten().flatten();
    bases.extend(
        children
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| PathBuf::from(entry.file_name())),
    );
    bases
        .iter()
        .flat_map(|base| patterns.iter().map(move |pattern| base.join(pattern)))
        .filter(|path| {
            root.join(path)
                .symlink_metadata()
                .is_ok_and(|found| !found.is_symlink())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_at_the_top_and_one_level_down_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("alice/.ssh")).unwrap();
        std::fs::write(root.path().join(".netrc"), "decoy").unwrap();
        std::os::unix::fs::symlink("/etc", root.path().join(".aws")).unwrap();
        let patterns: Vec<PathBuf> = DEFAULT_SECRET_PATHS.iter().map(PathBuf::from).collect();
        let mut found = secrets_below(root.path(), &patterns);
        found.sort();
        assert_eq!(
            found,
            [PathBuf::from(".netrc"), PathBuf::from("alice/.ssh")]
        );
    }
}
