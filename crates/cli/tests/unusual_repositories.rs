//! Repositories and work that are out of the ordinary arrive and come back.

mod host;

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    time::{Duration, Instant},
};

use self::host::{Host, finish};

#[test]
fn unusual_repositories_work() {
    let host = Host::new();
    // A detached HEAD.
    host.git(&["commit", "-q", "--allow-empty", "-m", "two"]);
    host.git(&["checkout", "-q", "--detach", "HEAD~1"]);
    let text = host.look("git log --format=%s; cat README.md");
    assert_eq!(text, "one\na project\n");
    let outcome = host.stockade(&[
        "run",
        "--base",
        "main",
        "--",
        "git",
        "log",
        "--format=%s",
        "-1",
    ]);
    assert_eq!(outcome.stdout, "two\n", "{outcome:?}");

    // A submodule is an empty folder; what it is made of stays outside.
    let part = host.make_repository("part", &[("theirs", "theirs\n")]);
    let whole = host.make_repository("whole", &[("a", "a\n")]);
    let add = [
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "--quiet",
        "add",
        part.to_str().unwrap(),
        "vendor",
    ];
    host.git_in(&whole, &add);
    host.git_in(&whole, &["commit", "-q", "-m", "part"]);
    let outcome = host.stockade(&[
        "run",
        "--in",
        whole.to_str().unwrap(),
        "--name",
        "whole",
        "--",
        "sh",
        "-c",
        "ls -A vendor; echo b > a; ls",
    ]);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, "a\nvendor\n"),
        "{outcome:?}"
    );
    let diff = host.stockade(&["diff", "whole", "--stat"]);
    assert_eq!(diff.stdout, "changed  a  +1 -1\n", "{diff:?}");

    // A pointer to a large file elsewhere stays one.
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    let large = host.make_repository(
        "large",
        &[
            (
                ".gitattributes",
                "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            ),
            ("big.bin", pointer),
        ],
    );
    let outcome = host.stockade(&[
        "run",
        "--in",
        large.to_str().unwrap(),
        "--name",
        "large",
        "--",
        "sh",
        "-c",
        "cat big.bin; echo x > b",
    ]);
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (0, pointer),
        "{outcome:?}"
    );
    let diff = host.stockade(&["diff", "large", "--stat"]);
    assert_eq!(diff.stdout, "new      b  +1 -0\n", "{diff:?}");
}

#[test]
fn names_that_are_not_text_arrive_and_come_back() {
    let host = Host::new();
    let folder = host.make_repository("odd", &[("plain", "a\n")]);
    let names: [&[u8]; 6] = [
        b"line\nbreak",
        b"not-utf8-\xff\xfe",
        b"esc\x1b[31m",
        b" space ",
        b"-dash",
        b"tab\t/quote\"'",
    ];
    for name in names {
        let path = folder.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "a\n").unwrap();
    }
    host.git_in(&folder, &["add", "-A"]);
    host.git_in(&folder, &["commit", "-q", "-m", "odd"]);
    let script = r"find . -type f ! -name .git -print0 | tr -cd '\0' | wc -c;
        perl -e 'use File::Find; find({no_chdir => 1, wanted => sub { return if -d || /\.git$/; open(my $f, q(>>), $_) or die qq($_ $!); print $f qq(c\n) }}, q(.))'; printf 'new\n' > ./$(printf 'n\377\001')";
    let folder = folder.to_str().unwrap();
    let outcome = host.stockade(&[
        "run", "--in", folder, "--name", "odd", "--", "bash", "-c", script,
    ]);
    assert_eq!(
        (outcome.code, outcome.stdout.trim()),
        (0, "7"),
        "{outcome:?}"
    );
    let diff = host.stockade(&["diff", "odd", "--stat"]);
    assert_eq!(diff.code, 0, "{diff:?}");
    for shown in [
        "line\\u{a}break",
        "not-utf8-\\xff\\xfe",
        "esc\\u{1b}[31m",
        "-dash",
        "n\\xff\\u{1}",
        "tab\t/quote\"'",
    ] {
        assert!(diff.stdout.contains(shown), "{shown}: {diff:?}");
    }
    assert_eq!(diff.stdout.lines().count(), 8, "{diff:?}");
    assert!(!diff.stdout.contains('\u{1b}'), "{diff:?}");
    let document = host.json(&["diff", "odd"]);
    assert_eq!(document["files"].as_array().unwrap().len(), 8);
}

#[test]
fn a_huge_sparse_file_is_left_out_with_a_reason_and_costs_no_time() {
    let host = Host::new();
    let start = Instant::now();
    let outcome = host.stockade(&[
        "run",
        "--name",
        "huge",
        "--",
        "sh",
        "-c",
        "truncate -s 1G huge.bin; echo kept > small",
    ]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let diff = host.stockade(&["diff", "huge", "--stat"]);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(diff.stdout.contains("new      small  +1 -0"), "{diff:?}");
    assert!(
        diff.stdout
            .contains("left out huge.bin: it has 1073741824 bytes, more than"),
        "{diff:?}"
    );
    let document = host.json(&["diff", "huge"]);
    assert_eq!(document["left_out"][0]["path"], "huge.bin");
    let id = host.json(&["ls"])[0]["id"]
        .as_str()
        .map(|id| host.task(id))
        .unwrap();
    let record = id.record();
    let saved = record
        .iter()
        .find(|record| record.body["label"] == "end")
        .unwrap();
    assert_eq!(saved.body["skipped"], 1, "{saved:?}");
    assert_eq!(
        host.exec(&id, "stat -c %s huge.bin"),
        (0, "1073741824\n".to_owned())
    );
}

#[test]
fn a_task_starts_from_any_folder_of_a_repository_and_from_a_linked_checkout() {
    let host = Host::new();
    let deep = host.repository().join("one/two");
    fs::create_dir_all(&deep).unwrap();
    let linked = host.path("linked");
    host.git(&[
        "worktree",
        "add",
        "-q",
        "-b",
        "side",
        linked.to_str().unwrap(),
    ]);
    for (folder, name) in [(&deep, "deep"), (&linked, "linked")] {
        let mut run = host.command(&[
            "run",
            "--yes",
            "--name",
            name,
            "--",
            "git",
            "log",
            "--format=%s",
        ]);
        run.current_dir(folder);
        let outcome = finish(run);
        assert_eq!(
            (outcome.code, &*outcome.stdout),
            (0, "one\n"),
            "{outcome:?}"
        );
        let mut review = host.command(&["review", name]);
        review.current_dir(folder);
        assert_eq!(finish(review).code, 0, "{name}");
    }
}

#[test]
fn settings_that_include_others_from_the_tree_or_elsewhere_are_no_obstacle() {
    let host = Host::new();
    let repository = host.repository();
    fs::write(repository.join(".gitconfig"), "[include]\n\tpath = more\n").unwrap();
    fs::write(repository.join("more"), "[user]\n\tname = Included\n").unwrap();
    let own = host.path("own");
    fs::write(&own, "[user]\n\temail = included@example.org\n").unwrap();
    host.git(&["config", "include.path", "../.gitconfig"]);
    host.git(&["config", "--add", "include.path", own.to_str().unwrap()]);
    host.git(&["config", "--add", "include.path", "../absent"]);
    let outcome = host.stockade(&[
        "run",
        "--name",
        "work",
        "--",
        "sh",
        "-c",
        "echo 1 > new.txt",
    ]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    host.json(&["merge", "work", "--yes"]);
    let author = host.git(&["log", "-1", "--format=%an <%ae>"]);
    assert_eq!(author, "Included <included@example.org>\n");
}
