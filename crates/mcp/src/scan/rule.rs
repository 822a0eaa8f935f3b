//! The rules, by name.

use serde::Serialize;

/// What comes of a finding if nobody says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// It is told.
    Note,
    /// A person looks at it before the item is used.
    Ask,
    /// The item is not used.
    Block,
}

/// A rule.
#[derive(Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// Its name, which never changes.
    pub name: &'static str,
    /// What comes of what it finds.
    pub weight: Weight,
    /// What it looks for.
    pub about: &'static str,
}

const fn info(name: &'static str, weight: Weight, about: &'static str) -> RuleInfo {
    RuleInfo {
        name,
        weight,
        about,
    }
}

/// All rules, in the order of their names.
pub const RULES: [RuleInfo; 16] = [
    info(
        "P01",
        Weight::Block,
        "a text tells the model to do something else, or to hide something",
    ),
    info(
        "P02",
        Weight::Block,
        "a text has characters that nobody sees",
    ),
    info(
        "P03",
        Weight::Block,
        "a text hides such an instruction in an encoding",
    ),
    info(
        "P04",
        Weight::Block,
        "a name has letters that look like others",
    ),
    info(
        "P05",
        Weight::Block,
        "a text names files or values that hold credentials",
    ),
    info(
        "P06",
        Weight::Block,
        "a text says when another server's tool is to be used",
    ),
    info(
        "P07",
        Weight::Note,
        "a text is so long or so far apart that its end is not seen",
    ),
    info("P08", Weight::Ask, "a hint contradicts the tool's name"),
    info(
        "P09",
        Weight::Note,
        "a parameter asks for what the model knows, or takes anything",
    ),
    info(
        "P10",
        Weight::Block,
        "a secret parameter is to stand in a header, or the header is none",
    ),
    info(
        "P11",
        Weight::Block,
        "a schema refers elsewhere or to itself, or is too large",
    ),
    info(
        "P12",
        Weight::Ask,
        "a picture is loaded without TLS, or may run something",
    ),
    info(
        "S01",
        Weight::Ask,
        "a name that can be taken for that of another tool",
    ),
    info("S02", Weight::Ask, "a package is run without a version"),
    info("O01", Weight::Block, "a result tells the model what to do"),
    info(
        "O03",
        Weight::Block,
        "a result has a picture whose address tells something",
    ),
];

/// The rule of that name.
pub fn rule(name: &str) -> Option<&'static RuleInfo> {
    RULES.iter().find(|rule| rule.name == name)
}
