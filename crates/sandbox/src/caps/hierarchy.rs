//! Where control groups can be made (cgroups(7)).

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

/// What a group can cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Controller {
    /// Bytes of memory.
    Memory,
    /// Processor time.
    Processors,
    /// Processes and threads.
    Processes,
}

impl Controller {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::Processors, Self::Processes];

    /// As the kernel names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processors => "cpu",
            Self::Processes => "pids",
        }
    }
}

/// A control group hierarchy, and where this process is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Version 2, with all controllers in one.
    pub(crate) unified: bool,
    /// Controllers of a version 1 hierarchy.
    pub(crate) controllers: Vec<String>,
    /// Where it is mounted.
    pub(crate) top: PathBuf,
    /// This process's own group.
    pub(crate) own: PathBuf,
}

impl Hierarchy {
    /// The folder in which this process may make a group with `controller`
    /// and move processes of its own into it.
    pub(crate) fn place(&self, controller: Controller) -> Option<&Path> {
        let name = controller.name();
        if !self.unified {
            let controls = self.controllers.iter().any(|known| known == name);
            return (controls && may_change(&self.own)).then_some(&self.own);
        }
        // A group with processes of its own passes no controller on, but one
        // above it may; moving from one to another below it takes the right
        // to write its `cgroup.procs`.
        self.own.ancestors().find(|folder| {
            folder.starts_with(&self.top)
                && passes_on(folder, name)
                && may_change(folder)
                && access(folder.join("cgroup.procs"), Access::WRITE_OK).is_ok()
        })
    }
}

/// Whether groups below `folder` can cap this.
pub(crate) fn passes_on(folder: &Path, controller: &str) -> bool {
    fs::read_to_string(folder.join("cgroup.subtree_control"))
        .is_ok_and(|passed| passed.split_whitespace().any(|name| name == controller))
}

fn may_change(folder: &Path) -> bool {
    access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// The hierarchies that this process is in and can see.
pub(crate) fn hierarchies() -> Vec<Hierarchy> {
    hierarchies_of("self")
}

/// Those that another process is in, and this one can see.
pub(crate) fn hierarchies_of(process: &str) -> Vec<Hierarchy> {
    let read = |name: &str| fs::read_to_string(name).unwrap_or_default();
    let groups = read(&format!("/proc/{process}/cgroup"));
    parse(&groups, &read("/proc/self/mountinfo"))
}

/// The hierarchies of `/proc/self/cgroup` that `/proc/self/mountinfo` shows.
fn parse(groups: &str, mountinfo: &str) -> Vec<Hierarchy> {
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (names, path) = (fields.next()?, fields.next()?);
            let controllers: Vec<String> = names
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect();
            let (top, own) = mountinfo
                .lines()
                .find_map(|mount| place(mount, &controllers, path))?;
            Some(Hierarchy {
                unified: names.is_empty(),
                controllers,
                top,
                own,
            })
        })
        .collect()
}

/// Where a hierarchy is mounted and where the group `path` is in it, if
/// `mount` shows it.
fn place(mount: &str, controllers: &[String], path: &str) -> Option<(PathBuf, PathBuf)> {
    let (before, after) = mount.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, Path::new(before.next()?));
    let mut after = after.split(' ');
    let (kind, options) = (after.next()?, after.nth(1)?);
    let shown = if controllers.is_empty() {
        kind == "cgroup2"
    } else {
        let mut options = options.split(',');
        kind == "cgroup" && options.any(|option| controllers.iter().any(|name| name == option))
    };
    // Outside of what is mounted, the path says `/..`.
    let below = Path::new(path).strip_prefix(root).ok()?;
    (shown && !path.contains("/..")).then(|| (point.to_owned(), point.join(below)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str =
        "28 25 0:25 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn ones_own_group_is_found_in_a_unified_hierarchy() {
        let own = parse("0::/user.slice/user-1000.slice/session-1.scope\n", UNIFIED);
        assert_eq!(
            own,
            [Hierarchy {
                unified: true,
                controllers: Vec::new(),
                top: "/sys/fs/cgroup".into(),
                own: "/sys/fs/cgroup/user.slice/user-1000.slice/session-1.scope".into(),
            }]
        );
    }

    #[test]
    fn version_1_hierarchies_are_found_by_their_controllers() {
        let mountinfo = "\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            35 31 0:32 /docker/a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let own = parse(
            "4:memory:/docker/a\n1:cpu,cpuacct:/x\n9:name=systemd:/\n",
            mountinfo,
        );
        let places: Vec<&Path> = own.iter().map(|hierarchy| &*hierarchy.own).collect();
        assert_eq!(
            places,
            [
                Path::new("/sys/fs/cgroup/memory"),
                Path::new("/sys/fs/cgroup/cpu,cpuacct/x"),
            ]
        );
    }

    #[test]
    fn a_group_outside_of_what_is_mounted_is_not_guessed() {
        assert_eq!(parse("0::/../../other\n", UNIFIED), []);
        let elsewhere = UNIFIED.replace(" / /sys", " /docker/a /sys");
        assert_eq!(parse("0::/docker/b\n", &elsewhere), []);
    }

    /// A folder with the files that decide whether groups can be made in it.
    fn folder(path: &Path, passes_on: &str) {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("cgroup.subtree_control"), passes_on).unwrap();
        fs::write(path.join("cgroup.procs"), "").unwrap();
    }

    #[test]
    fn in_version_2_a_group_is_made_in_the_nearest_folder_that_passes_the_controller_on() {
        let top = tempfile::tempdir().unwrap();
        let manager = top.path().join("user@1000.service");
        let own = manager.join("app.slice/terminal.scope");
        folder(top.path(), "cpu memory pids\n");
        folder(&manager, "memory pids\n");
        folder(&manager.join("app.slice"), "");
        folder(&own, "");
        let hierarchy = Hierarchy {
            unified: true,
            controllers: Vec::new(),
            top: top.path().to_owned(),
            own,
        };
        assert_eq!(hierarchy.place(Controller::Memory), Some(&*manager));
        assert_eq!(hierarchy.place(Controller::Processors), Some(top.path()));
    }
}
