//! A project with a bug, for agents to work on.

use std::{fs, path::Path};

use crate::host::{self, Host};

/// Whether any file below `folder` holds `text`.
pub fn holds(folder: &Path, text: &str) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            holds(&entry.path(), text)
        } else {
            kind.is_file()
                && fs::read(entry.path())
                    .unwrap_or_default()
                    .windows(text.len())
                    .any(|window| window == text.as_bytes())
        }
    })
}

/// A repository of a thousand files whose test fails.
pub fn make_large_repository(host: &Host) {
    let repository = host.repository();
    for number in 0..1_000 {
        let folder = repository.join(format!("src/part{}", number % 20));
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(format!("file{number}.txt")),
            format!("file {number}\n"),
        )
        .unwrap();
    }
    fs::write(repository.join("add.sh"), "echo $(($1 - $2))\n").unwrap();
    fs::write(repository.join("test.sh"), "[ \"$(sh add.sh 2 3)\" = 5 ]\n").unwrap();
    host.git(&["add", "--all"]);
    host.git(&[
        "commit",
        "--quiet",
        "--message",
        "A thousand files and a bug",
    ]);
}

/// Whether its test passes, on the host.
pub fn test_passes(host: &Host) -> bool {
    host::finish({
        let mut shell = host.other_command("/bin/sh");
        shell.arg("test.sh");
        shell
    })
    .code
        == 0
}
