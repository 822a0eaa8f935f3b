//! Takes out of output what is not text: escape sequences and other control
//! characters, and in every usual form the keys that must not be read.

use std::sync::Arc;

use bytes::Bytes;
use stockade_scan::{RedactedStream, Redactor};

/// What stands in place of a key.
pub(super) const REMOVED: &str = "[removed by stockade]";

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Text,
    /// After a carriage return.
    Return,
    /// After ESC.
    Escape,
    /// In an escape sequence of several bytes, before its last (ECMA-35).
    Intermediate,
    /// In a control sequence (ESC `[`).
    Control,
    /// In a string (OSC, DCS, SOS, PM, APC) up to its end.
    String,
    /// In such a string, after ESC.
    StringEscape,
}

/// Cleans a stream that is cut anywhere.
#[derive(Debug)]
pub(super) struct Cleaner {
    state: State,
    keys: Arc<Vec<Redactor>>,
    streams: Vec<RedactedStream>,
}

impl Cleaner {
    pub(super) fn new(keys: Arc<Vec<Redactor>>) -> Self {
        Self {
            state: State::default(),
            streams: keys.iter().map(|_| RedactedStream::default()).collect(),
            keys,
        }
    }

    /// What of `bytes` may be shown; a beginning of a key is held back.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Bytes {
        let mut text = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            self.step(byte, &mut text);
        }
        // A key is searched for in the text that a reader sees.
        let keys = Arc::clone(&self.keys);
        let each = keys.iter().zip(&mut self.streams);
        each.fold(text.into(), |text, (key, stream)| stream.push(key, text))
    }

    /// What was held back, at the end.
    pub(super) fn finish(&mut self) -> Bytes {
        let mut rest = match self.state {
            State::Return => Bytes::from_static(b"\n"),
            _ => Bytes::new(),
        };
        let keys = Arc::clone(&self.keys);
        for (key, stream) in keys.iter().zip(&mut self.streams) {
            let mut text = stream.push(key, rest).to_vec();
            text.extend_from_slice(&stream.finish());
            rest = text.into();
        }
        rest
    }

    fn step(&mut self, byte: u8, text: &mut Vec<u8>) {
        if matches!(self.state, State::Return) {
            // A line that is written over is a line of its own.
            text.push(b'\n');
            self.state = State::Text;
            if byte == b'\n' {
                return;
            }
        }
        self.state = match self.state {
            State::Text | State::Return => match byte {
                ESCAPE => State::Escape,
                b'\r' => State::Return,
                b'\n' | b'\t' | 0x20..=0x7e | 0x80.. => {
                    text.push(byte);
                    State::Text
                }
                _ => State::Text,
            },
            State::Escape | State::Intermediate => match byte {
                b'[' if matches!(self.state, State::Escape) => State::Control,
                b']' | b'P' | b'X' | b'^' | b'_' if matches!(self.state, State::Escape) => {
                    State::String
                }
                0x20..=0x2f => State::Intermediate,
                ESCAPE => State::Escape,
                _ => State::Text,
            },
            State::Control => match byte {
                0x20..=0x3f => State::Control,
                ESCAPE => State::Escape,
                _ => State::Text,
            },
            State::String | State::StringEscape => match byte {
                ESCAPE => State::StringEscape,
                b'\\' if matches!(self.state, State::StringEscape) => State::Text,
                BELL => State::Text,
                _ => State::String,
            },
        };
    }
}

/// Cleans a stream into text that is shown as it comes, in whole characters.
#[derive(Debug)]
pub(super) struct Shown {
    cleaner: Cleaner,
    /// A character whose last bytes are missing.
    begun: Vec<u8>,
}

impl Shown {
    pub(super) fn new(keys: Arc<Vec<Redactor>>) -> Self {
        Self {
            cleaner: Cleaner::new(keys),
            begun: Vec::new(),
        }
    }

    /// What of `bytes` may be shown.
    pub(super) fn push(&mut self, bytes: &[u8]) -> String {
        let mut whole = std::mem::take(&mut self.begun);
        whole.extend_from_slice(&self.cleaner.push(bytes));
        self.begun = whole.split_off(whole.len() - unfinished(&whole));
        text(&whole)
    }

    /// What was held back, at the end.
    pub(super) fn finish(&mut self) -> String {
        let mut rest = std::mem::take(&mut self.begun);
        rest.extend_from_slice(&self.cleaner.finish());
        text(&rest)
    }
}

/// How many bytes at the end are a character whose last bytes are missing.
pub(super) fn unfinished(bytes: &[u8]) -> usize {
    let last = bytes
        .utf8_chunks()
        .last()
        .map_or(&[][..], |chunk| chunk.invalid());
    match std::str::from_utf8(last) {
        // An error without a length is one of an end that came too early.
        Err(error) if error.error_len().is_none() => last.len(),
        _ => 0,
    }
}

/// Text that is shown: no control character is left in it, those beyond ASCII
/// and those that turn the direction of writing included.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = |char: &char| {
        matches!(char, '\n' | '\t')
            || !(char.is_control()
                || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
    };
    text.chars().filter(shown).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "sk-live-0123456789abcdef";

    fn cleaner() -> Cleaner {
        Cleaner::new(Arc::new(vec![Redactor::new(KEY, REMOVED).unwrap()]))
    }

    fn clean(pieces: &[&[u8]]) -> String {
        let mut cleaner = cleaner();
        let mut whole = Vec::new();
        for piece in pieces {
            whole.extend_from_slice(&cleaner.push(piece));
        }
        whole.extend_from_slice(&cleaner.finish());
        text(&whole)
    }

    #[test]
    fn escape_sequences_of_every_kind_are_gone_and_text_stays() {
        for (printed, shown) in [
            ("\u{1b}[1;31mred\u{1b}[0m\n", "red\n"),
            ("a\u{1b}]0;title\u{7}b", "ab"),
            ("a\u{1b}]52;c;Zm9v\u{1b}\\b", "ab"),
            ("a\u{1b}Pq#0\u{1b}\\b", "ab"),
            ("a\u{1b}(Bb\u{1b}cc", "abc"),
            ("a\u{9b}31mb", "a31mb"),
            ("ten\tlines\r\nand\u{8}\u{0}\u{7f}", "ten\tlines\nand"),
            ("50%\r100%\n", "50%\n100%\n"),
            ("grün ✓", "grün ✓"),
            ("a\u{202e}b", "ab"),
        ] {
            assert_eq!(clean(&[printed.as_bytes()]), shown, "{printed:?}");
        }
    }

    #[test]
    fn a_key_is_removed_even_with_escapes_inside_and_in_other_forms() {
        assert_eq!(
            clean(&[b"k=sk-live-01\x1b[0m23456789abcdef;"]),
            format!("k={REMOVED};")
        );
        assert!(!clean(&[b"c2stbGl2ZS0wMTIzNDU2Nzg5YWJjZGVm\n"]).contains("Z5YWJj"));
    }

    #[test]
    fn what_is_shown_as_it_comes_is_the_same_text_in_whole_characters() {
        let printed = "grün \u{1b}[1m✓\u{1b}[0m 𝄞\r\nsk-live-0123456789abcdef\n".as_bytes();
        for size in 1..printed.len() {
            let mut shown = Shown::new(Arc::clone(&cleaner().keys));
            let pieces: Vec<String> = printed
                .chunks(size)
                .map(|piece| shown.push(piece))
                .collect();
            let whole = pieces.concat() + &shown.finish();
            assert_eq!(whole, format!("grün ✓ 𝄞\n{REMOVED}\n"), "{size}");
        }
        let mut shown = Shown::new(Arc::clone(&cleaner().keys));
        assert_eq!(shown.push(b"a\xff\xe2\x9c"), "a\u{fffd}");
        assert_eq!(shown.finish(), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn a_stream_is_cleaned_alike_wherever_it_is_cut(
            parts in prop::collection::vec(prop_oneof![
                Just(KEY.as_bytes().to_vec()),
                Just(b"\x1b[31m".to_vec()),
                Just(b"\x1b]0;t\x07".to_vec()),
                prop::collection::vec(any::<u8>(), 0..5),
            ], 0..8),
            size in 1_usize..9,
        ) {
            let whole = parts.concat();
            let pieces: Vec<&[u8]> = whole.chunks(size).collect();
            let cut = clean(&pieces);
            prop_assert_eq!(&cut, &clean(&[&whole]));
            prop_assert!(!cut.contains(KEY));
            prop_assert!(cut.chars().all(|shown| shown != char::from(ESCAPE)));
        }
    }
}
