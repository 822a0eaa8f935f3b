//! A bound on how deep a text nests, taken before it is parsed: the parser calls
//! itself for every level.

/// How many levels are read.
const MOST_LEVELS: usize = 24;

/// How many brackets of arithmetic: the parser tries each of them in two ways.
const MOST_ARITHMETIC: usize = 8;

/// Whether a text may nest deeper than is read. Quotes are not looked at, so
/// that a text which only speaks of brackets may be refused, too.
pub(super) fn is_too_deep(text: &str) -> bool {
    let mut level = 0_usize;
    let mut deepest = 0_usize;
    let mut backquotes = 0_usize;
    let mut negations = 0_usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'{' => level += 1,
            b')' | b'}' => level = level.saturating_sub(1),
            b'`' => backquotes += 1,
            b'!' => negations += 1,
            _ => {}
        }
        deepest = deepest.max(level);
    }
    let mut keywords = 0_usize;
    for word in text.split(|character: char| !character.is_ascii_alphanumeric()) {
        match word {
            "if" | "while" | "until" | "for" | "case" | "select" | "elif" | "coproc" | "time" => {
                keywords += 1;
                deepest = deepest.max(keywords);
            }
            "fi" | "done" | "esac" => keywords = keywords.saturating_sub(1),
            _ => {}
        }
    }
    deepest > MOST_LEVELS
        || backquotes > 4 * MOST_LEVELS
        || negations > 4 * MOST_LEVELS
        || text.matches("((").count() > MOST_ARITHMETIC
}

/// Whether a text may hold a here-document in brackets that could be arithmetic,
/// too: `((` is then read as two subshells by bash, and in another way here.
pub(super) fn is_ambiguous(text: &str) -> bool {
    text.contains("((") && text.contains("<<") && text.contains('\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_here_documents_near_arithmetic_are_ambiguous() {
        assert!(is_ambiguous("(( sh <<E\nrm -rf /\nE\n) )"));
        assert!(!is_ambiguous("echo $((1 << 2))"));
        assert!(!is_ambiguous("( sh <<E\nls\nE\n)"));
        assert!(!is_ambiguous("echo $((1 + 2))\nls"));
    }

    #[test]
    fn deep_texts_are_seen_and_long_flat_ones_are_not() {
        assert!(is_too_deep(&"(".repeat(100)));
        assert!(is_too_deep(&"if a; then ".repeat(100)));
        assert!(is_too_deep(&"$((".repeat(20)));
        assert!(!is_too_deep(&"if a; then b; fi; ".repeat(100)));
        assert!(!is_too_deep(&"echo $(date); ".repeat(1000)));
    }
}
