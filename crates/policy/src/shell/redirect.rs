//! Where a command reads from and writes to.

use brush_parser::ast::{
    self, IoFileRedirectKind as Kind, IoFileRedirectTarget as Target, IoRedirect,
};
use stockade_types::{Effect, EffectKind, Mark};

use super::{Reader, State, Stream};
use crate::text::{Word, is_unknown};

impl Reader<'_> {
    /// Follows `redirects` and tells what the command then reads and whether
    /// what it prints goes elsewhere.
    pub(super) fn redirects<'r>(
        &mut self,
        redirects: impl IntoIterator<Item = &'r IoRedirect>,
        state: &mut State,
        input: &Stream,
    ) -> Redirected {
        let mut redirected = Redirected {
            input: input.clone(),
            outputs: Vec::new(),
        };
        for redirect in redirects {
            self.redirect(redirect, state, &mut redirected);
        }
        redirected
    }

    fn redirect(&mut self, redirect: &IoRedirect, state: &mut State, redirected: &mut Redirected) {
        match redirect {
            IoRedirect::File(_, kind, target) => match target {
                Target::Filename(word) => self.file(kind, &word.value, state, redirected),
                Target::ProcessSubstitution(kind, inner) => {
                    let stream = self.process(kind, inner, state, &Stream::Unknown);
                    if matches!(kind, ast::ProcessSubstitutionKind::Read) {
                        redirected.input = stream;
                    }
                }
                // `>& file` writes to the file; `>&2` only names a descriptor.
                Target::Duplicate(word) => {
                    let is_number = word
                        .value
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || byte == b'-');
                    if !is_number {
                        self.file(kind, &word.value, state, redirected);
                    }
                }
                Target::Fd(_) => {}
            },
            IoRedirect::OutputAndError(word, _) => {
                self.file(&Kind::Write, &word.value, state, redirected);
            }
            IoRedirect::HereString(_, word) => {
                let text = self.value(&word.value, state);
                redirected.input = stream_of(text + "\n");
            }
            IoRedirect::HereDocument(_, document) => {
                let text = if document.requires_expansion {
                    self.unquoted_text(&document.doc.value, state)
                } else {
                    document.doc.value.clone()
                };
                redirected.input = stream_of(text);
            }
        }
    }

    fn file(&mut self, kind: &Kind, raw: &str, state: &mut State, redirected: &mut Redirected) {
        let words = self.words(raw, state);
        let word = words.first().cloned().unwrap_or_else(Word::anything);
        if let Some(connection) = connection(&word.text) {
            self.add(
                Effect::new(EffectKind::NetSession, "sh")
                    .on(crate::text::shown(&connection))
                    .marked([Mark::Url]),
            );
            redirected.input = Stream::Remote;
            return;
        }
        match kind {
            Kind::Read | Kind::DuplicateInput => {
                self.file_effect(EffectKind::FsRead, "sh", &word, &[], state);
                redirected.input = Stream::Unknown;
            }
            _ => {
                self.file_effect(EffectKind::FsWrite, "sh", &word, &[], state);
                redirected.outputs.push(word.text);
            }
        }
    }

    /// Follows a process substitution and tells what it prints.
    pub(super) fn process(
        &mut self,
        kind: &ast::ProcessSubstitutionKind,
        inner: &ast::SubshellCommand,
        state: &State,
        input: &Stream,
    ) -> Stream {
        let mut state = state.clone();
        let input = match kind {
            ast::ProcessSubstitutionKind::Read => &Stream::Nothing,
            ast::ProcessSubstitutionKind::Write => input,
        };
        self.list(&inner.list, &mut state, input)
    }
}

/// What redirections make of a command's input and output.
#[derive(Debug)]
pub(super) struct Redirected {
    pub(super) input: Stream,
    /// The files that are written.
    pub(super) outputs: Vec<String>,
}

fn stream_of(text: String) -> Stream {
    if crate::text::is_remote(&text) {
        Stream::Remote
    } else if is_unknown(&text) {
        Stream::Unknown
    } else {
        Stream::Text(text)
    }
}

/// Bash opens a connection for these names.
fn connection(path: &str) -> Option<String> {
    let rest = path
        .strip_prefix("/dev/tcp/")
        .or_else(|| path.strip_prefix("/dev/udp/"))?;
    Some(rest.replacen('/', ":", 1))
}
