//! Where the package managers that install MCP servers fetch from: what the user set, in
//! the environment before files, without names and tokens.

use std::path::{Path, PathBuf};

use stockade_gateway::HostRule;
use stockade_mcp::Registry;

use super::registries::{read, rule};
use crate::prepare::Host;

/// Variables of the caller that name registries.
pub const SOURCE_VARIABLES: [&str; 4] = [
    "npm_config_registry",
    "NPM_CONFIG_REGISTRY",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
];

const NPM: &str = "https://registry.npmjs.org/";
const PYPI: &str = "https://pypi.org/simple";
/// Where PyPI's index says that its files are.
const PYPI_FILES: &str = "https://files.pythonhosted.org";

/// Where a package manager fetches from.
#[derive(Debug)]
pub(crate) struct PackageSources {
    /// Names of settings and URLs; the first is the registry of what is nobody's own.
    pub(crate) settings: Vec<(String, String)>,
    /// What may be reached for it.
    pub(crate) rules: Vec<HostRule>,
}

/// Where packages of `registry` come from on `host`.
pub(crate) fn sources(host: &Host, registry: Registry) -> PackageSources {
    let variable = |names: &[&str]| {
        let mut set = host
            .sources
            .iter()
            .filter(|(name, _)| names.contains(&&**name));
        set.next().map(|(_, url)| url.clone())
    };
    let home = host.home.as_deref().unwrap_or(Path::new("/nonexistent"));
    let mut settings = match registry {
        Registry::Npm => {
            let mut settings = npm(&read(&home.join(".npmrc")).unwrap_or_default());
            settings.extend(npm(&read(&PathBuf::from("/etc/npmrc")).unwrap_or_default()));
            if let Some(url) = variable(&SOURCE_VARIABLES[..2]) {
                settings.insert(0, ("registry".to_owned(), url));
            }
            settings.push(("registry".to_owned(), NPM.to_owned()));
            settings
        }
        Registry::Pypi => {
            let url = variable(&SOURCE_VARIABLES[2..]);
            let of_file = || uv(&read(&home.join(".config/uv/uv.toml")).unwrap_or_default());
            let url = url.or_else(of_file).unwrap_or_else(|| PYPI.to_owned());
            vec![("index".to_owned(), url)]
        }
    };
    settings = settings
        .into_iter()
        .filter_map(|(name, url)| Some((name, clean(&url)?)))
        .collect();
    // What was said first counts, and is the first.
    let mut known: Vec<(String, String)> = Vec::new();
    for (name, url) in settings {
        if !known.iter().any(|(other, _)| *other == name) {
            known.push((name, url));
        }
    }
    known.sort_by_key(|(name, _)| name.starts_with('@'));
    let mut rules: Vec<HostRule> = known.iter().filter_map(|(_, url)| rule(url)).collect();
    if known.iter().any(|(_, url)| url == PYPI) {
        rules.extend(rule(PYPI_FILES));
    }
    PackageSources {
        settings: known,
        rules,
    }
}

/// `registry` and `@scope:registry` of an `.npmrc`.
fn npm(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let lines = lines.map(|(name, url)| (name.trim(), url.trim().trim_matches(['"', '\''])));
    let ours = lines.filter(|(name, _)| {
        let scope = name.strip_suffix(":registry");
        *name == "registry" || scope.is_some_and(|scope| scope.starts_with('@'))
    });
    ours.map(|(name, url)| (name.to_owned(), url.to_owned()))
        .collect()
}

/// The index of a `uv.toml` that is used before others.
fn uv(text: &str) -> Option<String> {
    let table: toml::Table = text.parse().ok()?;
    let indexes = table.get("index").and_then(toml::Value::as_array);
    let mut indexes = indexes.into_iter().flatten();
    let default =
        indexes.find(|index| index.get("default").and_then(toml::Value::as_bool) == Some(true));
    let url = default.and_then(|index| index.get("url"));
    let url = url.or_else(|| table.get("index-url"));
    Some(url?.as_str()?.to_owned())
}

/// `url` without names, tokens and what does not belong into a URL.
fn clean(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit('@').next()?;
    let plain = url.chars().all(|c| c.is_ascii_graphic()) && !path.contains(['?', '#', '$']);
    (plain && ["http", "https"].contains(&scheme)).then(|| format!("{scheme}://{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_are_read_without_credentials() {
        let text = "registry=https://user:decoy@npm.mirror.test/all/\n@own:registry = \"https://own.test\"\n\
                    //npm.mirror.test/:_authToken=npm_decoy\nxregistry=https://no.test\n";
        let found: Vec<_> = npm(text)
            .into_iter()
            .map(|(name, url)| (name, clean(&url)))
            .collect();
        assert_eq!(
            found,
            [
                (
                    "registry".to_owned(),
                    Some("https://npm.mirror.test/all/".to_owned())
                ),
                (
                    "@own:registry".to_owned(),
                    Some("https://own.test".to_owned())
                ),
            ]
        );
        let toml = "index-url = \"https://old.test\"\n[[index]]\nname = \"a\"\nurl = \"https://a.test\"\n\
                    [[index]]\nurl = \"https://b.test\"\ndefault = true\n";
        assert_eq!(uv(toml).as_deref(), Some("https://b.test"));
        assert_eq!(
            uv("index-url = \"https://old.test\"").as_deref(),
            Some("https://old.test")
        );
        assert_eq!(clean("file:///etc"), None);
        assert_eq!(clean("https://x.test/${TOKEN}"), None);
    }
}
