use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How the keys of a provider look, so that a placeholder passes the checks
/// that programs make before they send one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// What every key begins with.
    pub prefix: Cow<'static, str>,
    /// The length of a key, prefix included.
    pub length: usize,
    /// The characters of the rest.
    pub alphabet: Alphabet,
}

/// The characters after a key's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alphabet {
    /// Digits and `a` to `f`.
    Hex,
    /// Letters and digits.
    Alphanumeric,
    /// Letters, digits, `-` and `_`.
    UrlSafe,
}

impl Alphabet {
    const fn characters(self) -> &'static [u8] {
        match self {
            Self::Hex => b"0123456789abcdef",
            Self::Alphanumeric => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
            Self::UrlSafe => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        }
    }
}

/// What keys are published to begin with. Only these are taken over: the start
/// of any other value may be part of what is secret about it.
const PREFIXES: [&str; 38] = [
    "AIza",
    "AKIA",
    "ASIA",
    "SG.",
    "dckr_pat_",
    "dop_v1_",
    "dp.pt.",
    "figd_",
    "gho_",
    "ghp_",
    "ghr_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "glptt-",
    "gsk_",
    "hf_",
    "hvb.",
    "hvs.",
    "lin_api_",
    "npm_",
    "ntn_",
    "nvapi-",
    "pk_live_",
    "pk_test_",
    "pypi-",
    "r8_",
    "rk_live_",
    "shpat_",
    "sk-",
    "sk-ant-api03-",
    "sk-proj-",
    "sk_live_",
    "sk_test_",
    "xapp-",
    "xoxb-",
    "xoxp-",
];
/// Characters of the rest, of at least four bits each.
const REST_MIN: usize = 32;
/// Programs check prefixes; longer values gain nothing.
const LENGTH_MAX: usize = 512;

impl Default for Shape {
    /// What a value that nobody has seen yet may look like.
    fn default() -> Self {
        Self {
            prefix: Cow::Borrowed(""),
            length: 40,
            alphabet: Alphabet::Alphanumeric,
        }
    }
}

impl Shape {
    /// The shape of `value`: a prefix that is known to be public, the length,
    /// and the kind of characters. It tells no more of the value.
    pub fn of(value: &str) -> Self {
        let known = PREFIXES
            .into_iter()
            .filter(|prefix| value.starts_with(prefix));
        let prefix = known.max_by_key(|prefix| prefix.len()).unwrap_or_default();
        let rest = &value.as_bytes()[prefix.len()..];
        let alphabet = if rest.iter().all(u8::is_ascii_alphanumeric) {
            if rest.iter().all(|b| Alphabet::Hex.characters().contains(b)) {
                Alphabet::Hex
            } else {
                Alphabet::Alphanumeric
            }
        } else {
            Alphabet::UrlSafe
        };
        Self {
            prefix: Cow::Borrowed(prefix),
            length: value.len(),
            alphabet,
        }
    }

    /// A string that looks like a key and is none, spelled from 128 random
    /// bits.
    ///
    /// Different bits give different placeholders; the same bits the same one.
    /// Who knows the placeholder learns nothing that is worth anything outside.
    pub fn placeholder(&self, random: [u8; 16]) -> String {
        let characters = self.alphabet.characters();
        let length = self
            .length
            .min(LENGTH_MAX)
            .max(self.prefix.len() + REST_MIN);
        let mut text = self.prefix.clone().into_owned();
        let mut block: [u8; 32] = Sha256::digest(random).into();
        while text.len() < length {
            let missing = length - text.len();
            let spelled = block.iter().take(missing);
            text.extend(
                spelled.map(|byte| char::from(characters[usize::from(*byte) % characters.len()])),
            );
            block = Sha256::digest(block).into();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn g3_a_shape_tells_a_public_prefix_and_nothing_else_of_the_value() {
        for (value, prefix, alphabet) in [
            (
                "ghp_0123456789abcdefABCDEF0123456789abcd",
                "ghp_",
                Alphabet::Alphanumeric,
            ),
            (
                "sk-ant-api03-x_y-z0123456789012345678901234567",
                "sk-ant-api03-",
                Alphabet::UrlSafe,
            ),
            (
                "hunter-two-is-not-a-public-prefix-at-all",
                "",
                Alphabet::UrlSafe,
            ),
            ("00112233445566778899aabbccddeeff", "", Alphabet::Hex),
        ] {
            let shape = Shape::of(value);
            assert_eq!(
                (&*shape.prefix, shape.alphabet),
                (prefix, alphabet),
                "{value}"
            );
            assert_eq!(shape.placeholder([7; 16]).len(), value.len(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn placeholders_have_the_shape_do_not_repeat_and_are_long_enough_to_be_told_apart(
            value in "[!-~]{8,600}", one: [u8; 16], other: [u8; 16],
        ) {
            let shape = Shape::of(&value);
            let text = shape.placeholder(one);
            prop_assert!(text.starts_with(&*shape.prefix));
            prop_assert!(text.len() >= shape.prefix.len() + REST_MIN);
            prop_assert!(text.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(text == shape.placeholder(other), one == other);
        }
    }
}
