//! Names that are not text, trees without files and files of a gigabyte go into a
//! task and come back to the byte.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{
    collections::BTreeMap, ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path, time::Duration,
};

use self::host::{Host, finish_within};

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
    let asks = host.stockade(&words);
    assert_eq!(asks.code, 4, "names that deceive a reader: {asks:?}");
    let outcome = host.stockade(&[&words[..], &["--acknowledge-risks"]].concat());
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
