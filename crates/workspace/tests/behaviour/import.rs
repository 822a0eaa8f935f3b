//! From a snapshot, or the agent's own commits, to the user's repository.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use stockade_workspace::{BackEnd, BundleError, BundleLimits, Skipped, TaskSpace};

use crate::support::{Bench, import, put, with_each_git};

/// What the sandbox would run: a bundle of all that an agent committed.
pub(crate) fn bundle(bench: &Bench, space: &TaskSpace) -> Vec<u8> {
    let clone = agents_clone(bench, space);
    put(&clone, "README.md", "committed\n");
    bench.run_git(&clone, &["commit", "-q", "-a", "-m", "agent's own"]);
    bundle_of(bench, &clone)
}

/// A repository with the base, for an agent to commit to.
pub(crate) fn agents_clone(bench: &Bench, space: &TaskSpace) -> PathBuf {
    let clone = bench.folder.path().join(format!("agent-{}", space.id()));
    let from = format!("file://{}", space.pool().repository().display());
    let to = clone.to_str().unwrap();
    let words = ["clone", "-q", "-b", "base", &from, to];
    bench.run_git(bench.folder.path(), &words);
    clone
}

/// A bundle of what such a repository has checked out.
pub(crate) fn bundle_of(bench: &Bench, clone: &Path) -> Vec<u8> {
    let output = bench.run_git(clone, &["bundle", "create", "-", "HEAD", "^origin/base"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    output.stdout
}

#[test]
fn imported_work_stands_on_the_users_commit_and_on_no_branch() {
    with_each_git(|bench| {
        bench.start();
        let branches = bench.user_git(&["for-each-ref", "refs/heads"]);
        let space = bench.task(1, BackEnd::Overlay);
        put(&space.upper(), "README.md", "changed\n");
        let imported = import(&bench, &space);
        assert_eq!(imported.refused, []);
        assert_eq!(
            bench.user_git(&["rev-parse", &format!("{}^", imported.reference)]),
            imported.base.as_str()
        );
        assert_eq!(
            bench.user_git(&["show", &format!("{}:README.md", imported.reference)]),
            "changed"
        );
        assert_eq!(bench.user_git(&["for-each-ref", "refs/heads"]), branches);
        bench.user_git(&["fsck", "--strict"]);
    });
}

#[test]
fn a_placeholder_left_alone_is_the_real_file_again_and_a_changed_one_is_refused() {
    with_each_git(|bench| {
        bench.start();
        bench.write(".env", "KEY=decoy-1\n");
        bench.write("a.pem", "decoy-2");
        bench.commit("secrets");
        let space = bench.task(1, BackEnd::Overlay);
        put(&space.upper(), "README.md", "changed\n");
        put(&space.upper(), "a.pem", "overwritten");
        let imported = import(&bench, &space);
        let show =
            |path: &str| bench.user_git(&["show", &format!("{}:{path}", imported.reference)]);
        assert_eq!(
            (show(".env"), show("a.pem")),
            ("KEY=decoy-1".into(), "decoy-2".into())
        );
        assert_eq!(imported.refused.len(), 1);
        assert_eq!(imported.refused[0].path.to_string(), "a.pem");
    });
}

#[test]
fn links_out_of_the_tree_are_refused_and_links_inside_are_not() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    let links = [
        ("absolute", "/etc/passwd"),
        ("up", "../x"),
        ("git", ".git/config"),
        ("fine", "src/lib.rs"),
    ];
    for (name, target) in links {
        symlink(target, space.upper().join(name)).unwrap();
    }
    let imported = import(&bench, &space);
    let refused: Vec<_> = imported
        .refused
        .iter()
        .map(|r| r.path.to_string())
        .collect();
    assert_eq!(refused, ["absolute", "git", "up"]);
    assert_eq!(
        bench.user_git(&["cat-file", "-p", &format!("{}:fine", imported.reference)]),
        "src/lib.rs"
    );
}

/// Whether the user's repository has an object with this content.
fn has_blob(bench: &Bench, text: &str) -> bool {
    put(bench.folder.path(), "content", text);
    let path = bench.folder.path().join("content");
    let id = bench.user_git(&["hash-object", "--no-filters", path.to_str().unwrap()]);
    let found = bench.run_git(&bench.repository_path(), &["cat-file", "-e", &id]);
    found.status.success()
}

#[test]
fn what_git_refuses_stays_out_by_name_and_all_other_work_comes_back() {
    with_each_git(|bench| {
        bench.start();
        let space = bench.task(1, BackEnd::Overlay);
        let upper = space.upper();
        let update = "[submodule \"x\"]\n\tpath = x\n\turl = u\n\tupdate = !touch /tmp/never\n";
        let url = "[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=touch /tmp/never\n";
        let long = format!("{}  text\n", "a".repeat(3000));
        let bad = [
            (".gitmodules", update),
            ("sub/.GITMODULES", url),
            ("short/gitmod~1", url),
            ("attributes/.gitattributes", &long),
            ("folder/.gitmodules/file", "a folder of that name\n"),
        ];
        for (path, text) in bad {
            put(&upper, path, text);
        }
        symlink("../README.md", upper.join("sub/.gitmodules")).unwrap();
        let good = ["README.md", "new", "sub/.gitignore", "a~1", "folder/file"];
        for path in good {
            put(&upper, path, format!("good {path}\n"));
        }

        let imported = import(&bench, &space);
        let mut refused: Vec<_> = imported
            .refused
            .iter()
            .map(|r| r.path.to_string())
            .collect();
        refused.sort();
        let mut expected: Vec<_> = bad.iter().map(|(path, _)| (*path).to_owned()).collect();
        expected.push("sub/.gitmodules".to_owned());
        expected.sort();
        assert_eq!(refused, expected);
        for file in &imported.refused {
            assert!(file.reason.starts_with("git refuses it: "), "{file:?}");
        }
        for path in good {
            let shown = bench.user_git(&["show", &format!("{}:{path}", imported.reference)]);
            assert_eq!(shown, format!("good {path}"));
        }
        bench.user_git(&["fsck", "--strict"]);
        for (path, text) in bad {
            assert!(!has_blob(&bench, text), "{path} arrived");
        }
        assert!(has_blob(&bench, "good new\n"));
        assert!(!space.folder().join("check.git").exists());
    });
}

#[test]
fn more_bad_files_than_git_is_asked_about_are_all_kept_out() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    let text = |number: usize| {
        format!("[submodule \"x\"]\n\tpath = x\n\turl = u\n\tupdate = !touch /tmp/{number}\n")
    };
    const BAD: usize = 100;
    for number in 0..BAD {
        put(
            &space.upper(),
            &format!("{number:03}/.gitmodules"),
            text(number),
        );
        put(&space.upper(), &format!("{number:03}/good"), "good\n");
    }
    let imported = import(&bench, &space);
    for number in 0..BAD {
        let refused = |file: &Skipped| file.path.to_string() == format!("{number:03}/.gitmodules");
        assert!(imported.refused.iter().any(refused), "{number}");
        assert!(!has_blob(&bench, &text(number)), "{number} arrived");
    }
    bench.user_git(&["fsck", "--strict"]);
    let unsure = |file: &&Skipped| file.reason.contains("or a file beside it");
    assert!(imported.refused.iter().filter(unsure).count() > 0);
}

#[test]
fn the_agents_own_commits_arrive_as_a_bundle_and_match_the_snapshot() {
    with_each_git(|bench| {
        bench.start();
        let space = bench.task(1, BackEnd::Overlay);
        let bytes = bundle(&bench, &space);
        let limits = BundleLimits::default();
        let commits = space
            .import_bundle(&bench.git, bytes.as_slice(), &limits)
            .unwrap();
        assert_eq!(commits.len(), 1);
        put(&space.upper(), "README.md", "committed\n");
        let snapshot = bench.snapshot(&space);
        let shadow = space.folder().join("shadow.git");
        let tree = bench.run_git(
            &shadow,
            &["rev-parse", &format!("{}^{{tree}}", snapshot.commit)],
        );
        assert_eq!(
            String::from_utf8_lossy(&tree.stdout).trim(),
            commits[0].tree.as_str()
        );
    });
}

#[test]
fn a_bundle_that_is_broken_or_over_a_limit_leaves_the_quarantine_empty() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    let good = bundle(&bench, &space);
    let objects = space.folder().join("quarantine.git/objects/pack");
    let refuse = |bytes: &[u8], limits: &BundleLimits| {
        let error = space.import_bundle(&bench.git, bytes, limits).unwrap_err();
        assert_eq!(fs::read_dir(&objects).unwrap().count(), 0, "{error}");
        error
    };
    let limits = BundleLimits::default();
    assert!(matches!(
        refuse(b"not a bundle\n", &limits),
        BundleError::Malformed(_)
    ));
    refuse(&good[..good.len() - 30], &limits);
    let mut flipped = good.clone();
    let middle = good.len() - 40;
    flipped[middle] ^= 0xff;
    assert!(matches!(refuse(&flipped, &limits), BundleError::Git(_)));
    let few = BundleLimits {
        objects: 1,
        ..limits
    };
    assert!(matches!(refuse(&good, &few), BundleError::TooLarge { .. }));
    let small = BundleLimits {
        bytes: good.len() as u64 - 1,
        ..limits
    };
    assert!(matches!(
        refuse(&good, &small),
        BundleError::TooLarge { .. }
    ));
    let tiny = BundleLimits {
        object_bytes: 5,
        ..limits
    };
    assert!(matches!(refuse(&good, &tiny), BundleError::TooLarge { .. }));
}
