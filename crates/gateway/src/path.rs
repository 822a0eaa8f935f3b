use std::fmt::Write as _;

/// Why a path on a ruled host is refused rather than guessed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathRefusal {
    /// It does not begin with `/`.
    Relative,
    /// An empty segment: `//`.
    EmptySegment,
    /// `.` or `..`, plain or encoded.
    DotSegment,
    /// A broken escape, or one that hides `/ \ % NUL` or a control character.
    Escape,
    /// A character that servers disagree about.
    Character,
}

impl PathRefusal {
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Relative => "the path does not begin with `/`.",
            Self::EmptySegment => "the path has an empty segment (`//`).",
            Self::DotSegment => "the path has a `.` or `..` segment.",
            Self::Escape => "the path hides a separator or a control character in an escape.",
            Self::Character => "the path has a character that servers read in different ways.",
        }
    }
}

/// The one form in which paths are compared and sent on: decoded once, with
/// nothing left that a second decoder could read differently.
///
/// Whatever would need a decision (dot segments, hidden separators) is
/// refused, since the upstream might decide the other way.
pub(crate) fn canonical(path: &str) -> Result<String, PathRefusal> {
    decode(path, false)
}

/// The same for hosts whose paths are free text: escapes of other characters
/// are kept, written in one way.
pub(crate) fn comparable(path: &str) -> Result<String, PathRefusal> {
    decode(path, true)
}

fn decode(path: &str, keep_escapes: bool) -> Result<String, PathRefusal> {
    if !path.starts_with('/') {
        return Err(PathRefusal::Relative);
    }
    let mut decoded = String::with_capacity(path.len());
    let mut text = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = byte == b'%';
        let byte = if escaped { escape(&mut bytes)? } else { byte };
        text.push(byte);
        match byte {
            b'/' | b'\\' | b'%' if escaped => return Err(PathRefusal::Escape),
            0..=0x1f | 0x7f => return Err(PathRefusal::Escape),
            _ if is_plain(byte) => decoded.push(char::from(byte)),
            _ if escaped && keep_escapes => {
                // Writing to a string cannot fail.
                let _ = write!(decoded, "%{byte:02X}");
            }
            _ => return Err(PathRefusal::Character),
        }
    }
    // Overlong forms are read as other characters by some.
    if std::str::from_utf8(&text).is_err() {
        return Err(PathRefusal::Escape);
    }
    let mut segments = decoded.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "" if segments.peek().is_some() => return Err(PathRefusal::EmptySegment),
            "." | ".." => return Err(PathRefusal::DotSegment),
            _ => {}
        }
    }
    Ok(decoded)
}

/// Characters that mean the same to every server, escaped or not.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"/-._~:@!$&'()*+,=".contains(&byte)
}

fn escape(bytes: &mut impl Iterator<Item = u8>) -> Result<u8, PathRefusal> {
    let mut digit = || {
        let digit = bytes.next().and_then(|b| char::from(b).to_digit(16));
        digit
            .and_then(|value| u8::try_from(value).ok())
            .ok_or(PathRefusal::Escape)
    };
    Ok(digit()? << 4 | digit()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_escape_of_a_plain_character_is_the_character() {
        assert_eq!(canonical("/v1/%6dessages").unwrap(), "/v1/messages");
        assert_eq!(canonical("/").unwrap(), "/");
        assert_eq!(
            canonical("/v1beta/models/m:countTokens").unwrap(),
            "/v1beta/models/m:countTokens"
        );
    }

    #[test]
    fn whatever_servers_read_differently_is_refused() {
        for path in [
            "/v1/%2e%2e/admin",
            "/v1/../admin",
            "/v1/./x",
            "//v1/messages",
            "/v1//messages",
            "/v1/messages%2f",
            "/v1%5cmessages",
            "/v1\\messages",
            "/v1/messages%00",
            "/v1/a;b",
            "/v1/%252e%252e/x",
            "/v1/%",
            "/v1/%2",
            "/v1/%zz",
            "/v1/%c0%af",
            "/v1/\u{e9}",
            "/a b",
            "v1/messages",
            "",
            "*",
            "/v1/messages%0d%0aHost:x",
            "/a?b",
            "/a#b",
        ] {
            assert!(canonical(path).is_err(), "{path}");
        }
    }

    #[test]
    fn free_text_keeps_its_escapes_and_hides_nothing_in_them() {
        assert_eq!(comparable("/a%20b/%c3%a9").unwrap(), "/a%20b/%C3%A9");
        for path in [
            "/a%2fb",
            "/a%5Cb",
            "/%2e%2e/x",
            "/a%00",
            "/%25",
            "/%c0%af",
            "/a;b",
            "//a",
        ] {
            assert!(comparable(path).is_err(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_comparable_path_is_a_fixed_point(path in "/[ -~]{0,60}") {
            if let Ok(once) = comparable(&path) {
                prop_assert_eq!(comparable(&once).unwrap(), once);
            }
        }

        #[test]
        fn a_canonical_path_is_a_fixed_point(path in "/[ -~]{0,60}") {
            if let Ok(once) = canonical(&path) {
                prop_assert_eq!(canonical(&once).unwrap(), once);
            }
        }

        #[test]
        fn no_input_makes_it_fail_other_than_by_refusing(path in "\\PC{0,200}") {
            if let Ok(form) = canonical(&path) {
                prop_assert!(form.starts_with('/'));
                prop_assert!(!form.contains("//") && !form.contains("/../") && !form.contains('%'));
                prop_assert!(form.is_ascii());
            }
        }
    }
}
