use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use stockade_types::HostName;

use crate::error::VaultError;

/// What stands for the secret in a template.
const HOLE: &str = "{}";
/// Longer names and templates are a mistake.
const TEXT_MAX: usize = 256;

/// Where a secret may stand: in requests of this kind, in this one slot. What
/// is left out is as wide as the rules for the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The host, exactly.
    pub host: HostName,
    /// The TCP port; 443 without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The methods; any without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// The paths, as rules write them; any without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The place in the request.
    pub slot: Slot,
    /// The variable that holds the placeholder inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<String>,
    /// The agent whose tasks have it; every task without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

impl Binding {
    /// The requests in which the secret may stand, as rules for hosts write
    /// them: by TLS, by the methods that are named or by any.
    pub fn requests(&self) -> String {
        let methods = if self.methods.is_empty() {
            "ANY".to_owned()
        } else {
            self.methods.join(",")
        };
        let path = self.path.as_deref().unwrap_or_default();
        format!("{methods} https://{}:{}{path}", self.host, self.port())
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(443)
    }

    /// Whether tasks of `agent` have it; `None` is a plain command.
    pub fn is_for(&self, agent: Option<&str>) -> bool {
        self.agent.as_deref().is_none_or(|own| Some(own) == agent)
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} in {}", self.requests(), self.slot)
    }
}

/// One place in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// A header: its value is the template with the secret in it.
    Header(HeaderSlot),
    /// `Authorization: Basic`, with this user and the secret as password.
    Basic(BasicSlot),
    /// A field of a JSON object: its names from the outermost one on, with dots
    /// between them. Its value is the secret and nothing else.
    Field(FieldSlot),
    /// A parameter of the URL's query.
    Query(ParameterSlot),
    /// A field of a form (`application/x-www-form-urlencoded`).
    Form(ParameterSlot),
}

/// A header's name and template, written `Name=Template`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderSlot {
    name: String,
    before: String,
    after: String,
}

/// The user of `Authorization: Basic`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BasicSlot(String);

/// The names of a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldSlot(Vec<String>);

/// The name of a parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ParameterSlot(String);

impl ParameterSlot {
    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl HeaderSlot {
    /// The name, in lower case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The header's value with `secret` in it.
    pub fn with(&self, secret: &str) -> String {
        format!("{}{secret}{}", self.before, self.after)
    }
}

impl BasicSlot {
    /// The user and `secret` as HTTP joins them.
    pub fn with(&self, secret: &str) -> String {
        format!("{}:{secret}", self.0)
    }
}

impl FieldSlot {
    /// Its names from the outermost one on.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

/// Headers by which a request is framed or routed; no secret belongs there.
const NO_SLOTS: [&str; 12] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

impl FromStr for HeaderSlot {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, template) = text.split_once('=').ok_or_else(|| {
            slot_error(
                text,
                "write a header as NAME=TEMPLATE, such as Authorization='Bearer {}'",
            )
        })?;
        let name = name.to_ascii_lowercase();
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || name.len() > TEXT_MAX || !name.bytes().all(token) {
            return Err(slot_error(text, "before the `=` stands a header's name"));
        }
        if NO_SLOTS.contains(&name.as_str()) || name.starts_with("proxy-") {
            return Err(slot_error(text, "this header frames or routes a request"));
        }
        let plain = |b: u8| b == b' ' || b.is_ascii_graphic();
        match template.split_once(HOLE) {
            Some((before, after))
                if !after.contains(HOLE)
                    && template.len() <= TEXT_MAX
                    && template.trim() == template
                    && template.bytes().all(plain) =>
            {
                Ok(Self {
                    name,
                    before: before.to_owned(),
                    after: after.to_owned(),
                })
            }
            _ => Err(slot_error(
                text,
                "after the `=` stands a template of visible ASCII characters with one {} in it",
            )),
        }
    }
}

impl FromStr for BasicSlot {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_graphic() && b != b':';
        if text.is_empty() || text.len() > TEXT_MAX || !text.bytes().all(plain) {
            return Err(slot_error(
                text,
                "a user has visible ASCII characters, without `:`",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for FieldSlot {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names: Vec<String> = text.split('.').map(str::to_owned).collect();
        if text.len() > TEXT_MAX
            || names
                .iter()
                .any(|name| name.is_empty() || name.chars().any(char::is_control))
        {
            return Err(slot_error(
                text,
                "write the names of a field with dots between them, such as auth.token",
            ));
        }
        Ok(Self(names))
    }
}

impl FromStr for ParameterSlot {
    type Err = VaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~[]".contains(&b);
        if text.is_empty() || text.len() > TEXT_MAX || !text.bytes().all(plain) {
            return Err(slot_error(
                text,
                "a parameter's name has letters, digits and `-._~[]`",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

fn slot_error(text: &str, reason: &'static str) -> VaultError {
    VaultError::Slot {
        text: text.chars().take(80).collect(),
        reason,
    }
}

impl fmt::Display for HeaderSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.name, self.with(HOLE))
    }
}

impl fmt::Display for BasicSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for FieldSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("."))
    }
}

impl fmt::Display for ParameterSlot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(header) => {
                write!(
                    formatter,
                    "the header `{}: {}`",
                    header.name,
                    header.with(HOLE)
                )
            }
            Self::Basic(user) => write!(formatter, "basic authorization as `{user}`"),
            Self::Field(field) => write!(formatter, "the field `{field}`"),
            Self::Query(name) => write!(formatter, "the query parameter `{name}`"),
            Self::Form(name) => write!(formatter, "the form field `{name}`"),
        }
    }
}

/// Each kind of slot is read from its text and written as it.
macro_rules! by_its_text {
    ($($slot:ty),*) => {$(
        impl TryFrom<String> for $slot {
            type Error = VaultError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$slot> for String {
            fn from(slot: $slot) -> Self {
                slot.to_string()
            }
        }
    )*};
}
by_its_text!(HeaderSlot, BasicSlot, FieldSlot, ParameterSlot);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_read_and_written_alike_and_mistakes_are_named() {
        for text in [
            "authorization=Bearer {}",
            "x-api-key={}",
            "private-token=a {} b",
        ] {
            assert_eq!(text.parse::<HeaderSlot>().unwrap().to_string(), text);
        }
        for (text, fix) in [
            ("Authorization", "NAME=TEMPLATE"),
            ("=x{}", "header's name"),
            ("a b={}", "header's name"),
            ("Host={}", "routes"),
            ("Proxy-Authorization={}", "routes"),
            ("x-key=Bearer", "one {}"),
            ("x-key={}{}", "one {}"),
            ("x-key=a\r\nb{}", "one {}"),
            ("x-key= {}", "one {}"),
        ] {
            let error = text.parse::<HeaderSlot>().unwrap_err().to_string();
            assert!(error.contains(fix), "{text}: {error}");
        }
        for text in ["", "a..b", ".a", "a.\u{7}"] {
            assert!(text.parse::<FieldSlot>().is_err(), "{text}");
        }
        for text in ["", "a=b", "a&b", "a b", "%61"] {
            assert!(text.parse::<ParameterSlot>().is_err(), "{text}");
        }
        for text in ["", "a:b", "a b"] {
            assert!(text.parse::<BasicSlot>().is_err(), "{text}");
        }
    }
}
