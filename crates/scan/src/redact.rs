use aho_corasick::{AhoCorasick, BuildError, MatchKind};
use bytes::Bytes;

use crate::forms::forms;

/// Finds secrets in text that comes back, in every form that an echo server
/// is likely to give them, and puts the placeholder of each in its place.
pub struct Redactor {
    automaton: AhoCorasick,
    /// Each form, and which placeholder takes its place.
    patterns: Vec<(Vec<u8>, usize)>,
    longest: usize,
    placeholders: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Redactor").finish_non_exhaustive()
    }
}

impl Redactor {
    /// A redactor of `secret`: raw, base64 in all three alignments and both
    /// alphabets, hexadecimal, percent-encoded and JSON-escaped.
    ///
    /// # Errors
    /// If the secret has more forms than can be searched for at once.
    pub fn new(secret: &str, placeholder: &str) -> Result<Self, BuildError> {
        Self::of([(secret, placeholder)])
    }

    /// A redactor of several secrets, each with its placeholder.
    ///
    /// # Errors
    /// As [`Redactor::new`].
    pub fn of<'a>(
        secrets: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, BuildError> {
        let mut patterns = Vec::new();
        let mut placeholders = Vec::new();
        for (secret, placeholder) in secrets {
            let forms = forms(secret).into_iter();
            patterns.extend(forms.map(|form| (form, placeholders.len())));
            placeholders.push(placeholder.into());
        }
        patterns.sort();
        patterns.dedup_by(|one, other| one.0 == other.0);
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(patterns.iter().map(|(form, _)| form))?;
        let longest = patterns.iter().map(|(form, _)| form.len()).max();
        Ok(Self {
            automaton,
            patterns,
            longest: longest.unwrap_or(0),
            placeholders,
        })
    }

    /// `text` with every form of the secret replaced, if there was any.
    pub fn clean(&self, text: &[u8]) -> Option<Vec<u8>> {
        self.automaton
            .is_match(text)
            .then(|| self.replace(text, &mut 0).0)
    }

    /// Replaces what is complete; gives back also where the last match ended.
    fn replace(&self, text: &[u8], found: &mut u64) -> (Vec<u8>, usize) {
        let mut cleaned = Vec::with_capacity(text.len());
        let mut at = 0;
        for hit in self.automaton.find_iter(text) {
            cleaned.extend_from_slice(&text[at..hit.start()]);
            let (_, placeholder) = &self.patterns[hit.pattern()];
            cleaned.extend_from_slice(&self.placeholders[*placeholder]);
            at = hit.end();
            *found += 1;
        }
        cleaned.extend_from_slice(&text[at..]);
        (cleaned, at)
    }

    /// Where a tail begins that could become a form of the secret when more
    /// bytes follow.
    fn held_from(&self, text: &[u8], after: usize) -> usize {
        let earliest = text
            .len()
            .saturating_sub(self.longest.saturating_sub(1))
            .max(after);
        (earliest..text.len())
            .find(|&at| {
                let tail = &text[at..];
                self.patterns
                    .iter()
                    .any(|(form, _)| form.len() > tail.len() && form.starts_with(tail))
            })
            .unwrap_or(text.len())
    }
}

/// A [`Redactor`] over one stream. It holds back no more than a tail that is
/// the beginning of a form of the secret, so that events pass as they come.
#[derive(Debug, Default)]
pub struct RedactedStream {
    held: Vec<u8>,
    /// Forms of the secret that were replaced.
    found: u64,
}

impl RedactedStream {
    /// What may pass on once `chunk` has arrived; possibly nothing yet.
    pub fn push(&mut self, redactor: &Redactor, chunk: Bytes) -> Bytes {
        if self.held.is_empty()
            && !redactor.automaton.is_match(&chunk)
            && redactor.held_from(&chunk, 0) == chunk.len()
        {
            return chunk;
        }
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(&chunk);
        let last = redactor
            .automaton
            .find_iter(&text)
            .last()
            .map_or(0, |hit| hit.end());
        let split = redactor.held_from(&text, last);
        self.held = text.split_off(split);
        redactor.replace(&text, &mut self.found).0.into()
    }

    /// How many forms of a secret were replaced so far.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// The rest, when the stream has ended.
    pub fn finish(&mut self) -> Bytes {
        std::mem::take(&mut self.held).into()
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD_NO_PAD;
    use proptest::prelude::*;

    use super::*;
    use crate::forms::base64_at;

    const SECRET: &str = "sk-decoy/9+Secret_Value";
    const PLACEHOLDER: &str = "sk-placeholder-000000";

    fn through(chunks: &[&[u8]]) -> (Vec<u8>, u64) {
        let redactor = Redactor::new(SECRET, PLACEHOLDER).unwrap();
        let mut stream = RedactedStream::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            seen.extend(stream.push(&redactor, Bytes::copy_from_slice(chunk)));
        }
        seen.extend(stream.finish());
        (seen, stream.found)
    }

    fn encodings() -> Vec<Vec<u8>> {
        use base64::{
            Engine as _,
            engine::general_purpose::{STANDARD, URL_SAFE},
        };
        let mut all = vec![
            SECRET.into(),
            hex::encode(SECRET).into(),
            b"sk-decoy%2F9%2BSecret_Value".to_vec(),
            b"sk-decoy%2f9%2bSecret_Value".to_vec(),
            b"sk-decoy\\/9+Secret_Value".to_vec(),
        ];
        for prefix in ["", "a", "ab", "Bearer "] {
            all.push(STANDARD.encode(format!("{prefix}{SECRET} tail")).into());
            all.push(URL_SAFE.encode(format!("{prefix}{SECRET}")).into());
        }
        all
    }

    fn leaks(text: &[u8]) -> bool {
        let core = &base64_at(&STANDARD_NO_PAD, &SECRET.as_bytes()[2..20], 0).unwrap();
        let text = String::from_utf8_lossy(text);
        text.contains("9+Secret")
            || text.contains("Secret_Value")
            || text.contains(&hex::encode("Secret"))
            || text.contains(std::str::from_utf8(core).unwrap())
    }

    #[test]
    fn every_encoding_is_replaced_wherever_it_is_split() {
        for encoded in encodings() {
            let whole = [b"data: {\"k\":\"", &encoded[..], b"\"}\n\n"].concat();
            for at in 0..=whole.len() {
                let (seen, found) = through(&[&whole[..at], &whole[at..]]);
                assert_eq!(found, 1, "{} at {at}", String::from_utf8_lossy(&whole));
                assert!(!leaks(&seen), "{}", String::from_utf8_lossy(&seen));
                assert!(String::from_utf8_lossy(&seen).contains(PLACEHOLDER));
            }
        }
    }

    #[test]
    fn ordinary_events_are_not_held_back() {
        let redactor = Redactor::new(SECRET, PLACEHOLDER).unwrap();
        let mut stream = RedactedStream::default();
        let event = Bytes::from_static(b"event: ping\ndata: {}\n\n");
        assert_eq!(stream.push(&redactor, event.clone()), event);
        assert_eq!(
            stream.push(&redactor, Bytes::from_static(b"ask sk-de")),
            "ask "
        );
        assert_eq!(stream.push(&redactor, Bytes::from_static(b"af")), "sk-deaf");
        assert!(stream.finish().is_empty());
    }

    proptest! {
        #[test]
        fn text_without_the_secret_passes_unchanged_in_any_chunks(
            chunks in prop::collection::vec("[a-zA-Z0-9/+ sk-]{0,30}", 0..8)
        ) {
            let whole = chunks.concat();
            prop_assume!(!whole.contains(SECRET));
            let parts: Vec<&[u8]> = chunks.iter().map(String::as_bytes).collect();
            let (seen, found) = through(&parts);
            prop_assert_eq!(found, 0);
            prop_assert_eq!(seen, whole.as_bytes());
        }

        #[test]
        fn the_secret_never_passes_in_any_chunks(before in "[sk-]{0,12}", sizes in prop::collection::vec(1usize..9, 1..40)) {
            let whole = format!("{before}{SECRET}{SECRET} and sk-decoy/9{SECRET}");
            let mut rest = whole.as_bytes();
            let mut parts = Vec::new();
            for size in sizes {
                let (part, left) = rest.split_at(size.min(rest.len()));
                parts.push(part);
                rest = left;
            }
            parts.push(rest);
            let (seen, found) = through(&parts);
            prop_assert_eq!(found, 3);
            prop_assert!(!String::from_utf8_lossy(&seen).contains(SECRET));
        }
    }
}
