use std::fmt;

use zeroize::Zeroize;

/// A value that must not be printed: `Debug` and `Display` show only that
/// there is one. Its memory is cleared when it is dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Redacted<T: Zeroize>(T);

impl<T: Zeroize> Redacted<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself; the call is the place to review.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Redacted<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Redacted<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

impl<T: Zeroize> fmt::Display for Redacted<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_printing_shows_the_value() {
        let secret = Redacted::new("sk-decoy".to_owned());
        assert!(!format!("{secret:?} {secret} {secret:#?}").contains("decoy"));
        assert_eq!(secret.expose(), "sk-decoy");
    }
}
