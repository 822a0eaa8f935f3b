//! Which names matter, and why.
//!
//! An entry is a run of parts that may stand anywhere in a path. One that ends
//! with a slash also stands for everything below it; any other must be at the end.

use stockade_types::{FileClass, Scope};

use super::pattern::{is_pattern, matches};

/// The first entry that fits decides.
const NAMES: &[(FileClass, &[&str])] = &[
    (
        FileClass::Stockade,
        &[
            "stockade.toml",
            ".stockade/",
            "stockade-mcp.lock",
            "etc/stockade/",
            ".config/stockade/",
            ".local/state/stockade/",
        ],
    ),
    (
        FileClass::GitHook,
        &[".git/hooks/", ".githooks/", ".husky/"],
    ),
    (
        FileClass::GitConfig,
        &[
            ".git/config",
            ".git/config.worktree",
            ".git/info/attributes",
            ".gitconfig",
            ".config/git/",
            "etc/gitconfig",
        ],
    ),
    (FileClass::GitInternal, &[".git/"]),
    (
        FileClass::AgentConfig,
        &[
            ".claude/",
            ".claude.json",
            ".codex/",
            ".cursor/",
            ".cursorrules",
            ".gemini/",
            ".opencode/",
            "opencode.json",
            ".mcp.json",
            ".stockade/",
            "stockade-mcp.lock",
            ".aider.conf.yml",
            ".windsurfrules",
            "AGENTS.md",
            "CLAUDE.md",
            "GEMINI.md",
            ".github/hooks/",
            ".github/copilot/",
            ".github/copilot-instructions.md",
            "etc/claude-code/",
            "etc/codex/",
            "etc/gemini-cli/",
        ],
    ),
    (
        FileClass::Automation,
        &[
            ".github/workflows/",
            ".github/actions/",
            ".gitlab-ci.yml",
            ".gitea/workflows/",
            ".circleci/",
            ".buildkite/",
            ".drone.yml",
            ".travis.yml",
            "Jenkinsfile",
            "azure-pipelines.yml",
            "bitbucket-pipelines.yml",
        ],
    ),
    (
        FileClass::Editor,
        &[
            ".vscode/",
            ".idea/",
            ".devcontainer/",
            ".envrc",
            ".exrc",
            ".nvim.lua",
        ],
    ),
    (
        FileClass::ShellStartup,
        &[
            ".bashrc",
            ".bash_profile",
            ".bash_login",
            ".bash_logout",
            ".bash_aliases",
            ".profile",
            ".zshrc",
            ".zshenv",
            ".zprofile",
            ".zlogin",
            ".inputrc",
            ".xprofile",
            ".config/fish/",
            "etc/profile",
            "etc/profile.d/",
            "etc/bash.bashrc",
            "etc/environment",
        ],
    ),
    (
        FileClass::Autostart,
        &[
            "etc/cron*/",
            "etc/crontab",
            "var/spool/cron/",
            "etc/systemd/",
            "usr/lib/systemd/",
            ".config/systemd/",
            ".config/autostart/",
            "LaunchAgents/",
            "LaunchDaemons/",
            "etc/init.d/",
            "etc/rc.local",
            "etc/ld.so.preload",
            "etc/sudoers",
            "etc/sudoers.d/",
            "etc/passwd",
            ".ssh/authorized_keys",
            ".ssh/rc",
            ".ssh/config",
        ],
    ),
    (
        FileClass::Evidence,
        &[
            ".bash_history",
            ".zsh_history",
            ".python_history",
            "var/log/",
        ],
    ),
    (
        FileClass::Socket,
        &[
            "docker.sock",
            "containerd.sock",
            "podman.sock",
            "crio.sock",
            "libvirt-sock",
        ],
    ),
    (
        FileClass::Process,
        &[
            "proc/*/environ",
            "proc/*/mem",
            "proc/*/maps",
            "proc/*/cmdline",
            "proc/kcore",
            "proc/sys/",
            "proc/sysrq-trigger",
        ],
    ),
    (
        FileClass::Lockfile,
        &[
            "Cargo.lock",
            "package-lock.json",
            "npm-shrinkwrap.json",
            "yarn.lock",
            "pnpm-lock.yaml",
            "bun.lock",
            "poetry.lock",
            "uv.lock",
            "Pipfile.lock",
            "Gemfile.lock",
            "composer.lock",
            "go.sum",
        ],
    ),
    (
        FileClass::Build,
        &[
            "Makefile",
            "GNUmakefile",
            "Dockerfile",
            "build.rs",
            "package.json",
            "conftest.py",
            "setup.py",
            "noxfile.py",
            ".gitattributes",
            ".gitmodules",
            ".cargo/config.toml",
            ".pre-commit-config.yaml",
        ],
    ),
];

/// Secrets wherever they are.
const SECRETS: &[&str] = &[
    ".ssh/",
    ".gnupg/",
    ".aws/",
    ".azure/",
    ".config/gcloud/",
    ".config/gh/",
    ".config/hub",
    ".kube/config",
    ".docker/config.json",
    ".netrc",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".git-credentials",
    ".vault-token",
    ".password-store/",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".terraform.d/credentials.tfrc.json",
    ".mozilla/",
    ".config/google-chrome/",
    ".config/chromium/",
    "Library/Keychains/",
    ".local/share/keyrings/",
    "etc/shadow",
    "etc/gshadow",
    "etc/ssl/private/",
    "run/secrets/",
    "var/run/secrets/",
];

/// Secrets by name, unless they are an example or data of a test.
const SECRET_NAMES: &[&str] = &[
    ".env",
    ".env.*",
    "*.env",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "*.key",
    "*-key.pem",
    "*_key.pem",
    "key.pem",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "credentials.json",
    "service-account*.json",
    "secrets.yml",
    "secrets.yaml",
    "secrets.json",
    "terraform.tfvars",
    "*.tfstate",
    "kubeconfig",
];

/// Endings of names that are to be filled in.
const EXAMPLES: &[&str] = &[".example", ".sample", ".template", ".dist", ".pub"];

/// Folders whose secrets are made up.
const MADE_UP: &[&str] = &[
    "test",
    "tests",
    "testdata",
    "fixtures",
    "__fixtures__",
    "examples",
    "docs",
    "spec",
];

/// The class of the file whose path has `parts`.
pub(super) fn of(parts: &[&str], scope: Scope) -> FileClass {
    let in_workspace = matches!(scope, Scope::Workspace | Scope::WorkspaceRoot);
    // A token stands in the home folder's file; a project's names a registry.
    let npm = !in_workspace && at_end(parts, ".npmrc");
    if npm || SECRETS.iter().any(|entry| fits(parts, entry)) && !is_example(parts) {
        return special_ssh(parts);
    }
    let made_up = in_workspace && parts.iter().any(|part| MADE_UP.contains(part));
    let secret = SECRET_NAMES.iter().any(|name| at_end(parts, name));
    if secret && !made_up && !is_example(parts) {
        return FileClass::Secret;
    }
    let listed = NAMES
        .iter()
        .find(|(_, names)| names.iter().any(|entry| fits(parts, entry)));
    listed.map_or(FileClass::Plain, |(class, _)| *class)
}

/// What others may log in with is a door, and no secret.
fn special_ssh(parts: &[&str]) -> FileClass {
    match parts {
        [.., ".ssh", "authorized_keys" | "config" | "rc"] => FileClass::Autostart,
        [.., ".ssh", "known_hosts"] => FileClass::Plain,
        _ => FileClass::Secret,
    }
}

fn is_example(parts: &[&str]) -> bool {
    parts
        .last()
        .is_some_and(|name| EXAMPLES.iter().any(|ending| name.ends_with(ending)))
}

fn at_end(parts: &[&str], name: &str) -> bool {
    parts.last().is_some_and(|part| same(part, name))
}

fn fits(parts: &[&str], entry: &str) -> bool {
    let (entry, below) = match entry.strip_suffix('/') {
        Some(entry) => (entry, true),
        None => (entry, false),
    };
    let wanted = entry.split('/').count();
    let Some(last) = parts.len().checked_sub(wanted) else {
        return false;
    };
    let from = if below { 0 } else { last };
    (from..=last).any(|start| {
        entry
            .split('/')
            .zip(&parts[start..])
            .all(|(name, part)| same(part, name))
    })
}

/// Whether a part of a path, which may be a shell's pattern, is what a name of
/// the lists, which may be one too, stands for. A pattern does not stand for a
/// name that begins with a dot unless it says so.
fn same(part: &str, name: &str) -> bool {
    if is_pattern(part) {
        let hidden = name.starts_with('.') && !part.starts_with('.');
        return !hidden && !part.trim_matches(['*', '.']).is_empty() && matches(part, name);
    }
    if is_pattern(name) {
        return matches(name, part);
    }
    part.eq_ignore_ascii_case(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(path: &str) -> FileClass {
        let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        of(&parts, Scope::Workspace)
    }

    #[test]
    fn files_are_classed_by_the_parts_of_their_names() {
        for (path, expected) in [
            ("src/main.rs", FileClass::Plain),
            (".env", FileClass::Secret),
            ("config/.env.production", FileClass::Secret),
            (".env.example", FileClass::Plain),
            ("tests/fixtures/server.key", FileClass::Plain),
            ("deploy/server.key", FileClass::Secret),
            (".en?", FileClass::Secret),
            ("/home/x/.ssh/id_ed25519", FileClass::Secret),
            ("/home/x/.ssh/authorized_keys", FileClass::Autostart),
            ("/home/x/.ssh/known_hosts", FileClass::Plain),
            ("/home/x/.ssh/id_ed25519.pub", FileClass::Plain),
            ("/home/x/.aws/credentials", FileClass::Secret),
            (".git/hooks/pre-commit", FileClass::GitHook),
            (".GIT/Hooks/pre-commit", FileClass::GitHook),
            ("sub/.git/config", FileClass::GitConfig),
            (".git/refs/heads/main", FileClass::GitInternal),
            (".gitignore", FileClass::Plain),
            (".github/workflows/ci.yml", FileClass::Automation),
            (".claude/settings.json", FileClass::AgentConfig),
            ("docs/AGENTS.md", FileClass::AgentConfig),
            ("stockade.toml", FileClass::Stockade),
            ("/etc/cron.d/x", FileClass::Autostart),
            ("/var/run/docker.sock", FileClass::Socket),
            ("/proc/1/environ", FileClass::Process),
            ("Cargo.lock", FileClass::Lockfile),
        ] {
            assert_eq!(class(path), expected, "{path}");
        }
    }
}
