//! A command's words: which program it is, what else that program starts, and
//! what it does itself.

mod builtins;
mod collectors;
mod interpreters;
mod line;
mod wrappers;

use stockade_types::{Confidence, Effect, EffectKind, Mark, Scope};

use crate::{
    files,
    programs::{self, Sink},
    shell::{Body, Reader, State, Stream},
    text::{Word, is_remote, is_unknown, shown},
};

pub(crate) use self::line::Line;

/// The most words of a command that are read.
const MOST_WORDS: usize = 8_192;

impl Reader<'_> {
    /// Follows a command and tells what it prints.
    pub(crate) fn run(&mut self, words: &[Word], state: &mut State, input: &Stream) -> Stream {
        let Some((first, rest)) = words.split_first() else {
            return Stream::Nothing;
        };
        if words.len() > MOST_WORDS {
            self.opaque(&first.text, &[Mark::Bulk]);
            return Stream::Unknown;
        }
        if !first.is_known() {
            self.opaque(&first.text, &[]);
            // It may be empty, and then the next word is the program.
            let next_is_option = rest.first().is_none_or(|next| next.text.starts_with('-'));
            if first.several && !next_is_option {
                return self.deeper("sh", |reader| reader.run(rest, state, input));
            }
            return Stream::Unknown;
        }
        if first.assumed {
            self.opaque(&first.text, &[]);
        }
        if state.fetched.contains(&first.text) {
            self.opaque(&crate::text::REMOTE.to_string(), &[]);
            return Stream::Unknown;
        }
        let name = program_name(&first.text);
        self.deeper(name, |reader| {
            if let Some(body) = state.functions.get(&first.text).cloned() {
                return reader.call(&body, rest, state, input);
            }
            reader.program_or_builtin(name, rest, state, input)
        })
    }

    fn program_or_builtin(
        &mut self,
        name: &str,
        rest: &[Word],
        state: &mut State,
        input: &Stream,
    ) -> Stream {
        if let Some(output) = self.builtin(name, rest, state, input) {
            return output;
        }
        if let Some(output) = self.interpreter(name, rest, state, input) {
            return output;
        }
        let wrapped = self.wrapper(name, rest, state, input);
        let listed = self.listed(name, rest, state, input);
        if let Some(output) = wrapped.or(listed) {
            output
        } else {
            self.add(Effect::new(EffectKind::ExecRun, name));
            passed_on(input)
        }
    }

    /// What the tables say of a program.
    fn listed(
        &mut self,
        name: &str,
        rest: &[Word],
        state: &mut State,
        input: &Stream,
    ) -> Option<Stream> {
        let program = programs::find(name)?;
        // `cargo +nightly publish`.
        let rest = match rest {
            [first, after @ ..] if name == "cargo" && first.text.starts_with('+') => after,
            rest => rest,
        };
        let line = Line::new(name, rest, program.values);
        let mut sink = Sink::new(self, state, input);
        program.judge(&line, &mut sink);
        let output = sink.output();
        if program.fetches {
            return Some(Stream::Remote);
        }
        Some(output.unwrap_or_else(|| passed_on(input)))
    }

    fn call(&mut self, body: &Body, rest: &[Word], state: &mut State, input: &Stream) -> Stream {
        match body {
            Body::Function(body) => {
                let known = rest.iter().all(Word::is_known);
                let before = state.positional.take();
                state.positional =
                    known.then(|| rest.iter().map(|word| word.text.clone()).collect());
                let output = self.body(body, state, input);
                state.positional = before;
                output
            }
            Body::Alias(text) => {
                let words: Option<Vec<_>> = rest
                    .iter()
                    .map(|word| word.is_known().then(|| quoted(&word.text)))
                    .collect();
                if let Some(words) = words {
                    let text = format!("{text} {}", words.join(" "));
                    // Not itself again: `alias ls='ls --color'`.
                    let mut inside = state.clone();
                    inside
                        .functions
                        .retain(|_, body| !matches!(body, Body::Alias(_)));
                    self.script(&text, &mut inside, input)
                } else {
                    self.opaque(text, &[]);
                    Stream::Unknown
                }
            }
        }
    }

    /// Notes what is done to the file that `word` names, in every folder that
    /// the shell may be in.
    pub(crate) fn file_effect(
        &mut self,
        kind: EffectKind,
        program: &str,
        word: &Word,
        marks: &[Mark],
        state: &State,
    ) {
        for folder in &state.folders {
            let Some(place) = files::place(&word.text, folder.as_deref(), self.around) else {
                continue;
            };
            // Reading what is not special, where one may read, is nothing.
            let kind = read_kind(kind, &place);
            let mut effect = Effect::new(kind, program)
                .on(shown(&place.path))
                .marked(marks.iter().copied());
            effect.scope = place.scope;
            effect.class = place.class;
            if word.several {
                effect = effect.marked([Mark::Unresolved]);
            }
            if is_unknown(&word.text) || word.assumed {
                effect = effect.known(Confidence::Likely);
            }
            if place.scope == Scope::Unknown {
                effect = effect.known(Confidence::Guessed);
            }
            self.add(effect);
        }
    }
}

/// Reading a secret is an effect of its own.
fn read_kind(kind: EffectKind, place: &files::Place) -> EffectKind {
    use stockade_types::FileClass;
    match (kind, place.class) {
        (EffectKind::FsRead, FileClass::Secret | FileClass::Process) => EffectKind::SecretRead,
        _ => kind,
    }
}

/// What a program of which nothing is known makes of its input: text that came
/// from elsewhere is still that.
fn passed_on(input: &Stream) -> Stream {
    match input {
        Stream::Remote => Stream::Remote,
        _ => Stream::Unknown,
    }
}

/// The name by which a program is known, whatever folder and version it is
/// started by.
pub(crate) fn program_name(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let bare = bare.strip_suffix('-').unwrap_or(bare);
    match bare {
        "python" | "pypy" | "pip" | "ruby" | "perl" | "lua" | "php" | "node" | "tclsh" | "bash"
        | "zsh" | "ksh" => bare,
        "gawk" | "mawk" | "nawk" => "awk",
        _ => name,
    }
}

/// A word as it is written in a shell.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A text made of several words; what is not known stays so.
pub(crate) fn together(words: &[Word]) -> String {
    let mut text = String::new();
    for (place, word) in words.iter().enumerate() {
        if place > 0 {
            text.push(' ');
        }
        text.push_str(&word.text);
        if word.pattern {
            text.push(crate::text::UNKNOWN);
        }
    }
    text
}

/// Whether any of the words came from elsewhere.
pub(crate) fn any_remote(words: &[Word]) -> bool {
    words.iter().any(|word| is_remote(&word.text))
}
