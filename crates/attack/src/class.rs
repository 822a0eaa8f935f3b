//! The classes of attacks.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::error::AttackError;

/// A class of attacks: a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class(char);

const TITLES: [(char, &str); 20] = [
    ('A', "git runs what a workspace says"),
    ('B', "protected files that are made later"),
    ('C', "protected files by way of their folders"),
    ('D', "links planted for the next start"),
    ('E', "odd files that stop a start"),
    ('F', "reading secrets and names"),
    ('G', "/proc"),
    ('H', "descriptors and terminals"),
    ('I', "unix sockets"),
    ('J', "direct ways out"),
    ('K', "names as a way out"),
    ('L', "ways around a gateway"),
    ('M', "too much on an allowed host"),
    ('N', "credentials"),
    ('O', "privileges and system calls"),
    ('P', "using up the machine"),
    ('Q', "outliving and meeting other tasks"),
    ('R', "files that the host runs later"),
    ('S', "changing the sandbox itself"),
    ('T', "walls that are silently missing"),
];

impl Class {
    /// The class of a letter that is known to be one.
    pub(crate) const fn of(letter: char) -> Self {
        Self(letter)
    }

    /// The letter.
    pub fn letter(self) -> char {
        self.0
    }

    /// What its attacks are about.
    pub fn title(self) -> &'static str {
        TITLES
            .iter()
            .find(|(letter, _)| *letter == self.0)
            .map_or("", |(_, title)| title)
    }
}

impl FromStr for Class {
    type Err = AttackError;

    fn from_str(text: &str) -> Result<Self, AttackError> {
        TITLES
            .iter()
            .map(|(letter, _)| *letter)
            .find(|letter| text.eq_ignore_ascii_case(letter.encode_utf8(&mut [0; 4])))
            .map(Self)
            .ok_or_else(|| AttackError::UnknownClass(text.to_owned()))
    }
}

impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_char(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_letter_from_a_to_t_in_either_case() {
        assert_eq!("g".parse::<Class>().unwrap(), Class::of('G'));
        assert_eq!(Class::of('T').title(), TITLES[19].1);
        for wrong in ["", "U", "GG", "1", "é"] {
            assert!(wrong.parse::<Class>().is_err(), "{wrong}");
        }
    }
}
