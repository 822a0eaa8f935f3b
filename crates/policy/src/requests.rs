//! Requests of HTTP, as the gateway sees them.

use stockade_types::{
    Confidence, Effect,
    EffectKind::{NetConnect, PkgPublish, VcsPush},
    Mark,
};

use crate::programs::{changes, kind, marks_of};

/// What does it, for rules that ask: who made a connection is not known.
const PROGRAM: &str = "http";

/// What stands in the path, or in the query, of every request of a push.
const PUSH: &str = "git-receive-pack";

/// Where packages are published, and by which methods.
const REGISTRIES: &[(&str, &[&str])] = &[
    ("registry.npmjs.org", &["PUT", "DELETE"]),
    ("registry.yarnpkg.com", &["PUT", "DELETE"]),
    ("npm.pkg.github.com", &["PUT", "DELETE"]),
    ("crates.io", &["PUT", "DELETE"]),
    ("upload.pypi.org", &["POST"]),
    ("test.pypi.org", &["POST"]),
    ("rubygems.org", &["POST", "PUT", "DELETE"]),
    ("hex.pm", &["POST", "PUT", "DELETE"]),
    ("api.nuget.org", &["PUT", "DELETE"]),
    ("www.nuget.org", &["PUT", "DELETE"]),
    ("central.sonatype.com", &["POST", "PUT", "DELETE"]),
    ("oss.sonatype.org", &["POST", "PUT", "DELETE"]),
];

/// A request's head.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The host, a name or an address.
    pub host: &'a str,
    /// The method.
    pub method: &'a str,
    /// The path.
    pub path: &'a str,
    /// What follows the question mark.
    pub query: &'a str,
    /// Whether it is the task's own request to its model, which is judged by what
    /// it asks of the model as well.
    pub of_model: bool,
}

/// What `asked` would do.
pub fn effects_of_request(asked: &Asked<'_>) -> Vec<Effect> {
    let effect = |kind| Effect::new(kind, PROGRAM).on(asked.host);
    if asked.of_model {
        return vec![effect(NetConnect)];
    }
    let address = if asked.host.contains(':') {
        format!("https://[{}]/?{}", asked.host, asked.query)
    } else {
        format!("https://{}/?{}", asked.host, asked.query)
    };
    let marks = marks_of(&address);
    // What is to be fetched is asked for by POST.
    let fetches = asked.method == "POST" && asked.path.ends_with("/git-upload-pack");
    let sends = changes(asked.method) && !fetches;
    let mut effects = vec![effect(kind(sends, &marks)).marked(marks)];
    if [asked.path, asked.query]
        .map(plain)
        .iter()
        .any(|text| text.contains(PUSH))
    {
        effects.extend(pushes(asked));
    }
    let mut registries = REGISTRIES.iter();
    if registries.any(|(host, methods)| *host == asked.host && methods.contains(&asked.method)) {
        effects.push(effect(PkgPublish));
    }
    effects
}

/// Which branches are pushed, and how, is not in the head: it may be anything, so
/// that whatever a rule says of any push counts.
fn pushes(asked: &Asked<'_>) -> [Effect; 2] {
    let push = Effect::new(VcsPush, PROGRAM)
        .on(format!("{}{}", asked.host, asked.path))
        .known(Confidence::Guessed);
    let worst = [
        Mark::Force,
        Mark::Protected,
        Mark::Delete,
        Mark::Mirror,
        Mark::Tag,
        Mark::Unresolved,
        Mark::Url,
    ];
    [push.clone(), push.marked(worst)]
}

/// A part of a URL as a server may read it: escapes resolved once, in small letters.
fn plain(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => hexadecimal(*high).zip(hexadecimal(*low)),
            _ => None,
        };
        if let Some((high, low)) = escaped {
            plain.push(high * 16 + low);
            rest = rest.get(3..).unwrap_or_default();
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    String::from_utf8_lossy(&plain).to_ascii_lowercase()
}

fn hexadecimal(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use stockade_types::EffectKind;

    use super::*;

    fn kinds(method: &str, host: &str, path: &str, query: &str) -> Vec<EffectKind> {
        let effects = effects_of_request(&Asked {
            host,
            method,
            path,
            query,
            of_model: false,
        });
        effects.iter().map(|effect| effect.kind).collect()
    }

    #[test]
    fn what_sends_is_an_upload_and_what_asks_or_fetches_is_none() {
        use EffectKind::{NetConnect, NetUpload};
        assert_eq!(kinds("GET", "example.com", "/a", "q=1"), [NetConnect]);
        assert_eq!(kinds("POST", "example.com", "/a", ""), [NetUpload]);
        assert_eq!(kinds("BREW", "example.com", "/a", ""), [NetUpload]);
        assert_eq!(
            kinds("GET", "example.com", "/", &"x".repeat(300)),
            [NetUpload]
        );
        assert_eq!(
            kinds("POST", "git.test", "/a.git/git-upload-pack", ""),
            [NetConnect]
        );
    }

    #[test]
    fn pushing_and_publishing_are_told_by_host_method_and_path() {
        use EffectKind::{NetConnect, NetUpload, PkgPublish, VcsPush};
        let push = [NetUpload, VcsPush, VcsPush];
        assert_eq!(
            kinds("POST", "git.test", "/a.git/git-receive-pack", ""),
            push
        );
        let asks = kinds(
            "GET",
            "git.test",
            "/a.git/info/refs",
            "service=git-receive-pack",
        );
        assert_eq!(asks, [NetConnect, VcsPush, VcsPush]);
        let escaped = "/a.git/Git%2Dreceive%2dpack";
        assert_eq!(kinds("POST", "git.test", escaped, ""), push);
        assert_eq!(
            kinds("PUT", "registry.npmjs.org", "/x", ""),
            [NetUpload, PkgPublish]
        );
        assert_eq!(kinds("GET", "registry.npmjs.org", "/x", ""), [NetConnect]);
    }
}
