//! A look at a result before it is merged: in a sandbox, or as files.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

use crate::host::{
    Host,
    failure::{REFUSED, USAGE},
    terminal::Terminal,
};

fn done(host: &Host, script: &str) {
    let outcome = host.stockade(&["run", "--name", "work", "--", "bash", "-euc", script]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// Files and links below `folder`, by path: what they hold, and whether they can be run.
fn files(folder: &Path) -> BTreeMap<String, (String, bool)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            let inner = files(&path).into_iter();
            found.extend(inner.map(|(path, file)| (format!("{name}/{path}"), file)));
        } else if metadata.is_symlink() {
            let target = fs::read_link(&path).unwrap();
            found.insert(name, (format!("-> {}", target.display()), false));
        } else {
            let runs = metadata.permissions().mode() & 0o100 != 0;
            let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            found.insert(name, (content, runs));
        }
    }
    found
}

#[test]
fn g6_a_result_on_the_host_is_its_files_alone_in_a_folder_that_was_not_there() {
    let host = Host::new();
    done(
        &host,
        "mkdir -p sub/deep; echo new > sub/deep/new.txt; echo more >> README.md; \
         git add --all; git commit -qm mine; echo late > late.txt",
    );
    let outcome = host.stockade(&["checkout", "work", "--on-host", "../look"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(
        outcome.stdout.contains("it is not a repository"),
        "{outcome:?}"
    );
    let look = host.path("look");
    let text = |text: &str| (text.to_owned(), false);
    let expected = [
        ("README.md", text("a project\nmore\n")),
        ("late.txt", text("late\n")),
        ("sub/deep/new.txt", text("new\n")),
    ];
    let expected = expected.map(|(path, file)| (path.to_owned(), file));
    assert_eq!(files(&look), BTreeMap::from(expected));
    assert!(!look.join(".git").exists());
    // The repository has none of it.
    assert_eq!(host.git(&["status", "--porcelain"]), "");
    assert_eq!(files(&host.repository())["README.md"], text("a project\n"));

    // What is there is nobody's to write into, whatever it is.
    fs::write(look.join("late.txt"), "mine\n").unwrap();
    let link = host.path("link");
    std::os::unix::fs::symlink(host.path("nowhere"), &link).unwrap();
    for there in ["look", "home", "project/README.md", "link"] {
        let target = host.path(there);
        let again = host.stockade(&["checkout", "work", "--on-host", target.to_str().unwrap()]);
        assert_eq!(again.code, REFUSED, "{there}: {again:?}");
        assert!(again.stderr.contains("exists"), "{there}: {again:?}");
    }
    assert_eq!(files(&look)["late.txt"], text("mine\n"));
    assert!(!host.path("nowhere").exists());
}

#[test]
fn g6_files_that_may_run_by_themselves_come_to_the_host_only_if_that_is_acknowledged() {
    let host = Host::new();
    done(
        &host,
        "mkdir -p .vscode; echo '{}' > .vscode/tasks.json; echo 'echo hi' > .envrc; \
         printf '#!/bin/sh\\n' > tool; chmod 755 tool; ln -s /etc/passwd link; echo plain > plain.txt",
    );
    let look = host.path("look");
    let words = ["checkout", "work", "--on-host", look.to_str().unwrap()];
    let refused = host.stockade(&words);
    assert_eq!(refused.code, REFUSED, "{refused:?}");
    for named in [
        ".vscode/tasks.json",
        ".envrc",
        "--acknowledge-risks",
        "without --on-host",
    ] {
        assert!(refused.stderr.contains(named), "{named}: {refused:?}");
    }
    assert!(!refused.stderr.contains("plain.txt"), "{refused:?}");
    assert!(!look.exists());

    let document = host.json(&[&words[..], &["--acknowledge-risks"]].concat());
    assert_eq!(document["folder"], look.to_str().unwrap());
    let files = files(&look);
    assert_eq!(files[".vscode/tasks.json"].0, "{}\n");
    assert_eq!(files["tool"], ("#!/bin/sh\n".to_owned(), true));
    assert_eq!(files["plain.txt"].0, "plain\n");
    assert!(
        files
            .get("link")
            .is_none_or(|(target, _)| target == "-> /etc/passwd")
    );

    // To acknowledge risks without a folder to write to is a slip.
    let nowhere = host.stockade(&["checkout", "work", "--acknowledge-risks"]);
    assert_eq!(nowhere.code, USAGE, "{nowhere:?}");
}

#[test]
fn a_result_is_looked_at_in_a_sandbox_and_nothing_of_it_is_on_the_host() {
    let host = Host::new();
    done(&host, "echo 'echo sourced' > .envrc; echo new > new.txt");
    let before = files(&host.repository());
    let mut look = Terminal::start(host.command(&["checkout", "work"]));
    look.wait_for("$ ");
    // Each answer is put together, so that the echo of the question is none.
    look.send("echo a\"\"nswer: $(cat new.txt) in $(pwd)\r");
    look.wait_for("answer: new in /workspace/project");
    look.send("touch /etc/x || echo can\"\"not\r");
    look.wait_for("cannot");
    look.send("exit 5\r");
    let left = look.finish();
    assert_eq!(left.code, 5, "{left:?}");
    assert_eq!(files(&host.repository()), before);
    assert_eq!(host.json(&["ls"])[0]["state"]["name"], "done");
}
