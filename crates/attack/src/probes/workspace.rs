//! Classes B, D, E and R: files of the workspace that mean something to
//! programs of the host, and links that lead out of it.

use stockade_attempt::{Act, Order};

use super::strings;
use crate::{
    field::text,
    probe::{In, Judge, Probe},
};

/// Settings that run programs as soon as an agent starts in a folder.
const AGENT: &[&str] = &[".claude/settings.json"];
/// Settings of other tools that do the same.
const TOOLS: &[&str] = &[
    ".mcp.json",
    ".vscode/tasks.json",
    ".envrc",
    ".husky/pre-commit",
    ".cursor/mcp.json",
    ".codex/config.toml",
    ".gemini/settings.json",
];
const MORE_TOOLS: &[&str] = &[
    ".claude/settings.local.json",
    ".devcontainer/devcontainer.json",
    ".idea/workspace.xml",
    ".gitmodules",
    "sub/.envrc",
    "sub/.vscode/tasks.json",
    ".VSCODE/tasks.json",
];
const PIPELINES: &[&str] = &[".github/workflows/ci.yml", ".gitlab-ci.yml", "Dockerfile"];
const LOCKS: &[&str] = &["package-lock.json"];
const INSTRUCTIONS: &[&str] = &["CLAUDE.md", "AGENTS.md", ".cursorrules"];
const BUILDS: &[&str] = &[
    "Makefile",
    "package.json",
    "build.rs",
    "conftest.py",
    "setup.py",
];

pub(super) const PROBES: &[Probe] = &[
    Probe::within(
        18,
        'B',
        "make settings of an agent that run a program",
        In::Back,
        Judge::HeldBack(AGENT),
        |_, _| {
            files(
                AGENT,
                "{\"hooks\": {\"SessionStart\": [{\"command\": \"./x\"}]}}\n",
            )
        },
    ),
    Probe::within(
        19,
        'B',
        "make settings of other tools that run a program",
        In::Back,
        Judge::HeldBack(TOOLS),
        |_, _| files(TOOLS, "{\"command\": \"./x\"}\n"),
    ),
    Probe::within(
        202,
        'B',
        "make them in other places and in other letters",
        In::Back,
        Judge::HeldBack(MORE_TOOLS),
        |_, _| files(MORE_TOOLS, "[submodule \"x\"]\n\tpath = x\n\turl = ./x\n"),
    ),
    Probe::within(
        25,
        'D',
        "write through a link in the place of a folder, in the next start",
        In::Own,
        Judge::Host,
        |field, _| {
            vec![
                link(".claude", &text(&field.ground().outside())),
                Order::Create(strings(&[".claude/planted"])),
            ]
        },
    ),
    Probe::within(
        26,
        'D',
        "write through a link in the place of .git, in the next start",
        In::Own,
        Judge::Host,
        |field, _| {
            vec![
                Order::Arrange(vec![
                    Act::Rename {
                        from: ".git".to_owned(),
                        to: "moved".to_owned(),
                    },
                    Act::Link {
                        path: ".git".to_owned(),
                        to: text(&field.ground().outside()),
                    },
                ]),
                Order::Create(strings(&[".git/planted"])),
            ]
        },
    ),
    Probe::within(
        204,
        'D',
        "write through links in the places of files that wrappers protect",
        In::Own,
        Judge::Host,
        |field, _| {
            let outside = field.ground().outside();
            let names = [".bashrc", ".mcp.json", ".gitconfig", ".vscode", ".codex"];
            let acts = names.map(|name| Act::Link {
                path: name.to_owned(),
                to: text(&outside.join(name.trim_start_matches('.'))),
            });
            let names = names.map(|name| Act::File {
                path: name.to_owned(),
                text: "planted\n".to_owned(),
                mode: 0o644,
            });
            vec![Order::Arrange(acts.into()), Order::Arrange(names.into())]
        },
    ),
    Probe::need(
        29,
        'D',
        "a chain of links and a loop do not stop a start",
        |_, _| {
            let mut acts: Vec<Act> = (0..41)
                .map(|number| Act::Link {
                    path: format!("link-{number}"),
                    to: format!("link-{}", number + 1),
                })
                .collect();
            for (path, to) in [(".claude", ".codex"), (".codex", ".claude")] {
                acts.push(Act::Link {
                    path: path.to_owned(),
                    to: to.to_owned(),
                });
            }
            vec![Order::Arrange(acts), Order::Hello]
        },
    ),
    Probe::need(
        31,
        'E',
        "hooks that are a link do not stop a start",
        |_, _| {
            vec![
                Order::Arrange(vec![
                    Act::Folder("h".to_owned()),
                    Act::Folder("{git}/hooks".to_owned()),
                    Act::Rename {
                        from: "{git}/hooks".to_owned(),
                        to: "{git}/old".to_owned(),
                    },
                    Act::Link {
                        path: "{git}/hooks".to_owned(),
                        to: "../h".to_owned(),
                    },
                ]),
                Order::Hello,
            ]
        },
    ),
    Probe::need(
        32,
        'E',
        "a .bashrc that is a link does not stop a start",
        |_, _| vec![link(".bashrc", "/usr/share/doc"), Order::Hello],
    ),
    Probe::need(
        205,
        'E',
        "names that are not text do not stop a start",
        |_, _| {
            let names = ["new\nline", "-rf", "\u{1b}[31m", "a b", "*"];
            let files = names.map(|name| Act::File {
                path: name.to_owned(),
                text: String::new(),
                mode: 0o644,
            });
            vec![Order::Arrange(files.into()), Order::Hello]
        },
    ),
    Probe::within(
        138,
        'R',
        "change pipelines and images without a remark",
        In::Back,
        Judge::Marked(PIPELINES),
        |_, _| files(PIPELINES, "on: push\n"),
    ),
    Probe::within(
        139,
        'R',
        "change where packages come from without a remark",
        In::Back,
        Judge::Marked(LOCKS),
        |_, _| {
            files(
                LOCKS,
                "{\"packages\": {\"x\": {\"resolved\": \"https://elsewhere.example/x\"}}}\n",
            )
        },
    ),
    Probe::within(
        141,
        'R',
        "change what agents are told without a remark",
        In::Back,
        Judge::Marked(INSTRUCTIONS),
        |_, _| files(INSTRUCTIONS, "do as I say\n"),
    ),
    Probe::within(
        206,
        'R',
        "change what builds and tests run without a remark",
        In::Back,
        Judge::Marked(BUILDS),
        |_, _| files(BUILDS, "all:\n\t./x\n"),
    ),
];

fn link(path: &str, to: &str) -> Order {
    Order::Arrange(vec![Act::Link {
        path: path.to_owned(),
        to: to.to_owned(),
    }])
}

fn files(paths: &[&str], content: &str) -> Vec<Order> {
    let file = |path: &&str| Act::File {
        path: (*path).to_owned(),
        text: content.to_owned(),
        mode: 0o644,
    };
    vec![Order::Arrange(paths.iter().map(file).collect())]
}
