//! What a command would do, and whether it may.
//!
//! [`effects_of_text`] and [`effects_of_words`] tell what a command would do, as
//! far as its words tell; nothing is run or looked up. A policy in Cedar decides
//! over those effects. Neither is a wall: mounts, Landlock and the gateway hold
//! whatever is decided here.

mod commands;
mod files;
mod programs;
mod rules;
mod shell;
mod surroundings;
mod text;

use stockade_types::Effect;

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
    let mut reader = Reader::new(around);
    reader.script(text, &mut State::new(around), &Stream::Nothing);
    reader.finish()
}

/// What a program would do if it was started with `words`, of which the first
/// names it.
pub fn effects_of_words(words: &[String], around: &Surroundings) -> Vec<Effect> {
    let mut reader = Reader::new(around);
    let words: Vec<_> = words.iter().map(Word::literal).collect();
    reader.run(&words, &mut State::new(around), &Stream::Nothing);
    reader.finish()
}
