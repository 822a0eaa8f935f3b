//! The mounts of a sandbox against what was asked for (proc_pid_mountinfo(5)).

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    error::{During, Layer, SandboxError},
    root::SCRATCH,
    spec::{Access, SandboxSpec},
};

/// A place where something may be mounted.
struct Asked {
    path: PathBuf,
    /// Whether mounts below are part of it.
    below: bool,
    /// Whether nothing there may be changed.
    read_only: bool,
}

/// Refuses a mount that nobody asked for, one that can be changed and should
/// not, and the lack of one that hides the host. Returns how many there are.
pub(super) fn check(spec: &SandboxSpec, mountinfo: &str) -> Result<usize, SandboxError> {
    let asked = asked(spec);
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let (point, read_only) = parse(line)
            .ok_or_else(|| io::Error::other(format!("`{line}` is no mount")))
            .during(Layer::SelfTest, "read its mounts")?;
        let place = asked
            .iter()
            .filter(|asked| point == asked.path || asked.below && point.starts_with(&asked.path))
            .max_by_key(|asked| asked.path.components().count());
        let wrong = match place {
            None => Some("nobody asked for it"),
            Some(place) if place.read_only && !read_only => Some("it can be changed"),
            Some(_) => None,
        };
        if let Some(wrong) = wrong {
            return Err(io::Error::other(wrong))
                .during(Layer::SelfTest, format!("the mount at {}", point.display()));
        }
        found.push(point);
    }
    for path in needed(spec) {
        if !found.iter().any(|point| point == path) {
            return Err(io::Error::from(io::ErrorKind::NotFound))
                .during(Layer::SelfTest, format!("the mount at {}", path.display()));
        }
    }
    Ok(found.len())
}

/// Where the host's own would be seen if there were no mount.
fn needed(spec: &SandboxSpec) -> impl Iterator<Item = &Path> {
    let scratch = SCRATCH.iter().map(|(path, _)| Path::new(*path));
    let others = [Path::new("/"), Path::new("/proc"), &spec.workspace.target];
    scratch.chain(others)
}

fn asked(spec: &SandboxSpec) -> Vec<Asked> {
    let place = |path: &Path, below, read_only| Asked {
        path: path.to_owned(),
        below,
        read_only,
    };
    let fixed = [
        place(Path::new("/"), false, true),
        place(Path::new("/proc"), true, false),
        place(Path::new("/dev"), true, false),
        place(&spec.workspace.target, false, false),
    ];
    let scratch = SCRATCH.iter();
    let scratch = scratch.map(|(path, _)| place(Path::new(path), false, false));
    let grants = spec.grants.iter();
    let grants = grants.map(|grant| place(&grant.target, true, grant.access == Access::ReadOnly));
    let covers = spec.covers.iter().map(|cover| &cover.over);
    let covers = covers.chain(&spec.trust_stores);
    let covers = covers.map(|over| place(over, false, true));
    let all = fixed.into_iter().chain(scratch);
    all.chain(grants).chain(covers).collect()
}

/// Where a mount is, and whether nothing in it can be changed.
fn parse(line: &str) -> Option<(PathBuf, bool)> {
    let mut fields = line.split(' ').skip(4);
    let (point, options) = (fields.next()?, fields.next()?);
    let read_only = options.split(',').any(|option| option == "ro");
    Some((unescape(point), read_only))
}

/// A path in which space, tab, end of line and backslash are octal numbers.
fn unescape(text: &str) -> PathBuf {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    let plain = escapes
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    PathBuf::from(plain)
}

#[cfg(test)]
mod tests {
    use stockade_types::TaskId;

    use super::*;
    use crate::spec::{Cover, Grant, Limits, Tree, WorkspaceMount};

    const MOUNTS: &str = "\
        40 39 0:50 / / ro,relatime - tmpfs none rw,size=16384k\n\
        41 40 0:51 / /tmp rw,nosuid,nodev - tmpfs none rw\n\
        42 40 0:52 / /var/tmp rw,nosuid,nodev - tmpfs none rw\n\
        43 40 0:53 / /dev/shm rw,nosuid,nodev - tmpfs none rw\n\
        44 40 8:1 /usr /usr ro,nosuid - ext4 /dev/sda1 rw\n\
        45 44 8:2 / /usr/local ro,nosuid - ext4 /dev/sda2 rw\n\
        46 40 8:1 /home/me/a\\040b /opt/a\\040b rw,nosuid - ext4 /dev/sda1 rw\n\
        47 40 0:54 / /proc rw,nosuid,nodev,noexec - proc none rw\n\
        48 47 0:54 /sys /proc/sys ro,nosuid,nodev,noexec - proc none rw\n\
        49 40 0:5 /null /dev/null rw,nosuid,noexec - devtmpfs none rw\n\
        50 40 0:55 / /workspace/project rw,nosuid,nodev - overlay none rw\n\
        51 50 0:50 /x /workspace/project/.git ro,nosuid - tmpfs none rw\n";

    fn spec() -> SandboxSpec {
        let grant = |target: &str, access| Grant {
            source: "/source".into(),
            target: target.into(),
            access,
            hidden: Vec::new(),
            over: None,
        };
        SandboxSpec {
            task: TaskId::from_random(1),
            identity: None,
            grants: vec![
                grant("/usr", Access::ReadOnly),
                grant("/opt/a b", Access::ReadWrite),
            ],
            files: Vec::new(),
            links: Vec::new(),
            covers: vec![Cover {
                file: "/etc/stockade/git".into(),
                over: "/workspace/project/.git".into(),
            }],
            trust_stores: Vec::new(),
            workspace: WorkspaceMount {
                target: "/workspace/project".into(),
                tree: Tree::Directory("/tree".into()),
            },
            limits: Limits::default(),
            nested: false,
            watch_execs: false,
            clients: Vec::new(),
        }
    }

    fn refused(mounts: &str) -> String {
        let error = check(&spec(), mounts).unwrap_err();
        format!("{}: {}", error.step, error.cause)
    }

    #[test]
    fn mounts_as_they_were_asked_for_pass() {
        assert_eq!(check(&spec(), MOUNTS).unwrap(), 12);
    }

    #[test]
    fn g1_a_mount_too_many_one_that_can_be_changed_and_one_too_few_are_refused() {
        let more = format!("{MOUNTS}60 40 8:1 / /mnt ro - ext4 /dev/sda1 rw\n");
        assert_eq!(refused(&more), "the mount at /mnt: nobody asked for it");
        let below = format!("{MOUNTS}60 41 8:1 / /tmp/host rw - ext4 /dev/sda1 rw\n");
        assert_eq!(
            refused(&below),
            "the mount at /tmp/host: nobody asked for it"
        );
        for (mount, at) in [
            ("/ / ro", "/"),
            ("/usr /usr ro", "/usr"),
            ("/ /usr/local ro", "/usr/local"),
            ("/x /workspace/project/.git ro", "/workspace/project/.git"),
        ] {
            let open = MOUNTS.replace(mount, &mount.replace(" ro", " rw"));
            assert_ne!(open, MOUNTS);
            assert_eq!(
                refused(&open),
                format!("the mount at {at}: it can be changed")
            );
        }
        for needed in ["/", "/tmp", "/proc", "/workspace/project"] {
            let lines = MOUNTS.lines();
            let fewer: Vec<&str> = lines
                .filter(|line| line.split(' ').nth(4) != Some(needed))
                .collect();
            let said = refused(&fewer.join("\n"));
            assert!(
                said.starts_with(&format!("the mount at {needed}: ")),
                "{said}"
            );
        }
        assert!(refused("nonsense").starts_with("read its mounts"));
    }
}
