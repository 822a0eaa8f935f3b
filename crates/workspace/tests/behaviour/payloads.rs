//! Everything that is known to make git on the host run an agent's code, or
//! lie to the reader, planted at once and one by one; then every verb is run.
//! No canary may appear. The traps are shown to be real by walking into them
//! with plain git.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use crate::support::{Bench, agent_side, fingerprint, put, scanner, with_each_git};
use stockade_workspace::{
    BackEnd, Identity, MergePlan, MergeRequest, Provenance, TaskSpace, Trash, Undecided,
};

struct Trap<'a> {
    canary: &'a Path,
    tree: PathBuf,
    agent_git: PathBuf,
}

impl Trap<'_> {
    fn command(&self) -> String {
        format!("touch {}", self.canary.display())
    }

    fn script(&self, folder: &Path, name: &str) {
        put(folder, name, format!("#!/bin/sh\n{}\n", self.command()));
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Settings that name a program, all of those measured.
    fn config(&self) -> String {
        let run = self.command();
        format!(
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tfsmonitor = \"{run}\"\n\
             \thooksPath = hooks\n\tsshCommand = \"{run}\"\n\tgitProxy = \"{run}\"\n\
             \tpager = \"{run}\"\n\teditor = \"{run}\"\n\taskPass = \"{run}\"\n\
             \talternateRefsCommand = \"{run}\"\n\tworktree = /\n\
             [diff]\n\texternal = \"{run}\"\n[diff \"x\"]\n\tcommand = \"{run}\"\n\ttextconv = \"{run}\"\n\
             [filter \"x\"]\n\tclean = \"{run}; cat\"\n\tsmudge = \"{run}; cat\"\n\tprocess = \"{run}\"\n\
             \trequired = true\n[merge]\n\tdefault = x\n[merge \"x\"]\n\tdriver = \"{run}\"\n\
             [gpg]\n\tprogram = \"{run}\"\n[commit]\n\tgpgSign = true\n[log]\n\tshowSignature = true\n\
             [gc]\n\trecentObjectsHook = \"{run}\"\n[uploadpack]\n\tpackObjectsHook = \"{run}\"\n\
             [credential]\n\thelper = \"!{run}\"\n[protocol \"ext\"]\n\tallow = always\n\
             [remote \"origin\"]\n\turl = \"ext::{run}\"\n\tuploadpack = \"{run}\"\n\tpromisor = true\n\
             [extensions]\n\tpartialClone = origin\n\tworktreeConfig = true\n\
             [include]\n\tpath = more\n[alias]\n\tstatus = \"!{run}\"\n\
             [submodule]\n\trecurse = true\n[interactive]\n\tdiffFilter = \"{run}\"\n\
             [hook \"x\"]\n\tevent = reference-transaction\n\tcommand = \"{run}\"\n"
        )
    }

    /// Turns `git_dir` into a repository that runs the canary's command.
    fn repository(&self, git_dir: &Path) {
        for folder in ["objects/info", "refs/heads", "info", "hooks"] {
            fs::create_dir_all(git_dir.join(folder)).unwrap();
        }
        put(git_dir, "HEAD", "ref: refs/heads/main\n");
        put(git_dir, "config", self.config());
        put(git_dir, "config.worktree", self.config());
        put(git_dir, "more", self.config());
        put(git_dir, "info/attributes", "* filter=x diff=x merge=x\n");
        for hook in [
            "post-checkout",
            "pre-commit",
            "post-commit",
            "post-merge",
            "post-index-change",
            "reference-transaction",
            "pre-push",
            "post-rewrite",
            "update",
            "pre-receive",
            "post-receive",
            "fsmonitor-watchman",
            "proc-receive",
            "push-to-checkout",
        ] {
            self.script(&git_dir.join("hooks"), hook);
        }
    }

    fn plant(&self) {
        let tree = &self.tree;
        // In place of the tree's own `.git`, and beside it in every spelling.
        let _ = fs::remove_file(tree.join(".git"));
        self.repository(&tree.join(".git"));
        self.repository(&tree.join(".GIT"));
        self.repository(&tree.join("git~1"));
        // Nested: a folder, a `.git` file, and a bare repository.
        self.repository(&tree.join("nested/.git"));
        put(tree, "nested/file", "x");
        self.repository(&tree.join("elsewhere"));
        put(
            tree,
            "by-file/.git",
            format!("gitdir: {}\n", tree.join("elsewhere").display()),
        );
        self.repository(&tree.join("docs/bare.git"));
        // Attributes and settings that a tree can carry.
        let attributes = "* filter=x diff=x merge=x ident working-tree-encoding=UTF-16 -text\n";
        put(tree, ".gitattributes", attributes);
        put(tree, "src/.gitattributes", attributes);
        put(tree, ".gitconfig", self.config());
        self.script(&tree.join(".husky"), "pre-commit");
        self.script(&tree.join("hooks"), "post-checkout");
        symlink("/etc", tree.join("etc")).unwrap();
        // The agent's own repository is the agent's.
        self.repository(&self.agent_git);
        let alternates = "/\n/proc/self/cwd/.git/objects\n";
        put(&self.agent_git, "objects/info/alternates", alternates);
        put(
            &self.agent_git,
            "commondir",
            tree.join("elsewhere").display().to_string(),
        );
        put(&self.agent_git, "info/grafts", "garbage\n");
        put(&self.agent_git, "index", "DIRC garbage");
        put(&self.agent_git, "objects/info/commit-graph", "CGPH garbage");
    }
}

fn every_verb(bench: &Bench, space: &TaskSpace) {
    let (git, repository) = (&bench.git, bench.repository());
    let space = TaskSpace::open(&bench.state(), space.id()).unwrap();
    let first = bench.snapshot(&space);
    let imported = space.import(git, &repository, &first).unwrap();
    let review = space
        .review(git, &repository, &imported, &scanner())
        .unwrap();
    for file in &review.files {
        space.hunks(git, &repository, file).unwrap();
    }
    let accepted = space
        .accepted(git, &repository, &review, Undecided::Accept)
        .unwrap();
    let text = |text: &str| text.to_owned();
    let provenance = Provenance {
        task: text("t"),
        agent: text("a"),
        model: text("m"),
        policy: text("p"),
        record: text("1 r"),
    };
    let identity = Identity {
        name: text("U"),
        email: text("u@example.org"),
    };
    let request = MergeRequest {
        target: "main",
        accepted: &accepted.commit,
        message: "m",
        provenance: &provenance,
        identity: &identity,
        signer: None,
        scanner: &scanner(),
    };
    match space.plan_merge(git, &repository, &request).unwrap() {
        MergePlan::Ready(approval) => {
            space.patch(git, &repository, &approval).unwrap();
            space.land(git, &repository, &approval).unwrap();
        }
        other => panic!("{other:?}"),
    }
    space
        .merged_into(git, &repository, &imported, "main")
        .unwrap();
    space.undo(git, first.number).unwrap();
    space.undo(git, 0).unwrap();
    let trash = Trash::new(&bench.state());
    trash.remove(&space, "done", None).unwrap();
    trash.delete(space.id()).unwrap();
}

#[test]
fn no_verb_runs_anything_that_an_agent_planted() {
    with_each_git(|bench| {
        bench.start();
        for (number, back_end) in [BackEnd::Overlay, BackEnd::Checkout]
            .into_iter()
            .enumerate()
        {
            let canary = bench.folder.path().join("canary");
            let space = bench.task(number as u64, back_end);
            let trap = Trap {
                canary: &canary,
                tree: agent_side(&space),
                agent_git: space.agent_git(),
            };
            trap.plant();
            put(&trap.tree, "README.md", format!("changed {number}\n"));

            every_verb(&bench, &space);
            assert!(!canary.exists(), "{back_end:?}");
            // Held back, so not on the host after the merge either.
            assert!(!bench.user(".husky").exists() && !bench.user(".gitattributes").exists());
            assert_eq!(bench.user_git(&["status", "--porcelain"]), "");
            assert!(!canary.exists(), "the user's own git after the merge");
        }
    });
}

#[test]
fn the_traps_are_real() {
    with_each_git(|bench| {
        bench.start();
        let canary = bench.folder.path().join("canary");
        let space = bench.task(1, BackEnd::Checkout);
        let trap = Trap {
            canary: &canary,
            tree: space.ws(),
            agent_git: space.agent_git(),
        };
        // Without the extensions that make plain git stop before the trap.
        trap.repository(&space.ws().join("nested/.git"));
        let config = trap.config();
        let stops = [
            "partialClone",
            "worktreeConfig",
            "worktree =",
            "path = more",
        ];
        let harmless = |line: &&str| !stops.iter().any(|stop| line.contains(stop));
        let config = config
            .lines()
            .filter(harmless)
            .collect::<Vec<_>>()
            .join("\n");
        put(&space.ws(), "nested/.git/config", config);
        put(&space.ws(), "nested/file", "x");
        bench.run_git(&space.ws().join("nested"), &["add", "file"]);
        assert!(canary.exists());
    });
}

#[test]
fn a_task_changes_nothing_in_the_users_checkout_before_the_merge() {
    with_each_git(|bench| {
        bench.start();
        bench.write("README.md", "dirty\n");
        let outside_git = || {
            let mut all = fingerprint(&bench.repository_path());
            // Objects and refs under `refs/stockade/` are the import itself.
            all.retain(|path, _| {
                let inside = path.strip_prefix(bench.user(".git")).ok();
                inside.is_none_or(|inside| {
                    [
                        "index",
                        "HEAD",
                        "config",
                        "hooks",
                        "refs/heads",
                        "logs",
                        "packed-refs",
                    ]
                    .iter()
                    .any(|kept| inside.starts_with(kept))
                })
            });
            all
        };
        let before = outside_git();
        assert!(before.len() > 10);
        let space = bench.task(1, BackEnd::Overlay);
        put(&space.upper(), "src/main.rs", "agent\n");
        let snapshot = bench.snapshot(&space);
        let repository = bench.repository();
        let imported = space.import(&bench.git, &repository, &snapshot).unwrap();
        space
            .review(&bench.git, &repository, &imported, &scanner())
            .unwrap();
        assert_eq!(outside_git(), before);
    });
}

#[test]
fn the_callers_git_variables_do_not_reach_git() {
    // Every run starts from an empty environment; were it inherited, this
    // test binary's own `GIT_*` (set by a hook that runs `cargo test`, say)
    // would decide which repository is opened.
    let bench = Bench::new();
    let version = bench.git.version().unwrap();
    assert!(
        version.starts_with('2') || version.starts_with('3'),
        "{version}"
    );
    let script = bench.folder.path().join("git");
    put(bench.folder.path(), "git", "#!/bin/sh\nenv\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let unconfined = std::sync::Arc::new(stockade_workspace::Unconfined);
    let seen = stockade_workspace::Git::new(&script, unconfined)
        .version()
        .unwrap();
    for expected in [
        "GIT_CONFIG_GLOBAL=/dev/null",
        "GIT_NO_REPLACE_OBJECTS=1",
        "GIT_NO_LAZY_FETCH=1",
        "HOME=/nonexistent",
    ] {
        assert!(seen.contains(expected), "{seen}");
    }
    assert!(!seen.contains("CARGO"), "{seen}");
}

#[test]
fn a_git_that_hangs_or_floods_is_stopped() {
    let bench = Bench::new();
    let script = bench.folder.path().join("git");
    let unconfined = || std::sync::Arc::new(stockade_workspace::Unconfined);
    let install = |text: &str| {
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        stockade_workspace::Git::new(&script, unconfined())
    };
    // The child of the child holds the pipe open; it has to go as well.
    let hanging = install("#!/bin/sh\nsleep 600 &\nsleep 600\n");
    let started = std::time::Instant::now();
    let error = hanging
        .with_timeout(std::time::Duration::from_millis(200))
        .version()
        .unwrap_err();
    assert!(error.to_string().contains("was stopped after"), "{error}");
    assert!(started.elapsed() < std::time::Duration::from_mins(1));
    let flooding = install("#!/bin/sh\nexec yes\n");
    let error = flooding.version().unwrap_err();
    assert!(error.to_string().contains("wrote more than"), "{error}");
}
