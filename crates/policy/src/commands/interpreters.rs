//! Programs that run text: shells, whose text is read, and languages, whose text
//! is not.

use stockade_types::{Effect, EffectKind, Mark};

use super::Line;
use crate::{
    shell::{Reader, State, Stream},
    text::{REMOTE, Word, is_remote, is_unknown},
};

/// Shells whose text reads as bash's.
const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "rbash"];

/// A language: its names, the options that take code, and those that take
/// something else.
struct Language {
    names: &'static [&'static str],
    code: &'static [&'static str],
    values: &'static [&'static str],
}

const LANGUAGES: &[Language] = &[
    Language {
        names: &["python", "pypy", "ipython"],
        code: &["-c"],
        values: &["-W", "-X", "-m"],
    },
    Language {
        names: &["perl"],
        code: &["-e", "-E"],
        values: &["-I"],
    },
    Language {
        names: &["ruby"],
        code: &["-e"],
        values: &["-I", "-r", "-C"],
    },
    Language {
        names: &["node", "bun", "deno", "ts-node", "tsx"],
        code: &["-e", "--eval", "-p", "--print", "-pe"],
        values: &["-r", "--require", "--import", "--loader"],
    },
    Language {
        names: &["php"],
        code: &["-r", "-B", "-R", "-E"],
        values: &["-d", "-c"],
    },
    Language {
        names: &["lua", "luajit"],
        code: &["-e"],
        values: &["-l"],
    },
    Language {
        names: &[
            "osascript",
            "tclsh",
            "Rscript",
            "julia",
            "pwsh",
            "fish",
            "nu",
            "elvish",
        ],
        code: &["-e", "-c", "-Command", "--command"],
        values: &[],
    },
];

impl Reader<'_> {
    /// Follows a shell or a language; `None` if `name` is neither.
    pub(super) fn interpreter(
        &mut self,
        name: &str,
        rest: &[Word],
        state: &mut State,
        input: &Stream,
    ) -> Option<Stream> {
        if SHELLS.contains(&name) {
            return Some(self.shell(name, rest, state, input));
        }
        let language = LANGUAGES
            .iter()
            .find(|language| language.names.contains(&name))?;
        let takes: Vec<_> = [language.code, language.values].concat();
        let line = Line::new(name, rest, &takes);
        if name == "python"
            && let Some(place) = rest.iter().position(|word| word.text == "-m")
        {
            return self.python_module(rest.get(place + 1..)?, state, input);
        }
        // Verbs of the newer ones: `bun run`, `deno eval`.
        if matches!(name, "bun" | "deno") && crate::programs::has_verb(name, &line) {
            return None;
        }
        if language.code.iter().any(|option| line.has(option)) {
            let code: String = rest.iter().map(|word| word.text.as_str()).collect();
            self.code(name, &code);
            return Some(Stream::Unknown);
        }
        // `deno run FILE`.
        let runs = matches!(line.operand(0), "run" | "test" | "bench") && name != "python";
        if line.operand(0).ends_with("setup.py") && line.has_any(&["upload"]) {
            self.add(Effect::new(EffectKind::PkgPublish, name));
        }
        match line.operands.get(usize::from(runs)) {
            Some(file) if file.text != "-" => Some(self.script_file(name, file, state)),
            _ => Some(self.code_from(name, input)),
        }
    }

    /// `python -m MODULE …`.
    fn python_module(
        &mut self,
        rest: &[Word],
        state: &mut State,
        input: &Stream,
    ) -> Option<Stream> {
        let (module, arguments) = rest.split_first()?;
        match module.text.as_str() {
            "http.server" | "SimpleHTTPServer" => {
                self.add(Effect::new(EffectKind::NetListen, "python").marked([Mark::Public]));
                Some(Stream::Unknown)
            }
            "pip" | "pip3" | "twine" | "uv" | "poetry" | "pipx" => {
                let mut words = vec![module.clone()];
                words.extend_from_slice(arguments);
                Some(self.run(&words, state, input))
            }
            name if is_unknown(name) => {
                self.opaque(name, &[]);
                Some(Stream::Unknown)
            }
            _ => {
                self.add(Effect::new(EffectKind::ExecRun, "python").on(module.text.as_str()));
                Some(Stream::Unknown)
            }
        }
    }

    fn shell(&mut self, name: &str, rest: &[Word], state: &mut State, input: &Stream) -> Stream {
        let mut words = rest.iter();
        let mut takes_text = false;
        let mut reads_input = false;
        let mut operands = Vec::new();
        while let Some(word) = words.next() {
            let text = word.text.as_str();
            let is_option = operands.is_empty() && text.len() > 1 && text.starts_with(['-', '+']);
            match text {
                "--" => operands.extend(words.by_ref()),
                "--rcfile" | "--init-file" | "-o" | "+o" | "-O" | "+O" if is_option => {
                    words.next();
                }
                _ if is_option && text.starts_with("--") => {}
                _ if is_option => {
                    takes_text |= text.starts_with('-') && text.contains('c');
                    reads_input |= text.starts_with('-') && text.contains('s');
                    // `-eo pipefail`.
                    if text.ends_with('o') {
                        words.next();
                    }
                }
                _ => operands.push(word),
            }
        }
        let mut inside = state.clone();
        inside.functions.clear();
        match (takes_text, operands.split_first()) {
            (true, Some((text, arguments))) => {
                let known = arguments.iter().all(|word| word.is_known());
                inside.positional = known.then(|| {
                    let after_name = arguments.iter().skip(1);
                    after_name.map(|word| word.text.clone()).collect()
                });
                self.script(&text.text, &mut inside, input)
            }
            (false, Some((file, _))) if !reads_input && !is_standard_input(&file.text) => {
                self.script_file(name, file, state)
            }
            _ => match input {
                Stream::Text(text) => {
                    inside.positional = None;
                    self.script(text, &mut inside, &Stream::Nothing)
                }
                Stream::Remote => {
                    self.opaque(&REMOTE.to_string(), &[]);
                    Stream::Unknown
                }
                Stream::Unknown => {
                    self.opaque(name, &[]);
                    Stream::Unknown
                }
                Stream::Nothing => {
                    self.add(Effect::new(EffectKind::ExecRun, name));
                    Stream::Unknown
                }
            },
        }
    }

    /// A program in a file, which is for the sandbox to hold: what is in it now
    /// need not be in it when it runs.
    fn script_file(&mut self, name: &str, file: &Word, state: &State) -> Stream {
        if is_remote(&file.text) || state.fetched.contains(&file.text) || is_address(&file.text) {
            self.opaque(&REMOTE.to_string(), &[]);
        } else if !file.is_known() {
            self.opaque(name, &[]);
        } else {
            self.add(Effect::new(EffectKind::ExecRun, name).on(file.text.as_str()));
        }
        Stream::Unknown
    }

    fn code_from(&mut self, name: &str, input: &Stream) -> Stream {
        match input {
            Stream::Nothing => self.add(Effect::new(EffectKind::ExecRun, name)),
            Stream::Text(text) => self.code(name, text),
            Stream::Unknown => self.opaque(name, &[Mark::Code]),
            Stream::Remote => self.opaque(&REMOTE.to_string(), &[Mark::Code]),
        }
        Stream::Unknown
    }

    /// Code of a language is opaque, but for the one shape that nobody needs.
    pub(crate) fn code(&mut self, name: &str, code: &str) {
        if is_remote(code) {
            self.opaque(&REMOTE.to_string(), &[Mark::Code]);
        } else {
            self.opaque(name, &[Mark::Code]);
        }
        let lower = code.to_lowercase();
        let connects = ["socket", "tcp", "fsockopen", "net.connect"];
        let hands_over = [
            "/bin/sh",
            "/bin/bash",
            "dup2",
            "pty.spawn",
            "sh -i",
            "bash -i",
        ];
        if connects.iter().any(|word| lower.contains(word))
            && hands_over.iter().any(|word| lower.contains(word))
        {
            self.add(Effect::new(EffectKind::NetSession, name).marked([Mark::ReverseShell]));
        }
    }
}

fn is_standard_input(text: &str) -> bool {
    matches!(text, "-" | "/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0")
}

/// Some languages fetch what they run.
fn is_address(text: &str) -> bool {
    ["https://", "http://", "npm:", "jsr:"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
}
