//! The rules that come with Stockade, one file for each subject.

use super::{Layer, Source};

const PACKS: [(&str, &str); 10] = [
    ("base", include_str!("../../packs/base.cedar")),
    ("files", include_str!("../../packs/files.cedar")),
    ("git", include_str!("../../packs/git.cedar")),
    ("hosting", include_str!("../../packs/hosting.cedar")),
    ("packages", include_str!("../../packs/packages.cedar")),
    ("network", include_str!("../../packs/network.cedar")),
    ("system", include_str!("../../packs/system.cedar")),
    (
        "infrastructure",
        include_str!("../../packs/infrastructure.cedar"),
    ),
    ("databases", include_str!("../../packs/databases.cedar")),
    ("agents", include_str!("../../packs/agents.cedar")),
];

/// The default rules.
pub fn defaults() -> Vec<Source> {
    let source = |(name, text): (&str, &str)| Source {
        layer: Layer::Default,
        name: format!("default/{name}.cedar"),
        text: text.to_owned(),
    };
    PACKS.map(source).into()
}
