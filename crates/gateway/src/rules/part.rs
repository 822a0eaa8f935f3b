/// Why a text is not a rule, where in it, and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a rule: at character {at}, {problem}")]
pub struct RuleError {
    /// The text, shortened.
    pub text: String,
    /// The position, from 1.
    pub at: usize,
    /// What is wrong there and what would be right.
    pub problem: String,
}

/// A part of the text with its place in it.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) whole: &'a str,
    pub(super) at: usize,
    pub(super) text: &'a str,
}

impl<'a> Part<'a> {
    pub(super) fn fail<T>(&self, problem: impl Into<String>) -> Result<T, RuleError> {
        Err(RuleError {
            text: self
                .whole
                .chars()
                .take(120)
                .flat_map(char::escape_debug)
                .collect(),
            at: self.whole[..self.at].chars().count() + 1,
            problem: problem.into(),
        })
    }

    /// What comes before and from `at` on.
    pub(super) fn split_at(&self, at: usize) -> (Self, Self) {
        let (before, after) = self.text.split_at(at);
        (
            Self {
                text: before,
                ..*self
            },
            Self {
                text: after,
                at: self.at + at,
                ..*self
            },
        )
    }

    /// Without its first `count` bytes.
    pub(super) fn skip(&self, count: usize) -> Self {
        self.split_at(count).1
    }

    pub(super) fn words(whole: &'a str) -> Vec<Self> {
        let place = |word: &str| word.as_ptr() as usize - whole.as_ptr() as usize;
        whole
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(|text| Self {
                whole,
                at: place(text),
                text,
            })
            .collect()
    }
}
