use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The name of one task: `t-` and eight characters of Crockford's base32, in
/// lower case (40 random bits).
///
/// It is safe as a file name, a ref component and a host name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskId(String);

/// Why a string is not a task id.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a task id: expected `t-` and eight of 0-9, a-z without i, l, o, u")]
pub struct TaskIdError(String);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 8;

impl TaskId {
    /// The id that 40 bits of `random` spell; the other bits are ignored.
    pub fn from_random(random: u64) -> Self {
        let digits = (0..DIGITS).map(|place| {
            let index = usize::try_from((random >> (5 * place)) & 31).unwrap_or_default();
            char::from(ALPHABET[index])
        });
        Self(format!("t-{}", digits.collect::<String>()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TaskId {
    type Err = TaskIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("t-") {
            Some(digits)
                if digits.len() == DIGITS && digits.bytes().all(|b| ALPHABET.contains(&b)) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(TaskIdError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for TaskId {
    type Error = TaskIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.0
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_random_number_spells_an_id_that_parses_back() {
        for random in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let id = TaskId::from_random(random);
            assert_eq!(id.as_str().parse::<TaskId>().unwrap(), id);
        }
    }

    #[test]
    fn a_path_or_an_option_is_not_an_id() {
        for text in [
            "",
            "t-",
            "t-../../x",
            "-x",
            "t-0123456i",
            "T-01234567",
            "t-012345678",
        ] {
            assert!(text.parse::<TaskId>().is_err(), "{text}");
        }
    }
}
