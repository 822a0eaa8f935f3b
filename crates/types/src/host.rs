use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};

/// A DNS host name in the one canonical form in which names are compared:
/// ASCII, lower case, no trailing dot, never an IP literal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

/// Why a string is not a host name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostNameError {
    /// Empty, or longer than the 253 bytes of RFC 1035.
    #[error("a host name has 1 to 253 characters")]
    Length,
    /// An empty label or one of more than 63 bytes.
    #[error("each label of a host name has 1 to 63 characters")]
    Label,
    /// Anything but letters, digits, `-` and `_`, or a hyphen at an end.
    #[error("a host name has only letters, digits, `-` and `_`; write other scripts as punycode")]
    Character,
    /// An address, in any of the forms that resolvers accept.
    #[error("this is an IP address, not a host name")]
    Address,
}

impl HostName {
    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether `label` is a number as `inet_aton` reads one: decimal, octal or
/// hexadecimal. A name whose last label is one may be taken for an address.
fn is_numeric(label: &str) -> bool {
    match label.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|b| b.is_ascii_hexdigit()),
        None => label.bytes().all(|b| b.is_ascii_digit()),
    }
}

impl FromStr for HostName {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if text.is_empty() || text.len() > 253 {
            return Err(HostNameError::Length);
        }
        if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Err(HostNameError::Address);
        }
        for label in text.split('.') {
            if label.is_empty() || label.len() > 63 {
                return Err(HostNameError::Label);
            }
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if !label.bytes().all(plain) || label.starts_with('-') || label.ends_with('-') {
                return Err(HostNameError::Character);
            }
        }
        if text.rsplit('.').next().is_some_and(is_numeric) {
            return Err(HostNameError::Address);
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for HostName {
    type Error = HostNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_and_one_trailing_dot_do_not_matter() {
        let name: HostName = "API.Example.COM.".parse().unwrap();
        assert_eq!(name.as_str(), "api.example.com");
        assert_eq!("a..".parse::<HostName>(), Err(HostNameError::Label));
    }

    #[test]
    fn every_way_to_write_an_address_is_refused() {
        for text in [
            "127.0.0.1",
            "[::1]",
            "::1",
            "2130706433",
            "0177.1",
            "127.1",
            "0x7f.1",
            "a.0x1",
        ] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }

    #[test]
    fn characters_that_parsers_disagree_about_are_refused() {
        for text in [
            "ok.test@evil",
            "evil#ok.test",
            "ok.test\\@evil",
            "a b",
            "a\0.b",
            "%65x.com",
            "-a.b",
            "exämple.com",
        ] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_is_idempotent(text in "\\PC{0,80}") {
            if let Ok(name) = text.parse::<HostName>() {
                prop_assert_eq!(name.as_str().parse::<HostName>().unwrap(), name);
            }
        }
    }
}
