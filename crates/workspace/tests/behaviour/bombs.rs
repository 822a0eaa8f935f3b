//! Commits that are malformed, or small and enormous: they stay out, and git
//! needs little memory and time to find out.

use std::{fs, io, path::Path, process::Command, sync::Arc};

use stockade_sandbox::HelperLimits;
use stockade_workspace::{BackEnd, BundleError, BundleLimits, Confine, Git, TaskSpace};

use crate::{
    import::{agents_clone, bundle_of},
    support::{Bench, put, with_each_git},
};

/// Walls as around every git of Stockade's, with a twentieth of the memory and
/// a tenth of the time: who needs more is killed.
struct Narrow;

impl Confine for Narrow {
    fn confine(
        &self,
        command: &mut Command,
        readable: &[&Path],
        writable: &[&Path],
    ) -> io::Result<()> {
        let limits = HelperLimits {
            memory_bytes: 400 << 20,
            cpu_seconds: 60,
            ..HelperLimits::default()
        };
        stockade_sandbox::confine(command, readable, writable, &limits)
    }
}

/// What an agent commits, object by object.
struct Agent<'a> {
    bench: &'a Bench,
    clone: std::path::PathBuf,
}

impl<'a> Agent<'a> {
    fn new(bench: &'a Bench, space: &TaskSpace) -> Self {
        let clone = agents_clone(bench, space);
        Self { bench, clone }
    }

    fn git(&self, words: &[&str]) -> String {
        let output = self.bench.run_git(&self.clone, words);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn blob(&self, content: &str) -> String {
        put(&self.clone, "content", content);
        self.git(&["hash-object", "-w", "--no-filters", "content"])
    }

    /// A tree of these entries: mode, name, object. Nobody checks it.
    fn tree(&self, entries: &[(&str, &str, &str)]) -> String {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            bytes.extend(hex::decode(id).unwrap());
        }
        put(&self.clone, "content", bytes);
        let words = ["hash-object", "-t", "tree", "-w", "--literally", "content"];
        self.git(&words)
    }

    /// Commits a tree with one entry.
    fn commit(&self, mode: &str, name: &str, id: &str) {
        let tree = self.tree(&[(mode, name, id)]);
        self.commit_tree(&tree);
    }

    fn commit_tree(&self, tree: &str) {
        let commit = self.git(&["commit-tree", "-p", "origin/base", "-m", "planted", tree]);
        self.git(&["update-ref", "HEAD", &commit]);
    }

    fn bundle(&self) -> Vec<u8> {
        bundle_of(self.bench, &self.clone)
    }
}

/// Hands a bundle over to a git with narrow walls, which must refuse it and
/// keep nothing of it.
fn refused(bench: &Bench, space: &TaskSpace, bundle: &[u8], limits: &BundleLimits) -> BundleError {
    let git = Git::new(bench.git.program(), Arc::new(Narrow));
    let error = space.import_bundle(&git, bundle, limits).unwrap_err();
    let objects = space.folder().join("quarantine.git/objects/pack");
    assert_eq!(fs::read_dir(&objects).unwrap().count(), 0, "{error}");
    error
}

fn is_over(error: &BundleError, words: &str) -> bool {
    matches!(error, BundleError::TooLarge { what, .. } if *what == words)
}

const DEEP: &str = "more folders in each other";
const MANY: &str = "more paths in a tree";
const LONG: &str = "longer paths, in bytes,";

#[test]
fn malformed_trees_do_not_pass_quarantine_and_the_check_is_named() {
    with_each_git(|bench| {
        bench.start();
        let space = bench.task(1, BackEnd::Overlay);
        let agent = Agent::new(&bench, &space);
        let blob = agent.blob("#!/bin/sh\n");
        let link = agent.blob("../x");
        let inner = agent.tree(&[("100644", "config", &blob)]);
        for (mode, name, id, check) in [
            ("40000", ".git", &inner, "hasDotgit"),
            ("40000", ".GIT", &inner, "hasDotgit"),
            ("40000", "git~1", &inner, "hasDotgit"),
            ("40000", "..", &inner, "hasDotdot"),
            ("40000", ".", &inner, "hasDot"),
            ("100644", "a/../../x", &blob, "fullPathname"),
            ("100644", "/etc/x", &blob, "fullPathname"),
            ("120000", ".gitmodules", &link, "gitmodulesSymlink"),
        ] {
            agent.commit(mode, name, id);
            let limits = BundleLimits::default();
            let error = refused(&bench, &space, &agent.bundle(), &limits).to_string();
            assert!(error.contains(check), "{name}: {error}");
        }
    });
}

#[test]
fn the_depth_the_length_and_the_number_of_paths_in_a_bundle_are_capped() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    let agent = Agent::new(&bench, &space);
    put(&agent.clone, "a/b/c/file", "1\n");
    agent.git(&["rm", "-rq", "."]);
    agent.git(&["add", "a"]);
    agent.git(&["commit", "-qm", "deep"]);
    let bundle = agent.bundle();
    // Three folders and a file.
    let exact = BundleLimits {
        depth: 3,
        path_bytes: "a/b/c/file".len() as u64,
        paths: 4,
        ..BundleLimits::default()
    };
    space
        .import_bundle(&bench.git, bundle.as_slice(), &exact)
        .unwrap();
    let (depth, path_bytes, paths) = (exact.depth - 1, exact.path_bytes - 1, exact.paths - 1);
    for (limits, what) in [
        (BundleLimits { depth, ..exact }, DEEP),
        (
            BundleLimits {
                path_bytes,
                ..exact
            },
            LONG,
        ),
        (BundleLimits { paths, ..exact }, MANY),
    ] {
        let error = refused(&bench, &space, &bundle, &limits);
        assert!(is_over(&error, what), "{error}");
    }
}

#[test]
fn folders_of_the_base_count_however_often_they_are_named() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    let agent = Agent::new(&bench, &space);
    let base = agent.git(&["rev-parse", "origin/base^{tree}"]);
    let own = agent.git(&["ls-tree", "-rt", "--name-only", "origin/base"]);
    let own = own.lines().count() as u64;
    let tree = agent.tree(&[("40000", "a", &base), ("40000", "b", &base)]);
    agent.commit_tree(&tree);
    let bundle = agent.bundle();
    let paths = 2 * (own + 1);
    let exact = BundleLimits {
        paths,
        ..BundleLimits::default()
    };
    space
        .import_bundle(&bench.git, bundle.as_slice(), &exact)
        .unwrap();
    let paths = paths - 1;
    let error = refused(&bench, &space, &bundle, &BundleLimits { paths, ..exact });
    assert!(is_over(&error, MANY), "{error}");
}

#[test]
fn a_million_paths_in_a_few_objects_are_counted_without_unfolding_them() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    let agent = Agent::new(&bench, &space);
    let names: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let mut id = agent.blob("x\n");
    for level in 0..6 {
        let mode = if level == 0 { "100644" } else { "40000" };
        let entries: Vec<_> = names.iter().map(|name| (mode, &**name, &*id)).collect();
        id = agent.tree(&entries);
    }
    agent.commit_tree(&id);
    let bundle = agent.bundle();
    assert!(bundle.len() < 10_000, "{}", bundle.len());
    let error = refused(&bench, &space, &bundle, &BundleLimits::default());
    assert!(is_over(&error, MANY), "{error}");
}

#[test]
fn folders_a_thousand_deep_are_refused() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    let agent = Agent::new(&bench, &space);
    let folders = vec!["d"; 1000].join("/");
    let blob = agent.blob("x\n");
    let entry = format!("100644,{blob},{folders}/file");
    agent.git(&["update-index", "--add", "--cacheinfo", &entry]);
    let tree = agent.git(&["write-tree"]);
    agent.commit_tree(&tree);
    let error = refused(&bench, &space, &agent.bundle(), &BundleLimits::default());
    assert!(is_over(&error, DEEP), "{error}");
}

#[test]
fn a_file_of_one_and_a_half_gigabytes_in_a_small_bundle_is_refused() {
    let bench = Bench::new();
    let space = bench.task(1, BackEnd::Overlay);
    let agent = Agent::new(&bench, &space);
    let zeros = agent.clone.join("zeros");
    let file = fs::File::create(&zeros).unwrap();
    file.set_len(1_500_000_000).unwrap();
    let blob = agent.git(&["hash-object", "-w", "--no-filters", "zeros"]);
    fs::remove_file(&zeros).unwrap();
    agent.commit("100644", "zeros", &blob);
    let bundle = agent.bundle();
    assert!(bundle.len() < 8 << 20, "{}", bundle.len());
    let error = refused(&bench, &space, &bundle, &BundleLimits::default());
    assert!(is_over(&error, "an object with more bytes"), "{error}");
}
