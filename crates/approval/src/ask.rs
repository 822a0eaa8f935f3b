use std::{fmt, future::Future, pin::Pin, str::FromStr, time::Duration};

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::{action::Action, error::ApproverError};

/// How many digits of an id people are shown, and have to give at least.
const SHORT: usize = 8;

/// The number of one question: 128 random bits, so that no answer fits another
/// question. It is no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AskId(u128);

/// A text that is not the number of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the number of a question is 32 lower-case hexadecimal digits")]
pub struct AskIdError;

impl AskId {
    /// A new one.
    pub fn random() -> Result<Self, ApproverError> {
        let mut bytes = [0; 16];
        let random = SystemRandom::new();
        random.fill(&mut bytes).map_err(|_| ApproverError::Random)?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }

    /// Its first digits, by which people name it.
    pub fn short(&self) -> String {
        let mut digits = self.to_string();
        digits.truncate(SHORT);
        digits
    }

    /// Whether `text` is the start of it, with or without `#`, and long enough
    /// to mean it.
    pub fn is_meant_by(&self, text: &str) -> bool {
        let text = text.strip_prefix('#').unwrap_or(text);
        text.len() >= SHORT && self.to_string().starts_with(text)
    }
}

impl fmt::Display for AskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for AskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AskId({self})")
    }
}

impl FromStr for AskId {
    type Err = AskIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = u128::from_str_radix(text, 16).map_err(|_| AskIdError)?;
        // One spelling only.
        (Self(number).to_string() == text)
            .then_some(Self(number))
            .ok_or(AskIdError)
    }
}

impl TryFrom<String> for AskId {
    type Error = AskIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AskId> for String {
    fn from(id: AskId) -> Self {
        id.to_string()
    }
}

/// An action with what a person should see beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What would happen.
    pub action: Action,
    /// How many bytes wait to leave.
    pub bytes: u64,
    /// Why the agent wants it, in its own words: untrusted, bounded by whoever
    /// took them.
    pub said: Option<String>,
    /// The rule of the policy that wants a person's word; without one, no rule
    /// allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<Because>,
}

/// A rule that wants a person's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Because {
    /// Its name.
    pub rule: String,
    /// Why it is there, in a sentence.
    pub reason: String,
}

/// What asking comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// A person approved exactly this; one use of it is taken.
    Granted(AskId),
    /// It must not happen; why, as a sentence that may be shown inside.
    Refused(String),
    /// A person has been asked and has not answered yet.
    Pending(AskId),
}

/// What asking gives.
pub type Asked<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// Who asks a person. Waiting holds nothing but the action that is asked about.
pub trait Ask: Send + Sync {
    /// Asks, and waits for an answer no longer than `patience`.
    fn ask(&self, question: Question, patience: Duration) -> Asked<'_>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_meant_by_its_first_digits_and_by_no_fewer_than_are_shown() {
        let id: AskId = "00112233445566778899aabbccddeeff".parse().unwrap();
        assert_eq!(id.short(), "00112233");
        for meant in ["00112233", "#001122334", &id.to_string()] {
            assert!(id.is_meant_by(meant), "{meant}");
        }
        for other in ["", "#", "0011223", "00112234", "#00112233x"] {
            assert!(!id.is_meant_by(other), "{other}");
        }
        for wrong in [
            "0",
            "00112233445566778899AABBCCDDEEFF",
            "+0112233445566778899aabbccddeeff",
        ] {
            assert!(wrong.parse::<AskId>().is_err(), "{wrong}");
        }
    }
}
