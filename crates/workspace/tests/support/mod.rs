//! A user's repository, a state directory, and hands to change both.

#![expect(
    dead_code,
    unreachable_pub,
    reason = "each test file uses its own part"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use stockade_types::TaskId;
use stockade_workspace::{
    BackEnd, Git, Pool, PoolEntry, Repository, SecretPatterns, Slug, Snapshot, SnapshotLimits,
    TaskSpace, Unconfined,
};
use tempfile::TempDir;

pub struct Bench {
    pub folder: TempDir,
    pub git: Git,
}

/// Every git that is installed, the distribution's and a newer one.
pub fn gits() -> Vec<Git> {
    let mut found: Vec<(String, Git)> = Vec::new();
    for folder in ["/usr/local/bin", "/usr/bin"] {
        let Ok(git) = Git::find(OsStr::new(folder), Arc::new(Unconfined)) else {
            continue;
        };
        let version = git.version().unwrap();
        if found.iter().all(|(known, _)| *known != version) {
            found.push((version, git));
        }
    }
    assert!(
        !found.is_empty(),
        "these tests need git in /usr/bin or /usr/local/bin"
    );
    found.into_iter().map(|(_, git)| git).collect()
}

/// Runs `test` once for every git that is installed.
pub fn with_each_git(test: impl Fn(Bench)) {
    for git in gits() {
        test(Bench {
            folder: tempfile::tempdir().unwrap(),
            git,
        });
    }
}

impl Bench {
    /// A bench with a repository of a few files and one commit.
    pub fn new() -> Self {
        let git = gits().remove(0);
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
            git,
        };
        bench.start();
        bench
    }

    pub fn start(&self) {
        self.init();
        self.write("README.md", "hello\n");
        self.write("src/main.rs", "fn main() {}\n");
        self.write("src/lib.rs", "pub fn one() -> u32 {\n    1\n}\n");
        self.write("docs/guide.md", "guide\n");
        self.write(".gitignore", "*.log\ncache/\nnode_modules/\n");
        self.write("run.sh", "#!/bin/sh\n");
        fs::set_permissions(self.user("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("README.md", self.user("link")).unwrap();
        self.commit("first");
    }

    pub fn init(&self) {
        fs::create_dir_all(self.repository_path()).unwrap();
        self.user_git(&["init", "-q", "-b", "main"]);
    }

    pub fn repository_path(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn user(&self, path: &str) -> PathBuf {
        self.repository_path().join(path)
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        put(&self.repository_path(), path, text);
    }

    pub fn commit(&self, message: &str) -> String {
        self.user_git(&["add", "-A"]);
        self.user_git(&["commit", "-q", "-m", message]);
        self.user_git(&["rev-parse", "HEAD"])
    }

    /// What the user does, with their own git.
    pub fn user_git(&self, arguments: &[&str]) -> String {
        let output = self.run_git(&self.repository_path(), arguments);
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn run_git(&self, folder: &Path, arguments: &[&str]) -> Output {
        #[expect(
            clippy::disallowed_methods,
            reason = "plays the user, who runs git plainly"
        )]
        let mut command = Command::new(self.git.program());
        command
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .envs([
                ("GIT_AUTHOR_NAME", "U"),
                ("GIT_AUTHOR_EMAIL", "u@example.org"),
            ])
            .envs([
                ("GIT_COMMITTER_NAME", "U"),
                ("GIT_COMMITTER_EMAIL", "u@example.org"),
            ])
            .output()
            .unwrap()
    }

    pub fn repository(&self) -> Repository {
        Repository::discover(&self.git, &self.repository_path()).unwrap()
    }

    pub fn pool(&self) -> PoolEntry {
        let repository = self.repository();
        let base = repository.base(&self.git, None).unwrap();
        let secrets = SecretPatterns::standard().unwrap();
        Pool::new(&self.state())
            .ensure(&self.git, &repository, &base, &secrets)
            .unwrap()
    }

    pub fn task(&self, number: u64, back_end: BackEnd) -> TaskSpace {
        let id = TaskId::from_random(number);
        let slug = Slug::from_prompt("do it");
        let pool = self.pool();
        TaskSpace::create(
            &self.state(),
            &id,
            &slug,
            &self.repository(),
            &pool,
            back_end,
        )
        .unwrap()
        .space
    }

    pub fn snapshot(&self, space: &TaskSpace) -> Snapshot {
        space
            .snapshot(&self.git, "test", &SnapshotLimits::default())
            .unwrap()
    }

    /// `git show` in the repository of snapshots.
    pub fn shown(&self, space: &TaskSpace, revision: &str, path: &str) -> String {
        let object = format!("{revision}:{path}");
        let output = self.run_git(&space.folder().join("shadow.git"), &["show", &object]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The paths of a commit in the repository of snapshots.
    pub fn paths(&self, space: &TaskSpace, revision: &str) -> Vec<String> {
        let arguments = ["ls-tree", "-r", "--name-only", revision];
        let output = self.run_git(&space.folder().join("shadow.git"), &arguments);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

/// Where the agent's writes end up: the tree, or the overlay's upper layer.
pub fn agent_side(space: &TaskSpace) -> PathBuf {
    match space.record().back_end {
        BackEnd::Overlay => space.upper(),
        _ => space.ws(),
    }
}

/// What overlayfs does when a file of the layer below is deleted.
pub fn whiteout(path: &Path) {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    mknodat(
        CWD,
        path,
        FileType::CharacterDevice,
        Mode::empty(),
        makedev(0, 0),
    )
    .unwrap();
}

/// Deletes a tracked file the way the back end would.
pub fn delete(space: &TaskSpace, path: &str) {
    let target = agent_side(space).join(path);
    match space.record().back_end {
        BackEnd::Overlay => whiteout(&target),
        _ => fs::remove_file(target).unwrap(),
    }
}

pub fn put(folder: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Everything about every file below `folder`: a digest of names, kinds,
/// modes, times and contents.
pub fn fingerprint(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let content = if metadata.is_file() {
                hex::encode(Sha256::digest(fs::read(&path).unwrap()))
            } else if metadata.is_symlink() {
                fs::read_link(&path).unwrap().display().to_string()
            } else {
                waiting.push(path.clone());
                String::new()
            };
            let stamp = (
                metadata.mode(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.ino(),
            );
            all.insert(path, format!("{stamp:?} {content}"));
        }
    }
    all
}
