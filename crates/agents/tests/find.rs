//! Finding agents in installations laid out as the package managers do it.

#![expect(clippy::unwrap_used, reason = "a fixture that fails fails its test")]

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use stockade_agents::{AgentError, AgentKind, Found, MountKind, find};
use tempfile::TempDir;

const ELF: &str = "\x7fELF decoy";
const NODE_SCRIPT: &str = "#!/usr/bin/env node\nrun()\n";
const ARCHITECTURES: (&str, &str) = if cfg!(target_arch = "aarch64") {
    ("arm64", "aarch64")
} else {
    ("x64", "x86_64")
};

/// A machine's disk: `bin` is on `PATH`.
struct Disk(TempDir);

impl Disk {
    fn new() -> Self {
        let disk = Self(TempDir::new().unwrap());
        fs::create_dir(disk.path("bin")).unwrap();
        disk
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(relative)
    }

    fn file(&self, relative: &str, content: &str) -> PathBuf {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn package(&self, directory: &str, json: &str) {
        self.file(&format!("{directory}/package.json"), json);
    }

    fn link(&self, relative: &str, target: &str) {
        symlink(target, self.path(relative)).unwrap();
    }

    fn find(&self, kind: AgentKind) -> Result<Found, AgentError> {
        find(kind, self.path("bin").as_os_str())
    }

    /// `npm install -g @openai/codex`.
    fn codex(&self) -> PathBuf {
        let (npm, rust) = ARCHITECTURES;
        self.package(
            "lib/node_modules/@openai/codex",
            r#"{"name":"@openai/codex","version":"0.169.0"}"#,
        );
        self.file("lib/node_modules/@openai/codex/bin/codex.js", NODE_SCRIPT);
        self.link(
            "bin/codex",
            "../lib/node_modules/@openai/codex/bin/codex.js",
        );
        let platform = format!("lib/node_modules/@openai/codex-linux-{npm}");
        // npm installs it under an alias: its own name is the main package's.
        self.package(
            &platform,
            r#"{"name":"@openai/codex","version":"0.169.0-linux"}"#,
        );
        let vendor = format!("{platform}/vendor/{rust}-unknown-linux-musl");
        self.file(&format!("{vendor}/codex-resources/rg"), ELF);
        self.file(&format!("{vendor}/bin/codex"), ELF);
        self.path(&vendor)
    }

    /// `npm install -g @google/gemini-cli`, with one dependency hoisted and
    /// one nested.
    fn gemini(&self) {
        let modules = "lib/node_modules";
        self.package(
            &format!("{modules}/@google/gemini-cli"),
            r#"{"name":"@google/gemini-cli","version":"0.61.0",
                "optionalDependencies":{"node-pty":"1","absent":"1","nested":"1"}}"#,
        );
        self.file(
            &format!("{modules}/@google/gemini-cli/bundle/gemini.js"),
            NODE_SCRIPT,
        );
        self.file(
            &format!("{modules}/@google/gemini-cli/bundle/chunk.js"),
            "part",
        );
        self.package(
            &format!("{modules}/@google/gemini-cli/node_modules/nested"),
            r#"{"name":"nested","dependencies":{"node-pty":"1"}}"#,
        );
        self.package(
            &format!("{modules}/node-pty"),
            r#"{"name":"node-pty","dependencies":{"addon":"1"}}"#,
        );
        self.package(
            &format!("{modules}/addon"),
            r#"{"name":"addon","dependencies":{"node-pty":"1"}}"#,
        );
        self.package(&format!("{modules}/unrelated"), r#"{"name":"unrelated"}"#);
        self.link(
            "bin/gemini",
            "../lib/node_modules/@google/gemini-cli/bundle/gemini.js",
        );
    }
}

fn mounts(found: &Found) -> Vec<(&Path, &str, MountKind)> {
    found
        .mounts
        .iter()
        .map(|mount| {
            (
                mount.source.as_path(),
                mount.target.to_str().unwrap(),
                mount.kind,
            )
        })
        .collect()
}

#[test]
fn a_launcher_script_leads_to_the_native_program_of_its_platform_package() {
    let disk = Disk::new();
    let vendor = disk.codex();
    let found = disk.find(AgentKind::Codex).unwrap();
    assert_eq!(found.executable, disk.path("bin/codex"));
    assert_eq!(found.real, vendor.join("bin/codex"));
    assert_eq!(found.version.as_deref(), Some("0.169.0"));
    assert_eq!(found.program, ["/opt/agent/bin/codex"]);
    assert_eq!(
        mounts(&found),
        [(vendor.as_path(), "/opt/agent", MountKind::Directory)]
    );
}

#[test]
fn a_native_program_alone_is_mounted_alone() {
    let disk = Disk::new();
    // As the vendor's own installer lays it out.
    let real = disk.file("home/.local/share/claude/versions/2.1.329", ELF);
    disk.file("home/.local/share/claude/secret", "decoy");
    disk.link("bin/claude", "../home/.local/share/claude/versions/2.1.329");
    let found = disk.find(AgentKind::Claude).unwrap();
    assert_eq!(found.version.as_deref(), Some("2.1.329"));
    assert_eq!(found.program, ["/opt/agent/bin/claude"]);
    assert_eq!(
        mounts(&found),
        [(real.as_path(), "/opt/agent/bin/claude", MountKind::File)]
    );

    // A codex without its companions is no reason to mount the home above it.
    let real = disk.file("bin/codex", ELF);
    let found = disk.find(AgentKind::Codex).unwrap();
    assert_eq!(
        mounts(&found),
        [(real.as_path(), "/opt/agent/bin/codex", MountKind::File)]
    );
    assert_eq!(found.version, None);
}

#[test]
fn a_placeholder_left_by_a_skipped_install_script_still_leads_to_the_native_program() {
    let disk = Disk::new();
    let npm = ARCHITECTURES.0;
    let modules = "lib/node_modules/@anthropic-ai";
    disk.package(
        &format!("{modules}/claude-code"),
        r#"{"name":"@anthropic-ai/claude-code","version":"2.1.329"}"#,
    );
    disk.file(
        &format!("{modules}/claude-code/bin/claude.exe"),
        "not installed yet",
    );
    disk.package(
        &format!("{modules}/claude-code-linux-{npm}"),
        r#"{"name":"x"}"#,
    );
    let real = disk.file(&format!("{modules}/claude-code-linux-{npm}/claude"), ELF);
    disk.link(
        "bin/claude",
        "../lib/node_modules/@anthropic-ai/claude-code/bin/claude.exe",
    );
    let found = disk.find(AgentKind::Claude).unwrap();
    assert_eq!(
        (found.real, found.version.as_deref()),
        (real, Some("2.1.329"))
    );
}

#[test]
fn a_javascript_agent_gets_its_packages_and_the_interpreter_and_nothing_beside_them() {
    let disk = Disk::new();
    disk.gemini();
    let node = disk.file("versions/node/v24/bin/node", ELF);
    disk.link("bin/node", "../versions/node/v24/bin/node");
    let found = disk.find(AgentKind::Gemini).unwrap();
    let modules = disk.path("lib/node_modules");
    assert_eq!(
        found.program,
        [
            "/opt/node/bin/node",
            "/opt/agent/node_modules/@google/gemini-cli/bundle/gemini.js"
        ]
    );
    assert_eq!(
        mounts(&found),
        [
            (
                modules.join("@google/gemini-cli").as_path(),
                "/opt/agent/node_modules/@google/gemini-cli",
                MountKind::Directory
            ),
            (
                modules.join("addon").as_path(),
                "/opt/agent/node_modules/addon",
                MountKind::Directory
            ),
            (
                modules.join("node-pty").as_path(),
                "/opt/agent/node_modules/node-pty",
                MountKind::Directory
            ),
            (node.as_path(), "/opt/node/bin/node", MountKind::File),
        ]
    );
}

#[test]
fn the_digest_changes_with_whatever_runs_and_with_nothing_else() {
    let disk = Disk::new();
    disk.gemini();
    disk.file("bin/node", ELF);
    let first = disk.find(AgentKind::Gemini).unwrap().digest;
    disk.file("lib/node_modules/unrelated/index.js", "x");
    disk.file("bin/node", &format!("{ELF} newer"));
    assert_eq!(disk.find(AgentKind::Gemini).unwrap().digest, first);
    disk.file(
        "lib/node_modules/@google/gemini-cli/bundle/chunk.js",
        "changed",
    );
    let second = disk.find(AgentKind::Gemini).unwrap().digest;
    assert_ne!(second, first, "a part of the bundle");
    disk.file("lib/node_modules/addon/index.js", "changed");
    assert_ne!(
        disk.find(AgentKind::Gemini).unwrap().digest,
        second,
        "a dependency"
    );

    let vendor = disk.codex();
    let first = disk.find(AgentKind::Codex).unwrap().digest;
    fs::write(vendor.join("bin/codex"), format!("{ELF} newer")).unwrap();
    assert_ne!(
        disk.find(AgentKind::Codex).unwrap().digest,
        first,
        "the native program"
    );
}

#[test]
fn a_shell_launcher_as_pnpm_writes_it_leads_to_its_package() {
    let disk = Disk::new();
    disk.gemini();
    fs::remove_file(disk.path("bin/gemini")).unwrap();
    disk.file("bin/node", ELF);
    disk.file(
        "bin/gemini",
        "#!/bin/sh\nbasedir=$(dirname \"$0\")\nif [ -x \"$basedir/node\" ]; then\n  exec \
         \"$basedir/node\"  \"$basedir/../lib/node_modules/@google/gemini-cli/bundle/gemini.js\" \
         \"$@\"\nfi\n",
    );
    let found = disk.find(AgentKind::Gemini).unwrap();
    assert_eq!(found.version.as_deref(), Some("0.61.0"));
    assert!(found.real.ends_with("gemini-cli/bundle/gemini.js"));
}

#[test]
fn what_is_not_understood_is_refused_with_its_path() {
    let disk = Disk::new();
    let shim = disk.file("bin/codex", "#!/bin/sh\nexec mise exec codex -- \"$@\"\n");
    match disk.find(AgentKind::Codex) {
        Err(AgentError::Launcher { path, .. }) => assert_eq!(path, shim),
        other => unreachable!("{other:?}"),
    }
    // The launcher of some other package called the same.
    disk.package("lib/node_modules/gemini", r#"{"name":"gemini"}"#);
    disk.file("lib/node_modules/gemini/cli.js", NODE_SCRIPT);
    disk.file("bin/node", ELF);
    disk.link("bin/gemini", "../lib/node_modules/gemini/cli.js");
    assert!(matches!(
        disk.find(AgentKind::Gemini),
        Err(AgentError::Launcher { .. })
    ));
}

#[test]
fn a_version_managers_shim_is_not_taken_for_node() {
    let disk = Disk::new();
    disk.gemini();
    disk.file("bin/volta-shim", ELF);
    disk.link("bin/node", "volta-shim");
    assert!(matches!(
        disk.find(AgentKind::Gemini),
        Err(AgentError::Node { .. })
    ));
    disk.file("other/node", ELF);
    let path = std::env::join_paths([disk.path("bin"), disk.path("other")]).unwrap();
    let found = find(AgentKind::Gemini, &path).unwrap();
    assert_eq!(found.mounts.last().unwrap().source, disk.path("other/node"));
}

#[test]
fn an_agent_that_is_not_there_is_an_error_that_says_how_to_get_it() {
    let disk = Disk::new();
    fs::write(disk.path("bin/opencode"), "not executable").unwrap();
    let error = disk.find(AgentKind::Opencode).unwrap_err();
    assert!(matches!(error, AgentError::NotFound { .. }));
    assert!(
        error.to_string().contains("npm install -g opencode-ai"),
        "{error}"
    );
}

#[test]
fn relative_and_empty_entries_of_path_find_nothing() {
    // The tests run in the crate's folder, where `tests` is a relative entry.
    for entry in ["", ".", "tests", ":", "tests/../tests"] {
        let error = find(AgentKind::Codex, &OsString::from(entry)).unwrap_err();
        assert!(matches!(error, AgentError::NotFound { .. }), "{entry:?}");
    }
}

#[test]
fn the_name_of_a_dependency_cannot_lead_out_of_its_directory() {
    let disk = Disk::new();
    disk.gemini();
    disk.file("bin/node", ELF);
    disk.package("lib/secret", r#"{"name":"secret"}"#);
    disk.package(
        "lib/node_modules/@google/gemini-cli",
        r#"{"name":"@google/gemini-cli","dependencies":{"../secret":"1","../../lib/secret":"1"}}"#,
    );
    let found = disk.find(AgentKind::Gemini).unwrap();
    assert_eq!(found.mounts.len(), 2, "{found:?}");
}
