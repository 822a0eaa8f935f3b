use std::{collections::BTreeMap, fmt::Write};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use rand::Rng;
use stockade_scan::is_distinctive;
use stockade_vault::{Shape, variables};

use crate::path::TreePath;

/// What stands where a value was hidden.
pub const HIDDEN_VALUE: &str = "stockade-hidden";

/// Which tracked files are secrets, and are shown to agents as placeholders.
///
/// A pattern without a slash is matched against the file's name, one with a
/// slash against its whole path, both without regard to case.
#[derive(Clone, Debug)]
pub struct SecretPatterns {
    hidden: GlobSet,
    shown: GlobSet,
    sources: Vec<String>,
}

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the pattern `{pattern}` for secret files is not valid: {reason}")]
pub struct SecretPatternError {
    pattern: String,
    reason: String,
}

#[rustfmt::skip]
const HIDDEN: &[&str] = &[
    ".env", ".env.*", "*.env", ".envrc.local", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks",
    "*.keystore", "*.ppk", "*.kdbx", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".netrc",
    "_netrc", ".npmrc", ".pypirc", ".pgpass", ".my.cnf", ".htpasswd", ".git-credentials",
    ".dockercfg", ".docker/config.json", ".aws/credentials", ".kube/config",
    "*credentials*.json", "*credentials*.yml", "*credentials*.yaml", "*credentials*.toml",
    "*credentials*.ini", "credentials", ".credentials", "*service-account*.json",
    "*service_account*.json", "secrets.yml", "secrets.yaml", "secrets.json", "secrets.toml",
    "*.tfvars", "*.tfstate",
];

#[rustfmt::skip]
const SHOWN: &[&str] = &[
    "*.example", "*.sample", "*.template", "*.dist", ".env.example.*", "*.pub", "*.example.*",
    "*.sample.*",
];

impl SecretPatterns {
    /// The built-in patterns.
    pub fn standard() -> Result<Self, SecretPatternError> {
        Self::with::<&str>(&[], &[])
    }

    /// The built-in patterns, `hidden` added to those that hide and `shown` to
    /// those that are not secrets after all.
    pub fn with<S: AsRef<str>>(hidden: &[S], shown: &[S]) -> Result<Self, SecretPatternError> {
        let all = |built_in: &[&str], more: &[S]| -> Vec<String> {
            let more = more.iter().map(|pattern| pattern.as_ref().to_owned());
            built_in
                .iter()
                .map(|pattern| (*pattern).to_owned())
                .chain(more)
                .collect()
        };
        let (hidden, shown) = (all(HIDDEN, hidden), all(SHOWN, shown));
        let mut sources = hidden.clone();
        sources.extend(shown.iter().map(|pattern| format!("!{pattern}")));
        Ok(Self {
            hidden: compile(&hidden)?,
            shown: compile(&shown)?,
            sources,
        })
    }

    /// Whether the file at `path` is hidden.
    pub fn hides(&self, path: &TreePath) -> bool {
        self.hidden.is_match(path.as_path()) && !self.shown.is_match(path.as_path())
    }

    /// The patterns in one text, for a digest: what was hidden depends on it.
    pub(crate) fn text(&self) -> String {
        self.sources.join("\n")
    }
}

fn compile(patterns: &[String]) -> Result<GlobSet, SecretPatternError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let anywhere = format!("**/{}", pattern.trim_start_matches('/'));
        let glob = GlobBuilder::new(&anywhere)
            .case_insensitive(true)
            .literal_separator(true)
            .build()
            .map_err(|error| SecretPatternError {
                pattern: pattern.clone(),
                reason: error.kind().to_string(),
            })?;
        set.add(glob);
    }
    set.build().map_err(|error| SecretPatternError {
        pattern: patterns.join(" "),
        reason: error.to_string(),
    })
}

/// The sentence in every placeholder.
const NOTE: &str = "This file is hidden by Stockade: an agent never sees its values. \
                    Leave it unchanged, and the real one stays in place.";
/// How much of a file [`is_placeholder`] looks at, in bytes.
pub(crate) const PLACEHOLDER_HEAD: u64 = 256;

/// Whether a file that begins with `head` stands for a hidden one.
pub(crate) fn is_placeholder(head: &[u8]) -> bool {
    head.windows(NOTE.len())
        .any(|window| window == NOTE.as_bytes())
}

/// What stands for a variable's value, given its name and the value; `None`
/// leaves it to [`HIDDEN_VALUE`].
pub(crate) type StandIn<'a> = &'a mut dyn FnMut(&str, &str) -> Option<String>;

/// What stands for the values of variables inside, by the variable's name.
pub type StandIns = BTreeMap<String, String>;

/// Something in the shape of `value` that is worth nothing, if the value looks
/// like a key: a program that checks the shape of its key still starts, and
/// where a person bound the key the gateway puts it in its place.
pub(crate) fn shaped(value: &str) -> Option<String> {
    let is_key = is_distinctive(value) && !value.contains("://");
    is_key.then(|| Shape::of(value).placeholder(rand::rng().random()))
}

/// What an agent sees in place of `content`: the keys of a file of
/// assignments, else only a sentence. Holds no byte of any value.
pub(crate) fn placeholder(path: &TreePath, content: &[u8], stand_in: StandIn<'_>) -> Vec<u8> {
    let name = String::from_utf8_lossy(path.name()).to_ascii_lowercase();
    let extension = name.rsplit('.').next().unwrap_or_default();
    let text = match extension {
        "json" => format!("{{\"stockade\": \"{NOTE}\"}}\n"),
        "pem" | "key" => format!("{NOTE}\n"),
        _ => {
            let mut text = format!("# {NOTE}\n");
            let values = String::from_utf8_lossy(content);
            // Every line that assigns has both a key and a value.
            for (key, (_, value)) in assigned_keys(content).iter().zip(variables(&values)) {
                let stands = stand_in(key, value.expose());
                let stands = stands.as_deref().unwrap_or(HIDDEN_VALUE);
                // Writing to a `String` cannot fail.
                let _ = writeln!(text, "{key}={stands}");
            }
            text
        }
    };
    text.into_bytes()
}

/// The names that a file of `KEY=VALUE` lines assigns; none, if any line is
/// something else, for then a "name" could be part of a value.
fn assigned_keys(content: &[u8]) -> Vec<String> {
    let Ok(text) = std::str::from_utf8(content) else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((key, _)) = line.split_once('=') else {
            return Vec::new();
        };
        let key = key.trim();
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let named =
            key.len() <= 64 && key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !named || !key.bytes().all(word) {
            return Vec::new();
        }
        keys.push(key.to_owned());
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    #[test]
    fn secrets_are_hidden_wherever_they_lie_and_examples_are_not() {
        let patterns = SecretPatterns::standard().unwrap();
        for name in [
            ".env",
            "a/b/.ENV.production",
            "tls/server.key",
            "home/.aws/credentials",
            "gcp-credentials.json",
        ] {
            assert!(patterns.hides(&path(name)), "{name}");
        }
        for name in [
            ".env.example",
            "src/credentials.rs",
            "id_rsa.pub",
            "monkey",
            "README.md",
        ] {
            assert!(!patterns.hides(&path(name)), "{name}");
        }
    }

    #[test]
    fn a_configured_pattern_adds_to_the_standard_ones_and_an_exception_wins() {
        let patterns = SecretPatterns::with(&["vault/*.txt"], &["test.pem"]).unwrap();
        assert!(patterns.hides(&path("vault/a.txt")));
        assert!(patterns.hides(&path(".env")));
        assert!(!patterns.hides(&path("fixtures/test.pem")));
    }

    #[test]
    fn a_placeholder_keeps_keys_and_no_value() {
        let content = b"# x\nexport A=decoy-1\nB_2 = \"decoy-2\"\n";
        let text = placeholder(&path(".env"), content, &mut |_, _| None);
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.contains("A=stockade-hidden\nB_2=stockade-hidden\n"),
            "{text}"
        );
        assert!(!text.contains("decoy"), "{text}");
    }

    #[test]
    fn what_looks_like_a_key_is_stood_for_by_its_shape_and_the_rest_is_hidden() {
        let key = ["sk_live_", "9f8e7d6c5b4a39281706f5e4"].concat();
        let content = format!("DEBUG=true\nTOKEN=\"{key}\" # live\n");
        let mut stand_in = |_: &str, value: &str| shaped(value);
        let text = placeholder(&path(".env"), content.as_bytes(), &mut stand_in);
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.contains("DEBUG=stockade-hidden\nTOKEN=sk_live_"),
            "{text}"
        );
        assert!(!text.contains("9f8e7d6c5b4a"), "{text}");
    }

    #[test]
    fn a_value_that_spans_lines_gives_no_keys() {
        let content = b"KEY=\"-----BEGIN\nZGVjb3k=\nx-----END\"\n";
        let text = placeholder(&path(".env"), content, &mut |_, value| shaped(value));
        assert!(!String::from_utf8(text).unwrap().contains("ZGVj"));
    }
}
