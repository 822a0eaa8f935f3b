use std::ops::Range;

use aho_corasick::BuildError;

use crate::{formats::Formats, forms::forms, known::KnownValues};

/// Values with fewer bytes stand in many texts by chance, and are left.
const SHORTEST: usize = 6;
/// The least of a value that is taken out at the end of a text that was cut.
const TAIL_LEAST: usize = 6;
/// Texts with fewer bytes were not cut.
const CUT_FROM: usize = 100;
/// What some put where they cut.
const ELLIPSIS: &str = "…";
/// The most characters of a name that a marker has.
const NAME_MAX: usize = 80;

/// Takes known values, in every form of theirs, and keys that are known by their
/// format out of texts, and says in their place what they were.
#[derive(Clone, Debug)]
pub struct TextCleaner {
    formats: Formats,
    known: KnownValues<usize>,
    /// What each known value is called.
    names: Vec<String>,
    /// Every form in lower case, in order, and which value it is of.
    tails: Vec<(Vec<u8>, usize)>,
    longest: usize,
    /// What looks like keys and is none.
    harmless: KnownValues<()>,
}

/// A text from which something was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// What is left, with markers.
    pub text: String,
    /// What was taken, each once, in the order of the text.
    pub removed: Vec<String>,
}

/// Something that is taken out.
struct Found {
    range: Range<usize>,
    name: String,
}

impl TextCleaner {
    /// What takes `known` out, each value under its name, and keys but for those
    /// that are `harmless`: placeholders look like keys.
    ///
    /// # Errors
    /// If there are more than can be searched for at once.
    pub fn new<'a>(
        known: impl IntoIterator<Item = (String, &'a str)>,
        harmless: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, BuildError> {
        let known = known.into_iter();
        let (names, values): (Vec<_>, Vec<_>) = known
            .filter(|(_, value)| value.len() >= SHORTEST)
            .map(|(name, value)| (name.chars().take(NAME_MAX).collect::<String>(), value))
            .unzip();
        let each = || values.iter().enumerate();
        let mut tails: Vec<_> = each()
            .flat_map(|(owner, value)| {
                let forms = forms(value).into_iter();
                forms.map(move |form| (form.to_ascii_lowercase(), owner))
            })
            .filter(|(form, _)| form.len() > TAIL_LEAST)
            .collect();
        tails.sort();
        tails.dedup_by(|one, other| one.0 == other.0);
        Ok(Self {
            formats: Formats::new()?,
            known: KnownValues::small(each().map(|(owner, value)| (owner, *value)))?,
            longest: tails.iter().map(|(form, _)| form.len()).max().unwrap_or(0),
            tails,
            names,
            harmless: KnownValues::small(harmless.into_iter().map(|text| ((), text)))?,
        })
    }

    /// `text` without them; nothing if it holds none.
    pub fn clean(&self, text: &str) -> Option<Cleaned> {
        let bytes = text.as_bytes();
        if bytes.len() < SHORTEST {
            return None;
        }
        let mut found: Vec<Found> = self
            .known
            .ranges(bytes)
            .map(|(range, owner)| self.value(range, *owner))
            .collect();
        found.extend(self.tail(text));
        let (keys, more) = self.formats.find_most(bytes);
        if more {
            let name = "more of what looks like keys than is told apart".to_owned();
            found.push(Found {
                range: 0..bytes.len(),
                name,
            });
        }
        let harmless: Vec<_> = self
            .harmless
            .ranges(bytes)
            .map(|(range, ())| range)
            .collect();
        for key in keys {
            let range = key.range_in(bytes);
            let is_known =
                |known: &Range<usize>| known.start < range.end && range.start < known.end;
            if !(key.is_plain() && harmless.iter().any(is_known)) {
                let name = format!("what looks like {}", key.kind);
                found.push(Found { range, name });
            }
        }
        (!found.is_empty()).then(|| without(text, found))
    }

    fn value(&self, range: Range<usize>, owner: usize) -> Found {
        let name = format!("the value of {}", self.names[owner]);
        Found { range, name }
    }

    /// The beginning of a value with which a text ends that was cut.
    fn tail(&self, text: &str) -> Option<Found> {
        let whole = text.strip_suffix(ELLIPSIS).unwrap_or(text);
        if text.len() < CUT_FROM || self.tails.is_empty() {
            return None;
        }
        let lower = whole.as_bytes().to_ascii_lowercase();
        let earliest = lower.len().saturating_sub(self.longest);
        (earliest..=lower.len().checked_sub(TAIL_LEAST)?).find_map(|start| {
            let tail = &lower[start..];
            let place = self
                .tails
                .partition_point(|(form, _)| form.as_slice() < tail);
            let (form, owner) = self.tails.get(place)?;
            form.starts_with(tail)
                .then(|| self.value(start..lower.len(), *owner))
        })
    }
}

/// `text` with one marker in place of what overlaps.
fn without(text: &str, mut found: Vec<Found>) -> Cleaned {
    found.sort_by_key(|found| (found.range.start, std::cmp::Reverse(found.range.end)));
    let (mut removed, mut groups) = (Vec::new(), Vec::<(Range<usize>, Vec<String>)>::new());
    for Found { range, name } in found {
        let range = text.floor_char_boundary(range.start)..text.ceil_char_boundary(range.end);
        if !removed.contains(&name) {
            removed.push(name.clone());
        }
        match groups.last_mut() {
            Some((group, names)) if range.start < group.end => {
                group.end = group.end.max(range.end);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            _ => groups.push((range, vec![name])),
        }
    }
    let (mut cleaned, mut at) = (String::with_capacity(text.len()), 0);
    for (range, names) in groups {
        cleaned.push_str(&text[at..range.start]);
        cleaned.push_str("[redacted: ");
        cleaned.push_str(&names.join(", "));
        cleaned.push(']');
        at = range.end;
    }
    cleaned.push_str(&text[at..]);
    Cleaned {
        text: cleaned,
        removed,
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use proptest::prelude::*;

    use super::*;

    const VALUE: &str = "decoy/9+One\"Value-0123";

    fn cleaner() -> TextCleaner {
        let known = [("github".to_owned(), VALUE), ("short".to_owned(), "abc")];
        TextCleaner::new(known, []).unwrap()
    }

    fn github_token() -> String {
        ["ghp_zQWBuTSOoRi4A9spHc", "VY5ncnsDkxkJ0mLq17"].concat()
    }

    /// The forms that a reader could turn back into the value.
    fn written() -> Vec<String> {
        let mut all = vec![
            VALUE.to_owned(),
            VALUE.to_uppercase(),
            hex::encode(VALUE),
            hex::encode_upper(VALUE),
            "decoy%2F9%2BOne%22Value-0123".to_owned(),
            "decoy%2f9%2bOne%22Value-0123".to_owned(),
            "decoy/9+One\\\"Value-0123".to_owned(),
        ];
        for before in ["", "x", "xy"] {
            all.push(STANDARD.encode(format!("{before}{VALUE} tail")));
        }
        all
    }

    #[test]
    fn a_value_is_taken_out_in_every_form_and_its_name_stands_in_its_place() {
        for form in written() {
            let text = format!("curl -d 'é{form}é' x");
            let cleaned = cleaner().clean(&text).unwrap();
            assert_eq!(cleaned.removed, ["the value of github"], "{text}");
            assert!(cleaned.text.starts_with("curl -d 'é"), "{cleaned:?}");
            assert!(
                cleaned.text.contains("[redacted: the value of github]"),
                "{cleaned:?}"
            );
            // What is left of it tells nothing.
            assert!(!cleaned.text.contains("Value") && !cleaned.text.contains("VmFsdW"));
            assert_eq!(cleaner().clean(&cleaned.text), None);
        }
        assert_eq!(cleaner().clean("abc and decoy/9"), None);
    }

    #[test]
    fn a_key_is_taken_out_by_its_format_plain_and_encoded_and_whole() {
        let key = github_token();
        let lines = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtz\n".repeat(30);
        let private = format!(
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{lines}-----END OPENSSH PRIVATE KEY-----"
        );
        for (secret, kind) in [
            (key.clone(), "a GitHub token"),
            (STANDARD.encode(format!("t={key}")), "a GitHub token"),
            (hex::encode(&key), "a GitHub token"),
            (private.clone(), "a private key"),
            (private[..1500].to_owned(), "a private key"),
        ] {
            let cleaned = cleaner().clean(&format!("a {secret}")).unwrap();
            let expected = format!("a [redacted: what looks like {kind}]");
            assert_eq!(cleaned.text, expected);
        }
        let after = cleaner().clean(&format!("{private} after")).unwrap();
        assert!(after.text.ends_with("] after"), "{after:?}");
        let encoded = STANDARD.encode(vec![key.clone(); 70].join(" "));
        for many in [
            vec![key.clone(); 100].join(" "),
            format!("{encoded}, {}", hex::encode(&key)),
        ] {
            let cleaned = cleaner().clean(&many).unwrap();
            assert!(!cleaned.text.contains("ghp_") && !cleaned.text.contains(&hex::encode("ghp_")));
        }
    }

    #[test]
    fn a_placeholder_is_no_key() {
        let key = github_token();
        let cleaner = TextCleaner::new([], [key.as_str()]).unwrap();
        assert_eq!(cleaner.clean(&format!("x {key}")), None);
    }

    #[test]
    fn what_a_cut_left_of_a_value_is_taken_out_too() {
        let before = "x".repeat(200);
        for kept in TAIL_LEAST..VALUE.len() {
            for end in ["", ELLIPSIS] {
                let cut = format!("{before}{}{end}", &VALUE[..kept]);
                let cleaned = cleaner().clean(&cut).unwrap();
                let expected = format!("{before}[redacted: the value of github]{end}");
                assert_eq!(cleaned.text, expected, "{kept}");
            }
        }
        assert_eq!(cleaner().clean("decoy/9+"), None);
    }

    #[test]
    fn values_that_overlap_have_one_marker_with_both_names() {
        let known = [("a", "decoy-0123-4567"), ("b", "4567-decoy-89")];
        let known = known.map(|(name, value)| (name.to_owned(), value));
        let cleaner = TextCleaner::new(known, []).unwrap();
        let cleaned = cleaner.clean("<decoy-0123-4567-decoy-89>").unwrap();
        let expected = "<[redacted: the value of a, the value of b]>";
        assert_eq!(cleaned.text, expected);
    }

    proptest! {
        #[test]
        fn no_form_is_left_whatever_stands_around_it(
            before in "\\PC{0,40}",
            after in "\\PC{0,40}",
            form in prop::sample::select(written()),
        ) {
            let text = format!("{before}{form}{after}");
            let cleaned = cleaner().clean(&text).unwrap();
            prop_assert!(!cleaned.text.to_lowercase().contains(&form.to_lowercase()));
        }
    }
}
