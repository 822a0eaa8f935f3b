//! What becomes of what a command prints.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use stockade_scan::{FormatStream, Formats, Redactor};

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
    keys: Option<KeySearch>,
}

/// What looks like keys in all that a command prints.
struct KeySearch {
    formats: Arc<Formats>,
    /// One for each source.
    streams: Vec<FormatStream>,
}

impl Sink {
    pub(in super::super) fn shown(keys: &Arc<Vec<Redactor>>, sources: usize) -> Self {
        let each = (0..sources).map(|_| Shown::new(Arc::clone(keys)));
        Self::Shown(each.collect())
    }

    pub(in super::super) fn collected(
        log: Log,
        known: &Arc<Vec<Redactor>>,
        formats: Option<Arc<Formats>>,
        sources: usize,
    ) -> Self {
        let text = |_| (Cleaner::new(Arc::clone(known)), Text::default());
        let texts = (0..sources).map(text).collect();
        let keys = formats.map(|formats| KeySearch {
            formats,
            streams: (0..sources).map(|_| FormatStream::default()).collect(),
        });
        Self::Collected(Box::new(Collected { texts, log, keys }))
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
        result.keys = collected.keys.map(KeySearch::finish).unwrap_or_default();
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
            if let Some(keys) = &mut self.keys {
                keys.push(source, &cleaned);
            }
            text.push(&cleaned);
            self.log.push(&cleaned, text.is_cut());
        }
    }

    fn finish(&mut self) {
        for (source, (cleaner, text)) in self.texts.iter_mut().enumerate() {
            let rest = cleaner.finish();
            if let Some(keys) = &mut self.keys {
                keys.push(source, &rest);
            }
            text.push(&rest);
            self.log.push(&rest, text.is_cut());
        }
    }
}

impl KeySearch {
    fn push(&mut self, source: usize, text: &[u8]) {
        if let Some(stream) = self.streams.get_mut(source) {
            stream.push(&self.formats, text);
        }
    }

    /// The kinds of key that were found.
    fn finish(self) -> BTreeSet<String> {
        let formats = &self.formats;
        let each = self.streams.into_iter();
        let found = each.flat_map(|stream| stream.finish(formats));
        found.map(|finding| finding.kind.to_owned()).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_key_in_output_is_told_by_its_kind() {
        let folder = tempfile::tempdir().unwrap();
        let formats = Some(Arc::new(Formats::new().unwrap()));
        let log = Log::new(folder.path().join("log"));
        let mut sink = Sink::collected(log, &Arc::default(), formats, 2);
        // Of a token that its issuer has long taken back, cut where it was printed.
        for part in ["token ghp_zQWBuTSOoRi4A9spHc", "VY5ncnsDkxkJ0mLq17\n"] {
            sink.push(1, part.as_bytes(), &mut Vec::new());
            sink.push(0, b"plain\n", &mut Vec::new());
        }
        sink.finish(&mut Vec::new());
        let mut result = ExecResult::exited(1, 0);
        sink.report(1, &mut result);
        assert_eq!(
            result.keys.into_iter().collect::<Vec<_>>(),
            ["a GitHub token"]
        );
    }
}
