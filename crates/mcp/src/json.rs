//! JSON as hostile programs write it, read so strictly that all who read what goes on
//! agree on what it says.

use serde_json::Value;
use stockade_types::StrictJson;

/// Why a text is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Bytes that are no text.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// No JSON, a name twice in one object, half of a surrogate pair, or nested more
    /// than 127 deep.
    #[error("{0}")]
    Form(String),
    /// A whole number that many readers would change.
    #[error("the number {0} has more digits than programs keep")]
    Number(String),
}

/// Reads one JSON text. Nothing of it is lost when it is written again: the order of
/// names stays, and numbers mean the same.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)?;
    let StrictJson(value) =
        serde_json::from_str(text).map_err(|error| JsonError::Form(error.to_string()))?;
    numbers_are_kept(text)?;
    Ok(value)
}

/// Finds whole numbers of `text`, which is JSON, that have no 64 bits.
fn numbers_are_kept(text: &str) -> Result<(), JsonError> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at = end_of_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let rest = &bytes[at..];
                let is_part =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let length = rest.iter().take_while(|byte| is_part(byte)).count();
                let number = &text[at..at + length];
                let whole = !number.contains(['.', 'e', 'E']);
                if whole && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Err(JsonError::Number(number.chars().take(40).collect()));
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    Ok(())
}

/// Where what follows the string begins that starts at `start`.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &[u8]) -> JsonError {
        parse(text).unwrap_err()
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        assert!(matches!(refused(br#"{"a":1,"a":2}"#), JsonError::Form(_)));
        // The same name in other letters.
        assert!(matches!(
            refused(br#"{"a":1,"\u0061":2}"#),
            JsonError::Form(_)
        ));
        assert!(matches!(
            refused(br#"[{"x":[{"a":1,"a":1}]}]"#),
            JsonError::Form(_)
        ));
        assert!(matches!(refused(br#""\ud800""#), JsonError::Form(_)));
        assert!(matches!(refused(b"1 2"), JsonError::Form(_)));
        assert!(matches!(refused(b"[1,]"), JsonError::Form(_)));
        assert!(matches!(refused(b"NaN"), JsonError::Form(_)));
        assert!(matches!(refused(b"1e999"), JsonError::Form(_)));
        assert_eq!(refused(b"\"\xff\""), JsonError::NotUtf8);
        assert!(matches!(
            refused(b"18446744073709551616"),
            JsonError::Number(_)
        ));
        assert!(matches!(
            refused(b"[-9223372036854775809]"),
            JsonError::Number(_)
        ));
    }

    #[test]
    fn deep_nesting_is_refused_before_it_uses_the_stack_up() {
        let text = "[".repeat(10_000);
        assert!(matches!(refused(text.as_bytes()), JsonError::Form(_)));
    }

    #[test]
    fn digits_in_strings_are_no_numbers() {
        let text = r#"{"18446744073709551616":"\"99999999999999999999","b":[1.5,-0,1e16,"\\",9]}"#;
        assert!(parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn names_keep_their_order() {
        let text = r#"{"z":1,"a":{"y":2,"b":3}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap().to_string(), text);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = parse(&bytes) {
                prop_assert_eq!(parse(value.to_string().as_bytes()).unwrap(), value);
            }
        }

        #[test]
        fn json_like_bytes_are_read_or_refused(text in r#"[\[\]{}",:0-9eE.+\-\\u a-c]{0,60}"#) {
            if let Ok(value) = parse(text.as_bytes()) {
                let written = value.to_string();
                prop_assert_eq!(parse(written.as_bytes()).unwrap().to_string(), written);
            }
        }
    }
}
