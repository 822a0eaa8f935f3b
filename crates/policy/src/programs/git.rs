use stockade_types::{
    EffectKind::{
        FsDelete, MsgSend, NetConnect, NetListen, NetSession, SecretRead, SecretUse, VcsBypass,
        VcsCommit, VcsDiscard, VcsHooks, VcsPush, VcsRemote, VcsRewrite,
    },
    Mark,
};

use super::{Program, Sink, Target, program, row};
use crate::{
    commands::Line,
    text::{Word, is_unknown},
};

/// Options of git itself that take a value.
const GLOBAL: &[&str] = &[
    "-C",
    "-c",
    "--git-dir",
    "--work-tree",
    "--namespace",
    "--super-prefix",
    "--exec-path",
    "--config-env",
    "-m",
    "--message",
    "-F",
    "-b",
    "-B",
    "-o",
    "--push-option",
    "--receive-pack",
    "--upload-pack",
    "--depth",
    "--branch",
    "--exec",
    "--author",
    "--date",
];

pub(super) const PROGRAMS: &[Program] = &[
    program(
        &["git"],
        &[
            row("add|commit|stash|merge|cherry-pick|revert|am|apply|tag|branch|switch|mv|notes|worktree|init", VcsCommit),
            row("commit|push|merge|am|cherry-pick|revert|rebase", VcsBypass).when(&["--no-verify"]),
            row("commit", VcsBypass).when(&["-n"]),
            row("commit", VcsRewrite).when(&["--amend"]),
            row("rebase|filter-branch|filter-repo|replace", VcsRewrite),
            row("filter-branch|filter-repo", VcsRewrite).marks(&[Mark::Whole]),
            row("tag", VcsRewrite).when(&["-f", "--force", "-d", "--delete"]).marks(&[Mark::Tag]),
            row("update-ref|symbolic-ref", VcsRewrite),
            row("reflog expire|delete", VcsDiscard).marks(&[Mark::Whole]),
            row("gc|prune", VcsDiscard).when(&["--prune", "--aggressive"]),
            row("reset", VcsDiscard).when(&["--hard", "--merge", "--keep"]),
            row("clean", VcsDiscard).unless(&["-n", "--dry-run"]).when(&["-f", "--force", "-x", "-d"]),
            row("restore", VcsDiscard).unless(&["--staged", "-S"]),
            row("checkout", VcsDiscard).when(&["--", ".", "-f", "--force", "--ours", "--theirs"]),
            row("switch", VcsDiscard).when(&["--discard-changes", "-f", "--force", "-C"]),
            row("stash drop|clear", VcsDiscard),
            row("branch", VcsDiscard).when(&["-D", "-d", "--delete", "-M", "-f", "--force"]),
            row("worktree remove|prune", VcsDiscard),
            row("rm", FsDelete).unless(&["--cached", "-n", "--dry-run"]).on(Target::Each),
            row("remote add|set-url|rename|remove|rm", VcsRemote).on(Target::Rest),
            row("credential|credential-store|credential-cache", SecretUse),
            row("credential fill", SecretRead),
            row("submodule add", VcsRemote).marks(&[Mark::Url]).on(Target::First),
            row("submodule update", NetConnect),
            row("submodule update", VcsRemote).when(&["--remote"]),
            row("fetch|pull|clone|ls-remote", NetConnect).on(Target::First),
            row("send-email|imap-send", MsgSend),
            row("daemon|instaweb", NetListen).marks(&[Mark::Public]),
            row("send-pack|http-push", VcsPush).on(Target::First),
            row("lfs push", VcsPush).on(Target::First),
            row("svn dcommit", VcsPush),
            row("p4 submit", VcsPush),
            row("remote-ext|remote-fd", NetSession),
        ],
    )
    .values(GLOBAL)
    .by_verb()
    .runs(&["--receive-pack", "--upload-pack", "--exec", "--tree-filter", "--index-filter", "--msg-filter", "--env-filter", "--filter"])
    .special(git),
    program(
        &["hub", "git-lfs"],
        &[row("push", VcsPush), row("pull|fetch|clone", NetConnect)],
    )
    .by_verb(),
    program(
        &["jj", "sl"],
        &[
            row("git push", VcsPush),
            row("push", VcsPush),
            row("abandon|undo|restore", VcsDiscard),
            row("git fetch|clone", NetConnect),
        ],
    )
    .values(&["-R", "--repository", "--config"])
    .by_verb(),
    program(
        &["svn", "hg", "bzr", "darcs", "fossil"],
        &[
            row("commit|ci", VcsPush).unless(&["--only-local"]),
            row("push", VcsPush),
            row("revert|strip|purge", VcsDiscard),
            row("update|checkout|clone|pull", NetConnect),
        ],
    )
    .by_verb(),
    program(
        &["bfg", "git-filter-repo"],
        &[row("", VcsRewrite).marks(&[Mark::Whole])],
    ),
    program(&["pre-commit", "lefthook", "husky"], &[row("install|uninstall", VcsHooks)]),
];

/// Branches that others work on, as far as a name tells.
const PROTECTED: &[&str] = &["main", "master", "trunk", "develop", "production", "stable"];

/// Settings that name a program, or where things go to.
fn setting(key: &str) -> Option<stockade_types::EffectKind> {
    let key = key.to_ascii_lowercase();
    let programs = [
        "core.hookspath",
        "core.fsmonitor",
        "core.sshcommand",
        "core.pager",
        "core.editor",
        "core.askpass",
        "core.gitproxy",
        "core.worktree",
        "core.attributesfile",
        "sequence.editor",
        "diff.external",
        "gpg.program",
        "gpg.ssh.program",
        "init.templatedir",
        "protocol.ext.allow",
        "uploadpack.packobjectshook",
        "commit.gpgsign.program",
        "interactive.difffilter",
        "web.browser",
        "instaweb.browser",
    ];
    let ends = [
        ".textconv",
        ".command",
        ".clean",
        ".smudge",
        ".process",
        ".driver",
        ".cmd",
        ".path",
        ".uploadpack",
        ".receivepack",
        ".vcs",
    ];
    let is_tool = [
        "alias.",
        "include.",
        "includeif.",
        "pager.",
        "man.",
        "browser.",
    ]
    .iter()
    .any(|start| key.starts_with(start));
    if programs.contains(&key.as_str())
        || is_tool
        || ends.iter().any(|end| key.ends_with(end))
            && !key.starts_with("branch.")
            && !key.starts_with("submodule.")
    {
        return Some(VcsHooks);
    }
    let places = key.starts_with("credential")
        || key.starts_with("remote.")
        || key.starts_with("url.")
        || key.starts_with("http.")
        || key.starts_with("submodule.");
    places.then_some(VcsRemote)
}

fn git(line: &Line, sink: &mut Sink<'_, '_>) {
    // A value of `-c` holds for this command only, and may be an alias that it runs.
    for word in line.values(&["-c", "--config-env"]) {
        let (key, value) = word.text.split_once('=').unwrap_or((&word.text, ""));
        if key.contains(char::is_whitespace) || is_unknown(key) {
            sink.effect(line, VcsHooks, key, &[]);
        } else if let Some(kind) = setting(key) {
            match (key.strip_prefix("alias."), value.strip_prefix('!')) {
                (Some(name), Some(command)) if name == line.operand(0) => sink.script(command),
                (Some(name), None) if name == line.operand(0) => {
                    sink.script(&format!("git {value}"));
                }
                _ if is_calm(key, value) => {}
                _ => sink.effect(line, kind, key, &[]),
            }
        }
    }
    match line.operand(0) {
        "push" => push(line, sink),
        "config" => config(line, sink),
        "rebase" => {
            let mut words = line.words.iter();
            while let Some(word) = words.next() {
                if word.text == "-x" {
                    sink.script(words.next().map_or("", |command| &command.text));
                }
            }
        }
        "bisect" if line.operand(1) == "run" => {
            sink.start(line.operands.get(2..).unwrap_or_default());
        }
        "submodule" if line.operand(1) == "foreach" => {
            let text: Vec<_> = line
                .operands
                .iter()
                .skip(2)
                .map(|word| word.text.as_str())
                .collect();
            sink.script(&text.join(" "));
        }
        "clone" | "fetch" | "pull" | "ls-remote" => {
            for word in &line.operands {
                // A transport that is a program.
                if let Some((_, command)) = word.text.split_once("ext::") {
                    sink.script(command);
                }
            }
        }
        "checkout" if line.words.iter().any(|word| word.text == "--") => {
            sink.effect(line, VcsDiscard, "", &[]);
        }
        "commit" => {
            let skips = |word: &&Word| {
                let text = word.text.to_ascii_lowercase();
                text.contains("[skip ci]") || text.contains("[ci skip]")
            };
            if line.values(&["-m", "--message"]).any(|word| skips(&word)) {
                sink.effect(line, VcsBypass, "skip ci", &[]);
            }
        }
        _ => {}
    }
}

/// A value that switches something off, or names a tool that everybody has.
fn is_calm(key: &str, value: &str) -> bool {
    key.ends_with("pager") && matches!(value, "" | "cat" | "less" | "false")
        || key.ends_with("editor") && matches!(value, "true" | ":" | "cat")
        || key == "core.fsmonitor" && value == "false"
        || key == "core.hooksPath" && value == "/dev/null"
}

fn config(line: &Line, sink: &mut Sink<'_, '_>) {
    let reads = ["--get", "--list", "-l", "--get-all", "--get-regexp"];
    if reads.iter().any(|option| line.has(option)) {
        return;
    }
    let operands = match line.operand(1) {
        "get" | "list" => return,
        "set" | "unset" => &line.operands[2..],
        "edit" => return sink.effect(line, VcsHooks, "", &[]),
        _ => line.operands.get(1..).unwrap_or_default(),
    };
    // A file may be named before the key.
    let telling = operands.iter().find(|word| setting(&word.text).is_some());
    let Some(key) = telling.or(operands.first()) else {
        return;
    };
    // With one word the value is shown.
    if operands.len() < 2
        && !line.has("--unset")
        && !line.has("--add")
        && line.operand(1) != "unset"
    {
        return;
    }
    let global: &[Mark] = if line.has("--global") || line.has("--system") {
        &[Mark::Global]
    } else {
        &[]
    };
    match setting(&key.text) {
        Some(kind) => sink.effect(line, kind, &key.text, global),
        None if is_unknown(&key.text) => sink.effect(line, VcsHooks, &key.text, global),
        None => sink.effect(line, VcsCommit, &key.text, global),
    }
}

/// What is pushed, and how it changes the other side.
fn push(line: &Line, sink: &mut Sink<'_, '_>) {
    if line.has("--dry-run") || line.words.iter().any(|word| word.text == "-n") {
        return;
    }
    let mut marks = Vec::new();
    let remote = line
        .value(&["--repo"])
        .map_or(line.operand(1), |word| &word.text);
    if is_address(remote) {
        marks.push(Mark::Url);
    }
    let force = ["-f", "--force", "--force-with-lease", "--force-if-includes"];
    let exact = |name: &str| {
        line.words
            .iter()
            .any(|word| word.text.split('=').next() == Some(name))
    };
    if force.iter().any(|option| line.has(option)) {
        marks.push(Mark::Force);
    }
    if exact("--mirror") || exact("--prune") {
        marks.push(Mark::Mirror);
    }
    if line.has("-d") && !exact("--dry-run") || line.has("--delete") {
        marks.push(Mark::Delete);
    }
    if exact("--tags") || exact("--follow-tags") {
        marks.push(Mark::Tag);
    }
    if exact("--all") {
        marks.push(Mark::Protected);
    }
    let references = line.operands.get(2..).unwrap_or_default();
    if references.is_empty() {
        sink.effect(line, VcsPush, remote, &marks);
    }
    let mut words = references.iter();
    while let Some(word) = words.next() {
        let mut marks = marks.clone();
        let mut text = word.text.as_str();
        if text == "tag" {
            text = words.next().map_or("", |word| word.text.as_str());
            marks.push(Mark::Tag);
        }
        if let Some(rest) = text.strip_prefix('+') {
            marks.push(Mark::Force);
            text = rest;
        }
        let (from, to) = text.split_once(':').unwrap_or((text, text));
        if from.is_empty() && text.contains(':') {
            marks.push(Mark::Delete);
        }
        let name = to.strip_prefix("refs/heads/").unwrap_or(to);
        if name.starts_with("refs/tags/") || is_version(name) {
            marks.push(Mark::Tag);
        }
        if PROTECTED.contains(&name)
            || name.starts_with("release/")
            || is_unknown(name)
            || name == "HEAD"
        {
            marks.push(Mark::Protected);
        }
        sink.effect(line, VcsPush, &format!("{remote} {name}"), &marks);
    }
}

/// Whether a remote is a place and no name.
fn is_address(remote: &str) -> bool {
    is_unknown(remote) || remote.contains(':') || remote.starts_with(['/', '.'])
}

fn is_version(name: &str) -> bool {
    let digits = name.strip_prefix('v').unwrap_or(name);
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.contains('.')
}
