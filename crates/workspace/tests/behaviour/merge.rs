//! Onto a branch, or not at all.

use std::{fs, thread};

use stockade_workspace::{Approval, BackEnd, BundleLimits, MergeError, MergePlan};

use crate::{
    import::bundle,
    support::{Bench, delete, fingerprint, plan, plan_as, put, ready, with_each_git},
};

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
fn the_list_of_kept_commits_is_part_of_what_was_approved() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    let bytes = bundle(&bench, &space);
    space
        .import_bundle(&bench.git, bytes.as_slice(), &BundleLimits::default())
        .unwrap();
    put(&space.upper(), "README.md", "committed\n");
    put(&space.upper(), "rest", "not committed\n");
    let MergePlan::Ready(approval) = plan_as(&bench, &space, "main", true).unwrap() else {
        panic!()
    };
    assert_eq!(approval.kept.len(), 2);
    let mut shorter = approval.clone();
    shorter.kept.remove(0);
    let mut renamed = approval.clone();
    renamed.kept[0].subject = "Another".to_owned();
    let mut unlisted = approval.clone();
    unlisted.kept.clear();
    for forged in [shorter, renamed, unlisted] {
        let error = space
            .land(&bench.git, &bench.repository(), &forged)
            .unwrap_err();
        assert!(
            matches!(error, MergeError::ManifestMismatch { .. }),
            "{error}"
        );
    }
    space
        .land(&bench.git, &bench.repository(), &approval)
        .unwrap();
    let landed = bench.user_git(&["log", "-2", "--reverse", "--format=%H"]);
    let kept: Vec<_> = approval
        .kept
        .iter()
        .map(|kept| kept.commit.as_str())
        .collect();
    assert_eq!(landed.lines().collect::<Vec<_>>(), kept);
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
