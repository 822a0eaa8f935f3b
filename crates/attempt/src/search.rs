//! Looks for secrets wherever this process can look.

use std::{collections::BTreeSet, fs, io::Read, os::unix::ffi::OsStrExt, path::PathBuf};

use stockade_attempt::End;

use crate::report::Report;

/// The most of a file that is searched, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// The most entries that are looked at.
const ENTRIES_MAX: usize = 20_000;
/// The longest word that is shown.
const WORD_MAX: usize = 128;

/// Words in the environment of this process.
pub(crate) fn environment(prefix: &str, report: &Report) {
    let mut found = BTreeSet::new();
    for (name, value) in std::env::vars_os() {
        words(name.as_bytes(), prefix, &mut found);
        words(value.as_bytes(), prefix, &mut found);
    }
    tell("its own environment", &found, report);
}

/// Words in what other processes were started with.
pub(crate) fn processes(prefix: &str, report: &Report) {
    let own = std::process::id().to_string();
    let mut found = BTreeSet::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if process.file_name().to_str() == Some(own.as_str()) {
            continue;
        }
        for file in ["environ", "cmdline"] {
            let bytes = fs::read(process.path().join(file)).unwrap_or_default();
            words(&bytes, prefix, &mut found);
        }
    }
    tell("other processes", &found, report);
}

/// Words in files below folders.
pub(crate) fn files(prefix: &str, folders: &[String], report: &Report) {
    for folder in folders {
        tell(folder, &below(PathBuf::from(folder), prefix), report);
    }
}

fn tell(place: &str, found: &BTreeSet<String>, report: &Report) {
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    report.tell(format!("search {place}"), End::Saw(found.join("\n")));
}

/// The words in files of one folder and those below it.
fn below(folder: PathBuf, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder];
    let mut entries = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            entries += 1;
            if entries > ENTRIES_MAX {
                return found;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => {
                    let mut bytes = Vec::new();
                    let _ = fs::File::open(entry.path())
                        .and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes));
                    words(&bytes, prefix, &mut found);
                }
                _ => {}
            }
        }
    }
    found
}

/// The words in `bytes` that begin with `prefix` and go on.
fn words(bytes: &[u8], prefix: &str, found: &mut BTreeSet<String>) {
    let prefix = prefix.as_bytes();
    let starts = bytes
        .windows(prefix.len())
        .enumerate()
        .filter(|(_, window)| *window == prefix)
        .map(|(start, _)| start);
    for start in starts {
        let word: String = bytes[start..]
            .iter()
            .take(WORD_MAX)
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-')
            .map(|byte| char::from(*byte))
            .collect();
        if word.len() > prefix.len() {
            found.insert(word);
        }
    }
}
