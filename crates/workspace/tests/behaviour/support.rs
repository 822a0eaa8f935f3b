//! A user's repository, a state directory, and hands to change both.

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
use stockade_scan::Scanner;
use stockade_types::TaskId;
use stockade_workspace::{
    Approval, BackEnd, FileDiff, Git, Identity, Imported, MergeError, MergePlan, MergeRequest,
    Pool, PoolEntry, Provenance, Repository, Review, SecretPatterns, Slug, Snapshot,
    SnapshotLimits, TaskSpace, Unconfined, Undecided,
};
use tempfile::TempDir;

pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) git: Git,
}

/// Every git that is installed, the distribution's and a newer one.
pub(crate) fn gits() -> Vec<Git> {
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
pub(crate) fn with_each_git(test: impl Fn(Bench)) {
    for git in gits() {
        test(Bench {
            folder: tempfile::tempdir().unwrap(),
            git,
        });
    }
}

impl Bench {
    /// A bench with a repository of a few files and one commit.
    pub(crate) fn new() -> Self {
        let git = gits().remove(0);
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
            git,
        };
        bench.start();
        bench
    }

    pub(crate) fn start(&self) {
        self.init();
        self.write("README.md", "hello\n");
        self.write("src/main.rs", "fn main() {}\n");
        self.write("src/lib.rs", "pub(crate) fn one() -> u32 {\n    1\n}\n");
        self.write("docs/guide.md", "guide\n");
        self.write(".gitignore", "*.log\ncache/\nnode_modules/\n");
        self.write("run.sh", "#!/bin/sh\n");
        fs::set_permissions(self.user("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("README.md", self.user("link")).unwrap();
        self.commit("first");
    }

    pub(crate) fn init(&self) {
        fs::create_dir_all(self.repository_path()).unwrap();
        self.user_git(&["init", "-q", "-b", "main"]);
    }

    pub(crate) fn repository_path(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub(crate) fn user(&self, path: &str) -> PathBuf {
        self.repository_path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        put(&self.repository_path(), path, text);
    }

    pub(crate) fn commit(&self, message: &str) -> String {
        self.user_git(&["add", "-A"]);
        self.user_git(&["commit", "-q", "-m", message]);
        self.user_git(&["rev-parse", "HEAD"])
    }

    /// What the user does, with their own git.
    pub(crate) fn user_git(&self, arguments: &[&str]) -> String {
        let output = self.run_git(&self.repository_path(), arguments);
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) fn run_git(&self, folder: &Path, arguments: &[&str]) -> Output {
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

    pub(crate) fn repository(&self) -> Repository {
        Repository::discover(&self.git, &self.repository_path()).unwrap()
    }

    pub(crate) fn pool(&self) -> PoolEntry {
        let repository = self.repository();
        let base = repository.base(&self.git, None).unwrap();
        let secrets = SecretPatterns::standard().unwrap();
        Pool::new(&self.state())
            .ensure(&self.git, &repository, &base, &secrets)
            .unwrap()
    }

    pub(crate) fn task(&self, number: u64, back_end: BackEnd) -> TaskSpace {
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
            None,
        )
        .unwrap()
        .space
    }

    pub(crate) fn snapshot(&self, space: &TaskSpace) -> Snapshot {
        space
            .snapshot(&self.git, "test", &SnapshotLimits::default())
            .unwrap()
    }

    /// `git show` in the repository of snapshots.
    pub(crate) fn shown(&self, space: &TaskSpace, revision: &str, path: &str) -> String {
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
    pub(crate) fn paths(&self, space: &TaskSpace, revision: &str) -> Vec<String> {
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
pub(crate) fn agent_side(space: &TaskSpace) -> PathBuf {
    match space.record().back_end {
        BackEnd::Overlay => space.upper(),
        _ => space.ws(),
    }
}

/// What overlayfs does when a file of the layer below is deleted.
pub(crate) fn whiteout(path: &Path) {
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
pub(crate) fn delete(space: &TaskSpace, path: &str) {
    let target = agent_side(space).join(path);
    match space.record().back_end {
        BackEnd::Overlay => whiteout(&target),
        _ => fs::remove_file(target).unwrap(),
    }
}

pub(crate) fn put(folder: &Path, path: &str, text: impl AsRef<[u8]>) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Everything about every file below `folder`: a digest of names, kinds,
/// modes, times and contents.
pub(crate) fn fingerprint(folder: &Path) -> BTreeMap<PathBuf, String> {
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

pub(crate) fn import(bench: &Bench, space: &TaskSpace) -> Imported {
    let snapshot = bench.snapshot(space);
    space
        .import(&bench.git, &bench.repository(), &snapshot)
        .unwrap()
}

/// A value that the tests' reviewer knows.
pub(crate) const KNOWN: &str = "pa55word-of-the-database";

/// What finds it, and keys.
pub(crate) fn scanner() -> Scanner {
    Scanner::new([("DB_PASSWORD of .env".to_owned(), KNOWN)]).unwrap()
}

pub(crate) fn review(bench: &Bench, space: &TaskSpace) -> Review {
    let imported = import(bench, space);
    space
        .review(&bench.git, &bench.repository(), &imported, &scanner())
        .unwrap()
}

pub(crate) fn file<'r>(review: &'r Review, path: &str) -> &'r FileDiff {
    review
        .files
        .iter()
        .find(|file| file.path.to_string() == path)
        .unwrap()
}

/// Takes everything that is not held back and plans its merge into `target`.
pub(crate) fn plan(
    bench: &Bench,
    space: &TaskSpace,
    target: &str,
) -> Result<MergePlan, MergeError> {
    plan_as(bench, space, target, false)
}

/// The same, as one commit or keeping the agent's own.
pub(crate) fn plan_as(
    bench: &Bench,
    space: &TaskSpace,
    target: &str,
    keep: bool,
) -> Result<MergePlan, MergeError> {
    let repository = bench.repository();
    let imported = import(bench, space);
    let review = space
        .review(&bench.git, &repository, &imported, &scanner())
        .unwrap();
    let accepted = space
        .accepted(&bench.git, &repository, &review, Undecided::Accept)
        .unwrap();
    let text = |text: &str| text.to_owned();
    let provenance = Provenance {
        task: space.id().to_string(),
        agent: text("a"),
        model: text("m"),
        policy: text("p"),
        record: text("1 r"),
    };
    let identity = Identity {
        name: text("User"),
        email: text("user@example.org"),
    };
    let request = MergeRequest {
        target,
        accepted: &accepted.commit,
        message: "Do it\n\nStockade-Task: forged\n",
        provenance: &provenance,
        identity: &identity,
        signer: None,
        scanner: &scanner(),
    };
    if keep {
        space.plan_kept_merge(&bench.git, &repository, &imported, &accepted, &request)
    } else {
        space.plan_merge(&bench.git, &repository, &request)
    }
}

pub(crate) fn ready(bench: &Bench, space: &TaskSpace, target: &str) -> Approval {
    match plan(bench, space, target).unwrap() {
        MergePlan::Ready(approval) => approval,
        other => panic!("{other:?}"),
    }
}
