//! Repositories and work that are out of the ordinary arrive and come back.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, Instant},
};

use self::host::{Host, finish, finish_within};

/// Every file below `folder` but git's own: its name and its content, in bytes.
fn files(folder: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_name() == ".git" {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
                found.insert(name.to_vec(), fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

/// The same as text: names and contents as digits.
fn listing(files: &BTreeMap<Vec<u8>, Vec<u8>>) -> String {
    let lines = files.iter();
    let lines = lines.map(|(name, text)| format!("{} {}\n", hex::encode(name), hex::encode(text)));
    lines.collect()
}

/// The same by a program inside.
const LIST: &str = r#"perl -MFile::Find -e 'find({ no_chdir => 1, wanted => sub {
    return if -d || $_ eq "./.git"; open(my $file, "<", $_) or die $!; local $/;
    push @lines, unpack("H*", substr($_, 2)) . " " . unpack("H*", <$file>) . "\n" } }, ".");
    print sort @lines'"#;

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

#[test]
fn names_that_are_not_text_are_the_same_bytes_after_merge_undo_and_checkout() {
    let host = Host::new();
    let repository = host.repository();
    let put = |name: &[u8], text: &[u8]| {
        let path = repository.join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let names: [&[u8]; 4] = [
        b"line\nbreak",
        b"not-utf8-\xff\xfe",
        b"folder\n\xfe/\"quoted'\t",
        b"-rf\\",
    ];
    for name in names {
        put(name, b"a\n");
    }
    host.git(&["add", "-A"]);
    host.git(&["commit", "-q", "-m", "odd"]);
    let before = files(&repository);

    // One changed, one deleted, one renamed, one new.
    let script = r"printf 'b\377\n' >> $'line\nbreak'; rm -- $'not-utf8-\377\376'; mv -- '-rf\' $'-\377\n'; mkdir $'new\n'; echo new > $'new\n/\201'";
    let run = ["run", "--yes", "--name", "odd", "--", "bash", "-c", script];
    let outcome = host.stockade(&run);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(files(&repository), before);
    let mut after = before.clone();
    after.insert(b"line\nbreak".to_vec(), b"a\nb\xff\n".to_vec());
    after.remove(&b"not-utf8-\xff\xfe"[..]);
    let moved = after.remove(&b"-rf\\"[..]).unwrap();
    after.insert(b"-\xff\n".to_vec(), moved);
    after.insert(b"new\n/\x81".to_vec(), b"new\n".to_vec());

    // What the task shows, at its end and after going back and forth.
    let task = host.only_task();
    let inside = || {
        let (exit, listing) = host.exec(&task, LIST);
        assert_eq!(exit, 0, "{listing}");
        listing
    };
    assert_eq!(inside(), listing(&after));
    host.json(&["undo", "odd", "--to", "0"]);
    assert_eq!(inside(), listing(&before));
    host.json(&["undo", "odd", "--to", "1"]);
    assert_eq!(inside(), listing(&after));

    let place = host.path("checked-out");
    let words = ["checkout", "odd", "--on-host", place.to_str().unwrap()];
    let outcome = host.stockade(&words);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert_eq!(listing(&files(&place)), listing(&after));

    host.json(&["merge", "odd", "--yes"]);
    assert_eq!(listing(&files(&repository)), listing(&after));
    assert_eq!(host.git(&["status", "--porcelain"]), "");
}

#[test]
fn a_commit_without_files_is_a_base_and_work_that_deletes_everything_comes_back() {
    let host = Host::new();
    let empty = host.make_repository("empty", &[]);
    let place = empty.to_str().unwrap();
    let run = |name: &str, script: &str| {
        let words = [
            "run", "--yes", "--in", place, "--name", name, "--", "bash", "-c", script,
        ];
        let outcome = host.stockade(&words);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.stdout
    };
    assert_eq!(
        run("look", "ls -A; git status --short; git ls-tree HEAD"),
        ".git\n"
    );
    let diff = host.json(&["diff", "look"]);
    assert_eq!(diff["files"], serde_json::json!([]));
    assert_eq!(host.json(&["merge", "look", "--yes"])["merged"], false);

    run("first", "echo 1 > one; mkdir two; echo 2 > two/two");
    host.json(&["merge", "first", "--yes"]);
    let all = host.git_in(&empty, &["ls-tree", "-r", "--name-only", "HEAD"]);
    assert_eq!(all, "one\ntwo/two\n");
    assert_eq!(fs::read_to_string(empty.join("two/two")).unwrap(), "2\n");

    run("last", "git rm -qr .; git commit -qm Nothing");
    host.json(&["undo", "last", "--to", "0"]);
    host.json(&["undo", "last", "--to", "1"]);
    host.json(&["merge", "last", "--yes"]);
    assert_eq!(host.git_in(&empty, &["ls-tree", "-r", "HEAD"]), "");
    assert_eq!(files(&empty), BTreeMap::new());
    assert_eq!(host.git_in(&empty, &["status", "--porcelain"]), "");
}

#[test]
fn a_committed_file_of_a_gigabyte_goes_in_and_stays_as_it_is() {
    const SIZE: u64 = 1 << 30;
    const EACH: Duration = Duration::from_mins(3);
    let host = Host::new();
    let big = host.repository().join("big.bin");
    fs::File::create(&big).unwrap().set_len(SIZE).unwrap();
    let git = |words: &[&str]| {
        let mut git = host.other_command("git");
        git.args(["-c", "user.name=A", "-c", "user.email=a@example.org"]);
        git.args(words);
        let outcome = finish_within(git, EACH).unwrap();
        assert_eq!(outcome.code, 0, "{words:?}: {outcome:?}");
        outcome.stdout
    };
    git(&["add", "big.bin"]);
    git(&["commit", "-q", "-m", "big"]);
    let committed = git(&["rev-parse", "HEAD:big.bin"]);
    let does = |words: &[&str]| {
        let outcome = finish_within(host.command(words), EACH);
        let outcome = outcome.unwrap_or_else(|| panic!("{words:?} took too long"));
        assert_eq!(outcome.code, 0, "{words:?}: {outcome:?}");
        outcome.stdout
    };
    let script =
        "stat -c %s big.bin; git status --short; echo more >> README.md; git commit -qam More";
    let said = does(&["run", "--yes", "--name", "big", "--", "bash", "-c", script]);
    assert_eq!(said, "1073741824\n");
    assert_eq!(
        does(&["diff", "big", "--stat"]),
        "changed  README.md  +1 -0\n"
    );
    does(&["review", "big"]);
    does(&["merge", "big", "--yes", "--keep-commits"]);
    assert_eq!(git(&["rev-parse", "HEAD:big.bin"]), committed);
    assert_eq!(git(&["show", "HEAD:README.md"]), "a project\nmore\n");
    assert_eq!(fs::metadata(&big).unwrap().len(), SIZE);

    // What makes it larger than may come back is left out, and nothing else is.
    let script = "printf x >> big.bin; echo again >> README.md";
    does(&[
        "run", "--yes", "--name", "grown", "--", "bash", "-c", script,
    ]);
    let diff = does(&["diff", "grown", "--stat"]);
    assert!(
        diff.contains("left out big.bin: it has 1073741825 bytes"),
        "{diff}"
    );
    does(&["merge", "grown", "--yes"]);
    assert_eq!(git(&["rev-parse", "HEAD:big.bin"]), committed);
    assert_eq!(git(&["show", "HEAD:README.md"]), "a project\nmore\nagain\n");
}
