//! What the user's own git configuration says, and which file says it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use crate::{
    git::{Call, Git, GitDir, GitError},
    merge::Identity,
    repository::Repository,
};

/// The variables that tell git where the user's configuration is, beside
/// `HOME` (git(1), git-config(1)).
pub const CONFIG_VARIABLES: [&str; 4] = [
    "XDG_CONFIG_HOME",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
];

/// The variables by which a user says how their git logs in elsewhere (git(1)).
/// All others of git's own could make it another git.
pub const GIT_VARIABLES: [&str; 11] = [
    "GIT_ASKPASS",
    "GIT_HTTP_PROXY_AUTHMETHOD",
    "GIT_PROXY_SSL_CAINFO",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
    "GIT_TERMINAL_PROMPT",
];

/// Where the user's git would look for settings and programs.
#[derive(Clone, Debug, Default)]
pub struct UserEnvironment {
    /// The user's home.
    pub home: Option<PathBuf>,
    /// The value of `PATH`.
    pub search_path: OsString,
    /// Those of [`CONFIG_VARIABLES`] that are set.
    pub config: Vec<(&'static str, OsString)>,
    /// Every other variable with which a program of the user's own is started,
    /// of git's own only those of [`GIT_VARIABLES`].
    pub others: Vec<(OsString, OsString)>,
}

/// How close to the user a setting was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The machine's or the user's own configuration.
    User,
    /// The configuration of one repository.
    Repository,
}

/// A setting that is in force.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// `None` where the file names it without a value, which means yes.
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) scope: Scope,
    /// The file that makes it.
    pub(crate) origin: PathBuf,
}

/// All of the user's settings for one repository.
#[derive(Clone, Debug, Default)]
pub struct UserSettings {
    /// The last one of each name, which counts where there can be one.
    last: BTreeMap<String, Setting>,
    /// All in their order, for names that may stand more than once.
    all: Vec<(String, Setting)>,
}

impl UserSettings {
    pub(crate) fn get(&self, key: &str) -> Option<&Setting> {
        self.last.get(key)
    }

    /// Every setting in the order in which git obeys them. Section and name are
    /// in small letters, what stands between them is as the file has it.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.all
            .iter()
            .map(|(key, setting)| (key.as_str(), setting))
    }

    /// The name and address for commits that the user makes; empty where no
    /// file gives them.
    pub fn identity(&self) -> Identity {
        let text = |key: &str| {
            let value = self.get(key).and_then(|setting| setting.value.as_deref());
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        };
        Identity {
            name: text("user.name"),
            email: text("user.email"),
        }
    }
}

impl Repository {
    /// Reads the configuration that the user's git obeys in this repository.
    /// Any file may be read, because those files may include others; nothing
    /// is run, and as ever there is no network.
    pub fn user_settings(
        &self,
        git: &Git,
        environment: &UserEnvironment,
    ) -> Result<UserSettings, GitError> {
        let call = self.as_user(git, environment, "config");
        let call = call.args(["--list", "--null", "--show-scope", "--show-origin"]);
        let output = call.run()?;
        let mut settings = UserSettings::default();
        let mut fields = output.split(|byte| *byte == 0);
        while let (Some(scope), Some(origin), Some(entry)) =
            (fields.next(), fields.next(), fields.next())
        {
            // What Stockade itself sets for each run of git is no setting of
            // the user's.
            let scope = match scope {
                b"system" | b"global" => Scope::User,
                b"local" | b"worktree" => Scope::Repository,
                _ => continue,
            };
            let mut parts = entry.splitn(2, |byte| *byte == b'\n');
            let key = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
            let origin = origin.strip_prefix(b"file:").unwrap_or(origin);
            let setting = Setting {
                value: parts.next().map(<[u8]>::to_vec),
                scope,
                origin: OsString::from_vec(origin.to_vec()).into(),
            };
            settings.last.insert(key.clone(), setting.clone());
            settings.all.push((key, setting));
        }
        Ok(settings)
    }

    /// A run that sees the configuration that the user's git obeys here, and
    /// changes nothing.
    pub(crate) fn as_user<'a>(
        &'a self,
        git: &'a Git,
        environment: &UserEnvironment,
        subcommand: &'static str,
    ) -> Call<'a> {
        let mut call = git.call(self.checkout(), subcommand).reads(Path::new("/"));
        if let Some(home) = &environment.home {
            call = call.variable("HOME", home);
        }
        for name in CONFIG_VARIABLES {
            let given = environment.config.iter().find(|(given, _)| *given == name);
            call = match given {
                Some((_, value)) => call.variable(name, value),
                None => call.without(name),
            };
        }
        call
    }
}

/// The files that the repository's own settings include, those that the
/// included ones include too: git gives up if it may not read one of them.
pub(crate) fn included(git: &Git, checkout: &GitDir) -> Result<Vec<PathBuf>, GitError> {
    let own = ["config", "config.worktree"].map(|name| {
        let folders = checkout.borrows().iter().map(PathBuf::as_path);
        folders
            .chain([checkout.path()])
            .map(move |folder| folder.join(name))
    });
    let includes = |path: PathBuf| {
        let text = std::fs::read(path).unwrap_or_default();
        text.to_ascii_lowercase()
            .windows(8)
            .any(|word| word == b"[include")
    };
    // Hardly any do, and asking takes a process.
    if !own.into_iter().flatten().any(includes) {
        return Ok(Vec::new());
    }
    let output = git
        .call(checkout, "config")
        .args(["--list", "--null", "--show-origin"])
        .reads(Path::new("/"))
        .run()?;
    let mut files = BTreeSet::new();
    let mut fields = output.split(|byte| *byte == 0);
    while let (Some(origin), Some(entry)) = (fields.next(), fields.next()) {
        let Some(origin) = origin.strip_prefix(b"file:") else {
            continue;
        };
        let origin = PathBuf::from(OsString::from_vec(origin.to_vec()));
        let mut parts = entry.splitn(2, |byte| *byte == b'\n');
        let key = parts.next().unwrap_or_default();
        if let Some(path) = parts.next()
            && key.starts_with(b"include")
            && key.ends_with(b".path")
        {
            let path = PathBuf::from(OsString::from_vec(path.to_vec()));
            files.extend(origin.parent().map(|folder| folder.join(path)));
        }
        files.insert(origin);
    }
    Ok(files.into_iter().collect())
}

impl UserEnvironment {
    /// `value` with a leading `~/` spelled out.
    pub(crate) fn expand(&self, value: &[u8]) -> PathBuf {
        let path = PathBuf::from(OsString::from_vec(value.to_vec()));
        match (&self.home, path.strip_prefix("~")) {
            (Some(home), Ok(rest)) => home.join(rest),
            _ => path,
        }
    }

    /// The first program of this name on the search path. Relative entries
    /// are skipped: they depend on where Stockade is started.
    pub(crate) fn find_program(&self, name: &OsStr) -> Option<PathBuf> {
        std::env::split_paths(&self.search_path)
            .filter(|folder| folder.is_absolute())
            .map(|folder| folder.join(name))
            .find(|program| program.is_file())
    }
}
