//! Where a remote is and how the user logs in there, by the user's own settings.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use super::PushError;
use stockade_types::visible;

use crate::{
    git::{Git, GitError},
    object::ObjectId,
    reach::Reach,
    repository::Repository,
    settings::{Scope, Setting, UserEnvironment, UserSettings},
};

/// What it is called where nothing else is said.
const USUAL: &str = "origin";
/// The setting that says what else.
const DEFAULT: &str = "remote.pushdefault";

/// A remote of the user's repository, and how its user's git reaches it.
#[derive(Clone)]
pub struct Remote {
    name: String,
    url: String,
    shown: String,
    transport: &'static str,
    /// What the user's settings say of logging in, in their order.
    settings: Vec<(String, OsString)>,
    /// Where the user's git looks for programs, but for what agent work reaches.
    search_path: OsString,
}

/// What a remote has, as it was told.
#[derive(Clone, Debug, Default)]
pub struct RemoteState {
    /// Its branches, `refs/heads/…`.
    pub heads: BTreeMap<String, ObjectId>,
    /// The one that others get if they name none.
    pub default: Option<String>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address and the settings may hold what proves who asks.
        formatter
            .debug_struct("Remote")
            .field("name", &self.name)
            .field("shown", &self.shown)
            .finish_non_exhaustive()
    }
}

impl Remote {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is, safe to show and to record: without what proves who asks.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn transport(&self) -> &'static str {
        self.transport
    }

    pub(super) fn settings(&self) -> &[(String, OsString)] {
        &self.settings
    }

    pub(super) fn search_path(&self) -> &OsString {
        &self.search_path
    }
}

impl Repository {
    /// The remote `name`, or the one that the user pushes to without a name.
    /// `state` is Stockade's own folder, where agents write.
    pub fn remote(
        &self,
        git: &Git,
        settings: &UserSettings,
        environment: &UserEnvironment,
        state: &Path,
        name: Option<&str>,
    ) -> Result<Remote, PushError> {
        let reach = Reach::of(git, self, state)?;
        let name = named(settings, name)?;
        let own = format!("remote.{name}.");
        let decides = |key: &str| {
            key.starts_with(&own) || key.starts_with("url.") || key == DEFAULT || logs_in(key)
        };
        let mut passed = Vec::new();
        for (key, setting) in settings.all().filter(|(key, _)| decides(key)) {
            if reach.makes(setting) {
                let (key, origin) = (visible::line(key.as_bytes()), setting.origin.clone());
                return Err(PushError::SetByTree { key, origin });
            }
            if logs_in(key) {
                passed.push((key.to_owned(), checked(key, setting, &reach, environment)?));
            }
        }
        let (url, transport) = self.place(git, environment, &reach, &name)?;
        let folders = std::env::split_paths(&environment.search_path)
            .filter(|folder| folder.is_absolute() && !reach.holds(folder));
        Ok(Remote {
            shown: shown(&url),
            // None of them had a separator before.
            search_path: std::env::join_paths(folders).unwrap_or_default(),
            settings: passed,
            transport,
            name,
            url,
        })
    }

    /// Where pushes to `name` go, and by which of git's transports.
    fn place(
        &self,
        git: &Git,
        environment: &UserEnvironment,
        reach: &Reach,
        name: &str,
    ) -> Result<(String, &'static str), PushError> {
        let call = self.as_user(git, environment, "remote");
        let call = call.args(["get-url", "--push", "--all", "--", name]);
        let output = call.run().map_err(|error| match error {
            GitError::Failed { .. } => PushError::UnknownRemote(name.to_owned()),
            error => error.into(),
        })?;
        let transport = |url: &str| PushError::Transport {
            name: name.to_owned(),
            shown: shown(url),
        };
        let text = String::from_utf8(output)
            .map_err(|error| transport(&String::from_utf8_lossy(error.as_bytes())))?;
        let mut lines = text.lines();
        let (Some(url), None) = (lines.next(), lines.next()) else {
            return Err(PushError::Several(name.to_owned()));
        };
        match Place::of(url) {
            Some(Place::Elsewhere(by)) => Ok((url.to_owned(), by)),
            Some(Place::Here(path)) => {
                let path = self.worktree().join(path);
                // Else `..` would look as if it were inside.
                let path = path.canonicalize().unwrap_or(path);
                if reach.holds(&path) {
                    let name = name.to_owned();
                    return Err(PushError::WithinReach { name, path });
                }
                let whole = path.into_os_string().into_string();
                whole
                    .map(|whole| (whole, "file"))
                    .map_err(|_| transport(url))
            }
            None => Err(transport(url)),
        }
    }
}

/// The name of the remote that is meant.
fn named(settings: &UserSettings, name: Option<&str>) -> Result<String, PushError> {
    let text = |key: &str| {
        let value = settings.get(key)?.value.as_deref()?;
        String::from_utf8(value.to_vec()).ok()
    };
    let exists = |name: &str| {
        ["url", "pushurl"]
            .iter()
            .any(|key| settings.get(&format!("remote.{name}.{key}")).is_some())
    };
    let wanted = name.map(str::to_owned);
    let wanted = wanted.or_else(|| text(DEFAULT));
    let name = wanted.unwrap_or_else(|| USUAL.to_owned());
    if exists(&name) && !name.starts_with('-') {
        return Ok(name);
    }
    let safe = visible::line(name.as_bytes());
    let is_place = name.contains(':') || name.starts_with(['/', '.']);
    Err(match (is_place, any_remote(settings)) {
        (true, _) => PushError::Place(safe),
        (false, false) => PushError::NoRemote,
        (false, true) => PushError::UnknownRemote(safe),
    })
}

fn any_remote(settings: &UserSettings) -> bool {
    settings
        .all()
        .any(|(key, _)| key.starts_with("remote.") && key.ends_with("url"))
}

/// Whether a setting says how the user logs in elsewhere, or gets there.
fn logs_in(key: &str) -> bool {
    let is_one = key.starts_with("credential.") || key.starts_with("http.");
    // A push goes where the card says, whatever a server would like.
    let leads_elsewhere = key.ends_with(".followredirects");
    (is_one && !leads_elsewhere)
        || matches!(key, "core.sshcommand" | "core.askpass" | "ssh.variant")
}

/// The value of a setting, if whoever wrote it may say so.
fn checked(
    key: &str,
    setting: &Setting,
    reach: &Reach,
    environment: &UserEnvironment,
) -> Result<OsString, PushError> {
    let value = setting.value.as_deref().unwrap_or(b"true");
    let program = matches!(key, "core.sshcommand" | "core.askpass")
        || (key.starts_with("credential.") && key.ends_with(".helper"));
    // An empty helper forgets those before it, and names none.
    if program && !value.is_empty() {
        let key = visible::line(key.as_bytes());
        if setting.scope == Scope::Repository {
            let origin = setting.origin.clone();
            return Err(PushError::ProgramOfRepository { key, origin });
        }
        let words = value.split(u8::is_ascii_whitespace);
        for word in words {
            let word = word.strip_prefix(b"!").unwrap_or(word);
            let word: Vec<u8> = word
                .iter()
                .copied()
                .filter(|b| !b"'\"".contains(b))
                .collect();
            let path = environment.expand(&word);
            if path.is_absolute() && reach.holds(&path) {
                return Err(PushError::InTree { key, path });
            }
        }
    }
    Ok(OsString::from_vec(value.to_vec()))
}

/// Where a URL leads.
enum Place {
    /// Off this machine, by this transport.
    Elsewhere(&'static str),
    /// To a folder.
    Here(PathBuf),
}

impl Place {
    /// As git reads it (git-push(1), "GIT URLS"); `None` if something else than git's
    /// own transports, such as a helper `NAME::…`, would be run.
    fn of(url: &str) -> Option<Self> {
        if url.is_empty() || url.starts_with('-') || url.chars().any(char::is_control) {
            return None;
        }
        for (scheme, by) in [
            ("https://", "https"),
            ("http://", "http"),
            ("ssh://", "ssh"),
            ("git+ssh://", "ssh"),
            ("ssh+git://", "ssh"),
        ] {
            if url.starts_with(scheme) {
                return Some(Self::Elsewhere(by));
            }
        }
        if let Some(path) = url.strip_prefix("file://") {
            return path.starts_with('/').then(|| Self::Here(path.into()));
        }
        if url.starts_with('/') || url.starts_with("./") || url.starts_with("../") {
            return Some(Self::Here(url.into()));
        }
        let (host, path) = url.split_once(':')?;
        let is_host = !host.is_empty() && !host.contains('/');
        let is_scp = is_host && !path.starts_with(':') && !path.starts_with("//");
        is_scp.then_some(Self::Elsewhere("ssh"))
    }
}

/// A URL without what proves who asks, and with nothing hidden in it.
fn shown(url: &str) -> String {
    let plain = match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, path) = rest.split_at(end);
            let host = authority
                .rsplit_once('@')
                .map_or(authority, |(_, host)| host);
            // Who logs in by ssh is part of the place; elsewhere it may be a token.
            let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
            let user = user.split(':').next().unwrap_or_default();
            if scheme.contains("ssh") && !user.is_empty() {
                format!("{scheme}://{user}@{host}{path}")
            } else {
                format!("{scheme}://{host}{path}")
            }
        }
        None => url.to_owned(),
    };
    visible::line(plain.as_bytes())
}

/// The full name of the branch that `name` means.
pub(super) fn branch(git: &Git, repository: &Repository, name: &str) -> Result<String, PushError> {
    let safe = || visible::line(name.as_bytes());
    if name.starts_with('+') {
        return Err(PushError::Forced(safe()));
    }
    if name.starts_with(':') {
        return Err(PushError::Deletion(safe()));
    }
    if name.starts_with("refs/tags/") || name.starts_with("tags/") {
        return Err(PushError::Tag(safe()));
    }
    let short = name.strip_prefix("refs/heads/").unwrap_or(name);
    let is_id = matches!(short.len(), 40 | 64) && short.bytes().all(|b| b.is_ascii_hexdigit());
    let odd = short.is_empty() || short.starts_with('-') || short.starts_with("refs/");
    if odd || is_id || matches!(short, "HEAD" | "@") {
        return Err(PushError::NoBranch(safe()));
    }
    let full = format!("refs/heads/{short}");
    let call = git.call(repository.common(), "check-ref-format").arg(&full);
    match call.run() {
        Ok(_) => Ok(full),
        Err(GitError::Failed { .. }) => Err(PushError::NoBranch(safe())),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(url: &str) -> Option<&'static str> {
        match Place::of(url)? {
            Place::Elsewhere(by) => Some(by),
            Place::Here(_) => Some("file"),
        }
    }

    #[test]
    fn a_url_that_would_run_a_helper_or_reads_like_an_option_is_no_place() {
        for url in [
            "ext::sh -c evil",
            "fd::17",
            "foo::https://a.test/x",
            "foo://a.test/x",
            "git://a.test/x",
            "--upload-pack=evil",
            "-oProxyCommand=evil:x",
            "https://a.test/x\nurl = evil",
            "",
            "bare.git",
            "file://host/x",
        ] {
            assert_eq!(by(url), None, "{url}");
        }
    }

    #[test]
    fn gits_own_transports_are_known_by_their_spelling() {
        for (url, expected) in [
            ("https://a.test/x.git", "https"),
            ("http://127.0.0.1:1/x", "http"),
            ("ssh://git@a.test:22/x", "ssh"),
            ("git@a.test:own/x.git", "ssh"),
            ("a.test:x", "ssh"),
            ("/srv/x.git", "file"),
            ("../x.git", "file"),
            ("file:///srv/x.git", "file"),
        ] {
            assert_eq!(by(url), Some(expected), "{url}");
        }
    }

    #[test]
    fn what_proves_who_asks_is_not_shown() {
        for (url, expected) in [
            ("https://me:t0ken@a.test/x?y", "https://a.test/x?y"),
            ("https://t0ken@a.test/x", "https://a.test/x"),
            ("https://a@b:t0ken@a.test/x", "https://a.test/x"),
            ("ssh://git:t0ken@a.test/x", "ssh://git@a.test/x"),
            ("git@a.test:own/x.git", "git@a.test:own/x.git"),
            ("/srv/a\u{202e}b", "/srv/a\\u{202e}b"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
