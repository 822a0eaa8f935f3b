//! What is kept and let go: `rm`, `undo` and `cp`.

#![expect(clippy::unwrap_used, reason = "a step that fails fails its test")]

mod host;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::Value;

use crate::host::{Host, Task, wait_for_file};

fn done(host: &Host, name: &str, script: &str) -> Task {
    let outcome = host.stockade(&["run", "--yes", "--name", name, "--", "bash", "-c", script]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let tasks = host.json(&["ls"]);
    let mut tasks = tasks.as_array().into_iter().flatten();
    let task = tasks.find(|task| task["slug"] == name);
    host.task(
        task.and_then(|task| task["id"].as_str())
            .unwrap_or_default(),
    )
}

#[test]
fn rm_refuses_what_lives_and_everything_else_comes_back_as_it_was() {
    let host = Host::new();
    let living = host.start_with(
        &["--name", "living"],
        "echo 1 > one; touch ready; sleep 1000",
    );
    wait_for_file(&host, &living, "ready");
    let running = host.stockade(&["rm", "living"]);
    assert_eq!(running.code, 4, "{running:?}");
    assert!(
        running.stderr.contains("stockade stop living"),
        "{running:?}"
    );
    assert_eq!(host.stockade(&["pause", "living"]).code, 0);
    assert_eq!(host.stockade(&["rm", "living"]).code, 4);
    assert_eq!(host.status(&living)["state"]["name"], "paused");
    assert_eq!(host.stockade(&["resume", "living"]).code, 0);

    // Stopped, not merged, failed by its own exit, and merged.
    assert_eq!(host.stockade(&["stop", "living"]).code, 0);
    let unmerged = done(&host, "unmerged", "echo 2 > two");
    let words = [
        "run",
        "--name",
        "failing",
        "--",
        "bash",
        "-c",
        "echo 3 > three; exit 7",
    ];
    assert_eq!(host.stockade(&words).code, 7);
    let merged = done(&host, "merged", "echo 4 > four");
    host.json(&["merge", "merged", "--yes"]);
    let before = host.json(&["ls"]);
    assert_eq!(before.as_array().unwrap().len(), 4);
    let states = |task: &Task| host.status(task)["state"]["name"].clone();
    assert_eq!(
        [states(&living), states(&unmerged), states(&merged)],
        ["stopped", "done", "merged"]
    );
    let names = ["living", "unmerged", "failing", "merged"];
    let diffs = || names.map(|name| host.stockade(&["diff", name]).stdout);
    let shown = diffs();
    assert!(
        shown[..3].iter().all(|diff| diff.contains("\n+")),
        "{shown:?}"
    );
    for name in names {
        host.json(&["rm", name]);
    }
    assert_eq!(host.json(&["ls"]).as_array().unwrap().len(), 0);
    for task in before.as_array().unwrap() {
        host.json(&["restore", task["id"].as_str().unwrap()]);
    }
    assert_eq!(host.json(&["ls"]), before);
    assert_eq!(diffs(), shown);
}

#[test]
fn restore_takes_a_slug_and_asks_for_more_where_two_tasks_have_it() {
    let host = Host::new();
    let first = done(&host, "work", "echo 1 > one");
    host.json(&["rm", "work"]);
    let listed = host.json(&["restore"]);
    assert_eq!(listed[0]["slug"], "work", "{listed}");
    let back = host.json(&["restore", "work"]);
    assert_eq!(back["restored"], first.id.as_str());
    assert!(host.stockade(&["diff", "work"]).stdout.contains("+1"));

    // Once it is removed, another may have its name.
    host.json(&["rm", "work"]);
    let second = done(&host, "work", "echo 2 > two");
    host.json(&["rm", "work"]);
    let outcome = host.stockade(&["restore", "work"]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    for word in ["`work` fits several tasks", &first.id, &second.id] {
        assert!(outcome.stderr.contains(word), "{word}: {outcome:?}");
    }
    assert_eq!(
        host.json(&["restore", &second.id])["restored"],
        second.id.as_str()
    );
    assert_eq!(
        host.json(&["restore", "wor"])["restored"],
        first.id.as_str()
    );
    let nothing = host.stockade(&["restore", "work"]);
    assert_eq!(nothing.code, 3, "{nothing:?}");
    assert!(nothing.stderr.contains("in the trash"), "{nothing:?}");
}

#[test]
fn rm_tells_where_work_is_that_is_provably_merged_and_keeps_that_shorter() {
    let host = Host::new();
    let removed = |name: &str| host.json(&["rm", name]);
    done(&host, "never", "echo 0 > zero");
    let never = removed("never");
    assert_eq!(
        (&never["merged"], &never["days"]),
        (&Value::Null, &30.into())
    );

    done(&host, "merged", "echo 1 > one");
    host.json(&["merge", "merged", "--yes"]);
    let text = host.stockade(&["rm", "merged"]);
    for words in [
        "all of its work is in refs/heads/main",
        "for 7 days",
        "record is kept for 30",
    ] {
        assert!(text.stdout.contains(words), "{words}: {text:?}");
    }

    // Squashed into one commit by somebody, and more came after it.
    done(
        &host,
        "squashed",
        "echo 2 > two; git add two; git commit -qm two; echo 3 > three",
    );
    host.json(&["review", "squashed"]);
    for (name, text) in [("two", "2\n"), ("three", "3\n")] {
        fs::write(host.repository().join(name), text).unwrap();
    }
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Both"]);
    host.git(&["commit", "--quiet", "--allow-empty", "--message", "More"]);
    fs::write(host.repository().join("README.md"), "rewritten\n").unwrap();
    host.git(&["commit", "--quiet", "--all", "--message", "More"]);
    let squashed = removed("squashed");
    assert_eq!(squashed["merged"]["by"], "same-change", "{squashed}");

    // A part is not all of it.
    done(&host, "part", "echo 4 > four; echo 5 > five");
    host.json(&["review", "part", "--reject", "five"]);
    host.json(&["merge", "part", "--yes"]);
    let part = removed("part");
    assert_eq!((&part["merged"], &part["days"]), (&Value::Null, &30.into()));
    assert_eq!(host.json(&["restore"]).as_array().unwrap().len(), 4);
}

/// One digest of every path, mode and content in the workspace.
const DIGEST: &str = "find . -path ./.git -prune -o -type f -printf '%m %p\\n' | sort | sha256sum; \
    find . -path ./.git -prune -o -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum";

#[test]
fn undo_of_a_thousand_files_ignored_ones_too_is_identical_to_the_byte() {
    let host = Host::new();
    fs::write(host.repository().join(".gitignore"), "*.out\n").unwrap();
    host.git(&["add", "--all"]);
    host.git(&["commit", "--quiet", "--message", "Ignore"]);
    let task = done(
        &host,
        "work",
        "for n in $(seq 500); do mkdir -p d$((n % 20)); echo $n > d$((n % 20))/$n.txt; \
         echo out $n > d$((n % 20))/$n.out; done; chmod 755 d1/1.txt",
    );
    let digest = || host.exec(&task, DIGEST).1;
    let before = digest();
    assert_eq!(host.exec(&task, "find d* -type f | wc -l").1.trim(), "1000");
    let (exit, text) = host.exec(
        &task,
        "for n in $(seq 500); do echo changed >> d$((n % 20))/$n.out; done; \
         rm -r d1 d2; chmod 600 d3/*; echo new > new; rm README.md",
    );
    assert_eq!(exit, 0, "{text}");
    assert_ne!(digest(), before);
    let start = Instant::now();
    host.json(&["undo", "work", "--to", "1"]);
    eprintln!("undo of 1,000 files: {:?}", start.elapsed());
    assert_eq!(digest(), before);
}

#[test]
fn cp_brings_files_in_and_out_as_they_are() {
    let host = Host::new();
    let task = done(
        &host,
        "work",
        "mkdir sub; printf 'a\\0b\\377\\n' > sub/binary; echo 1 > one",
    );
    let folder = host.path("copies");
    fs::create_dir(&folder).unwrap();
    let into = folder.to_str().unwrap();
    host.json(&["cp", "work:sub/binary", into]);
    assert_eq!(fs::read(folder.join("binary")).unwrap(), b"a\0b\xff\n");
    // Nothing of the host's is written over.
    let again = host.stockade(&["cp", "work:sub/binary", into]);
    assert_eq!(again.code, 4, "{again:?}");

    let large: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    fs::write(folder.join("large"), &large).unwrap();
    let source = folder.join("large");
    host.json(&["cp", source.to_str().unwrap(), "work:sub/large file"]);
    let (exit, size) = host.exec(&task, "stat -c %s 'sub/large file'");
    assert_eq!((exit, size.trim()), (0, "3000000"));
    // Into a folder by its own name; what may be executed may be inside too.
    let script = folder.join("script");
    fs::write(&script, "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    host.json(&["cp", script.to_str().unwrap(), "work:sub"]);
    assert_eq!(host.exec(&task, "sub/script"), (0, "ran\n".to_owned()));
    let nowhere = host.stockade(&["cp", script.to_str().unwrap(), "work:no/folder/x"]);
    assert_eq!(nowhere.code, 1, "{nowhere:?}");
    assert!(
        nowhere.stderr.contains("no/folder/x inside: "),
        "{nowhere:?}"
    );
    let back = folder.join("back");
    host.json(&["cp", "work:sub/large file", back.to_str().unwrap()]);
    assert!(fs::read(back).unwrap() == large);

    for (words, code) in [
        (["work:nothing", into], 3),
        (["/nonexistent/file", "work:x"], 3),
        (["one", "two"], 2),
        (["work:one", "work:two"], 2),
    ] {
        let outcome = host.stockade(&["cp", words[0], words[1]]);
        assert_eq!(outcome.code, code, "{words:?}: {outcome:?}");
    }
}

#[test]
fn g1_cp_follows_no_link_out_of_the_sandbox_in_either_direction() {
    let host = Host::new();
    let (secret, victim) = (host.path("secret"), host.path("victim"));
    fs::write(&secret, "decoy of the host\n").unwrap();
    fs::write(&victim, "untouched\n").unwrap();
    let script = format!(
        "ln -s {} out; ln -s {} in; ln -s {} dir; echo mine > mine",
        secret.display(),
        victim.display(),
        host.path("").display(),
    );
    done(&host, "work", &script);
    let got = host.path("got");
    for source in ["work:out", "work:dir/secret"] {
        let outcome = host.stockade(&["cp", source, got.to_str().unwrap()]);
        assert_ne!(outcome.code, 0, "{source}: {outcome:?}");
        assert!(
            !got.exists() && !outcome.stdout.contains("decoy"),
            "{outcome:?}"
        );
    }
    let planted = host.path("dir-planted");
    let source = secret.to_str().unwrap();
    for target in ["work:in", "work:dir/dir-planted"] {
        // Inside there is no such place, or it is the sandbox's own.
        let _ = host.stockade(&["cp", source, target]);
        assert_eq!(
            fs::read_to_string(&victim).unwrap(),
            "untouched\n",
            "{target}"
        );
        assert!(!planted.exists(), "{target}");
    }
    // Nor is a link on the host written through.
    let link = host.path("link");
    symlink(&victim, &link).unwrap();
    let refused = host.stockade(&["cp", "work:mine", link.to_str().unwrap()]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched\n");
    assert!(Path::new(&secret).exists());
}

/// Every path below `folder`, with its mode and, of a file, its content.
fn everything(folder: &Path, found: &mut BTreeMap<PathBuf, (u32, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        if metadata.is_dir() {
            everything(&path, found);
        }
        found.insert(path, (metadata.permissions().mode(), content));
    }
}

#[test]
fn uninstall_leaves_nothing_of_its_own() {
    let host = Host::new();
    // Of this repository all tasks will be in the trash.
    let other = host.make_repository("other", &[("README.md", "another\n")]);
    let all = || {
        let mut found = BTreeMap::new();
        everything(&host.path(""), &mut found);
        found
    };
    let before = all();
    done(&host, "work", "echo 1 > one.txt");
    host.json(&["review", "work"]);
    let there = [
        "run",
        "--in",
        other.to_str().unwrap(),
        "--name",
        "removed",
        "--",
        "bash",
        "-c",
        "echo 2 > two.txt",
    ];
    assert_eq!(host.stockade(&there).code, 0);
    host.json(&["review", "removed"]);
    host.json(&["rm", "removed"]);
    let references = |folder: &Path| host.git_in(folder, &["for-each-ref", "refs/stockade/"]);
    assert_ne!(references(&host.repository()), "");
    assert_ne!(references(&other), "");
    host.json(&["secret", "add", "token", "--from", "env:TOKEN"]);

    let outcome = host.stockade(&["uninstall", "--yes"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(references(&host.repository()), "");
    assert_eq!(references(&other), "");
    let configuration = host.home().join(".config");
    assert!(configuration.join("stockade/secrets.toml").exists());
    let objects = [host.repository(), other].map(|folder| folder.join(".git/objects"));
    for (stays, words) in [
        (true, configuration.join("stockade").display().to_string()),
        (true, "git gc --prune=now".to_owned()),
        (false, "could not".to_owned()),
    ] {
        assert_eq!(outcome.stdout.contains(&words), stays, "{outcome:?}");
    }
    let after = all();
    let documented = |path: &Path| {
        path.starts_with(&configuration) || objects.iter().any(|objects| path.starts_with(objects))
    };
    for (path, was) in &before {
        assert!(after.get(path) == Some(was), "{} changed", path.display());
    }
    let left: Vec<_> = after
        .keys()
        .filter(|path| !before.contains_key(*path) && !documented(path))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
