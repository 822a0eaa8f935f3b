//! Shell text, read whole: what each of its commands would do.
//!
//! The text is parsed as bash does and walked in the order of execution, with
//! the values of variables, functions, folders and pipes as far as they can be
//! told. Both sides of a branch are walked. What cannot be told is said to be
//! opaque, never left out.

mod ansi;
mod braces;
mod expand;
mod nesting;
mod redirect;
mod state;
mod walk;

use brush_parser::{Parser, ParserOptions};
use stockade_types::{Confidence, Effect, EffectKind, Mark};

use crate::{
    Surroundings,
    text::{is_remote, is_unknown},
};

pub(crate) use self::state::{Body, State};

/// The longest text that is read.
const LONGEST_TEXT: usize = 64 * 1024;

/// How deep texts within texts, functions and wrappers are followed.
const DEEPEST: u32 = 24;

/// How many commands are followed, loops and functions counted each time.
const MOST_STEPS: u32 = 4_000;

/// What a command reads or prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Nothing, or the terminal.
    Nothing,
    /// This text.
    Text(String),
    /// Something.
    Unknown,
    /// Something that came from elsewhere.
    Remote,
}

impl Stream {
    /// What is known of two that come one after the other.
    fn then(self, next: Self) -> Self {
        match (self, next) {
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (Self::Remote, _) | (_, Self::Remote) => Self::Remote,
            (Self::Text(first), Self::Text(second)) => Self::Text(first + &second),
            _ => Self::Unknown,
        }
    }
}

/// Reads commands and gathers their effects.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) around: &'a Surroundings,
    effects: Vec<Effect>,
    steps: u32,
    depth: u32,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(around: &'a Surroundings) -> Self {
        Self {
            around,
            effects: Vec::new(),
            steps: 0,
            depth: 0,
        }
    }

    /// The effects, each once.
    pub(crate) fn finish(self) -> Vec<Effect> {
        let mut effects = self.effects;
        effects.sort();
        effects.dedup();
        let all = effects.clone();
        effects.retain(|effect| !all.iter().any(|other| is_told_by(effect, other)));
        effects
    }

    pub(crate) fn add(&mut self, effect: Effect) {
        if !self.effects.contains(&effect) {
            self.effects.push(effect);
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.effects.len()
    }

    /// Marks all outward effects after the first `before`.
    pub(crate) fn mark_since(&mut self, before: usize, mark: Mark) {
        for effect in self.effects.iter_mut().skip(before) {
            if effect.outward {
                effect.marks.insert(mark);
            }
        }
    }

    /// Notes that `what` runs something that cannot be told.
    pub(crate) fn opaque(&mut self, what: &str, marks: &[Mark]) {
        let kind = if is_remote(what) {
            EffectKind::ExecRemote
        } else {
            EffectKind::ExecOpaque
        };
        self.add(
            Effect::new(kind, crate::text::shown(what))
                .marked(marks.iter().copied())
                .known(Confidence::Guessed),
        );
    }

    /// Follows something that is a level deeper, unless that is too deep.
    pub(crate) fn deeper(
        &mut self,
        what: &str,
        follow: impl FnOnce(&mut Self) -> Stream,
    ) -> Stream {
        self.steps += 1;
        if self.depth >= DEEPEST || self.steps > MOST_STEPS {
            self.opaque(what, &[]);
            return Stream::Unknown;
        }
        self.depth += 1;
        let stream = follow(self);
        self.depth -= 1;
        stream
    }

    /// Reads `text` as a shell does and follows what it runs.
    pub(crate) fn script(&mut self, text: &str, state: &mut State, input: &Stream) -> Stream {
        let unread =
            text.len() > LONGEST_TEXT || nesting::is_too_deep(text) || nesting::is_ambiguous(text);
        if is_unknown(text) || unread {
            self.opaque(if is_remote(text) { text } else { "sh" }, &[]);
            return Stream::Unknown;
        }
        if let Ok(program) = Parser::new(text.as_bytes(), &ParserOptions::default()).parse_program()
        {
            self.deeper("sh", |reader| reader.program(&program, state, input))
        } else {
            self.opaque("sh", &[]);
            Stream::Unknown
        }
    }
}

/// Whether `other` says of the same thing all that `effect` says, and more.
fn is_told_by(effect: &Effect, other: &Effect) -> bool {
    let same = effect.kind == other.kind
        && effect.target == other.target
        && effect.program == other.program
        && effect.scope == other.scope
        && effect.class == other.class;
    same && effect.marks.len() < other.marks.len()
        && effect.marks.is_subset(&other.marks)
        && !other
            .marks
            .difference(&effect.marks)
            .any(|mark| mark.lessens())
}
