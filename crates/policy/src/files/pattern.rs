//! Patterns of file names, as shells have them.

/// Whether `text` holds a character that a shell would take for a pattern.
pub(crate) fn is_pattern(text: &str) -> bool {
    let opens = text.find('[');
    text.contains(['*', '?']) || opens.is_some_and(|place| text[place..].contains(']'))
}

/// Whether `name` may be what `pattern` stands for. A set in brackets counts as
/// any one character, so that the answer errs towards yes.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = without_sets(pattern);
    let name: Vec<char> = name.chars().collect();
    // Where the last star is, and how much of the name it has taken.
    let (mut at, mut in_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || wanted.eq_ignore_ascii_case(&name[in_name]) => {
                at += 1;
                in_name += 1;
            }
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    at = place + 1;
                    in_name = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

fn without_sets(pattern: &str) -> Vec<char> {
    let mut out = Vec::new();
    let mut rest = pattern.chars();
    while let Some(character) = rest.next() {
        let mut ahead = rest.clone();
        if character == '[' && ahead.any(|other| other == ']') {
            rest = ahead;
            out.push('?');
        } else {
            out.push(character);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell_and_sets_match_any_character() {
        for (pattern, name) in [
            ("*.key", "server.key"),
            (".e*", ".env"),
            ("id_?sa", "id_rsa"),
            (".en[vx]", ".env"),
            ("*a*b*", "xxaxxbxx"),
            (".ENV", ".env"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.key", "keys"), ("?", ""), ("a*b", "ac")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
        assert!(is_pattern("r[m]") && !is_pattern("[") && !is_pattern("]["));
    }
}
