//! Text from inside a sandbox, made safe and honest to show.

use std::fmt::Write;

/// One line of untrusted text: every control, bidirectional, zero-width or
/// otherwise invisible character, line breaks included, is written as
/// `\u{…}`, and bytes that are not UTF-8 as `\x…`. Tabs stay.
///
/// Whatever shows file names, contents, messages or authors that come from an
/// agent goes through this function.
pub fn line(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if is_deceptive(character) {
                // Writing to a `String` cannot fail.
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
            } else {
                shown.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// The first `most` characters of an untrusted text, as [`line()`] shows them.
pub fn beginning(text: &str, most: usize) -> String {
    let end = text
        .char_indices()
        .nth(most)
        .map_or(text.len(), |(at, _)| at);
    line(&text.as_bytes()[..end])
}

/// Whether a character changes how its neighbours look, or shows nothing.
///
/// Control characters (Unicode class Cc) but the tab; bidirectional controls
/// (UAX #9); zero-width and other default-ignorable characters (UAX #44);
/// variation selectors and tag characters, which can carry hidden text.
pub fn is_deceptive(character: char) -> bool {
    match character {
        '\t' => false,
        character if character.is_control() => true,
        '\u{ad}'
        | '\u{34f}'
        | '\u{61c}'
        | '\u{115f}'..='\u{1160}'
        | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}'
        | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}' => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_beginning_is_counted_in_characters_of_the_text_itself() {
        assert_eq!(beginning("äöü", 2), "äö");
        assert_eq!(beginning("äöü", 3), "äöü");
        assert_eq!(beginning("\u{200b}ab", 2), "\\u{200b}a");
    }

    #[test]
    fn a_bidirectional_override_is_spelled_out() {
        assert_eq!(line("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }

    #[test]
    fn an_escape_sequence_and_a_bad_byte_are_spelled_out() {
        assert_eq!(line(b"\x1b]52;c;x\x07\xff"), "\\u{1b}]52;c;x\\u{7}\\xff");
    }

    proptest! {
        #[test]
        fn nothing_deceptive_is_left(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(!line(&bytes).chars().any(is_deceptive));
        }
    }
}
