//! From a snapshot to a branch: import, review, decisions, merge, trash.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]
#![expect(clippy::panic, reason = "an unexpected answer fails the test")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    thread,
    time::{Duration, SystemTime},
};

use stockade_types::TaskId;
use stockade_workspace::{
    Approval, BackEnd, BundleError, BundleLimits, Choice, FileDiff, Identity, Imported, MergeError,
    MergePlan, MergeRequest, MergedBy, Provenance, Review, Risk, SecretPatterns, Status, TaskSpace,
    Trash, Undecided,
};
use support::{Bench, agent_side, delete, fingerprint, put, with_each_git};

fn import(bench: &Bench, space: &TaskSpace) -> Imported {
    let snapshot = bench.snapshot(space);
    space
        .import(&bench.git, &bench.repository(), &snapshot)
        .unwrap()
}

fn review(bench: &Bench, space: &TaskSpace) -> Review {
    let imported = import(bench, space);
    space
        .review(&bench.git, &bench.repository(), &imported)
        .unwrap()
}

fn file<'r>(review: &'r Review, path: &str) -> &'r FileDiff {
    review
        .files
        .iter()
        .find(|file| file.path.to_string() == path)
        .unwrap()
}

/// Takes everything that is not held back and plans its merge into `target`.
fn plan(bench: &Bench, space: &TaskSpace, target: &str) -> Result<MergePlan, MergeError> {
    let review = review(bench, space);
    let repository = bench.repository();
    let accepted = space
        .accepted(&bench.git, &repository, &review, Undecided::Accept)
        .unwrap();
    let text = |text: &str| text.to_owned();
    let provenance = Provenance {
        task: space.id().to_string(),
        agent: text("a"),
        model: text("m"),
        policy: text("p"),
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
    };
    space.plan_merge(&bench.git, &repository, &request)
}

fn ready(bench: &Bench, space: &TaskSpace, target: &str) -> Approval {
    match plan(bench, space, target).unwrap() {
        MergePlan::Ready(approval) => approval,
        other => panic!("{other:?}"),
    }
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

#[test]
fn a_malformed_gitmodules_does_not_pass_the_check_on_arrival() {
    with_each_git(|bench| {
        bench.start();
        let space = bench.task(1, BackEnd::Overlay);
        let text = "[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=touch /tmp/never\n";
        put(&space.upper(), ".gitmodules", text);
        let snapshot = bench.snapshot(&space);
        let error = space
            .import(&bench.git, &bench.repository(), &snapshot)
            .unwrap_err();
        assert!(error.to_string().contains("git"), "{error}");
        let missing = bench.run_git(
            &bench.repository_path(),
            &[
                "rev-parse",
                "--verify",
                "-q",
                &format!("refs/stockade/{}/result", space.id()),
            ],
        );
        assert!(!missing.status.success());
    });
}

#[test]
fn files_are_sorted_by_what_they_would_run_and_counted() {
    with_each_git(|bench| {
        bench.start();
        bench.write("tests/old.rs", "#[test]\n");
        bench.commit("test");
        let space = bench.task(1, BackEnd::Overlay);
        let side = agent_side(&space);
        put(&side, "src/main.rs", "fn main() {}\n// more\n");
        put(&side, ".github/workflows/ci.yml", "on: push\n");
        put(&side, ".husky/pre-commit", "x\n");
        put(&side, "AGENTS.md", "obey\n");
        put(&side, "image", b"\0\x01");
        put(&side, "bidi.rs", "let a = 1; // \u{202e}\n");
        put(&side, "large.txt", vec![b'x'; 2 << 20]);
        delete(&space, "tests/old.rs");
        let review = review(&bench, &space);
        let order: Vec<_> = review
            .files
            .iter()
            .map(|f| (f.path.to_string(), f.risk()))
            .collect();
        let text = |name: &str, risk| (name.to_owned(), risk);
        assert_eq!(
            order,
            [
                text(".husky/pre-commit", Risk::RunsByItself),
                text(".github/workflows/ci.yml", Risk::RunsInCi),
                text("AGENTS.md", Risk::AgentInstructions),
                text("bidi.rs", Risk::Deceptive),
                text("image", Risk::Binary),
                text("large.txt", Risk::Binary),
                text("tests/old.rs", Risk::TestRemoved),
                text("src/main.rs", Risk::Ordinary),
            ]
        );
        let main = file(&review, "src/main.rs");
        assert_eq!(
            (main.status, main.added, main.removed),
            (Status::Modified, 1, 0)
        );
        assert!(file(&review, ".husky/pre-commit").held_back && !main.held_back);
        assert_eq!(file(&review, "large.txt").too_large, Some(2 << 20));
        let repository = bench.repository();
        let hunks = space
            .hunks(&bench.git, &repository, file(&review, "bidi.rs"))
            .unwrap();
        assert_eq!(hunks[0].lines[0].text, "let a = 1; // \\u{202e}");
    });
}

#[test]
fn an_attribute_cannot_hide_text_from_review() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), ".gitattributes", "* -diff binary\n");
    put(&space.upper(), "README.md", "visible\n");
    let review = review(&bench, &space);
    let readme = file(&review, "README.md");
    assert!(!readme.binary && readme.added == 1);
}

#[test]
fn only_accepted_files_and_hunks_are_in_the_result() {
    let bench = Bench::new();
    let lines = |first: &str, last: &str| format!("{first}\n1\n2\n3\n4\n5\n6\n7\n8\n{last}\n");
    bench.write("long", lines("a", "b"));
    bench.commit("long");
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), "long", lines("A", "B"));
    put(&space.upper(), "README.md", "rejected\n");
    put(&space.upper(), "src/main.rs", "accepted\n");
    put(&space.upper(), ".envrc", "held back\n");
    let review = review(&bench, &space);
    let repository = bench.repository();
    let hunks = space
        .hunks(&bench.git, &repository, file(&review, "long"))
        .unwrap();
    assert_eq!(hunks.len(), 2);
    let chosen = BTreeMap::from([(hunks[1].id.clone(), true)]);
    space
        .decide(file(&review, "long"), Choice::Hunks(chosen))
        .unwrap();
    space
        .decide(file(&review, "README.md"), Choice::Reject)
        .unwrap();
    let accepted = space
        .accepted(&bench.git, &repository, &review, Undecided::Accept)
        .unwrap();
    let import = space.folder().join("import.git");
    let show = |path: &str| {
        let output = bench.run_git(&import, &["show", &format!("{}:{path}", accepted.commit)]);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(show("long"), lines("a", "B"));
    assert_eq!(
        (show("README.md").as_str(), show("src/main.rs").as_str()),
        ("hello\n", "accepted\n")
    );
    assert_eq!(show(".envrc"), "");
    let left_out: Vec<_> = accepted
        .left_out
        .iter()
        .map(|l| l.path.to_string())
        .collect();
    assert_eq!(left_out, [".envrc", "README.md", "long"]);
}

#[test]
fn a_decision_does_not_outlive_the_content_it_was_made_about() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), ".envrc", "harmless\n");
    let first = review(&bench, &space);
    space
        .decide(file(&first, ".envrc"), Choice::Accept)
        .unwrap();
    assert_eq!(
        space.decisions().unwrap().about(file(&first, ".envrc")),
        Some(&Choice::Accept)
    );
    put(&space.upper(), ".envrc", "harmful\n");
    let second = review(&bench, &space);
    assert_eq!(
        space.decisions().unwrap().about(file(&second, ".envrc")),
        None
    );
    let repository = bench.repository();
    let accepted = space
        .accepted(&bench.git, &repository, &second, Undecided::Accept)
        .unwrap();
    assert_eq!(accepted.files, []);
}

#[test]
fn a_clean_checkout_is_brought_along_and_no_hook_runs() {
    with_each_git(|bench| {
        bench.start();
        let space = bench.task(1, BackEnd::Overlay);
        put(&space.upper(), "README.md", "merged\n");
        put(&space.upper(), "new/file", "x\n");
        delete(&space, "docs/guide.md");
        let canary = bench.folder.path().join("canary");
        for hook in [
            "post-checkout",
            "reference-transaction",
            "post-merge",
            "post-index-change",
        ] {
            use std::os::unix::fs::PermissionsExt;
            put(
                &bench.user(".git/hooks"),
                hook,
                format!("#!/bin/sh\ntouch {}\n", canary.display()),
            );
            let path = bench.user(".git/hooks").join(hook);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let approval = ready(&bench, &space, "main");
        let landed = space
            .land(&bench.git, &bench.repository(), &approval)
            .unwrap();
        assert!(landed.checkout_updated && !canary.exists());
        assert_eq!(
            fs::read_to_string(bench.user("README.md")).unwrap(),
            "merged\n"
        );
        assert!(bench.user("new/file").exists() && !bench.user("docs").exists());
        assert_eq!(bench.user_git(&["status", "--porcelain"]), "");
        let message = bench.user_git(&["log", "-1", "--format=%B%n%an"]);
        assert!(message.contains("> Stockade-Task: forged"), "{message}");
        let trailer = "--format=%(trailers:key=Stockade-Task,valueonly)";
        assert_eq!(bench.user_git(&["log", "-1", trailer]), space.id().as_str());
    });
}

#[test]
fn a_branch_that_is_not_checked_out_moves_and_the_checkout_stays() {
    with_each_git(|bench| {
        bench.start();
        bench.user_git(&["checkout", "-q", "-b", "other"]);
        let space = bench.task(1, BackEnd::Overlay);
        put(&space.upper(), "README.md", "merged\n");
        let approval = ready(&bench, &space, "main");
        let landed = space
            .land(&bench.git, &bench.repository(), &approval)
            .unwrap();
        assert!(!landed.checkout_updated);
        assert_eq!(
            bench.user_git(&["rev-parse", "main"]),
            landed.commit.as_str()
        );
        assert_eq!(
            fs::read_to_string(bench.user("README.md")).unwrap(),
            "hello\n"
        );
    });
}

#[test]
fn changes_of_the_users_own_elsewhere_survive_and_in_the_way_they_stop_the_merge() {
    with_each_git(|bench| {
        bench.start();
        let space = bench.task(1, BackEnd::Overlay);
        put(&space.upper(), "README.md", "merged\n");
        put(&space.upper(), "fresh", "agent\n");
        let approval = ready(&bench, &space, "main");

        bench.write("README.md", "mine\n");
        let before = bench.user_git(&["rev-parse", "main"]);
        let error = space
            .land(&bench.git, &bench.repository(), &approval)
            .unwrap_err();
        assert!(
            matches!(error, MergeError::CheckoutInTheWay { .. }),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(bench.user("README.md")).unwrap(),
            "mine\n"
        );
        assert_eq!(bench.user_git(&["rev-parse", "main"]), before);

        bench.write("README.md", "hello\n");
        bench.write("fresh", "mine, untracked\n");
        let error = space
            .land(&bench.git, &bench.repository(), &approval)
            .unwrap_err();
        assert!(
            matches!(error, MergeError::CheckoutInTheWay { .. }),
            "{error}"
        );
        assert_eq!(
            fs::read_to_string(bench.user("fresh")).unwrap(),
            "mine, untracked\n"
        );

        fs::remove_file(bench.user("fresh")).unwrap();
        bench.write("src/main.rs", "mine\n");
        space
            .land(&bench.git, &bench.repository(), &approval)
            .unwrap();
        assert_eq!(
            fs::read_to_string(bench.user("src/main.rs")).unwrap(),
            "mine\n"
        );
        assert_eq!(
            fs::read_to_string(bench.user("README.md")).unwrap(),
            "merged\n"
        );
    });
}

#[test]
fn conflicts_are_listed_and_nothing_is_touched() {
    with_each_git(|bench| {
        bench.start();
        let space = bench.task(1, BackEnd::Overlay);
        put(&space.upper(), "README.md", "agent\n");
        put(&space.upper(), "src/main.rs", "fine\n");
        bench.write("README.md", "user\n");
        bench.commit("meanwhile");
        let checkout = |bench: &Bench| {
            let mut all = fingerprint(&bench.repository_path());
            all.retain(|path, _| !path.starts_with(bench.user(".git")));
            all
        };
        let before = checkout(&bench);
        let MergePlan::Conflicts(paths) = plan(&bench, &space, "main").unwrap() else {
            panic!()
        };
        assert_eq!(
            paths.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["README.md"]
        );
        assert_eq!(checkout(&bench), before);
    });
}

#[test]
fn work_merges_onto_a_branch_that_went_on() {
    with_each_git(|bench| {
        bench.start();
        let space = bench.task(1, BackEnd::Overlay);
        put(&space.upper(), "README.md", "agent\n");
        bench.write("src/main.rs", "user\n");
        bench.commit("meanwhile");
        let approval = ready(&bench, &space, "refs/heads/main");
        space
            .land(&bench.git, &bench.repository(), &approval)
            .unwrap();
        assert_eq!(
            fs::read_to_string(bench.user("README.md")).unwrap(),
            "agent\n"
        );
        assert_eq!(
            fs::read_to_string(bench.user("src/main.rs")).unwrap(),
            "user\n"
        );
        assert!(matches!(
            plan(&bench, &space, "main"),
            Ok(MergePlan::Nothing)
        ));
    });
}

#[test]
fn of_two_merges_at_once_one_wins_and_the_other_is_told() {
    with_each_git(|bench| {
        bench.start();
        let spaces: Vec<_> = (0..2).map(|n| bench.task(n, BackEnd::Overlay)).collect();
        for (number, space) in spaces.iter().enumerate() {
            put(&space.upper(), &format!("file-{number}"), "x\n");
        }
        let approvals: Vec<_> = spaces
            .iter()
            .map(|space| ready(&bench, space, "main"))
            .collect();
        let repository = bench.repository();
        let results: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = spaces
                .iter()
                .zip(&approvals)
                .map(|(space, approval)| {
                    scope.spawn(|| space.land(&bench.git, &repository, approval))
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let won = results.iter().filter(|result| result.is_ok()).count();
        assert_eq!(won, 1, "{results:?}");
        let head = bench.user_git(&["rev-parse", "main"]);
        assert!(
            approvals
                .iter()
                .any(|approval| approval.new_commit.as_str() == head)
        );
        assert_eq!(bench.user_git(&["status", "--porcelain"]), "");
    });
}

#[test]
fn a_branch_that_moved_after_approval_is_left_alone() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), "README.md", "agent\n");
    let approval = ready(&bench, &space, "main");
    bench.write("later", "x");
    let moved = bench.commit("later");
    let error = space
        .land(&bench.git, &bench.repository(), &approval)
        .unwrap_err();
    assert!(matches!(error, MergeError::TargetMoved { .. }), "{error}");
    assert_eq!(bench.user_git(&["rev-parse", "main"]), moved);
}

#[test]
fn another_commit_under_an_old_approval_does_not_land() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), "README.md", "reviewed\n");
    let reviewed = ready(&bench, &space, "main");
    put(&space.upper(), "README.md", "slipped in\n");
    let later = ready(&bench, &space, "main");
    let forged = Approval {
        new_commit: later.new_commit,
        ..reviewed.clone()
    };
    let error = space
        .land(&bench.git, &bench.repository(), &forged)
        .unwrap_err();
    assert!(
        matches!(error, MergeError::ManifestMismatch { .. }),
        "{error}"
    );
    // What was approved still lands, whatever the agent wrote meanwhile.
    space
        .land(&bench.git, &bench.repository(), &reviewed)
        .unwrap();
    assert_eq!(
        fs::read_to_string(bench.user("README.md")).unwrap(),
        "reviewed\n"
    );
}

#[test]
fn a_filter_whose_program_is_in_the_tree_stops_a_merge_into_the_checkout() {
    let bench = Bench::new();
    bench.write("tools/filter.sh", "#!/bin/sh\ncat\n");
    bench.commit("filter");
    bench.user_git(&["config", "filter.own.smudge", "sh tools/filter.sh"]);
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), "README.md", "x\n");
    let approval = ready(&bench, &space, "main");
    let error = space
        .land(&bench.git, &bench.repository(), &approval)
        .unwrap_err();
    assert!(
        matches!(error, MergeError::FilterInsideTree { .. }),
        "{error}"
    );
}

#[test]
fn a_branch_checked_out_in_another_folder_or_unknown_is_refused() {
    let bench = Bench::new();
    let elsewhere = bench.folder.path().join("elsewhere");
    bench.user_git(&[
        "worktree",
        "add",
        "-q",
        "-b",
        "side",
        elsewhere.to_str().unwrap(),
    ]);
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), "README.md", "x\n");
    let approval = ready(&bench, &space, "side");
    let error = space
        .land(&bench.git, &bench.repository(), &approval)
        .unwrap_err();
    assert!(
        matches!(error, MergeError::CheckedOutElsewhere { .. }),
        "{error}"
    );
    for name in ["nowhere", "-x", "HEAD", "", "a b", "main~1"] {
        let error = plan(&bench, &space, name).unwrap_err();
        assert!(
            matches!(error, MergeError::NoSuchBranch(_)),
            "{name}: {error}"
        );
    }
}

#[test]
fn the_patch_of_a_plan_applies() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), "README.md", "patched\n");
    put(&space.upper(), "binary", [0, 1, 2]);
    let approval = ready(&bench, &space, "main");
    let patch = space
        .patch(&bench.git, &bench.repository(), &approval)
        .unwrap();
    let path = bench.folder.path().join("patch");
    fs::write(&path, patch).unwrap();
    bench.user_git(&["apply", path.to_str().unwrap()]);
    assert_eq!(fs::read(bench.user("binary")).unwrap(), [0, 1, 2]);
}

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
                .bring_changes(&bench.git, &bench.repository(), &secrets)
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
        .bring_included(&bench.git, &bench.repository(), &secrets)
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

/// What the sandbox would run: a bundle of all that an agent committed.
fn bundle(bench: &Bench, space: &TaskSpace) -> Vec<u8> {
    let clone = bench.folder.path().join(format!("agent-{}", space.id()));
    let pool = space.pool().repository();
    bench.run_git(
        bench.folder.path(),
        &[
            "clone",
            "-q",
            "-b",
            "base",
            &format!("file://{}", pool.display()),
            clone.to_str().unwrap(),
        ],
    );
    put(&clone, "README.md", "committed\n");
    bench.run_git(&clone, &["commit", "-q", "-a", "-m", "agent's own"]);
    let output = bench.run_git(&clone, &["bundle", "create", "-", "base", "^origin/base"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
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

#[test]
fn a_removed_task_can_be_restored_and_is_purged_only_after_thirty_days() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    put(&space.upper(), "README.md", "work\n");
    fs::create_dir(space.work().join("work")).unwrap();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o000);
    fs::set_permissions(space.work().join("work"), permissions).unwrap();
    let trash = Trash::new(&bench.state());
    let removed = trash.remove(&space, "done").unwrap();
    assert_eq!(trash.list().unwrap(), [removed]);
    assert!(TaskSpace::open(&bench.state(), space.id()).is_err());
    trash.restore(space.id()).unwrap();
    let again = TaskSpace::open(&bench.state(), space.id()).unwrap();
    assert_eq!(
        fs::read_to_string(again.upper().join("README.md")).unwrap(),
        "work\n"
    );

    trash.remove(&again, "done").unwrap();
    let days = |days: u64| SystemTime::now() + Duration::from_hours(days * 24);
    assert_eq!(trash.purge(days(29)).unwrap(), []);
    assert_eq!(trash.purge(days(31)).unwrap().len(), 1);
    assert!(trash.restore(&TaskId::from_random(1)).is_err());
}

#[test]
fn merged_work_is_recognised_however_it_got_there() {
    with_each_git(|bench| {
        bench.start();
        let space = bench.task(1, BackEnd::Overlay);
        put(&space.upper(), "README.md", "work\n");
        let imported = import(&bench, &space);
        let how = || {
            space
                .merged_into(&bench.git, &bench.repository(), &imported, "main")
                .unwrap()
        };
        assert_eq!(how(), None);
        bench.write("README.md", "work\n");
        bench.commit("the same by hand");
        assert_eq!(how(), Some(MergedBy::SameTree));
        bench.write("later", "x");
        bench.commit("later");
        assert_eq!(how(), Some(MergedBy::SameChange));
        bench.write("README.md", "undone\n");
        bench.commit("over it");
        bench.user_git(&[
            "merge",
            "-q",
            "-s",
            "ours",
            "-m",
            "merge",
            imported.commit.as_str(),
        ]);
        assert_eq!(how(), Some(MergedBy::Ancestor));
    });
}
