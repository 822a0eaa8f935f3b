//! What the shell does itself, and the programs that pass text on.

use stockade_types::{Effect, EffectKind};

use super::{any_remote, together};
use crate::{
    files,
    shell::{Body, Reader, State, Stream},
    text::{UNKNOWN, Word, is_unknown},
};

impl Reader<'_> {
    /// Follows `name` if it is a builtin, or a program that only passes text on.
    pub(super) fn builtin(
        &mut self,
        name: &str,
        rest: &[Word],
        state: &mut State,
        input: &Stream,
    ) -> Option<Stream> {
        match name {
            "cd" | "pushd" => self.cd(rest, state),
            "popd" => state.folders = vec![None],
            "export" | "declare" | "typeset" | "local" | "readonly" => self.declare(rest, state),
            "unset" => {
                for word in rest {
                    self.runs_inside(&word.text, state);
                    state.functions.remove(&word.text);
                    state
                        .variables
                        .insert(word.text.clone(), UNKNOWN.to_string());
                }
            }
            "read" | "mapfile" | "readarray" | "getopts" | "let" => self.assigns(rest, state),
            "eval" => return Some(self.script(&together(rest), state, input)),
            "source" | "." => return Some(self.sourced(rest, state, input)),
            "exec" | "command" | "builtin" | "nocorrect" | "noglob" => {
                return Some(self.prefixed(name, rest, state, input));
            }
            "alias" => alias(rest, state),
            "trap" => {
                if let Some(action) = rest.iter().find(|word| !word.text.starts_with('-')) {
                    let text = action.text.clone();
                    self.script(&text, &mut state.clone(), &Stream::Nothing);
                }
            }
            "set" | "shift" => {
                state.positional = None;
            }
            "history" => {
                if rest.iter().any(|word| word.text.starts_with("-c")) {
                    self.add(Effect::new(EffectKind::EvidenceErase, name));
                }
            }
            "test" | "[" => {
                for word in rest {
                    self.runs_inside(&word.text, state);
                }
            }
            "echo" => return Some(echo(rest)),
            "printf" => {
                self.printf(rest, state);
                return Some(printed(rest));
            }
            "cat" if rest.is_empty() || rest.iter().all(|word| word.text == "-") => {
                return Some(input.clone());
            }
            "true" | "false" | ":" | "wait" | "jobs" | "fg" | "bg" | "return" | "exit"
            | "break" | "continue" | "type" | "hash" | "umask" | "shopt" | "dirs" | "times"
            | "disown" | "which" | "sleep" | "pwd" | "ulimit" => {
                if any_remote(rest) {
                    return Some(Stream::Unknown);
                }
            }
            _ => return None,
        }
        Some(Stream::Nothing).map(|nothing| match name {
            "pwd" | "type" | "which" | "dirs" | "export" | "declare" => Stream::Unknown,
            _ => nothing,
        })
    }

    fn cd(&mut self, rest: &[Word], state: &mut State) {
        let operand = rest
            .iter()
            .find(|word| word.text == "-" || !word.text.starts_with('-'));
        let home = self.around.home.clone();
        match operand {
            None => state.enter(|_| Some(home.clone())),
            Some(word) if word.text == "-" || !word.is_known() => state.enter(|_| None),
            Some(word) => state.enter(|folder| files::join(&word.text, folder)),
        }
    }

    fn declare(&mut self, rest: &[Word], state: &mut State) {
        for word in rest {
            if let Some((name, value)) = word.text.split_once('=') {
                let name = name.trim_end_matches('+');
                self.runs_inside(name, state);
                self.variable(name, value, state);
                state.variables.insert(name.to_owned(), value.to_owned());
            } else {
                self.runs_inside(&word.text, state);
            }
        }
    }

    /// What is read from elsewhere is not known any more.
    fn assigns(&mut self, rest: &[Word], state: &mut State) {
        for word in rest {
            self.runs_inside(&word.text, state);
            let name = word.text.split(['=', '[', '+']).next().unwrap_or_default();
            state.variables.insert(name.to_owned(), UNKNOWN.to_string());
        }
        state
            .variables
            .insert("REPLY".to_owned(), UNKNOWN.to_string());
    }

    fn printf(&mut self, rest: &[Word], state: &mut State) {
        if let [option, name, ..] = rest
            && option.text == "-v"
        {
            self.assigns(std::slice::from_ref(name), state);
        }
    }

    /// `source FILE` runs the file, as it is now, in this shell.
    fn sourced(&mut self, rest: &[Word], state: &mut State, input: &Stream) -> Stream {
        let Some(file) = rest.first() else {
            return Stream::Nothing;
        };
        match (file.text.as_str(), input) {
            ("/dev/stdin" | "-", Stream::Text(text)) => {
                let text = text.clone();
                self.script(&text, state, &Stream::Nothing)
            }
            _ if any_remote(rest) || state.fetched.contains(&file.text) => {
                self.opaque(&crate::text::REMOTE.to_string(), &[]);
                Stream::Unknown
            }
            (text, _) if is_unknown(text) => {
                self.opaque(text, &[]);
                Stream::Unknown
            }
            ("/dev/stdin" | "-", Stream::Remote) => {
                self.opaque(&crate::text::REMOTE.to_string(), &[]);
                Stream::Unknown
            }
            (text, _) => {
                self.add(Effect::new(EffectKind::ExecRun, text));
                self.file_effect(EffectKind::FsRead, "source", file, &[], state);
                Stream::Unknown
            }
        }
    }

    /// `command NAME …` and what else only changes where a name is looked up.
    fn prefixed(&mut self, name: &str, rest: &[Word], state: &mut State, input: &Stream) -> Stream {
        let asks = |word: &Word| matches!(word.text.as_str(), "-v" | "-V");
        if name == "command" && rest.first().is_some_and(asks) {
            return Stream::Unknown;
        }
        let mut words = rest;
        while let Some((first, after)) = words.split_first() {
            match first.text.as_str() {
                "-a" if name == "exec" => words = after.get(1..).unwrap_or_default(),
                text if text.starts_with('-') => words = after,
                _ => break,
            }
        }
        let mut inside = state.clone();
        if name != "exec" {
            inside.functions.clear();
        }
        self.run(words, &mut inside, input)
    }
}

fn echo(rest: &[Word]) -> Stream {
    if any_remote(rest) {
        return Stream::Remote;
    }
    if !rest.iter().all(Word::is_known) {
        return Stream::Unknown;
    }
    let mut words = rest;
    let mut end = "\n";
    while let Some((first, after)) = words.split_first() {
        match first.text.as_str() {
            // Escapes may make anything.
            "-e" | "-en" | "-ne" if together(after).contains('\\') => return Stream::Unknown,
            "-e" | "-E" => {}
            "-n" | "-en" | "-ne" => end = "",
            _ => break,
        }
        words = after;
    }
    Stream::Text(together(words) + end)
}

/// What `printf` prints, if its format is only text and `%s`.
fn printed(rest: &[Word]) -> Stream {
    if any_remote(rest) {
        return Stream::Remote;
    }
    let Some((format, arguments)) = rest.split_first() else {
        return Stream::Nothing;
    };
    let format = format.text.replace("\\n", "\n");
    let simple =
        !format.contains('\\') && format.matches('%').count() == format.matches("%s").count();
    if !simple || !rest.iter().all(Word::is_known) {
        return Stream::Unknown;
    }
    let mut text = String::new();
    let mut arguments = arguments.iter();
    loop {
        let mut pieces = format.split("%s");
        text.push_str(pieces.next().unwrap_or_default());
        let mut used = false;
        for piece in pieces {
            let argument = arguments.next();
            used |= argument.is_some();
            text.push_str(argument.map_or("", |word| &word.text));
            text.push_str(piece);
        }
        // The format is used again as long as there are arguments.
        if !used || arguments.len() == 0 {
            return Stream::Text(text);
        }
    }
}

fn alias(rest: &[Word], state: &mut State) {
    for word in rest {
        if let Some((name, text)) = word.text.split_once('=') {
            let body = Body::Alias(text.into());
            state.functions.insert(name.to_owned(), body);
        }
    }
}
