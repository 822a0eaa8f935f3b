//! Links that lead anywhere or nowhere and folders that cannot be read, in the home,
//! in the repository and on `PATH`, stop no start, no review and no merge.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use self::host::{Host, PATH};

/// Where Nix keeps what its links name; no machine of tests has it.
const STORE: &str = "/nix/store/0c2rlgvyfvrkbn1i4mdzbyvs2g3kvl3x-profile";

fn link(to: impl AsRef<Path>, path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    symlink(to, path).unwrap();
}

/// A folder that nobody but root may enter.
fn closed(path: &Path) {
    fs::create_dir_all(path).unwrap();
    fs::write(path.join("file"), "theirs\n").unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
}

/// Opens it again, for whoever cleans up.
fn open(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A task adds a line to the README, with these words for `run`; its work is reviewed
/// and merged.
fn goes_and_comes_back(host: &Host, name: &str, words: &[&str], script: &str) {
    let script = format!("echo {name} >> README.md; {script}");
    let mut run = vec!["run", "--yes", "--name", name];
    run.extend(words);
    run.extend(["--", "sh", "-c", &script]);
    let outcome = host.stockade(&run);
    assert_eq!(outcome.code, 0, "{name}: {outcome:?}");
    let shown = host.json(&["review", name]);
    let files = shown["files"].as_array().unwrap();
    assert!(
        files.iter().any(|file| file["path"] == "README.md"),
        "{name}: {shown}"
    );
    let merged = host.json(&["merge", name, "--yes"]);
    assert_eq!(merged["merged"], true, "{name}: {merged}");
    let text = host.git(&["show", "HEAD:README.md"]);
    assert!(text.ends_with(&format!("{name}\n")), "{text}");
}

#[test]
fn links_in_the_home_into_a_store_a_repository_nowhere_and_in_a_loop_stop_nothing() {
    let mut host = Host::new();
    let home = host.home();
    let dotfiles = host.make_repository(
        "dotfiles",
        &[
            ("gitconfig", "[alias]\n\tst = status\n"),
            ("config/stockade/config.toml", ""),
            ("claude/settings.json", "{}\n"),
        ],
    );
    link(dotfiles.join("gitconfig"), &home.join(".gitconfig"));
    link(
        dotfiles.join("config/stockade"),
        &home.join(".config/stockade"),
    );
    link(dotfiles.join("claude"), &home.join(".claude"));
    for name in [
        ".bashrc",
        ".profile",
        ".config/git",
        ".npmrc",
        ".nix-profile",
    ] {
        link(Path::new(STORE).join(name), &home.join(name));
    }
    for name in [".zshrc", ".ssh", ".codex", ".cargo"] {
        link(name, &home.join(name));
    }
    link(".gemini-too", &home.join(".gemini"));
    link(".gemini", &home.join(".gemini-too"));
    let private = home.join(".gnupg");
    closed(&private);
    closed(&home.join(".cache"));
    host.set("XDG_CONFIG_HOME", home.join(".config"));
    goes_and_comes_back(&host, "home", &[], "true");
    open(&private);
    open(&home.join(".cache"));
}

#[test]
fn entries_of_path_that_lead_nowhere_in_a_loop_or_cannot_be_read_stop_nothing() {
    let mut host = Host::new();
    let home = host.home();
    link(STORE, &home.join(".nix-profile"));
    link("loop", &home.join("loop"));
    fs::write(home.join("file"), "no folder\n").unwrap();
    let shut = home.join("shut");
    closed(&shut);
    // A program that is a link into the store, and one that is a link to itself.
    let bin = home.join("bin");
    link(Path::new(STORE).join("bin/git"), &bin.join("git"));
    link("sh", &bin.join("sh"));
    let path = [
        home.join(".nix-profile/bin"),
        Path::new(STORE).join("bin"),
        "/nix/var/nix/profiles/default/bin".into(),
        home.join("loop/bin"),
        home.join("file"),
        shut.clone(),
        shut.join("below"),
        bin,
        "".into(),
        "relative/bin".into(),
    ];
    let path = path.map(|entry| entry.to_str().unwrap().to_owned());
    host.set("PATH", format!("{}:{PATH}", path.join(":")));
    goes_and_comes_back(&host, "path", &[], "command -v cat");
    open(&shut);
}

/// What Bazel and Nix leave in a repository, committed or ignored, and folders that
/// cannot be read.
#[test]
fn links_of_bazel_and_nix_and_closed_folders_in_the_repository_stop_nothing() {
    for (kind, backend) in [
        ("tracked", "overlay"),
        ("tracked", "checkout"),
        ("ignored", "overlay"),
        ("ignored", "checkout"),
        ("loose", "overlay"),
    ] {
        let host = Host::new();
        let repository = host.repository();
        let output = host
            .home()
            .join(".cache/bazel/_bazel_me/0123/execroot/project");
        fs::create_dir_all(output.join("bazel-out/k8-fastbuild/bin")).unwrap();
        fs::write(output.join("bazel-out/k8-fastbuild/bin/built"), "built\n").unwrap();
        let links = [
            "bazel-bin",
            "bazel-out",
            "bazel-project",
            "result",
            "self",
            "gone",
        ];
        let names: Vec<String> = links.map(|name| format!("/{name}\n")).into();
        link(
            output.join("bazel-out/k8-fastbuild/bin"),
            &repository.join("bazel-bin"),
        );
        link(output.join("bazel-out"), &repository.join("bazel-out"));
        link(&output, &repository.join("bazel-project"));
        link(STORE, &repository.join("result"));
        link("self", &repository.join("self"));
        link("nowhere/at/all", &repository.join("gone"));
        match kind {
            "tracked" => {
                host.git(&["add", "-A"]);
                host.git(&["commit", "-q", "-m", "links"]);
            }
            "ignored" => fs::write(repository.join(".git/info/exclude"), names.concat()).unwrap(),
            _ => {}
        }
        let shut = repository.join("shut");
        if kind == "ignored" {
            closed(&shut);
            let ignored = [names.concat(), "/shut\n".to_owned()].concat();
            fs::write(repository.join(".git/info/exclude"), ignored).unwrap();
        }
        let words = ["--backend", backend];
        goes_and_comes_back(&host, "plain", &words, "ls -l > /dev/null");
        // A build inside makes them anew, and they stay inside.
        let again = "mkdir -p /tmp/out && ln -sfn /tmp/out bazel-out && ls bazel-out/";
        goes_and_comes_back(&host, "built", &words, again);
        let dirty = [&["run", "--yes", "--with-dirty"], &words[..], &["--", "ls"]].concat();
        let outcome = host.stockade(&dirty);
        assert_eq!(outcome.code, 0, "{kind}: {outcome:?}");
        if kind == "ignored" {
            open(&shut);
        }
        let kept = fs::read_link(repository.join("bazel-bin")).unwrap();
        assert!(kept.starts_with(host.home()), "{kind}: {}", kept.display());
    }
}

#[test]
fn what_became_a_folder_or_a_link_and_was_not_committed_comes_along() {
    for backend in ["overlay", "checkout"] {
        let host = Host::new();
        let repository = host.repository();
        fs::create_dir(repository.join("folder")).unwrap();
        fs::write(repository.join("folder/file"), "one\n").unwrap();
        link("folder", &repository.join("link"));
        host.git(&["add", "-A"]);
        host.git(&["commit", "-q", "-m", "a link"]);
        // The link becomes a folder, and the folder a link.
        fs::remove_file(repository.join("link")).unwrap();
        fs::create_dir(repository.join("link")).unwrap();
        fs::write(repository.join("link/file"), "two\n").unwrap();
        fs::remove_dir_all(repository.join("folder")).unwrap();
        link("link", &repository.join("folder"));
        let run = [
            "run",
            "--yes",
            "--name",
            "dirty",
            "--backend",
            backend,
            "--with-dirty",
            "--",
            "sh",
            "-c",
            "cat link/file folder/file; readlink folder; echo more >> README.md",
        ];
        let outcome = host.stockade(&run);
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (0, "two\ntwo\nlink\n"),
            "{backend}: {outcome:?}"
        );
        let shown = host.json(&["review", "dirty"]);
        assert!(
            shown["files"].as_array().unwrap().len() >= 3,
            "{backend}: {shown}"
        );
    }
}

/// git refuses such a file in whatever arrives, also where it was there before.
#[test]
fn a_base_whose_gitmodules_git_refuses_takes_changes_to_other_files() {
    let host = Host::new();
    let bad = "[submodule \"x\"]\n\tpath = x\n\turl = --upload-pack=./x\n";
    fs::write(host.repository().join(".gitmodules"), bad).unwrap();
    host.git(&["add", "-A"]);
    host.git(&["commit", "-q", "-m", "bad modules"]);
    goes_and_comes_back(&host, "beside", &[], "mkdir d; echo a > d/a");
    let commit = "echo x > .gitignore; git add -A; git commit -qm Theirs";
    goes_and_comes_back(&host, "committed", &[], commit);
    assert_eq!(host.git(&["show", "HEAD:d/a"]), "a\n");
    assert_eq!(host.git(&["show", "HEAD:.gitmodules"]), bad);

    // One that is bad in another way is still refused.
    let script = "printf '[submodule \"../y\"]\\n\\tpath = y\\n\\turl = ./y\\n' > .gitmodules; \
                  echo b > b";
    let run = ["run", "--yes", "--name", "worse", "--", "sh", "-c", script];
    assert_eq!(host.stockade(&run).code, 0);
    let diff = host.stockade(&["diff", "worse", "--stat"]);
    assert!(
        diff.stdout.contains("refused  .gitmodules: git refuses it"),
        "{diff:?}"
    );
    assert!(diff.stdout.contains("new      b"), "{diff:?}");
}
