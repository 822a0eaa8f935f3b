//! From a user's repository to a task's tree.

use std::{fs, path::Path, thread};

use crate::support::{Bench, fingerprint, with_each_git};
use stockade_types::TaskId;
use stockade_workspace::{
    BackEnd, Pool, PoolError, Repository, RepositoryError, SecretPatterns, Slug, TaskError,
    TaskSpace,
};

#[test]
fn a_folder_without_a_repository_is_named() {
    with_each_git(|bench| {
        let error = Repository::discover(&bench.git, bench.folder.path()).unwrap_err();
        assert!(
            matches!(error, RepositoryError::NotARepository(_)),
            "{error}"
        );
        let missing = bench.folder.path().join("missing");
        let error = Repository::discover(&bench.git, &missing).unwrap_err();
        assert!(
            matches!(error, RepositoryError::NotARepository(_)),
            "{error}"
        );
    });
}

#[test]
fn a_checkout_is_found_from_below_and_with_a_line_break_in_its_path() {
    with_each_git(|bench| {
        for name in ["plain", "two\nlines", "at the end\n"] {
            let worktree = bench.folder.path().join(name);
            bench.run_git(bench.folder.path(), &["init", "-q", name]);
            fs::create_dir(worktree.join("below")).unwrap();
            for folder in ["", "below"] {
                let found = Repository::discover(&bench.git, &worktree.join(folder)).unwrap();
                assert_eq!(found.worktree(), worktree);
                assert_eq!(found.common_dir(), worktree.join(".git"));
            }
        }
    });
}

#[test]
fn the_inside_of_a_repository_is_no_place_to_work_from() {
    with_each_git(|bench| {
        bench.run_git(bench.folder.path(), &["init", "-q", "project"]);
        let inside = bench.folder.path().join("project/.git/objects");
        let error = Repository::discover(&bench.git, &inside).unwrap_err();
        assert!(
            matches!(error, RepositoryError::NotARepository(_)),
            "{error}"
        );
    });
}

#[test]
fn a_bare_repository_is_refused_with_the_way_out() {
    with_each_git(|bench| {
        bench.run_git(bench.folder.path(), &["init", "-q", "--bare", "bare.git"]);
        let bare = bench.folder.path().join("bare.git");
        let error = Repository::discover(&bench.git, &bare).unwrap_err();
        assert!(matches!(error, RepositoryError::Bare(_)), "{error}");
        assert!(error.to_string().contains("git clone"));
    });
}

#[test]
fn a_repository_without_a_commit_says_so() {
    with_each_git(|bench| {
        bench.init();
        let error = bench.repository().base(&bench.git, None).unwrap_err();
        assert!(matches!(error, RepositoryError::Unborn(_)), "{error}");
    });
}

#[test]
fn a_base_that_does_not_exist_or_looks_like_an_option_is_refused() {
    with_each_git(|bench| {
        bench.start();
        for name in ["nowhere", "--all", "-x", "HEAD:README.md", "a\nb", "@{", ""] {
            let error = bench.repository().base(&bench.git, Some(name)).unwrap_err();
            assert!(
                matches!(error, RepositoryError::NoSuchCommit { .. }),
                "{name}: {error}"
            );
        }
        let head = bench.repository().base(&bench.git, None).unwrap();
        assert_eq!(
            bench.repository().base(&bench.git, Some("main")).unwrap(),
            head
        );
    });
}

#[test]
fn a_detached_head_is_fine_and_has_no_branch() {
    with_each_git(|bench| {
        bench.start();
        let repository = bench.repository();
        assert_eq!(
            repository.head_branch(&bench.git).unwrap().as_deref(),
            Some("refs/heads/main")
        );
        bench.user_git(&["checkout", "-q", "--detach"]);
        assert_eq!(repository.head_branch(&bench.git).unwrap(), None);
        assert!(repository.base(&bench.git, None).is_ok());
    });
}

#[test]
fn preparing_a_task_leaves_a_dirty_checkout_exactly_as_it_was() {
    with_each_git(|bench| {
        bench.start();
        bench.write("README.md", "not committed\n");
        bench.write("untracked", "x");
        let before = fingerprint(&bench.repository_path());
        let space = bench.task(1, BackEnd::Checkout);
        bench.snapshot(&space);
        assert_eq!(fingerprint(&bench.repository_path()), before);
        assert_eq!(fs::read(space.ws().join("README.md")).unwrap(), b"hello\n");
    });
}

#[test]
fn the_agents_commit_is_the_users_own_when_nothing_is_hidden() {
    with_each_git(|bench| {
        bench.start();
        let pool = bench.pool();
        assert_eq!(pool.base().commit, pool.base().agent_commit);
        assert_eq!(
            fs::read(pool.tree().join(".git")).unwrap(),
            b"gitdir: /agent.git\n"
        );
        let fsck = bench.run_git(&pool.repository(), &["fsck", "--full", "--strict"]);
        assert!(
            fsck.status.success(),
            "{}",
            String::from_utf8_lossy(&fsck.stderr)
        );
    });
}

#[test]
fn the_pool_holds_that_commit_and_nothing_else() {
    with_each_git(|bench| {
        bench.start();
        bench.write("old-secret.txt", "decoy-history\n");
        bench.commit("oops");
        bench.user_git(&["rm", "-q", "old-secret.txt"]);
        bench.commit("remove");
        bench.user_git(&["checkout", "-q", "-b", "other"]);
        bench.write("other.txt", "decoy-branch\n");
        bench.commit("other");
        bench.user_git(&["checkout", "-q", "main"]);
        let everything = all_content(&bench, &bench.pool().repository());
        assert!(everything.contains("hello"), "{everything}");
        assert!(!everything.contains("decoy"), "{everything}");
    });
}

#[test]
fn a_secret_file_is_a_placeholder_in_the_tree_and_absent_from_the_objects() {
    with_each_git(|bench| {
        bench.start();
        bench.write(".env", "API_KEY=decoy-1\n");
        bench.write("deploy/server.key", "decoy-2");
        bench.write(".env.example", "API_KEY=\n");
        let commit = bench.commit("secrets");
        let original = bench.user_git(&["rev-parse", "HEAD:.env"]);
        let pool = bench.pool();
        assert_eq!(pool.base().commit.as_str(), commit);
        assert_ne!(pool.base().agent_commit.as_str(), commit);
        let masked: Vec<_> = pool
            .base()
            .masked
            .iter()
            .map(|m| m.path.to_string())
            .collect();
        assert_eq!(masked, [".env", "deploy/server.key"]);
        let shown = fs::read_to_string(pool.tree().join(".env")).unwrap();
        assert!(shown.contains("API_KEY=stockade-hidden"), "{shown}");
        let everything = all_content(&bench, &pool.repository());
        assert!(!everything.contains("decoy"), "{everything}");
        // Not even its name, which would let a guess be confirmed.
        assert!(!everything.contains(&original), "{everything}");
        let message = bench.run_git(&pool.repository(), &["log", "--format=%s %an %P", "base"]);
        assert_eq!(String::from_utf8_lossy(&message.stdout).trim(), "secrets U");
        let fsck = bench.run_git(&pool.repository(), &["fsck", "--full", "--strict"]);
        assert!(
            fsck.status.success(),
            "{}",
            String::from_utf8_lossy(&fsck.stderr)
        );
    });
}

/// Every object of a repository, printed.
fn all_content(bench: &Bench, repository: &Path) -> String {
    let arguments = [
        "cat-file",
        "--batch-all-objects",
        "--batch-check=%(objectname)",
    ];
    let ids = bench.run_git(repository, &arguments);
    assert!(ids.status.success());
    let ids = String::from_utf8(ids.stdout).unwrap();
    assert!(ids.lines().count() >= 3);
    let print = |id: &str| {
        let object = bench.run_git(repository, &["cat-file", "-p", id]);
        format!("{id}\n{}\n", String::from_utf8_lossy(&object.stdout))
    };
    ids.lines().map(print).collect()
}

#[test]
fn many_at_once_build_one_entry() {
    let bench = Bench::new();
    let folders: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| bench.pool().folder().to_owned()))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(folders.windows(2).all(|pair| pair[0] == pair[1]));
    let entries = fs::read_dir(folders[0].parent().unwrap()).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "an entry and its lock: {names:?}");
}

#[test]
fn submodules_become_empty_folders_and_lfs_pointers_stay_pointers() {
    with_each_git(|bench| {
        bench.start();
        let commit = bench.user_git(&["rev-parse", "HEAD"]);
        bench.user_git(&[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{commit},sub"),
        ]);
        bench.user_git(&["commit", "-q", "-m", "submodule"]);
        bench.write(
            ".gitattributes",
            "*.bin filter=lfs diff=lfs merge=lfs -text\n",
        );
        let pointer = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n",
            "a".repeat(64)
        );
        bench.write("data.bin", &pointer);
        bench.user_git(&["add", ".gitattributes", "data.bin"]);
        bench.user_git(&["commit", "-q", "-m", "lfs"]);
        let pool = bench.pool();
        assert_eq!(pool.base().submodules.len(), 1);
        assert_eq!(pool.base().lfs_pointers.len(), 1);
        assert!(pool.tree().join("sub").is_dir());
        assert_eq!(
            fs::read_to_string(pool.tree().join("data.bin")).unwrap(),
            pointer
        );

        let space = bench.task(1, BackEnd::Checkout);
        fs::write(space.ws().join("sub/inside"), "x").unwrap();
        let snapshot = bench.snapshot(&space);
        assert!(
            snapshot.skipped[0].reason.contains("submodule"),
            "{:?}",
            snapshot.skipped
        );
        assert_eq!(snapshot.changed, []);
    });
}

#[test]
fn a_commit_with_a_git_directory_inside_is_refused() {
    with_each_git(|bench| {
        bench.start();
        let blob = bench.user_git(&["rev-parse", "HEAD:README.md"]);
        let tree = make_tree(&bench, &format!("100644 blob {blob}\tconfig\n"));
        let root = make_tree(&bench, &format!("040000 tree {tree}\t.GIT\n"));
        let commit = bench.user_git(&["commit-tree", "-m", "evil", &root]);
        let repository = bench.repository();
        let base = repository.base(&bench.git, Some(&commit)).unwrap();
        let secrets = SecretPatterns::standard().unwrap();
        let error = Pool::new(&bench.state())
            .ensure(&bench.git, &repository, &base, &secrets)
            .unwrap_err();
        assert!(matches!(error, PoolError::UnsafePath(_)), "{error}");
    });
}

fn make_tree(bench: &Bench, listing: &str) -> String {
    let file = bench.folder.path().join("listing");
    fs::write(&file, listing).unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "plays a hostile author, who needs a shell"
    )]
    let output = std::process::Command::new("/bin/sh")
        .args(["-c", "exec \"$0\" mktree < \"$1\""])
        .args([bench.git.program(), &file])
        .current_dir(bench.repository_path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_sha256_repository_works_like_any_other() {
    with_each_git(|bench| {
        fs::create_dir_all(bench.repository_path()).unwrap();
        bench.user_git(&["init", "-q", "-b", "main", "--object-format=sha256"]);
        bench.write(".env", "A=decoy\n");
        bench.write("file", "x\n");
        bench.commit("first");
        let space = bench.task(1, BackEnd::Overlay);
        fs::write(space.upper().join("file"), "y\n").unwrap();
        let snapshot = bench.snapshot(&space);
        assert_eq!(snapshot.commit.as_str().len(), 64);
        assert_eq!(bench.shown(&space, snapshot.commit.as_str(), "file"), "y\n");
    });
}

#[test]
fn hooks_monitors_and_filters_of_the_repository_do_not_run() {
    with_each_git(|bench| {
        bench.start();
        let canary = bench.folder.path().join("canary");
        let run = format!("touch {}; cat", canary.display());
        bench.write(".gitattributes", "* filter=evil diff=evil\n");
        bench.write("filtered", "x");
        bench.commit("attributes");
        for (key, value) in [
            ("core.fsmonitor", run.as_str()),
            ("filter.evil.smudge", &run),
            ("filter.evil.clean", &run),
            ("filter.evil.process", &run),
            ("diff.evil.textconv", &run),
            ("diff.external", &run),
            ("core.alternateRefsCommand", &run),
            ("uploadpack.packObjectsHook", &run),
        ] {
            bench.user_git(&["config", key, value]);
        }
        for hook in [
            "post-checkout",
            "reference-transaction",
            "post-index-change",
        ] {
            crate::support::put(
                &bench.user(".git/hooks"),
                hook,
                format!("#!/bin/sh\n{run}\n"),
            );
            use std::os::unix::fs::PermissionsExt;
            let path = bench.user(".git/hooks").join(hook);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let space = bench.task(1, BackEnd::Checkout);
        bench.snapshot(&space);
        assert!(!canary.exists());
        // The trap is a real one: plain git walks into it.
        bench.run_git(&bench.repository_path(), &["status"]);
        assert!(canary.exists());
    });
}

#[test]
fn the_agents_repository_shows_a_clean_tree_on_its_branch() {
    with_each_git(|bench| {
        bench.start();
        let space = bench.task(1, BackEnd::Checkout);
        // Stands in for the mount inside: the same paths on the host.
        let alternates = space.agent_git().join("objects/info/alternates");
        fs::write(
            alternates,
            format!("{}\n", space.pool().repository().join("objects").display()),
        )
        .unwrap();
        let git_dir = format!("--git-dir={}", space.agent_git().display());
        let status = bench.run_git(
            &space.ws(),
            &[
                &git_dir,
                "--work-tree=.",
                "status",
                "--porcelain=v2",
                "--branch",
            ],
        );
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        assert!(status.contains("# branch.head stockade/do-it"), "{status}");
        assert_eq!(
            status.lines().filter(|line| !line.starts_with('#')).count(),
            0,
            "{status}"
        );
    });
}

#[test]
fn a_task_is_made_once_and_an_unknown_one_is_named() {
    let bench = Bench::new();
    bench.task(1, BackEnd::Overlay);
    let id = TaskId::from_random(1);
    let slug = Slug::from_prompt("again");
    let again = TaskSpace::create(
        &bench.state(),
        &id,
        &slug,
        &bench.repository(),
        &bench.pool(),
        BackEnd::Overlay,
        None,
    );
    assert!(matches!(again, Err(TaskError::Exists(_))));
    let unknown = TaskSpace::open(&bench.state(), &TaskId::from_random(2));
    assert!(matches!(unknown, Err(TaskError::NoSuchTask(_))));
    assert_eq!(TaskSpace::open(&bench.state(), &id).unwrap().id(), &id);
}
