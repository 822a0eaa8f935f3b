//! Where a path leads, and what sort of file is there: decided on the parts of
//! the name, since nothing is looked up.

mod classes;
mod pattern;

use stockade_types::{FileClass, Scope};

use crate::{
    Surroundings,
    text::{REMOTE, UNKNOWN, is_unknown},
};

pub(crate) use self::pattern::is_pattern;

/// A path, as far as its text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The path without dots, absolute where that is known.
    pub(crate) path: String,
    pub(crate) scope: Scope,
    pub(crate) class: FileClass,
}

/// Folders for temporary files.
const TEMPORARY: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Caches below the home folder, which tools fill again.
const CACHES: [&str; 8] = [
    ".cache",
    ".npm",
    ".cargo/registry",
    ".cargo/git",
    ".gradle/caches",
    ".m2/repository",
    "go/pkg",
    ".local/share/pnpm",
];

/// Devices that hold nothing.
const HARMLESS_DEVICES: [&str; 12] = [
    "null", "zero", "full", "random", "urandom", "stdin", "stdout", "stderr", "fd", "tty", "pts",
    "ptmx",
];

/// Where `text` leads from `folder`; `None` if it is a device that holds nothing.
pub(crate) fn place(text: &str, folder: Option<&str>, around: &Surroundings) -> Option<Place> {
    let unknown = |class| {
        Some(Place {
            path: text.to_owned(),
            scope: Scope::Unknown,
            class,
        })
    };
    if text.starts_with([UNKNOWN, REMOTE]) {
        return unknown(FileClass::Plain);
    }
    let text = through_proc(text);
    let absolute = match (text.starts_with('/'), folder) {
        (true, _) => text.to_owned(),
        // What is below an unknown folder is known by its name all the same.
        (false, None) => return unknown(classes::of(&parts(text), Scope::Unknown)),
        (false, Some(folder)) => format!("{folder}/{text}"),
    };
    let Some(parts) = normal(&absolute) else {
        return unknown(FileClass::Plain);
    };
    let path = format!("/{}", parts.join("/"));
    if let Some(device) = path.strip_prefix("/dev/") {
        let name = device.split('/').next().unwrap_or_default();
        if HARMLESS_DEVICES.contains(&name) {
            return None;
        }
    }
    let scope = scope(&parts, &path, around);
    Some(Place {
        class: classes::of(&parts, scope),
        path,
        scope,
    })
}

/// Joins `text` to `folder`, as `cd` does; `None` if it cannot be known.
pub(crate) fn join(text: &str, folder: Option<&str>) -> Option<String> {
    if is_unknown(text) || is_pattern(text) {
        return None;
    }
    let text = through_proc(text);
    let absolute = if text.starts_with('/') {
        text.to_owned()
    } else {
        format!("{}/{text}", folder?)
    };
    normal(&absolute).map(|parts| format!("/{}", parts.join("/")))
}

/// A process's view of the root is the root: `/proc/self/root/etc` is `/etc`.
fn through_proc(text: &str) -> &str {
    let mut rest = text;
    loop {
        let mut parts = rest.splitn(5, '/');
        let (Some(""), Some("proc"), Some(_), Some("root"), below) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return rest;
        };
        match below {
            Some(below) if below.starts_with('/') => rest = below,
            Some(below) => rest = &rest[rest.len() - below.len() - 1..],
            None => return "/",
        }
    }
}

fn parts(text: &str) -> Vec<&str> {
    text.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect()
}

/// The parts of an absolute path, with dots resolved. `None` if a part that is
/// not known decides where they lead.
fn normal(path: &str) -> Option<Vec<&str>> {
    let mut normal = Vec::new();
    let mut unknown = false;
    for part in parts(path) {
        match part {
            ".." if unknown => return None,
            ".." => {
                normal.pop();
            }
            // It may hold a slash and dots of its own; below what is known it is
            // taken for a name.
            part => {
                unknown |= is_unknown(part);
                normal.push(part);
            }
        }
    }
    Some(normal)
}

fn scope(parts: &[&str], path: &str, around: &Surroundings) -> Scope {
    // A pattern for all of a folder is the folder.
    let all = parts
        .last()
        .is_some_and(|last| matches!(*last, "*" | ".*" | "**"));
    let meant = if all {
        path.rsplit_once('/').map_or("", |(folder, _)| folder)
    } else {
        path
    };
    let below = |folder: &str| {
        path == folder
            || path
                .strip_prefix(folder)
                .is_some_and(|rest| folder.is_empty() || rest.starts_with('/'))
    };
    // What holds the workspace is not the task's, wherever that is.
    let holds_it = |path: &str| {
        around
            .workspace
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    if holds_it(meant) {
        Scope::System
    } else if meant == around.workspace {
        Scope::WorkspaceRoot
    } else if below(&around.workspace) {
        Scope::Workspace
    } else if TEMPORARY.iter().any(|folder| below(folder)) {
        Scope::Temporary
    } else if parts.first() == Some(&"dev") {
        Scope::Device
    } else if CACHES
        .iter()
        .any(|cache| below(&format!("{}/{cache}", around.home)))
    {
        Scope::Cache
    } else if below(&around.home) {
        Scope::Home
    } else {
        Scope::System
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> (Scope, FileClass) {
        let around = Surroundings::inside("/workspace/app");
        let place = place(text, Some("/workspace/app/src"), &around).unwrap();
        (place.scope, place.class)
    }

    #[test]
    fn a_path_is_placed_by_where_its_dots_lead() {
        for (text, scope) in [
            ("main.rs", Scope::Workspace),
            ("../Cargo.toml", Scope::Workspace),
            ("..", Scope::WorkspaceRoot),
            ("../*", Scope::WorkspaceRoot),
            ("../..", Scope::System),
            ("../../other", Scope::System),
            ("/", Scope::System),
            ("/tmp/x", Scope::Temporary),
            ("/tmp/../etc/passwd", Scope::System),
            ("/home/agent/notes", Scope::Home),
            ("/home/agent/.cache/x", Scope::Cache),
            ("/home/agent2", Scope::System),
            ("/dev/sda", Scope::Device),
            ("/workspace", Scope::System),
            ("/proc/self/root/etc/passwd", Scope::System),
            ("/proc/1/root/workspace/app/x", Scope::Workspace),
        ] {
            assert_eq!(found(text).0, scope, "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_placed_only_as_far_as_it_cannot_lead_elsewhere() {
        let unknown = UNKNOWN;
        assert_eq!(found(&format!("build/{unknown}/x")).0, Scope::Workspace);
        assert_eq!(found(&format!("build/{unknown}/../x")).0, Scope::Unknown);
        assert_eq!(found(&format!("{unknown}/x")).0, Scope::Unknown);
        assert_eq!(found(&format!("/{unknown}")).0, Scope::System);
    }

    #[test]
    fn devices_that_hold_nothing_are_no_place() {
        let around = Surroundings::inside("/w");
        assert_eq!(place("/dev/null", None, &around), None);
        assert_eq!(place("/dev/fd/3", None, &around), None);
        assert!(place("/dev/nvme0n1", None, &around).is_some());
    }
}
