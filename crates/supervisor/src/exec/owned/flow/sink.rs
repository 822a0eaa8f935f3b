//! What becomes of what a command prints.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use stockade_gateway::Redactor;

use super::super::super::{
    clean::{Cleaner, Shown},
    result::ExecResult,
    text::{Log, Text},
};
use crate::control::{Answer, encode_line};

/// See the module's documentation.
pub(in super::super) enum Sink {
    Streamed,
    /// One for each source.
    Shown(Vec<Shown>),
    Discarded,
    Collected(Box<Collected>),
}

pub(in super::super) struct Collected {
    /// One for each source.
    texts: Vec<(Cleaner, Text)>,
    log: Log,
}

impl Sink {
    pub(in super::super) fn shown(keys: &Arc<Vec<Redactor>>, sources: usize) -> Self {
        let each = (0..sources).map(|_| Shown::new(Arc::clone(keys)));
        Self::Shown(each.collect())
    }

    pub(in super::super) fn collected(log: Log, keys: &Arc<Vec<Redactor>>, sources: usize) -> Self {
        let text = |_| (Cleaner::new(Arc::clone(keys)), Text::default());
        let texts = (0..sources).map(text).collect();
        Self::Collected(Box::new(Collected { texts, log }))
    }

    pub(super) fn is_collected(&self) -> bool {
        matches!(self, Self::Collected(_))
    }

    /// Takes what was printed; what the client shall see of it now is added to
    /// `sending`.
    pub(super) fn push(&mut self, source: usize, bytes: &[u8], sending: &mut Vec<u8>) {
        match self {
            Self::Discarded => {}
            Self::Collected(collected) => collected.push(source, bytes),
            Self::Streamed => send(source, bytes, sending),
            Self::Shown(shown) => {
                if let Some(shown) = shown.get_mut(source) {
                    send(source, shown.push(bytes).as_bytes(), sending);
                }
            }
        }
    }

    /// There is no more.
    pub(super) fn finish(&mut self, sending: &mut Vec<u8>) {
        match self {
            Self::Discarded | Self::Streamed => {}
            Self::Collected(collected) => collected.finish(),
            Self::Shown(shown) => {
                for (source, shown) in shown.iter_mut().enumerate() {
                    send(source, shown.finish().as_bytes(), sending);
                }
            }
        }
    }

    /// Puts what was collected into the result of command `id`.
    pub(in super::super) fn report(self, id: u32, result: &mut ExecResult) {
        let Self::Collected(collected) = self else {
            return;
        };
        result.log = collected.log.is_kept();
        let whole = if result.log {
            format!("all of it: stockade logs --exec {id}")
        } else {
            "they could not be kept".to_owned()
        };
        let mut texts = collected
            .texts
            .into_iter()
            .map(|(_, text)| text.finish(&whole));
        match (texts.next(), texts.next()) {
            (Some(stdout), Some(stderr)) => {
                (result.stdout, result.stderr) = (Some(stdout), Some(stderr));
            }
            (output, _) => result.output = output,
        }
    }
}

impl Collected {
    fn push(&mut self, source: usize, bytes: &[u8]) {
        if let Some((cleaner, text)) = self.texts.get_mut(source) {
            let cleaned = cleaner.push(bytes);
            text.push(&cleaned);
            self.log.push(&cleaned, text.is_cut());
        }
    }

    fn finish(&mut self) {
        for (cleaner, text) in &mut self.texts {
            let rest = cleaner.finish();
            text.push(&rest);
            self.log.push(&rest, text.is_cut());
        }
    }
}

fn send(source: usize, bytes: &[u8], sending: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let answer = Answer::Output {
        bytes: STANDARD.encode(bytes),
        error: source == 1,
    };
    sending.extend(encode_line(&answer).unwrap_or_default());
}
