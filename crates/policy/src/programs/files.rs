use stockade_types::{
    EffectKind::{ExecRun, FsDelete, FsLink, FsPermission, FsRead, FsWrite, ProcSystem},
    Mark,
};

use super::{Program, Sink, Target, program, row};
use crate::{
    commands::Line,
    text::{Word, is_unknown},
};

pub(super) const PROGRAMS: &[Program] = &[
    program(&["rm", "unlink", "srm", "trash", "rip"], &[]).special(remove),
    program(
        &["shred", "wipe"],
        &[row("", FsDelete).marks(&[Mark::Whole]).on(Target::Each)],
    )
    .values(&["-n", "-s", "--iterations", "--size"]),
    program(&["rmdir"], &[row("", FsDelete).on(Target::Each)]),
    program(
        &["mv"],
        &[
            row("", FsDelete).on(Target::AllButLast),
            row("", FsWrite).on(Target::Last),
            row("", FsWrite).on(Target::Option(&["-t", "--target-directory"])),
        ],
    )
    .values(&["-t", "-S"]),
    program(
        &["cp", "install"],
        &[
            row("", FsRead).on(Target::AllButLast),
            row("", FsWrite).on(Target::Last),
            row("", FsWrite).on(Target::Option(&["-t", "--target-directory"])),
        ],
    )
    .values(&["-t", "-S", "-m", "-o", "-g"])
    .special(copied),
    program(
        &["ln", "link"],
        &[
            row("", FsLink).on(Target::First),
            row("", FsWrite).on(Target::Rest),
        ],
    ),
    program(
        &["mkdir", "mkfifo", "mktemp"],
        &[row("", FsWrite).on(Target::Each)],
    )
    .values(&["-m"]),
    program(&["touch"], &[row("", FsWrite).on(Target::Each)]).values(&["-d", "-t", "-r"]),
    program(
        &["truncate", "fallocate"],
        &[row("", FsWrite).on(Target::Each)],
    )
    .values(&["-s", "-l", "-r", "-o"]),
    program(&["tee", "sponge"], &[row("", FsWrite).on(Target::Each)]).special(copies_input),
    program(&["dd"], &[]).special(dd),
    program(
        &["mknod"],
        &[row("", FsWrite)
            .marks(&[Mark::Privileged])
            .on(Target::First)],
    ),
    program(
        &["chmod", "chown", "chgrp"],
        &[
            row("", FsPermission).on(Target::Rest),
            row("", FsPermission)
                .when(&["-R", "--recursive"])
                .marks(&[Mark::Recursive])
                .on(Target::Rest),
        ],
    )
    .special(permission),
    program(
        &["setfacl", "chattr", "setfattr", "chcon"],
        &[row("", FsPermission).on(Target::Rest)],
    ),
    program(
        &["setcap"],
        &[row("", FsPermission)
            .marks(&[Mark::Setuid])
            .on(Target::Rest)],
    ),
    program(
        &[
            "cat",
            "bat",
            "less",
            "more",
            "head",
            "tail",
            "tac",
            "nl",
            "strings",
            "xxd",
            "od",
            "hexdump",
            "wc",
            "sort",
            "uniq",
            "cut",
            "paste",
            "column",
            "fold",
            "base32",
            "md5sum",
            "sha1sum",
            "sha256sum",
            "file",
            "stat",
            "view",
            "diff",
            "cmp",
            "comm",
            "rev",
        ],
        &[row("", FsRead).on(Target::Each)],
    )
    .special(reads),
    program(&["base64"], &[row("", FsRead).on(Target::Each)])
        .values(&["-w"])
        .special(reads),
    program(
        &[
            "grep", "egrep", "fgrep", "rg", "ag", "ack", "jq", "yq", "xmllint",
        ],
        &[
            row("", FsRead)
                .unless(&["-e", "--regexp", "-f", "--file"])
                .on(Target::Rest),
            row("", FsRead)
                .when(&["-e", "--regexp", "-f", "--file"])
                .on(Target::Each),
            row("", FsRead).on(Target::Option(&["-f", "--file"])),
        ],
    )
    .values(&[
        "-e",
        "-f",
        "-m",
        "-A",
        "-B",
        "-C",
        "-g",
        "-t",
        "--arg",
        "--argjson",
        "--include",
        "--exclude",
    ])
    .runs(&["--pre"])
    .special(passes),
    program(&["sed", "gsed"], &[])
        .values(&["-e", "-f", "-l"])
        .special(sed),
    program(&["awk"], &[])
        .values(&["-F", "-v", "-f", "-i"])
        .special(awk),
    program(
        &["tar", "bsdtar"],
        &[row("", FsWrite)
            .when(&["-x", "--extract"])
            .on(Target::Option(&["-C", "--directory"]))],
    )
    .values(&["-C", "--directory", "-T", "-X", "-I"])
    .runs(&[
        "--to-command",
        "-I",
        "--use-compress-program",
        "--checkpoint-action",
        "--info-script",
        "--rsh-command",
        "-F",
        "--new-volume-script",
    ])
    .special(tar),
    program(
        &["zip", "7z", "7za", "rar", "gzip", "bzip2", "xz", "zstd"],
        &[row("", FsRead).on(Target::Each)],
    )
    .runs(&["-TT", "--unzip-command"]),
    program(
        &["unzip", "gunzip", "cpio"],
        &[row("", FsWrite).on(Target::Option(&["-d"]))],
    )
    .values(&["-d"]),
    program(&["split", "csplit"], &[]).runs(&["--filter"]),
    program(
        &["vi", "vim", "nvim", "ex", "ed", "emacs", "nano"],
        &[row("", FsWrite).on(Target::Each)],
    )
    .values(&["-c", "--cmd", "-S", "--eval"])
    .special(editor),
    program(
        &[
            "mkfs",
            "mkfs.ext4",
            "mkfs.xfs",
            "mkfs.btrfs",
            "mkfs.vfat",
            "mke2fs",
            "mkswap",
            "wipefs",
            "fdisk",
            "sfdisk",
            "cfdisk",
            "parted",
            "sgdisk",
            "blkdiscard",
            "hdparm",
            "cryptsetup",
            "lvremove",
            "vgremove",
            "pvremove",
            "zpool",
            "badblocks",
        ],
        &[row("", ProcSystem)
            .marks(&[Mark::Whole])
            .unless(&["-l", "--list", "list", "status"])
            .on(Target::Last)],
    ),
    program(
        &[
            "ls", "tree", "du", "df", "exa", "eza", "realpath", "readlink", "dirname", "basename",
            "seq", "date", "expr", "bc", "uname", "whoami", "id", "tput", "clear", "tr", "yes",
            "nproc", "free", "uptime", "arch", "locale", "cal", "numfmt", "factor", "tsort",
            "shuf", "getconf", "cloc", "tokei", "scc",
        ],
        &[],
    )
    .special(clock),
    program(&["env-print", "printenv"], &[row("", ExecRun)]),
];

/// Deleting a folder with all in it is more than deleting a file.
fn remove(line: &Line, sink: &mut Sink<'_, '_>) {
    let mut marks = Vec::new();
    if line.has("-r") || line.has("-R") || line.has("--recursive") {
        marks.push(Mark::Recursive);
    }
    for operand in &line.operands {
        let mut marks = marks.clone();
        if operand.pattern {
            marks.push(Mark::Bulk);
        }
        sink.on(line, FsDelete, operand, &marks);
    }
    if line.operands.is_empty() && line.unresolved {
        sink.on(line, FsDelete, &Word::anything(), &marks);
    }
}

/// A copy of what came from elsewhere did, too.
fn copied(line: &Line, sink: &mut Sink<'_, '_>) {
    if sink.was_fetched(line.operand(0)) {
        sink.fetched(line.operand(1));
    }
}

fn copies_input(_: &Line, sink: &mut Sink<'_, '_>) {
    let input = sink.input().clone();
    sink.prints(input);
}

fn passes(_: &Line, sink: &mut Sink<'_, '_>) {
    let input = sink.input().clone();
    sink.prints(match input {
        crate::shell::Stream::Remote => input,
        _ => crate::shell::Stream::Unknown,
    });
}

/// What a program prints of files that came from elsewhere did, too.
fn reads(line: &Line, sink: &mut Sink<'_, '_>) {
    passes(line, sink);
    let fetched = |word: &Word| sink.was_fetched(&word.text) || crate::text::is_remote(&word.text);
    if line.operands.iter().any(fetched) {
        sink.prints(crate::shell::Stream::Remote);
    }
}

fn dd(line: &Line, sink: &mut Sink<'_, '_>) {
    for word in &line.operands {
        let part = |text: &str| Word {
            text: text.to_owned(),
            ..word.clone()
        };
        if let Some(file) = word.text.strip_prefix("if=") {
            sink.on(line, FsRead, &part(file), &[]);
        } else if let Some(file) = word.text.strip_prefix("of=") {
            sink.on(line, FsWrite, &part(file), &[]);
        }
    }
}

fn permission(line: &Line, sink: &mut Sink<'_, '_>) {
    if line.program != "chmod" {
        return;
    }
    let mode = line.operand(0);
    let special =
        |digits: &str| digits.len() == 4 && matches!(digits.as_bytes()[0], b'2' | b'4' | b'6');
    let setuid =
        mode.contains("+s") || mode.contains("=s") || mode.contains("us") && mode.contains('+');
    if special(mode) || setuid || is_unknown(mode) {
        for file in line.operands.iter().skip(1) {
            sink.on(line, FsPermission, file, &[Mark::Setuid]);
        }
    }
}

/// `sed` can write in place, write other files and run commands.
fn sed(line: &Line, sink: &mut Sink<'_, '_>) {
    let given: Vec<_> = line.values(&["-e"]).collect();
    let (scripts, files) = match line.operands.split_first() {
        Some((script, files)) if given.is_empty() && line.value(&["-f"]).is_none() => {
            (vec![script], files)
        }
        _ => (given, line.operands.as_slice()),
    };
    let in_place = line.words.iter().any(|word| {
        word.text.starts_with("-i") || word.text.starts_with("--in-place") || word.text == "-ni"
    });
    for file in files {
        let kind = if in_place { FsWrite } else { FsRead };
        sink.on(line, kind, file, &[]);
    }
    for script in scripts {
        for part in script.text.split([';', '\n']) {
            let part = part.trim();
            let command =
                part.trim_start_matches(|c: char| c.is_ascii_digit() || "$,! /".contains(c));
            // `s/a/b/e` and `1e rm` run what they make or name.
            let flags = part.rsplit(['/', '|', '#', ',']).next().unwrap_or_default();
            let substitutes = command.starts_with('s') && part.len() > 3;
            let runs = command == "e"
                || command.starts_with("e ")
                || substitutes
                    && flags.contains('e')
                    && flags.bytes().all(|b| b"gepiIm0123456789".contains(&b));
            if runs || is_unknown(part) && substitutes && in_place && script.several {
                sink.code(line, part);
            }
            let written = command
                .strip_prefix("w ")
                .or(part.rsplit_once("/w ").map(|(_, file)| file));
            if let Some(file) = written {
                sink.path(line, FsWrite, file.trim(), &[]);
            }
        }
    }
    passes(line, sink);
}

fn awk(line: &Line, sink: &mut Sink<'_, '_>) {
    let from_file = line.value(&["-f"]).is_some();
    let (code, files) = match line.operands.split_first() {
        Some((code, files)) if !from_file => (Some(code), files),
        _ => (None, line.operands.as_slice()),
    };
    for file in files.iter().filter(|file| !file.text.contains('=')) {
        sink.on(line, FsRead, file, &[]);
    }
    if let Some(code) = code {
        let runs = ["system(", "|", "getline", "print >", ">", "@load", "/inet/"];
        let compares = code
            .text
            .replace("||", "")
            .replace(">=", "")
            .replace("> 0", "");
        if runs.iter().any(|word| compares.contains(word)) && !only_compares(&compares) {
            sink.code(line, &code.text);
        }
    }
    passes(line, sink);
}

/// Whether every `>` of a program comes before a number, as in `$3 > 100`.
fn only_compares(code: &str) -> bool {
    let calm = !["system(", "|", "getline", "@load", "/inet/"]
        .iter()
        .any(|word| code.contains(word));
    calm && code.split('>').skip(1).all(|rest| {
        rest.trim_start()
            .starts_with(|c: char| c.is_ascii_digit() || c == '$')
    })
}

/// `tar xf` and its like, without dashes, and what it packs.
fn tar(line: &Line, sink: &mut Sink<'_, '_>) {
    let first = line.words.first().map_or("", |word| word.text.as_str());
    let creates = line.has("-c") || !first.starts_with('-') && first.contains('c');
    for word in &line.words {
        if let Some(command) = word.text.strip_prefix("--checkpoint-action=exec=") {
            sink.script(command);
        }
    }
    if creates {
        for file in line.operands.iter().skip(1) {
            sink.on(line, FsRead, file, &[]);
        }
    }
}

/// Editors run commands that are given with `-c`.
fn editor(line: &Line, sink: &mut Sink<'_, '_>) {
    for command in line.values(&["-c", "--cmd", "--eval", "-S"]) {
        let text = command.text.trim_start_matches(':');
        match text.strip_prefix('!') {
            Some(shell) => sink.script(shell),
            None => sink.code(line, &command.text),
        }
    }
    for word in &line.words {
        if let Some(shell) = word
            .text
            .strip_prefix("+!")
            .or(word.text.strip_prefix("+:!"))
        {
            sink.script(shell);
        }
    }
}

fn clock(line: &Line, sink: &mut Sink<'_, '_>) {
    if line.program == "date" && (line.has("--set") || line.words.iter().any(|w| w.text == "-s")) {
        sink.effect(line, ProcSystem, "clock", &[]);
    }
}
