//! What of a path a sandbox shows, by its specification.

use std::path::{Component, Path, PathBuf};

use crate::{
    root::SCRATCH,
    spec::{Grant, SandboxSpec},
};

/// What stands at a path inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight<'a> {
    /// Nothing.
    Absent,
    /// Nothing of the host: it is made for the sandbox.
    Made {
        /// Where, inside.
        inside: PathBuf,
    },
    /// A folder that every sandbox has for itself and that is empty at first.
    Scratch {
        /// Where, inside.
        inside: PathBuf,
    },
    /// The agent's tree.
    Workspace {
        /// Where in it.
        below: PathBuf,
    },
    /// What a grant shows.
    Granted {
        /// Where, inside.
        inside: PathBuf,
        /// Which.
        grant: &'a Grant,
    },
    /// Something empty, below a grant that would show a secret.
    Hidden {
        /// Where, inside.
        inside: PathBuf,
        /// The grant.
        grant: &'a Grant,
        /// What of it is hidden, relative.
        hidden: &'a Path,
    },
}

/// Links of links that are followed.
const LINKS_MAX: usize = 8;

impl SandboxSpec {
    /// What `path`, absolute, is inside: as a path there, or else as one of the
    /// host, which may stand at another place.
    pub fn sight(&self, path: &Path) -> Sight<'_> {
        let path = without_dots(path);
        match self.at(self.behind_links(path.clone())) {
            Sight::Absent => self
                .moved(&path)
                .map_or(Sight::Absent, |inside| self.at(inside)),
            sight => sight,
        }
    }

    /// `path` behind the links that exist only inside.
    fn behind_links(&self, mut path: PathBuf) -> PathBuf {
        for _ in 0..LINKS_MAX {
            let link = self.links.iter().find(|link| path.starts_with(&link.path));
            let Some((link, rest)) =
                link.and_then(|link| Some((link, path.strip_prefix(&link.path).ok()?)))
            else {
                break;
            };
            let beside = link.path.parent().unwrap_or(Path::new("/"));
            path = without_dots(&beside.join(&link.to).join(rest));
        }
        path
    }

    /// Where a grant shows `path` of the host, if not at the same place.
    fn moved(&self, path: &Path) -> Option<PathBuf> {
        let grants = self.grants.iter();
        let sources = grants.filter(|grant| path.starts_with(&grant.source));
        let grant = sources.max_by_key(|grant| grant.source.as_os_str().len())?;
        Some(grant.target.join(path.strip_prefix(&grant.source).ok()?))
    }

    fn at(&self, inside: PathBuf) -> Sight<'_> {
        let covered = self.covers.iter().any(|cover| cover.over == inside);
        let client = self.clients.contains(&inside);
        if covered || client || self.files.iter().any(|file| file.path == inside) {
            return Sight::Made { inside };
        }
        if let Ok(below) = inside.strip_prefix(&self.workspace.target) {
            return Sight::Workspace {
                below: below.to_owned(),
            };
        }
        let grants = self.grants.iter();
        let grants = grants.filter(|grant| inside.starts_with(&grant.target));
        let Some(grant) = grants.max_by_key(|grant| grant.target.as_os_str().len()) else {
            return if SCRATCH.iter().any(|(path, _)| inside.starts_with(path)) {
                Sight::Scratch { inside }
            } else if inside.starts_with("/dev") || inside.starts_with("/proc") {
                Sight::Made { inside }
            } else {
                Sight::Absent
            };
        };
        let is_hidden = |hidden: &&PathBuf| inside.starts_with(grant.target.join(hidden));
        match grant.hidden.iter().find(is_hidden) {
            Some(hidden) => Sight::Hidden {
                inside,
                grant,
                hidden,
            },
            None => Sight::Granted { inside, grant },
        }
    }
}

/// The same place, as far as that can be told without looking.
fn without_dots(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                whole.pop();
            }
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use stockade_types::TaskId;

    use super::*;
    use crate::spec::{Access, Cover, InsideLink, Limits, Tree, WorkspaceMount};

    fn grant(source: &str, target: &str, hidden: &[&str]) -> Grant {
        Grant {
            source: source.into(),
            target: target.into(),
            access: Access::ReadOnly,
            hidden: hidden.iter().map(PathBuf::from).collect(),
            over: None,
        }
    }

    fn spec() -> SandboxSpec {
        SandboxSpec {
            task: TaskId::from_random(1),
            identity: None,
            grants: vec![
                grant("/usr", "/usr", &[]),
                grant("/home/me/.cargo", "/opt/cargo", &["credentials.toml"]),
                grant("/srv", "/srv", &["alice/.ssh"]),
                grant("/srv/data", "/srv/data", &[]),
            ],
            files: Vec::new(),
            links: vec![InsideLink {
                path: "/bin".into(),
                to: "usr/bin".into(),
            }],
            covers: vec![Cover {
                file: "/etc/stockade/git-file".into(),
                over: "/workspaces/it/.git".into(),
            }],
            trust_stores: Vec::new(),
            workspace: WorkspaceMount {
                target: "/workspaces/it".into(),
                tree: Tree::Directory("/state/ws".into()),
            },
            limits: Limits::default(),
            nested: false,
            watch_execs: false,
            clients: Vec::new(),
        }
    }

    #[test]
    fn the_innermost_grant_decides_and_what_is_hidden_of_it_is_named() {
        let spec = spec();
        let hidden = |path: &str| match spec.sight(Path::new(path)) {
            Sight::Hidden { hidden, .. } => Some(hidden.display().to_string()),
            _ => None,
        };
        assert_eq!(hidden("/srv/alice/.ssh/id").as_deref(), Some("alice/.ssh"));
        assert_eq!(hidden("/srv/alice/.sshd"), None);
        assert_eq!(
            hidden("/home/me/.cargo/credentials.toml").as_deref(),
            Some("credentials.toml")
        );
        assert_eq!(
            spec.sight(Path::new("/srv/data/one")),
            Sight::Granted {
                inside: "/srv/data/one".into(),
                grant: &spec.grants[3]
            }
        );
    }

    #[test]
    fn a_path_of_the_host_is_found_at_its_place_inside() {
        let spec = spec();
        let inside = |path: &str| match spec.sight(Path::new(path)) {
            Sight::Granted { inside, .. } => Some(inside),
            _ => None,
        };
        let cargo = Some("/opt/cargo/bin/cargo".into());
        assert_eq!(inside("/home/me/.cargo/bin/cargo"), cargo);
        assert_eq!(inside("/home/me/x/../.cargo/bin/./cargo"), cargo);
        assert_eq!(inside("/bin/true"), Some("/usr/bin/true".into()));
    }

    #[test]
    fn what_no_grant_shows_is_absent_unless_the_sandbox_makes_it() {
        let spec = spec();
        for absent in ["/home/me/.ssh/id", "/srv2", "/", "/root"] {
            assert_eq!(spec.sight(Path::new(absent)), Sight::Absent, "{absent}");
        }
        let inside = "/tmp/x".into();
        assert_eq!(spec.sight(Path::new("/tmp/x")), Sight::Scratch { inside });
        for made in ["/dev/null", "/proc/1", "/workspaces/it/.git"] {
            let sight = spec.sight(Path::new(made));
            assert!(matches!(sight, Sight::Made { .. }), "{made}: {sight:?}");
        }
        let below = "src/main.rs".into();
        let file = spec.sight(Path::new("/workspaces/it/src/main.rs"));
        assert_eq!(file, Sight::Workspace { below });
    }
}
