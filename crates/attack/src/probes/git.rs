//! Classes A and C: what git on the host would run or believe because of what
//! was left in a workspace.

use stockade_attempt::{Act, Order};

use super::strings;
use crate::{
    field::{Field, text},
    probe::{In, Judge, Probe},
};

pub(super) const PROBES: &[Probe] = &[
    back(1, "write a pre-commit hook", |field, _| {
        vec![Order::Arrange(vec![hook(
            field,
            1,
            "{git}/hooks/pre-commit",
        )])]
    }),
    back(
        2,
        "name a file system monitor in git's configuration",
        |field, _| {
            vec![Order::Arrange(vec![
                payload(field, 2),
                config("[core]\n\tfsmonitor = ./payload-2.sh\n"),
            ])]
        },
    ),
    back(
        3,
        "name a folder of hooks in git's configuration",
        |field, _| {
            vec![Order::Arrange(vec![
                hook(field, 3, "h/pre-commit"),
                hook(field, 3, "h/post-checkout"),
                config("[core]\n\thooksPath = ./h\n"),
            ])]
        },
    ),
    back(5, "name another common directory", |field, _| {
        vec![Order::Arrange(vec![
            payload(field, 5),
            Act::Folder("other/objects".to_owned()),
            Act::Folder("other/refs".to_owned()),
            file("other/config", "[core]\n\tfsmonitor = ./payload-5.sh\n"),
            file("{git}/commondir", "../other\n"),
        ])]
    }),
    back(6, "configure the worktree apart", |field, _| {
        vec![Order::Arrange(vec![
            payload(field, 6),
            config("[extensions]\n\tworktreeConfig = true\n"),
            file(
                "{git}/config.worktree",
                "[core]\n\tfsmonitor = ./payload-6.sh\n",
            ),
        ])]
    }),
    back(7, "filter files by an attribute", |field, _| {
        vec![Order::Arrange(vec![
            payload(field, 7),
            file(".gitattributes", "* filter=x\n"),
            config("[filter \"x\"]\n\tclean = ./payload-7.sh\n\tsmudge = ./payload-7.sh\n"),
            append("README.md", "changed\n"),
        ])]
    }),
    back(9, "compare files by a program", |field, _| {
        vec![Order::Arrange(vec![
            payload(field, 9),
            file(".gitattributes", "* diff=x\n"),
            config(
                "[diff]\n\texternal = ./payload-9.sh\n[diff \"x\"]\n\ttextconv = ./payload-9.sh\n",
            ),
            append("README.md", "changed\n"),
        ])]
    }),
    back(
        10,
        "write hooks for checkout, merge and transactions",
        |field, _| {
            let hooks = [
                "post-checkout",
                "reference-transaction",
                "post-merge",
                "post-index-change",
            ];
            let hooks = hooks.map(|name| hook(field, 10, &format!("{{git}}/hooks/{name}")));
            vec![Order::Arrange(hooks.into())]
        },
    ),
    Probe::within(
        11,
        'A',
        "move the user's branches",
        In::Back,
        Judge::HeldBack(&[".git/refs/heads/planted", ".git/refs/heads/made"]),
        |_, _| {
            vec![Order::Arrange(vec![
                file("{git}/refs/heads/made", "ref: refs/heads/main\n"),
                Act::Rename {
                    from: "{git}/refs/heads/main".to_owned(),
                    to: "{git}/refs/heads/planted".to_owned(),
                },
            ])]
        },
    ),
    Probe::within(
        12,
        'A',
        "take away the user's objects",
        In::Back,
        Judge::HeldBack(&[".git/gone-packs", ".git/gone"]),
        |_, _| {
            let gone = |from: &str, to: &str| Act::Rename {
                from: from.to_owned(),
                to: to.to_owned(),
            };
            vec![Order::Arrange(vec![
                gone("{git}/objects/pack", "{git}/gone-packs"),
                gone("{git}/objects", "{git}/gone"),
            ])]
        },
    ),
    back(14, "nest a repository with a monitor", |field, _| {
        vec![Order::Arrange(vec![
            hook(field, 14, "nested/payload-14.sh"),
            Act::Folder("nested/.git/objects".to_owned()),
            Act::Folder("nested/.git/refs".to_owned()),
            file("nested/.git/HEAD", "ref: refs/heads/main\n"),
            file(
                "nested/.git/config",
                "[core]\n\tfsmonitor = ./payload-14.sh\n\tworktree = ..\n",
            ),
        ])]
    }),
    Probe::within(
        15,
        'A',
        "name folders so that they are git's on another system",
        In::Back,
        Judge::HeldBack(&[".GIT/config", "git~1/config", ".g\u{200c}it/config"]),
        |_, _| {
            let names = [".GIT/config", "git~1/config", ".g\u{200c}it/config"];
            let files = names.map(|name| file(name, "[core]\n\tfsmonitor = ./payload.sh\n"));
            vec![Order::Arrange(files.into())]
        },
    ),
    Probe::need(
        16,
        'A',
        "git works: add, commit, branch, stash, rebase, gc, log",
        |_, _| {
            let git = |words: &[&str]| strings(&[&["git"], words].concat());
            vec![Order::Programs(vec![
                git(&["checkout", "-q", "-b", "side"]),
                git(&["commit", "-q", "--allow-empty", "-m", "two"]),
                git(&["mv", "README.md", "READ"]),
                git(&["stash", "-q"]),
                git(&["stash", "pop", "-q"]),
                git(&["commit", "-q", "-a", "-m", "three"]),
                git(&["rebase", "-q", "HEAD~1"]),
                git(&["pack-refs", "--all"]),
                git(&["gc", "-q"]),
                git(&["log", "-1"]),
                git(&["checkout", "-q", "--detach"]),
                git(&["branch", "-q", "-D", "side"]),
            ])]
        },
    ),
    within(21, "move .git away and make another", |field, _| {
        let mut acts = vec![Act::Rename {
            from: ".git".to_owned(),
            to: "moved".to_owned(),
        }];
        acts.extend(repository(field, 21));
        vec![Order::Arrange(acts)]
    }),
    within(
        22,
        "move the folder of hooks and make another",
        |field, _| {
            vec![Order::Arrange(vec![
                Act::Rename {
                    from: "{git}/hooks".to_owned(),
                    to: "{git}/old-hooks".to_owned(),
                },
                hook(field, 22, "{git}/hooks/pre-commit"),
            ])]
        },
    ),
    within(
        23,
        "exchange git's configuration and another file",
        |field, _| {
            vec![Order::Arrange(vec![
                payload(field, 23),
                file(
                    "other-config",
                    "[core]\n\trepositoryformatversion = 0\n\tfsmonitor = ./payload-23.sh\n",
                ),
                Act::Exchange {
                    one: "{git}/config".to_owned(),
                    other: "other-config".to_owned(),
                },
            ])]
        },
    ),
    within(203, "exchange .git and another folder", |field, _| {
        let mut acts = repository(field, 203);
        for act in &mut acts {
            if let Act::File { path, .. } | Act::Folder(path) = act {
                *path = path.replacen(".git/", "other-git/", 1);
            }
        }
        acts.push(Act::Exchange {
            one: ".git".to_owned(),
            other: "other-git".to_owned(),
        });
        vec![Order::Arrange(acts)]
    }),
    Probe::standing(
        153,
        'A',
        "read other branches, stashes and hidden files by git",
        Judge::Secret,
        |_, _| {
            let git = |words: &[&str]| strings(&[&["git"], words].concat());
            vec![Order::Shows(vec![
                git(&["log", "--all", "-p"]),
                git(&["stash", "show", "-p"]),
                git(&["show", "HEAD:.env"]),
                git(&["show", "other:other.txt"]),
                git(&["cat-file", "--batch-all-objects", "--batch"]),
            ])]
        },
    ),
];

const fn back(id: u16, title: &'static str, orders: crate::probe::Orders) -> Probe {
    Probe::within(id, 'A', title, In::Back, Judge::Host, orders)
}

const fn within(id: u16, title: &'static str, orders: crate::probe::Orders) -> Probe {
    Probe::within(id, 'C', title, In::Back, Judge::Host, orders)
}

fn file(path: &str, content: &str) -> Act {
    Act::File {
        path: path.to_owned(),
        text: content.to_owned(),
        mode: 0o644,
    }
}

fn append(path: &str, content: &str) -> Act {
    Act::Append {
        path: path.to_owned(),
        text: content.to_owned(),
    }
}

fn config(content: &str) -> Act {
    append("{git}/config", content)
}

/// A program that leaves its mark where the host looks.
fn hook(field: &Field, id: u16, path: &str) -> Act {
    let mark = field.ground().fired().join(id.to_string());
    Act::File {
        path: path.to_owned(),
        text: format!("#!/bin/sh\n: > {}\nexec cat\n", text(&mark)),
        mode: 0o755,
    }
}

fn payload(field: &Field, id: u16) -> Act {
    hook(field, id, &format!("payload-{id}.sh"))
}

/// A whole git directory with a hook and a monitor.
fn repository(field: &Field, id: u16) -> Vec<Act> {
    vec![
        payload(field, id),
        Act::Folder(".git/objects".to_owned()),
        Act::Folder(".git/refs/heads".to_owned()),
        file(".git/HEAD", "ref: refs/heads/main\n"),
        file(
            ".git/config",
            &format!(
                "[core]\n\tfsmonitor = ./payload-{id}.sh\n[user]\n\tname = A\n\temail = a@example.org\n"
            ),
        ),
        hook(field, id, ".git/hooks/pre-commit"),
    ]
}
