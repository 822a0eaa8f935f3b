//! Where this machine's package managers get packages from, read out of their
//! own files. No tool is run, and only hosts are taken: what such files hold
//! of names and tokens stays where it is.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use stockade_gateway::{HostPattern, HostRule};

use crate::prepare::Host;

/// The largest file that is read, and the most that are.
const SIZE_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 64;

/// Which text of a file is an address of packages.
enum Format {
    /// TOML with URLs as values: cargo's configuration.
    Toml,
    /// Lines of `key = value`, of which the key ends in one of these words.
    Keys(&'static [&'static str]),
    /// Apt's lists: any word that is a URL.
    Words,
}

/// Rules for the registries that the files of this machine name.
pub(super) fn of(host: &Host) -> Vec<HostRule> {
    let mut rules = Vec::new();
    for (path, format) in files(host.home.as_deref(), Path::new("/")) {
        let found = read(&path).map(|text| urls(&text, &format));
        for rule in found.unwrap_or_default().iter().filter_map(|url| rule(url)) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    rules
}

fn files(home: Option<&Path>, root: &Path) -> Vec<(PathBuf, Format)> {
    let mut files = Vec::new();
    if let Some(home) = home {
        for name in [".cargo/config.toml", ".cargo/config"] {
            files.push((home.join(name), Format::Toml));
        }
        files.push((home.join(".npmrc"), Format::Keys(&["registry"])));
        for name in [".config/pip/pip.conf", ".pip/pip.conf"] {
            files.push((home.join(name), PIP));
        }
        files.push((home.join(".config/go/env"), Format::Keys(&["goproxy"])));
    }
    files.push((root.join("etc/npmrc"), Format::Keys(&["registry"])));
    files.push((root.join("etc/pip.conf"), PIP));
    files.push((root.join("etc/apt/sources.list"), Format::Words));
    let lists = fs::read_dir(root.join("etc/apt/sources.list.d"));
    let lists = lists.into_iter().flatten().flatten().take(FILES_MAX);
    files.extend(lists.map(|entry| (entry.path(), Format::Words)));
    files
}

const PIP: Format = Format::Keys(&["index-url", "find-links"]);

pub(super) fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = fs::File::open(path).ok().filter(|file| {
        let found = file.metadata();
        found.is_ok_and(|found| found.is_file())
    })?;
    file.take(SIZE_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

fn urls(text: &str, format: &Format) -> Vec<String> {
    match format {
        Format::Toml => {
            let mut found = Vec::new();
            if let Ok(table) = text.parse::<toml::Table>() {
                for section in ["registries", "source", "registry"] {
                    collect(table.get(section), &mut found);
                }
            }
            found
        }
        Format::Keys(keys) => {
            let lines = text.lines().filter_map(|line| line.trim().split_once('='));
            lines
                .filter(|(key, _)| {
                    let key = key.trim().to_ascii_lowercase();
                    keys.iter().any(|wanted| key.ends_with(wanted))
                })
                .flat_map(|(_, value)| value.split([' ', ',', '|', '\t']))
                .map(|url| url.trim_matches(['"', '\'']).to_owned())
                .collect()
        }
        Format::Words => {
            let lines = text
                .lines()
                .filter(|line| !line.trim_start().starts_with('#'));
            lines
                .flat_map(str::split_whitespace)
                .map(str::to_owned)
                .collect()
        }
    }
}

/// The values of `index` and `registry` keys at any depth.
fn collect(value: Option<&toml::Value>, found: &mut Vec<String>) {
    let Some(table) = value.and_then(toml::Value::as_table) else {
        return;
    };
    for (key, value) in table {
        match value {
            toml::Value::String(url) if ["index", "registry"].contains(&key.as_str()) => {
                let url = url
                    .trim_start_matches("sparse+")
                    .trim_start_matches("registry+");
                found.push(url.to_owned());
            }
            toml::Value::Table(_) => collect(Some(value), found),
            _ => {}
        }
    }
}

/// A rule that reads from the host of `url`, and nothing else of it. An
/// address has no name by which it could be reached inside.
pub(super) fn rule(url: &str) -> Option<HostRule> {
    let (scheme, rest) = match url.split_once("://")? {
        ("https", rest) => ("", rest),
        ("http", rest) => ("http://", rest),
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let rule: HostRule = format!("{scheme}{host}").parse().ok()?;
    matches!(rule.host, HostPattern::Name(_)).then_some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_found_in_each_managers_file_and_credentials_stay_out() {
        let folder = tempfile::tempdir().unwrap();
        let (home, root) = (folder.path().join("home"), folder.path().join("root"));
        for (path, text) in [
            (
                home.join(".cargo/config.toml"),
                "[source.crates-io]\nreplace-with = \"m\"\n[source.m]\nregistry = \"sparse+https://cargo.mirror.test:8443/i/\"\n",
            ),
            (
                home.join(".npmrc"),
                "registry=https://npm.mirror.test/\n@own:registry = https://scope.mirror.test\n//npm.mirror.test/:_authToken=npm_decoy\n",
            ),
            (
                home.join(".config/pip/pip.conf"),
                "[global]\nindex-url = https://user:decoy@pip.mirror.test/simple\nextra-index-url = https://more.mirror.test/simple\n",
            ),
            (
                home.join(".config/go/env"),
                "GOPROXY=https://go.mirror.test|direct\nGONOSUMDB=x\n",
            ),
            (
                root.join("etc/apt/sources.list"),
                "# deb http://commented.test x\ndeb [signed-by=/k.gpg] http://apt.mirror.test/debian stable main\n",
            ),
            (
                root.join("etc/apt/sources.list.d/own.sources"),
                "Types: deb\nURIs: https://deb822.mirror.test/d http://127.0.0.1:9/d\n",
            ),
        ] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut found: Vec<String> = files(Some(&home), &root)
            .iter()
            .flat_map(|(path, format)| urls(&read(path).unwrap_or_default(), format))
            .filter_map(|url| rule(&url))
            .map(|rule| rule.to_string())
            .collect();
        found.sort();
        assert_eq!(
            found,
            [
                "cargo.mirror.test:8443",
                "deb822.mirror.test",
                "go.mirror.test",
                "http://apt.mirror.test",
                "more.mirror.test",
                "npm.mirror.test",
                "pip.mirror.test",
                "scope.mirror.test",
            ]
        );
    }
}
