//! Folders that cannot be written, on another machine, or full: each is told in
//! one sentence, and nothing that was there is lost.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test"
)]

mod host;

use std::{fs, path::Path, process::Command};

use self::host::{
    Host, Outcome,
    failure::{FAILED, sentence},
    finish, has, is_root, skip,
    without::on_file_system,
};

const STOCKADE: &str = env!("CARGO_BIN_EXE_stockade");

#[test]
fn a_state_directory_on_another_machine_is_refused_by_its_kind_and_gets_no_file() {
    if !has("perl") {
        return skip("other file systems", "there is no perl to answer statfs");
    }
    let host = Host::new();
    let state = host.state();
    for (magic, kind) in [
        (0x6969, "NFS"),
        (0x0102_1997, "9P"),
        (0xff53_4d42, "SMB"),
        (0x00c3_6400, "Ceph"),
    ] {
        for words in [&["run", "--", "true"][..], &["ls"]] {
            let words = [&[STOCKADE], words].concat();
            let outcome = finish(on_file_system(&host, magic, &state, &words));
            assert_eq!(outcome.code, FAILED, "{kind}: {outcome:?}");
            let said = sentence(&outcome);
            assert!(said.contains(kind), "{outcome:?}");
            assert!(said.contains(state.to_str().unwrap()), "{outcome:?}");
            assert!(
                outcome.stderr.contains("STOCKADE_STATE_DIR"),
                "what to do: {outcome:?}"
            );
            assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "{kind}");
        }
    }
    // The same answer with a local one's number, so it is the number that counts.
    let words = [STOCKADE, "run", "--", "echo", "ran"];
    let outcome = finish(on_file_system(&host, 0xef53, &state, &words));
    assert_eq!(
        (outcome.code, &*outcome.stdout),
        (0, "ran\n"),
        "{outcome:?}"
    );
}

/// A shell with mounts of its own, as somebody with the same rights over files as
/// before; `script` gets `words` and ends with 99 if there is no such thing here.
fn with_mounts(host: &Host, script: &str, words: &[&str]) -> Command {
    let mut shell = host.other_command("unshare");
    if !is_root() {
        shell.args([
            "--user",
            "--map-user=1000",
            "--map-group=1000",
            "--keep-caps",
        ]);
    }
    shell.args(["--mount", "sh", "-c", script, "sh"]);
    shell.args(words);
    shell
}

/// Whether mounts could be made; says so if not.
fn mounted(what: &str, outcome: &Outcome) -> bool {
    let there = outcome.code != 99 && !outcome.stderr.contains("unshare: ");
    if !there {
        skip(what, &outcome.stderr);
    }
    there
}

#[test]
fn a_home_that_is_mounted_read_only_is_named_and_does_without_where_the_state_is_elsewhere() {
    let mut host = Host::new();
    let state = host.state();
    let home = host.home();
    let script = "mount --bind \"$1\" \"$1\" && mount -o remount,bind,ro \"$1\" || exit 99; shift; exec \"$@\"";
    let words = [home.to_str().unwrap(), STOCKADE, "run", "--", "echo", "ran"];

    host.unset("STOCKADE_STATE_DIR");
    let outcome = finish(with_mounts(&host, script, &words));
    if !mounted("a read-only home", &outcome) {
        return;
    }
    assert_eq!(outcome.code, FAILED, "{outcome:?}");
    let said = sentence(&outcome);
    assert!(said.contains("Read-only file system"), "{outcome:?}");
    assert!(said.contains(home.to_str().unwrap()), "{outcome:?}");
    assert!(outcome.stderr.contains("STOCKADE_STATE_DIR"), "{outcome:?}");
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0);

    host.set("STOCKADE_STATE_DIR", state);
    let outcome = finish(with_mounts(&host, script, &words));
    assert_eq!(
        (outcome.code, &*outcome.stdout),
        (0, "ran\n"),
        "{outcome:?}"
    );
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0);
}

/// Runs `script` in the repository, with a file system of 16 MiB at `place` that has
/// what was there, and that `fill` and `drain` make full and not.
fn on_a_small_disk(host: &Host, place: &Path, script: &str) -> Option<Outcome> {
    const WHAT: &str = "a full disk";
    if !is_root() {
        skip(
            WHAT,
            "only root has file systems of its own without a user namespace",
        );
        return None;
    }
    fs::create_dir_all(place).unwrap();
    let prepare = r#"
place=$1; PATH=$2:$PATH
cd / && cp -a "$place" "$place.was" && mount -t tmpfs -o size=16m,mode=0700 none "$place" || exit 99
cp -a "$place.was/." "$place" && cd "$3" || exit 99
fill() { dd if=/dev/zero of="$place/filling" bs=4k 2>/dev/null; test -s "$place/filling"; }
drain() { rm "$place/filling"; }
"#;
    let program = Path::new(STOCKADE).parent().unwrap();
    let repository = host.repository();
    let words = [place, program, &repository].map(|path| path.to_str().unwrap());
    let outcome = finish(with_mounts(host, &format!("{prepare}{script}"), &words));
    mounted(WHAT, &outcome).then_some(outcome)
}

/// Steps after which the branch, its files and what git finds must be as before,
/// and the same merge goes through once there is room.
const MERGE: &str = r#"
stockade run --yes --name work -- sh -c 'head -c 3000000 /dev/urandom > new; echo more >> README.md' >/dev/null 2>&1 || exit 98
looks() { git rev-parse HEAD main; git status --porcelain; git fsck --no-dangling 2>&1; cat README.md; ls; }
before=$(looks)
fill || exit 97
stockade merge work --yes; echo "--- $?"
drain
test "$before" = "$(looks)" && echo as before || { echo "$before"; looks; }
stockade merge work --yes >/dev/null || exit 96
git status --porcelain; git fsck --no-dangling && cat README.md && stat -c %s new
stockade audit verify --all >/dev/null || exit 95
"#;

#[test]
fn a_disk_that_is_full_at_the_merge_leaves_branch_checkout_and_work_as_they_were() {
    for place in ["state", "project"] {
        let host = Host::new();
        let Some(outcome) = on_a_small_disk(&host, &host.path(place), MERGE) else {
            return;
        };
        let said = format!("{place}: {outcome:?}");
        assert_eq!(outcome.code, 0, "{said}");
        assert!(outcome.stderr.contains("No space left on device"), "{said}");
        assert!(!outcome.stderr.contains("panicked"), "{said}");
        let (_, rest) = outcome.stdout.split_once("--- 1\n").unwrap();
        assert_eq!(rest, "as before\na project\nmore\n3000000\n", "{said}");
    }
}
