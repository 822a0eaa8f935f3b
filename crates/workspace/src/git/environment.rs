use std::{ffi::OsString, path::Path, process::Command};

use crate::object::ObjectFormat;

/// Settings that win over those of any repository. They name every program
/// that git would start by itself, every format that could hide something,
/// and every transport.
const SETTINGS: &[(&str, &str)] = &[
    ("core.fsmonitor", "false"),
    ("core.untrackedCache", "false"),
    ("core.hooksPath", "/dev/null"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("core.pager", "cat"),
    ("core.editor", "false"),
    ("core.askPass", "false"),
    ("core.sshCommand", "false"),
    ("core.alternateRefsCommand", "false"),
    ("core.commitGraph", "false"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    // Larger blobs are streamed instead of held in memory.
    ("core.bigFileThreshold", "16m"),
    ("core.compression", "1"),
    ("core.quotePath", "true"),
    // As many as there are processors.
    ("checkout.workers", "0"),
    ("credential.helper", ""),
    ("interactive.diffFilter", "cat"),
    ("protocol.allow", "never"),
    ("protocol.ext.allow", "never"),
    ("protocol.ssh.allow", "never"),
    ("protocol.git.allow", "never"),
    ("protocol.http.allow", "never"),
    ("protocol.https.allow", "never"),
    ("submodule.recurse", "false"),
    ("diff.ignoreSubmodules", "all"),
    ("diff.renames", "false"),
    ("gc.auto", "0"),
    ("gc.recentObjectsHook", "false"),
    ("maintenance.auto", "false"),
    ("fastimport.unpackLimit", "1"),
    ("commit.gpgSign", "false"),
    ("tag.gpgSign", "false"),
    ("gpg.program", "false"),
    ("log.showSignature", "false"),
    ("fetch.fsckObjects", "true"),
    ("transfer.fsckObjects", "true"),
    ("receive.fsckObjects", "true"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.writeCommitGraph", "false"),
    ("fetch.prune", "false"),
    ("fetch.pruneTags", "false"),
    ("advice.detachedHead", "false"),
    ("init.templateDir", ""),
];

const VARIABLES: &[(&str, &str)] = &[
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("LC_ALL", "C"),
    ("TZ", "UTC"),
    ("HOME", "/nonexistent"),
    ("XDG_CONFIG_HOME", "/nonexistent"),
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_CONFIG_SYSTEM", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_NO_REPLACE_OBJECTS", "1"),
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_GRAFT_FILE", "/dev/null"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_PAGER", "cat"),
    ("GIT_EDITOR", "false"),
    ("GIT_ASKPASS", "false"),
    ("GIT_SSH_COMMAND", "false"),
    ("GIT_ADVICE", "0"),
    ("GIT_AUTHOR_NAME", "Stockade"),
    ("GIT_AUTHOR_EMAIL", "stockade@localhost"),
    ("GIT_COMMITTER_NAME", "Stockade"),
    ("GIT_COMMITTER_EMAIL", "stockade@localhost"),
];

/// What one run asks for beyond the defaults.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Grants {
    /// May read from a repository on the same machine, by path.
    pub(super) local_transport: bool,
    /// May find a bare repository from a working directory.
    pub(super) bare_discovery: bool,
}

/// Builds the environment of one run from nothing.
pub(super) fn apply(command: &mut Command, grants: Grants, attributes: Option<ObjectFormat>) {
    command.env_clear().envs(VARIABLES.iter().copied());
    if let Some(format) = attributes {
        command.env("GIT_ATTR_SOURCE", format.empty_tree());
    }
    let local = if grants.local_transport {
        "always"
    } else {
        "never"
    };
    let bare = if grants.bare_discovery {
        "all"
    } else {
        "explicit"
    };
    let varying = [
        ("protocol.file.allow", local),
        ("safe.bareRepository", bare),
    ];
    for (index, (key, value)) in SETTINGS.iter().chain(&varying).enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{index}"), key);
        command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
    }
    command.env(
        "GIT_CONFIG_COUNT",
        (SETTINGS.len() + varying.len()).to_string(),
    );
}

/// `--git-dir=…`, so that no discovery takes place.
pub(super) fn git_dir_option(path: &Path) -> OsString {
    let mut option = OsString::from("--git-dir=");
    option.push(path);
    option
}
