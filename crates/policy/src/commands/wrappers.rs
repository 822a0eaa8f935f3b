//! Programs that start another one, whose words are part of theirs.

use stockade_types::{Effect, EffectKind, Mark};

use super::together;
use crate::{
    shell::{Reader, State, Stream},
    text::{UNKNOWN, Word, is_unknown},
};

/// How a program's words hold those of another.
struct Wrapper {
    names: &'static [&'static str],
    /// Options that take the next word.
    values: &'static [&'static str],
    /// Options whose value is a text for a shell.
    texts: &'static [&'static str],
    /// Operands before the program.
    skip: usize,
    /// Words like `name=value` may come before the program.
    assigns: bool,
    /// The words are joined and read by a shell.
    joins: bool,
    /// What it does besides.
    effect: Option<EffectKind>,
}

const PLAIN: Wrapper = Wrapper {
    names: &[],
    values: &[],
    texts: &[],
    skip: 0,
    assigns: false,
    joins: false,
    effect: None,
};

const WRAPPERS: &[Wrapper] = &[
    Wrapper {
        names: &["env"],
        values: &["-u", "--unset", "-C", "--chdir", "-a", "--argv0"],
        texts: &["-S", "--split-string", "-vS"],
        assigns: true,
        ..PLAIN
    },
    Wrapper {
        names: &[
            "nohup",
            "setsid",
            "unbuffer",
            "catchsegv",
            "rlwrap",
            "chronic",
            "ltrace",
        ],
        ..PLAIN
    },
    Wrapper {
        names: &["nice", "ionice", "chrt"],
        values: &["-n", "--adjustment", "-c", "--class", "-p", "-P", "-u"],
        ..PLAIN
    },
    Wrapper {
        names: &["time"],
        values: &["-f", "--format", "-o", "--output"],
        ..PLAIN
    },
    Wrapper {
        names: &["timeout"],
        values: &["-s", "--signal", "-k", "--kill-after"],
        skip: 1,
        ..PLAIN
    },
    Wrapper {
        names: &["stdbuf"],
        values: &["-i", "-o", "-e", "--input", "--output", "--error"],
        ..PLAIN
    },
    Wrapper {
        names: &["taskset", "setarch", "linux64", "linux32"],
        values: &["-c", "--cpu-list"],
        skip: 1,
        ..PLAIN
    },
    Wrapper {
        names: &[
            "busybox",
            "toybox",
            "torsocks",
            "proxychains",
            "proxychains4",
            "faketime",
            "dumb-init",
            "tini",
            "xvfb-run",
            "dbus-run-session",
            "fakeroot",
        ],
        values: &["-f", "-n"],
        ..PLAIN
    },
    Wrapper {
        names: &["flock"],
        values: &["-w", "--timeout", "-E", "--conflict-exit-code"],
        texts: &["-c", "--command"],
        skip: 1,
        ..PLAIN
    },
    Wrapper {
        names: &["watch", "entr"],
        values: &["-n", "--interval"],
        joins: true,
        ..PLAIN
    },
    Wrapper {
        names: &["hyperfine"],
        values: &[
            "-w",
            "--warmup",
            "-r",
            "--runs",
            "-m",
            "-M",
            "--export-json",
            "--export-markdown",
        ],
        texts: &["-p", "--prepare", "-c", "--cleanup", "-s", "--setup"],
        joins: true,
        ..PLAIN
    },
    Wrapper {
        names: &["script"],
        values: &["-T", "-t", "-B", "-I", "-O"],
        texts: &["-c", "--command"],
        skip: usize::MAX,
        ..PLAIN
    },
    Wrapper {
        names: &["strace"],
        values: &["-o", "-e", "-s", "-u", "-E", "-P", "-a", "-O", "-S"],
        effect: Some(EffectKind::ProcDebug),
        ..PLAIN
    },
    Wrapper {
        names: &[
            "ld.so",
            "ld-linux.so",
            "ld-linux-x86-64.so.2",
            "ld-linux-aarch64.so.1",
        ],
        values: &["--library-path", "--preload", "--argv0"],
        ..PLAIN
    },
    Wrapper {
        names: &[
            "sudo", "doas", "sudoedit", "pkexec", "run0", "gosu", "su-exec", "runuser", "calife",
        ],
        values: &[
            "-u", "-g", "-h", "-p", "-C", "-D", "-r", "-t", "-T", "-U", "--user", "--group",
        ],
        texts: &["-c"],
        assigns: true,
        effect: Some(EffectKind::ProcPrivilege),
        ..PLAIN
    },
    Wrapper {
        names: &["su", "sg", "newgrp", "runuser"],
        values: &["-s", "--shell", "-g", "--group"],
        texts: &["-c", "--command"],
        skip: usize::MAX,
        effect: Some(EffectKind::ProcPrivilege),
        ..PLAIN
    },
    Wrapper {
        names: &["chroot"],
        skip: 1,
        effect: Some(EffectKind::ProcPrivilege),
        ..PLAIN
    },
    Wrapper {
        names: &[
            "nsenter",
            "unshare",
            "capsh",
            "setpriv",
            "bwrap",
            "firejail",
            "systemd-nspawn",
        ],
        values: &[
            "-t",
            "--target",
            "-S",
            "--setuid",
            "-G",
            "--setgid",
            "--reuid",
            "--regid",
            "--map-user",
        ],
        texts: &["-c"],
        effect: Some(EffectKind::ProcPrivilege),
        ..PLAIN
    },
    Wrapper {
        names: &[
            "systemd-run",
            "at",
            "batch",
            "daemonize",
            "start-stop-daemon",
            "screen",
            "tmux",
            "zellij",
        ],
        values: &["-u", "--unit", "-p", "--property", "-S", "-f"],
        effect: Some(EffectKind::ProcPersist),
        skip: 0,
        ..PLAIN
    },
];

impl Reader<'_> {
    /// Follows the program that `name` starts; `None` if it starts none.
    pub(super) fn wrapper(
        &mut self,
        name: &str,
        rest: &[Word],
        state: &mut State,
        input: &Stream,
    ) -> Option<Stream> {
        match name {
            "xargs" | "parallel" => return Some(self.xargs(rest, state, input)),
            "find" | "fd" | "fdfind" => {
                self.find(rest, state);
                return None;
            }
            _ => {}
        }
        let wrapper = WRAPPERS
            .iter()
            .find(|wrapper| wrapper.names.contains(&name))?;
        if let Some(kind) = wrapper.effect {
            self.add(Effect::new(kind, name));
        }
        Some(self.unwrap(name, wrapper, rest, state, input))
    }

    fn unwrap(
        &mut self,
        name: &str,
        wrapper: &Wrapper,
        rest: &[Word],
        state: &mut State,
        input: &Stream,
    ) -> Stream {
        let mut skip = wrapper.skip;
        let mut place = 0;
        let mut inside = state.clone();
        while let Some(word) = rest.get(place) {
            let text = word.text.as_str();
            place += 1;
            if word.several {
                self.opaque(name, &[Mark::Unresolved]);
                place -= 1;
                break;
            }
            if text == "--" {
                place += skip.min(rest.len());
                break;
            }
            if text.len() > 1 && text.starts_with('-') {
                let (option, glued) = match text.split_once('=') {
                    Some((option, value)) => (option, Some(value)),
                    None => (text, None),
                };
                if let Some(shell_text) = wrapper.texts.iter().find_map(|wanted| {
                    let short = wanted.len() == 2 && !option.starts_with("--");
                    match glued {
                        Some(value) if option == *wanted => Some(value),
                        None if option == *wanted => rest.get(place).map(|word| word.text.as_str()),
                        // `-qc`, or `-cTEXT`.
                        None if short && option.ends_with(&wanted[1..]) => {
                            rest.get(place).map(|word| word.text.as_str())
                        }
                        None if short => option.strip_prefix(wanted),
                        _ => None,
                    }
                }) {
                    let shell_text = format!("{shell_text} {}", together(&rest[place..]));
                    return self.script(shell_text.trim(), &mut inside, input);
                }
                if glued.is_none() && wrapper.values.contains(&option) {
                    place += 1;
                }
                continue;
            }
            if let (true, Some((variable, value))) = (wrapper.assigns, text.split_once('=')) {
                let (variable, value) = (variable.to_owned(), value.to_owned());
                self.variable(&variable, &value, &mut inside);
                continue;
            }
            if skip > 0 {
                skip -= 1;
                continue;
            }
            place -= 1;
            break;
        }
        let words = rest.get(place..).unwrap_or_default();
        if words.is_empty() {
            self.add(Effect::new(EffectKind::ExecRun, name));
            return Stream::Unknown;
        }
        if wrapper.joins {
            return self.script(&together(words), &mut inside, input);
        }
        inside.functions.clear();
        self.run(words, &mut inside, input)
    }

    /// The program's words are followed by what `xargs` reads.
    fn xargs(&mut self, rest: &[Word], state: &mut State, input: &Stream) -> Stream {
        let values = [
            "-I",
            "-n",
            "-P",
            "-L",
            "-d",
            "-E",
            "-s",
            "-a",
            "-i",
            "-j",
            "--max-args",
            "--max-procs",
            "--delimiter",
            "--replace",
            "--arg-file",
            "--jobs",
        ];
        let mut place = 0;
        let mut replaced = None;
        while let Some(word) = rest.get(place) {
            let text = word.text.as_str();
            if text.len() < 2 || !text.starts_with('-') {
                break;
            }
            place += 1;
            if let Some(glued) = text.strip_prefix("-I").filter(|glued| !glued.is_empty()) {
                replaced = Some(glued.to_owned());
            } else if values.contains(&text) {
                if matches!(text, "-I" | "-i" | "--replace") {
                    replaced = rest.get(place).map(|word| word.text.clone());
                }
                place += 1;
            }
        }
        let mut words = rest.get(place..).unwrap_or_default().to_vec();
        if words.is_empty() {
            return Stream::Unknown;
        }
        let given: Vec<Word> = match input {
            Stream::Text(text) => text
                .split_whitespace()
                .take(64)
                .map(Word::literal)
                .collect(),
            _ => vec![Word::anything()],
        };
        match replaced {
            Some(mark) => {
                let value = match given.as_slice() {
                    [only] => only.text.clone(),
                    _ => UNKNOWN.to_string(),
                };
                for word in &mut words {
                    word.text = word.text.replace(&mark, &value);
                }
            }
            None => words.extend(given),
        }
        self.run(&words, &mut state.clone(), &Stream::Unknown);
        Stream::Unknown
    }

    /// What `find` deletes, writes and starts.
    fn find(&mut self, rest: &[Word], state: &mut State) {
        let is_expression = |word: &Word| word.text.starts_with(['-', '(', '!']);
        let starts: Vec<Word> = rest
            .iter()
            .skip_while(|word| matches!(word.text.as_str(), "-L" | "-P" | "-H"))
            .take_while(|word| !is_expression(word))
            .take(8)
            .cloned()
            .collect();
        let starts = if starts.is_empty() {
            vec![Word::literal(".")]
        } else {
            starts
        };
        let chosen = rest.iter().any(|word| {
            [
                "-name", "-iname", "-path", "-regex", "-mtime", "-mmin", "-newer", "-empty",
                "-size",
            ]
            .contains(&word.text.as_str())
        });
        if rest.iter().any(|word| word.several) {
            self.opaque("find", &[Mark::Unresolved]);
        }
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            match word.text.as_str() {
                "-delete" => {
                    for start in &starts {
                        let target = if chosen { below(start) } else { start.clone() };
                        let marks = [Mark::Recursive, Mark::Bulk];
                        self.file_effect(EffectKind::FsDelete, "find", &target, &marks, state);
                    }
                }
                "-fprint" | "-fprint0" | "-fls" | "-fprintf" => {
                    if let Some(file) = words.next() {
                        self.file_effect(EffectKind::FsWrite, "find", file, &[], state);
                    }
                }
                "-exec" | "-execdir" | "-ok" | "-okdir" | "-x" | "-X" | "--exec"
                | "--exec-batch" => {
                    let command: Vec<Word> = words
                        .by_ref()
                        .take_while(|word| !matches!(word.text.as_str(), ";" | "+"))
                        .cloned()
                        .collect();
                    for start in &starts {
                        let found = below(start);
                        let command: Vec<_> = command
                            .iter()
                            .map(|word| Word {
                                text: word.text.replace("{}", &found.text),
                                ..word.clone()
                            })
                            .collect();
                        self.run(&command, &mut state.clone(), &Stream::Unknown);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Something in a folder.
fn below(folder: &Word) -> Word {
    if is_unknown(&folder.text) {
        return folder.clone();
    }
    let folder = folder.text.trim_end_matches('/');
    Word::literal(format!("{folder}/{UNKNOWN}"))
}
