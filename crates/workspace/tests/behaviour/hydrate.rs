//! What comes along from the user's checkout.

use std::{fs, os::unix::fs::symlink};

use stockade_workspace::{BackEnd, SecretPatterns, StandIns};

use crate::support::{Bench, fingerprint, put, with_each_git};

#[test]
fn uncommitted_changes_come_along_and_secrets_do_not() {
    with_each_git(|bench| {
        bench.start();
        for (number, back_end) in [BackEnd::Overlay, BackEnd::Checkout]
            .into_iter()
            .enumerate()
        {
            bench.write("README.md", "uncommitted\n");
            bench.write("untracked", "x\n");
            bench.write(".env.local", "KEY=decoy\n");
            let _ = fs::remove_file(bench.user("docs/guide.md"));
            let before = fingerprint(&bench.repository_path());
            let space = bench.task(number as u64, back_end);
            let secrets = SecretPatterns::standard().unwrap();
            let brought = space
                .bring_changes(&bench.git, &bench.repository(), &secrets, &StandIns::new())
                .unwrap();
            assert_eq!(fingerprint(&bench.repository_path()), before);
            assert_eq!(
                (
                    brought.written.len(),
                    brought.deleted.len(),
                    brought.hidden.len()
                ),
                (2, 1, 1),
                "{brought:?}"
            );
            let commit = bench.snapshot(&space).commit;
            assert_eq!(
                bench.shown(&space, commit.as_str(), "README.md"),
                "uncommitted\n"
            );
            assert!(
                bench
                    .shown(&space, commit.as_str(), ".env.local")
                    .contains("KEY=stockade-hidden")
            );
            assert!(
                !bench
                    .paths(&space, commit.as_str())
                    .contains(&"docs/guide.md".to_owned())
            );
        }
    });
}

#[test]
fn listed_ignored_files_come_along_and_nothing_through_a_link() {
    let bench = Bench::new();
    bench.write(".worktreeinclude", "cache/\nlinked/\n*.log\n");
    bench.write(".gitignore", "*.log\ncache/\nlinked\nother\n");
    bench.commit("include");
    bench.write("cache/data", "x");
    bench.write("cache/token.key", "decoy");
    bench.write("debug.log", "log");
    bench.write("other", "not listed");
    put(bench.folder.path(), "outside/secret", "decoy");
    symlink(bench.folder.path().join("outside"), bench.user("linked")).unwrap();
    let space = bench.task(1, BackEnd::Overlay);
    let secrets = SecretPatterns::standard().unwrap();
    let brought = space
        .bring_included(&bench.git, &bench.repository(), &secrets, &StandIns::new())
        .unwrap();
    let written: Vec<_> = brought.written.iter().map(ToString::to_string).collect();
    assert_eq!(written, ["cache/data", "debug.log"], "{brought:?}");
    assert!(
        !fs::read_to_string(space.upper().join("cache/token.key"))
            .unwrap()
            .contains("decoy")
    );
    assert!(!space.upper().join("linked").exists());
}
