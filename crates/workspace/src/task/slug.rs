use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The readable end of a task's branch: 1 to 48 of `a`-`z`, `0`-`9` and `-`,
/// neither first nor last a `-`. Safe as a ref component and a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Slug(String);

/// Why a string is not a slug.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` cannot end a branch name: use 1 to 48 of a-z, 0-9 and `-`")]
pub struct SlugError(String);

const LONGEST: usize = 48;

impl Slug {
    /// A slug from what the task is asked to do; `task` if nothing is left.
    pub fn from_prompt(prompt: &str) -> Self {
        let mut slug = String::new();
        for word in prompt
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|w| !w.is_empty())
        {
            let longer = slug.len() + usize::from(!slug.is_empty()) + word.len();
            if longer > LONGEST {
                break;
            }
            if !slug.is_empty() {
                slug.push('-');
            }
            slug.push_str(&word.to_ascii_lowercase());
        }
        Self(if slug.is_empty() {
            "task".to_owned()
        } else {
            slug
        })
    }

    /// The slug as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Slug {
    type Err = SlugError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let ends = text.starts_with('-') || text.ends_with('-');
        if text.is_empty() || text.len() > LONGEST || ends || !text.bytes().all(allowed) {
            return Err(SlugError(stockade_types::visible::line(text.as_bytes())));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Slug {
    type Error = SlugError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Slug> for String {
    fn from(slug: Slug) -> Self {
        slug.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_prompt_gives_a_slug_that_parses_back() {
        for prompt in [
            "fix the flaky test",
            "-x",
            "../../etc",
            "@{",
            "HEAD",
            "ä ö",
            "",
            &"a".repeat(255),
        ] {
            let slug = Slug::from_prompt(prompt);
            assert_eq!(slug.as_str().parse::<Slug>().unwrap(), slug, "{prompt}");
        }
        assert_eq!(
            Slug::from_prompt("Fix the FLAKY test!").as_str(),
            "fix-the-flaky-test"
        );
    }

    #[test]
    fn a_name_that_git_or_a_shell_reads_differently_is_refused() {
        for text in ["", "-x", "x-", "a/b", "a..b", "A", "a b", "@{", "x.lock"] {
            assert!(text.parse::<Slug>().is_err(), "{text}");
        }
    }
}
