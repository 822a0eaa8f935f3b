//! What bash really starts, beside what is told of the text: scripts are made,
//! run by bash with programs that only write down their words, and compared.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a step that fails fails the test; bash is run here, with recorders for programs"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
};

use proptest::prelude::*;
use stockade_policy::{Policy, Surroundings, effects_of_text, effects_of_words};
use stockade_types::Verdict;

static POLICY: LazyLock<Policy> = LazyLock::new(|| Policy::builtin().unwrap());

/// Writes its words down, each ended by a zero, in a file of its own.
const RECORDER: &str = "#!/bin/sh\nprintf '%s\\0' \"${0##*/}\" \"$@\" > \"$RECORD/$$\"\n";

/// The programs that scripts can find.
const PROGRAMS: [&str; 6] = ["rm", "git", "npm", "ls", "env", "sudo"];

const COMMANDS: [&[&str]; 6] = [
    &["rm", "-rf", "/"],
    &["git", "push", "--force", "origin", "main"],
    &["npm", "publish"],
    &["git", "-C", "x", "push"],
    &["sudo", "ls"],
    &["ls", "-la"],
];

/// A word written in one of the ways that bash has.
fn written(word: &str, way: u8) -> String {
    let (first, rest) = word.split_at(1);
    match way {
        0 => word.to_owned(),
        1 => format!("'{word}'"),
        2 => format!("\"{word}\""),
        3 => format!("\\{word}"),
        4 => format!("{first}''{rest}"),
        5 => format!("{first}\"\"{rest}"),
        6 => {
            let letters = word.bytes().map(|byte| format!("$'\\x{byte:02x}'"));
            letters.collect::<Vec<_>>().concat()
        }
        7 => format!("$(echo {word})"),
        8 => format!("`printf %s {word}`"),
        9 => format!("${{unset_here:-{word}}}"),
        10 => format!("${{v0:+{word}}}"),
        _ => format!("\"$(echo '{first}')\"{rest}"),
    }
}

fn command() -> impl Strategy<Value = String> {
    let words = proptest::sample::select(COMMANDS.to_vec());
    (words, proptest::collection::vec(0..12_u8, 8)).prop_map(|(words, ways)| {
        let words = words.iter().zip(ways).map(|(word, way)| written(word, way));
        words.collect::<Vec<_>>().join(" ")
    })
}

/// A script around a command; none of its programs has a path.
fn script() -> impl Strategy<Value = String> {
    command().prop_recursive(3, 8, 2, |inner| {
        (inner.clone(), inner, 0..16_u8).prop_map(|(one, two, way)| {
            let quoted = format!("'{}'", one.replace('\'', r"'\''"));
            match way {
                0 => format!("{one}; {two}"),
                1 => format!("{one} && {two}"),
                2 => format!("{one} | {two}"),
                3 => format!("if {one}\nthen {two}\nfi"),
                4 => format!("v1=a; case $v1 in b) {one};; *) {two};; esac"),
                5 => format!("f() {{ {one}\n}}; {two}\nf"),
                6 => format!("eval {quoted}"),
                7 => format!("v2={quoted}; eval \"$v2\""),
                8 => format!("for v3 in a b; do {one}\ndone"),
                9 => format!("( {one}\n) & wait"),
                10 => format!("echo \"$({one}\n)\""),
                11 => format!("read -r v4 <<< {quoted}; eval \"$v4\""),
                12 => format!("v5={quoted}; $v5"),
                13 => format!("trap {quoted} EXIT; {two}"),
                14 => format!("v6=ls; false && v6=x; $v6; {one}"),
                _ => format!("set -- {one}; \"$@\""),
            }
        })
    })
}

/// What bash started, each with its words.
fn started(folder: &Path, script: &str) -> Vec<Vec<String>> {
    let record = folder.join("record");
    fs::create_dir_all(&record).unwrap();
    let status = Command::new("/bin/bash")
        .args(["--norc", "--noprofile", "-c", script])
        .env_clear()
        .env("PATH", folder.join("bin"))
        .env("RECORD", &record)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.unwrap();
    let files = fs::read_dir(&record).unwrap();
    let words = files.map(|file| fs::read(file.unwrap().path()).unwrap());
    let words = words.map(|bytes| {
        let text = String::from_utf8(bytes).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect()
    });
    let words = words.collect();
    fs::remove_dir_all(&record).unwrap();
    words
}

#[test]
fn g4_whatever_bash_makes_of_a_text_it_starts_nothing_worse_than_was_told() {
    if !Path::new("/bin/bash").exists() {
        eprintln!("SKIP: there is no /bin/bash to compare with");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("bin")).unwrap();
    for program in PROGRAMS {
        let file = folder.path().join("bin").join(program);
        fs::write(&file, RECORDER).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let around = Surroundings::inside("/workspace/app");
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let seen = std::cell::Cell::new(0_usize);
    runner
        .run(&script(), |text| {
            let told = POLICY.decide(&effects_of_text(&text, &around)).verdict;
            for words in started(folder.path(), &text) {
                seen.set(seen.get() + 1);
                let real = POLICY.decide(&effects_of_words(&words, &around)).verdict;
                // What was contained may have been anything.
                let least = real.min(Verdict::Contain);
                prop_assert!(
                    told >= least,
                    "{text}\nstarted {words:?}: {real}, told {told}"
                );
            }
            Ok(())
        })
        .unwrap();
    assert!(
        seen.get() > 200,
        "only {} programs were started",
        seen.get()
    );
}
