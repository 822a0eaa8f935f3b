//! What stands between `$'` and `'`.

/// The text that the escapes of `raw` make. `None` if it cannot be written as
/// text: bytes that are no UTF-8, or a zero, which ends the word in bash.
pub(super) fn decoded(raw: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.chars().peekable();
    while let Some(character) = rest.next() {
        if character != '\\' {
            push(&mut bytes, character);
            continue;
        }
        match rest.next()? {
            'a' => bytes.push(7),
            'b' => bytes.push(8),
            'e' | 'E' => bytes.push(27),
            'f' => bytes.push(12),
            'n' => bytes.push(b'\n'),
            'r' => bytes.push(b'\r'),
            't' => bytes.push(b'\t'),
            'v' => bytes.push(11),
            'x' => bytes.push(u8::try_from(number(&mut rest, 16, 2)?).ok()?),
            'u' => push(&mut bytes, char::from_u32(number(&mut rest, 16, 4)?)?),
            'U' => push(&mut bytes, char::from_u32(number(&mut rest, 16, 8)?)?),
            'c' => bytes.push((rest.next()? as u32 & 0x1f) as u8),
            digit @ '0'..='7' => {
                let first = digit.to_digit(8)?;
                let mut value = first;
                for _ in 0..2 {
                    let Some(next) = rest.peek().and_then(|next| next.to_digit(8)) else {
                        break;
                    };
                    value = value * 8 + next;
                    rest.next();
                }
                bytes.push((value & 0xff) as u8);
            }
            other @ ('\\' | '\'' | '"' | '?') => push(&mut bytes, other),
            other => {
                bytes.push(b'\\');
                push(&mut bytes, other);
            }
        }
    }
    if bytes.contains(&0) {
        return None;
    }
    String::from_utf8(bytes).ok()
}

fn push(bytes: &mut Vec<u8>, character: char) {
    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Up to `most` digits.
fn number(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    radix: u32,
    most: usize,
) -> Option<u32> {
    let mut value = None;
    for _ in 0..most {
        let Some(digit) = rest.peek().and_then(|next| next.to_digit(radix)) else {
            break;
        };
        value = Some(value.unwrap_or(0_u32).checked_mul(radix)? + digit);
        rest.next();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_as_bash_does() {
        assert_eq!(decoded(r"\x72\x6d").as_deref(), Some("rm"));
        assert_eq!(decoded(r"\162\155").as_deref(), Some("rm"));
        assert_eq!(decoded(r"\u0072m\n").as_deref(), Some("rm\n"));
        assert_eq!(decoded(r"it\'s").as_deref(), Some("it's"));
        assert_eq!(decoded(r"\xff"), None);
        assert_eq!(decoded(r"a\0b"), None);
    }
}
