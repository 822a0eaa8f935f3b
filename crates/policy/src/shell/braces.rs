//! Braces, which make several words of one before anything else is expanded.

use brush_parser::{
    ParserOptions,
    word::{self, BraceExpressionMember, BraceExpressionOrText},
};

/// The most words that braces may make; with more they are not known.
const MOST_WORDS: usize = 64;

/// The words that the braces of `raw` make, before anything else is expanded;
/// `None` if there are too many.
pub(super) fn without_braces(raw: &str) -> Option<Vec<String>> {
    if !raw.contains('{') || !(raw.contains(',') || raw.contains("..")) {
        return Some(vec![raw.to_owned()]);
    }
    match word::parse_brace_expansions(raw, &ParserOptions::default()) {
        Ok(Some(pieces)) => combined(&pieces),
        Ok(None) => Some(vec![raw.to_owned()]),
        Err(_) => None,
    }
}

fn combined(pieces: &[BraceExpressionOrText]) -> Option<Vec<String>> {
    let mut words = vec![String::new()];
    for piece in pieces {
        let choices = match piece {
            BraceExpressionOrText::Text(text) => vec![text.clone()],
            BraceExpressionOrText::Expr(members) => {
                let mut choices = Vec::new();
                for member in members {
                    choices.extend(of_member(member)?);
                }
                choices
            }
        };
        if words.len() * choices.len() > MOST_WORDS {
            return None;
        }
        words = words
            .iter()
            .flat_map(|word| choices.iter().map(move |choice| format!("{word}{choice}")))
            .collect();
    }
    Some(words)
}

fn of_member(member: &BraceExpressionMember) -> Option<Vec<String>> {
    let most = i64::try_from(MOST_WORDS).ok()?;
    match member {
        BraceExpressionMember::Child(pieces) => combined(pieces),
        BraceExpressionMember::NumberSequence {
            start,
            end,
            increment,
        } => {
            let step = i64::try_from(increment.unsigned_abs().max(1)).ok()?;
            let length = start.checked_sub(*end)?.checked_abs()? / step;
            if length >= most {
                return None;
            }
            let sign = if end < start { -step } else { step };
            Some(
                (0..=length)
                    .map(|n| (start + n * sign).to_string())
                    .collect(),
            )
        }
        BraceExpressionMember::CharSequence { start, end, .. } => {
            let (low, high) = (start.min(end), start.max(end));
            let letters: Vec<_> = (*low..=*high).map(String::from).take(MOST_WORDS).collect();
            (letters.len() < MOST_WORDS).then_some(letters)
        }
    }
}
