use serde::{Deserialize, Serialize};
use stockade_types::HostName;
use unicode_script::{Script, UnicodeScript};

/// What a person should see of a name before allowing it: who owns it, and
/// whether it looks like another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looks {
    /// The part that somebody registered, and so owns; none for a public
    /// suffix.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub domain: Option<String>,
    /// The name in its own script, if that is not how it is written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shown: Option<String>,
    /// Scripts of which letters are mixed in one label, as no language does.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub scripts: Vec<String>,
}

/// Scripts that are written together (UTS 39, highly restrictive).
const TOGETHER: [&[Script]; 3] = [
    &[
        Script::Latin,
        Script::Han,
        Script::Hiragana,
        Script::Katakana,
    ],
    &[Script::Latin, Script::Han, Script::Bopomofo],
    &[Script::Latin, Script::Han, Script::Hangul],
];

impl Looks {
    /// How `name` looks.
    pub fn of(name: &HostName) -> Self {
        let (shown, _) = idna::domain_to_unicode(name.as_str());
        let mixed = shown.split('.').find_map(mixed);
        let shown: String = shown.chars().map(plain).collect();
        Self {
            domain: psl::domain_str(name.as_str()).map(str::to_owned),
            shown: Some(shown).filter(|shown| shown != name.as_str()),
            scripts: mixed.unwrap_or_default(),
        }
    }

    /// What is unusual, as a clause.
    pub fn mark(&self) -> Option<String> {
        let shown = self.shown.as_ref()?;
        let mixed = match self.scripts.as_slice() {
            [] => String::new(),
            scripts => format!(", {} mixed in one word", scripts.join(" and ")),
        };
        Some(format!(
            "elsewhere shown as `{shown}`, in letters beyond a-z{mixed}"
        ))
    }
}

/// What is neither a letter nor a digit is spelled out: it may not be seen.
fn plain(character: char) -> String {
    if character.is_alphanumeric() || matches!(character, '-' | '_' | '.') {
        character.to_string()
    } else {
        character.escape_unicode().to_string()
    }
}

/// The scripts of `label`, if no language mixes them.
fn mixed(label: &str) -> Option<Vec<String>> {
    let mut scripts: Vec<Script> = Vec::new();
    for script in label.chars().map(|character| character.script()) {
        let own = !matches!(script, Script::Common | Script::Inherited);
        if own && !scripts.contains(&script) {
            scripts.push(script);
        }
    }
    let usual = TOGETHER
        .iter()
        .any(|together| scripts.iter().all(|script| together.contains(script)));
    let names = scripts.iter().map(|script| script.full_name().to_owned());
    (scripts.len() > 1 && !usual).then(|| names.collect())
}

/// Whether anybody can register a name right below `name`: `co.uk`, `github.io`.
pub(super) fn is_public_suffix(name: &HostName) -> bool {
    psl::suffix(name.as_str().as_bytes())
        .is_some_and(|suffix| suffix.is_known() && suffix == name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(name: &str) -> Looks {
        Looks::of(&name.parse().unwrap())
    }

    #[test]
    fn the_owner_of_a_name_is_told_from_what_stands_before() {
        for (name, domain) in [
            ("paypal.com.login.evil.co.uk", Some("evil.co.uk")),
            ("a.b.someone.github.io", Some("someone.github.io")),
            ("example.com", Some("example.com")),
            ("x.bucket.s3.amazonaws.com", Some("bucket.s3.amazonaws.com")),
            ("github.io", None),
            ("deep.er.test", Some("er.test")),
        ] {
            assert_eq!(looks(name).domain.as_deref(), domain, "{name}");
        }
    }

    #[test]
    fn letters_that_look_like_others_are_shown_and_mixed_scripts_named() {
        assert_eq!(looks("apple.com").mark(), None);
        // A Cyrillic a before Latin letters; Cyrillic alone; Japanese.
        let mixed = looks("xn--pple-43d.com");
        assert_eq!(mixed.shown.as_deref(), Some("\u{430}pple.com"));
        assert_eq!(mixed.scripts, ["Cyrillic", "Latin"]);
        assert!(mixed.mark().unwrap().contains("Cyrillic and Latin mixed"));
        let whole = looks("xn--80ak6aa92e.com");
        assert_eq!(whole.shown.as_deref(), Some("аррӏе.com"));
        assert_eq!(whole.scripts, [""; 0]);
        let usual = looks("xn--wgv71a119e.jp");
        assert_eq!(usual.shown.as_deref(), Some("日本語.jp"));
        assert_eq!(usual.scripts, [""; 0]);
    }

    #[test]
    fn whatever_a_name_decodes_to_cannot_hide_or_turn_text_around() {
        for name in [
            "xn--a-ecp.test",
            "xn--e1afmkfd-.test",
            "xn--zz.test",
            "xn--1ug.test",
        ] {
            let Ok(name) = name.parse() else { continue };
            let shown = Looks::of(&name).shown.unwrap_or_default();
            let visible = |c: char| c.is_alphanumeric() || "-_.\\{}".contains(c);
            assert!(shown.chars().all(visible), "{shown:?}");
        }
    }

    #[test]
    fn suffixes_under_which_anybody_registers_are_known() {
        for (name, suffix) in [
            ("com", true),
            ("co.uk", true),
            ("github.io", true),
            ("s3.amazonaws.com", true),
            ("example.com", false),
            ("someone.github.io", false),
            ("test", false),
            ("internal", false),
        ] {
            assert_eq!(is_public_suffix(&name.parse().unwrap()), suffix, "{name}");
        }
    }
}
