/// A word that is not in the vocabulary where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not known; use one of {}", known.join(", "))]
pub struct UnknownWord {
    /// The word.
    pub word: String,
    /// What could have been meant.
    pub known: Vec<&'static str>,
}
