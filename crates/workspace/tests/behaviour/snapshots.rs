//! What the walker saves, leaves out, and puts back.

use std::{
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt, fs::symlink, net::UnixListener},
    path::Path,
};

use crate::support::{Bench, agent_side, delete, put, whiteout, with_each_git};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use stockade_workspace::{BackEnd, SnapshotError, SnapshotLimits, TreePath};

const BACK_ENDS: [BackEnd; 2] = [BackEnd::Overlay, BackEnd::Checkout];

fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

#[test]
fn an_edit_a_new_file_a_deletion_and_a_link_are_saved_on_top_of_the_base() {
    with_each_git(|bench| {
        bench.start();
        for (number, back_end) in BACK_ENDS.into_iter().enumerate() {
            let space = bench.task(number as u64, back_end);
            let side = agent_side(&space);
            put(&side, "README.md", "changed\n");
            put(&side, "src/new.rs", "new\n");
            fs::set_permissions(side.join("src/new.rs"), fs::Permissions::from_mode(0o4755))
                .unwrap();
            delete(&space, "docs/guide.md");
            symlink("src/new.rs", side.join("pointer")).unwrap();
            let snapshot = bench.snapshot(&space);

            assert_eq!(snapshot.skipped, [], "{back_end:?}");
            let mut changed = snapshot.changed.clone();
            changed.sort();
            let expected = ["README.md", "docs/guide.md", "pointer", "src/new.rs"].map(path);
            assert_eq!(changed, expected, "{back_end:?}");
            let commit = snapshot.commit.as_str();
            assert_eq!(bench.shown(&space, commit, "README.md"), "changed\n");
            let paths = bench.paths(&space, commit);
            assert!(
                !paths.contains(&"docs/guide.md".to_owned())
                    && paths.contains(&"run.sh".to_owned())
            );
            let shadow = space.folder().join("shadow.git");
            let modes = bench.run_git(&shadow, &["ls-tree", "-r", commit, "pointer", "src/new.rs"]);
            let modes = String::from_utf8_lossy(&modes.stdout).into_owned();
            assert!(
                modes.starts_with("120000") && modes.contains("\n100755"),
                "{modes}"
            );
        }
    });
}

#[test]
fn a_tree_that_nobody_changed_gives_the_base_tree() {
    let bench = Bench::new();
    for (number, back_end) in BACK_ENDS.into_iter().enumerate() {
        let space = bench.task(number as u64, back_end);
        let snapshot = bench.snapshot(&space);
        assert_eq!(snapshot.changed, []);
        let shadow = space.folder().join("shadow.git");
        let base = space.pool().base().agent_commit.as_str();
        let same = bench.run_git(
            &shadow,
            &["diff", "--quiet", base, snapshot.commit.as_str()],
        );
        assert!(same.status.success());
    }
}

#[test]
fn nothing_but_files_and_links_is_saved_and_nothing_blocks() {
    let bench = Bench::new();
    for (number, back_end) in BACK_ENDS.into_iter().enumerate() {
        let space = bench.task(number as u64, back_end);
        let side = agent_side(&space);
        mknodat(CWD, side.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = UnixListener::bind(side.join("socket")).unwrap();
        put(&side, "fine", "x");
        let snapshot = bench.snapshot(&space);
        let skipped: Vec<_> = snapshot
            .skipped
            .iter()
            .map(|s| s.path.to_string())
            .collect();
        assert_eq!(skipped, ["pipe", "socket"], "{back_end:?}");
        assert_eq!(snapshot.changed, [path("fine")]);
    }
}

#[test]
fn names_that_could_be_a_git_directory_never_leave() {
    let bench = Bench::new();
    let names = [
        ".GIT/config",
        "sub/.git/hooks/x",
        "git~1",
        ".git./x",
        ".g\u{200c}it",
        ".git /y",
    ];
    for (number, back_end) in BACK_ENDS.into_iter().enumerate() {
        let space = bench.task(number as u64, back_end);
        for name in names {
            put(
                &agent_side(&space),
                name,
                "[core]\n\tfsmonitor = touch /tmp/never\n",
            );
        }
        put(&agent_side(&space), "sub/visible", "x");
        let snapshot = bench.snapshot(&space);
        assert_eq!(
            snapshot.skipped.len(),
            names.len(),
            "{:?}",
            snapshot.skipped
        );
        assert_eq!(snapshot.changed, [path("sub/visible")], "{back_end:?}");
    }
}

#[test]
fn a_link_in_the_place_of_a_folder_is_saved_as_a_link_and_never_entered() {
    let bench = Bench::new();
    let outside = bench.folder.path().join("outside");
    put(&outside, "secret", "decoy");
    for (number, back_end) in BACK_ENDS.into_iter().enumerate() {
        let space = bench.task(number as u64, back_end);
        let side = agent_side(&space);
        let _ = fs::remove_dir_all(side.join("src"));
        symlink(&outside, side.join("src")).unwrap();
        let snapshot = bench.snapshot(&space);
        let paths = bench.paths(&space, snapshot.with_ignored.as_str());
        assert!(paths.contains(&"src".to_owned()), "{paths:?}");
        assert!(
            !paths.iter().any(|path| path.contains("secret")),
            "{paths:?}"
        );
    }
}

#[test]
fn names_with_line_breaks_quotes_and_bad_bytes_are_saved_as_they_are() {
    with_each_git(|bench| {
        bench.start();
        for (number, back_end) in BACK_ENDS.into_iter().enumerate() {
            let space = bench.task(number as u64, back_end);
            let side = agent_side(&space);
            let names: [&[u8]; 5] = [
                b"a\nb",
                b"bad\xff\xfe",
                b"\"quoted\"",
                b"back\\slash",
                b" D README.md",
            ];
            for name in names {
                fs::write(side.join(Path::new(std::ffi::OsStr::from_bytes(name))), "x").unwrap();
            }
            let snapshot = bench.snapshot(&space);
            assert_eq!(snapshot.skipped, []);
            let shadow = space.folder().join("shadow.git");
            let listed = bench.run_git(
                &shadow,
                &[
                    "ls-tree",
                    "-r",
                    "-z",
                    "--name-only",
                    snapshot.commit.as_str(),
                ],
            );
            let listed: Vec<&[u8]> = listed.stdout.split(|byte| *byte == 0).collect();
            for name in names {
                assert!(listed.contains(&name), "{back_end:?} {name:?}");
            }
            assert!(listed.contains(&b"README.md".as_slice()));
        }
    });
}

#[test]
fn ignored_files_are_saved_apart_and_caches_only_listed() {
    let bench = Bench::new();
    for (number, back_end) in BACK_ENDS.into_iter().enumerate() {
        let space = bench.task(number as u64, back_end);
        let side = agent_side(&space);
        put(&side, "debug.log", "log");
        put(&side, "node_modules/x/index.js", "x");
        put(&side, "new/.gitignore", "/hidden\n");
        put(&side, "new/hidden", "x");
        put(&side, "new/shown", "x");
        let snapshot = bench.snapshot(&space);
        assert_eq!(
            snapshot.ignored,
            [path("debug.log"), path("new/hidden")],
            "{back_end:?}"
        );
        assert_eq!(snapshot.caches, [path("node_modules")]);
        let importable = bench.paths(&space, snapshot.commit.as_str());
        assert!(importable.contains(&"new/shown".to_owned()));
        assert!(!importable.contains(&"debug.log".to_owned()));
        assert_eq!(
            bench.shown(&space, snapshot.with_ignored.as_str(), "debug.log"),
            "log"
        );
    }
}

#[test]
fn a_tracked_file_that_a_new_rule_ignores_is_still_saved() {
    let bench = Bench::new();
    for (number, back_end) in BACK_ENDS.into_iter().enumerate() {
        let space = bench.task(number as u64, back_end);
        put(&agent_side(&space), ".gitignore", "*\n");
        put(&agent_side(&space), "src/main.rs", "hidden change\n");
        let snapshot = bench.snapshot(&space);
        assert!(
            snapshot.changed.contains(&path("src/main.rs")),
            "{back_end:?}"
        );
    }
}

#[test]
fn what_is_over_a_limit_is_left_out_with_the_reason() {
    let bench = Bench::new();
    let limits = SnapshotLimits {
        file_bytes: 10,
        ignored_bytes: 4,
        depth: 3,
        ..SnapshotLimits::default()
    };
    for (number, back_end) in BACK_ENDS.into_iter().enumerate() {
        let space = bench.task(number as u64, back_end);
        let side = agent_side(&space);
        put(&side, "big", "12345678901");
        put(&side, "big.log", "12345");
        put(&side, "a/b/c/d/e", "x");
        let snapshot = space.snapshot(&bench.git, "x", &limits).unwrap();
        let reasons: Vec<_> = snapshot
            .skipped
            .iter()
            .map(|s| format!("{}: {}", s.path, s.reason))
            .collect();
        assert!(
            reasons[0].starts_with("a/b/c/d: it is more than 3 folders deep"),
            "{reasons:?}"
        );
        assert!(
            reasons[1].starts_with("big: it has 11 bytes"),
            "{reasons:?}"
        );
        assert!(
            reasons[2].contains("ignored files have more than 4 bytes"),
            "{reasons:?}"
        );
    }
}

#[test]
fn a_file_larger_than_one_buffer_is_saved_whole() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    let content: Vec<u8> = (0..9_000_001_u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect();
    fs::write(space.upper().join("large"), &content).unwrap();
    let snapshot = bench.snapshot(&space);
    let shadow = space.folder().join("shadow.git");
    let object = format!("{}:large", snapshot.commit);
    assert!(bench.run_git(&shadow, &["show", &object]).stdout == content);
}

#[test]
fn an_opaque_folder_hides_what_the_base_has_below() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    let folder = space.upper().join("src");
    put(&space.upper(), "src/only.rs", "x");
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&folder, "user.overlay.opaque", b"y", flags).is_err() {
        // No user attributes on this file system: a whiteout per file then.
        whiteout(&space.upper().join("src/main.rs"));
        whiteout(&space.upper().join("src/lib.rs"));
    }
    let snapshot = bench.snapshot(&space);
    let below: Vec<_> = bench.paths(&space, snapshot.commit.as_str());
    let below: Vec<_> = below
        .iter()
        .filter(|path| path.starts_with("src/"))
        .collect();
    assert_eq!(below, ["src/only.rs"]);
}

#[test]
fn a_folder_in_place_of_a_file_and_the_reverse_are_saved() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), "README.md/inner", "x");
    put(&space.upper(), "src", "now a file");
    let snapshot = bench.snapshot(&space);
    let paths = bench.paths(&space, snapshot.commit.as_str());
    assert!(paths.contains(&"README.md/inner".to_owned()) && paths.contains(&"src".to_owned()));
    assert!(!paths.contains(&"src/main.rs".to_owned()), "{paths:?}");
}

#[test]
fn undo_puts_back_files_links_deletions_and_ignored_files() {
    with_each_git(|bench| {
        bench.start();
        for (number, back_end) in BACK_ENDS.into_iter().enumerate() {
            let space = bench.task(number as u64, back_end);
            put(&agent_side(&space), "README.md", "first\n");
            put(&agent_side(&space), "debug.log", "kept");
            delete(&space, "docs/guide.md");
            let first = bench.snapshot(&space);
            put(&agent_side(&space), "README.md", "second\n");
            put(&agent_side(&space), "later", "x");
            bench.snapshot(&space);

            let kept = space.undo(&bench.git, first.number).unwrap();
            assert_eq!(
                fs::read(kept.join("later")).unwrap(),
                b"x",
                "nothing is lost"
            );
            let again = bench.snapshot(&space);
            let shadow = space.folder().join("shadow.git");
            let (old, new) = (first.with_ignored.as_str(), again.with_ignored.as_str());
            let same = bench.run_git(&shadow, &["diff", "--stat", old, new]);
            assert_eq!(String::from_utf8_lossy(&same.stdout), "", "{back_end:?}");

            space.undo(&bench.git, 0).unwrap();
            assert_eq!(bench.snapshot(&space).changed, [], "{back_end:?}");
        }
    });
}

#[test]
fn undo_of_a_deleted_folder_hides_the_folder_itself() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    whiteout(&space.upper().join("docs"));
    let snapshot = bench.snapshot(&space);
    space.undo(&bench.git, snapshot.number).unwrap();
    let hidden = space.upper().join("docs").symlink_metadata().unwrap();
    assert!(!hidden.is_dir() && !hidden.is_file());
}

#[test]
fn a_snapshot_that_does_not_exist_is_named_in_the_error() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    let error = space.undo(&bench.git, 7).unwrap_err();
    assert!(
        matches!(
            error,
            SnapshotError::NoSuchSnapshot {
                number: 7,
                newest: 0
            }
        ),
        "{error}"
    );
}

#[test]
fn a_copy_that_is_given_to_another_user_is_still_known_file_by_file() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Checkout);
    put(&space.ws(), "README.md", "brought along\n");
    let known = space.known().unwrap();
    assert!(known.contains("src/main.rs") && !known.contains("README.md"));

    // A change of owner moves `ctime`, to the same owner too.
    let (user, group) = (rustix::process::getuid(), rustix::process::getgid());
    for name in ["src/main.rs", "README.md"] {
        rustix::fs::chown(space.ws().join(name), Some(user), Some(group)).unwrap();
    }
    assert!(!space.known().unwrap().contains("src/main.rs"));
    space.remember(&known).unwrap();
    let now = space.known().unwrap();
    assert!(now.contains("src/main.rs") && !now.contains("README.md"));
    assert_eq!(bench.snapshot(&space).changed, [path("README.md")]);
}
