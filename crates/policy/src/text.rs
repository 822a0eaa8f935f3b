//! Words of which a part is not known.
//!
//! Such a part stands in the text as one of two code points that Unicode keeps
//! for a program's own use and no text may hold. A text that holds one all the
//! same is taken for not known, which is the safe side.

/// A part that is not known.
pub(crate) const UNKNOWN: char = '\u{fdd0}';

/// A part that is not known and came from elsewhere.
pub(crate) const REMOTE: char = '\u{fdd1}';

/// Whether a part of `text` is not known.
pub(crate) fn is_unknown(text: &str) -> bool {
    text.contains([UNKNOWN, REMOTE])
}

/// Whether a part of `text` came from elsewhere.
pub(crate) fn is_remote(text: &str) -> bool {
    text.contains(REMOTE)
}

/// `text` for people: a part that is not known is three dots.
pub(crate) fn shown(text: &str) -> String {
    text.replace([UNKNOWN, REMOTE], "…")
}

/// A word of a command, after expansion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// It is a pattern for names of files that are not known.
    pub(crate) pattern: bool,
    /// It may be several words, or none.
    pub(crate) several: bool,
    /// It rests on an assumption: that a variable is not set.
    pub(crate) assumed: bool,
}

impl Word {
    /// A word that is known to the letter.
    pub(crate) fn literal(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Any number of any words.
    pub(crate) fn anything() -> Self {
        Self {
            text: UNKNOWN.to_string(),
            several: true,
            ..Self::default()
        }
    }

    /// Whether it can name a program or a verb.
    pub(crate) fn is_known(&self) -> bool {
        !self.pattern && !is_unknown(&self.text)
    }
}
