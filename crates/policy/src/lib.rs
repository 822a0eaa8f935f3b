//! What a command would do, and whether it may.
//!
//! [`effects_of_text`] and [`effects_of_words`] tell what a command would do, as
//! far as its words tell; nothing is run or looked up. A policy in Cedar decides
//! over those effects. Neither is a wall: mounts, Landlock and the gateway hold
//! whatever is decided here.

mod commands;
mod files;
mod programs;
mod requests;
mod rules;
mod shell;
mod surroundings;
mod text;

use stockade_types::Effect;

pub use self::requests::{Asked, effects_of_request};
use crate::{
    shell::{Reader, State, Stream},
    text::Word,
};

pub use self::{
    rules::{
        Decision, Finding, Layer, Policy, PolicyError, Problem, Rule, Source, defaults, schema,
    },
    surroundings::Surroundings,
};

/// What `text` would do if a shell ran it.
pub fn effects_of_text(text: &str, around: &Surroundings) -> Vec<Effect> {
    Dialogue::new(around.clone()).text(text).0
}

/// What a program would do if it was started with `words`, of which the first
/// names it.
pub fn effects_of_words(words: &[String], around: &Surroundings) -> Vec<Effect> {
    Dialogue::new(around.clone()).words(words)
}

/// A shell that gets one text after another: what one sets, such as a folder, a
/// variable or a function, holds for the next.
#[derive(Debug)]
pub struct Dialogue {
    around: Surroundings,
    state: State,
}

impl Dialogue {
    /// A shell that has run nothing yet.
    pub fn new(around: Surroundings) -> Self {
        let state = State::new(&around);
        Self { around, state }
    }

    /// The folder that the shell is in, if there is only one that it can be in.
    pub fn folder(&self) -> Option<&str> {
        match &*self.state.folders {
            [folder] => folder.as_deref(),
            _ => None,
        }
    }

    /// What `text` would do if the shell ran it now, and the shell after it.
    pub fn text(&self, text: &str) -> (Vec<Effect>, Self) {
        let mut reader = Reader::new(&self.around);
        let mut state = self.state.clone();
        reader.script(text, &mut state, &Stream::Nothing);
        let after = Self {
            around: self.around.clone(),
            state,
        };
        (reader.finish(), after)
    }

    /// What a variable of its environment would do, and the shell that has it.
    pub fn variable(&self, name: &str, value: &str) -> (Vec<Effect>, Self) {
        self.text(&format!("export {name}={}", commands::quoted(value)))
    }

    /// What a program would do if the shell started it with `words`.
    pub fn words(&self, words: &[String]) -> Vec<Effect> {
        let mut reader = Reader::new(&self.around);
        let words: Vec<_> = words.iter().map(Word::literal).collect();
        reader.run(&words, &mut self.state.clone(), &Stream::Nothing);
        reader.finish()
    }
}
