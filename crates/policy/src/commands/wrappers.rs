//! Programs that start another one, whose words are part of theirs.

use stockade_types::{Effect, EffectKind, Mark};

use super::together;
use crate::{
    shell::{Reader, State, Stream},
    text::Word,
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
}
