use std::{
    fs, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use super::{Probe, mounts, setting};

const NAME: &str = "caps on memory and processor";
/// The controllers that caps need.
const WANTED: [&str; 3] = ["cpu", "memory", "pids"];

/// A control group hierarchy, and where this process is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    /// Version 2, with all controllers in one.
    unified: bool,
    /// Controllers of a version 1 hierarchy.
    controllers: Vec<String>,
    /// This process's own group.
    own: PathBuf,
}

/// Where groups with caps of their own could be made.
///
/// This version makes none, whatever is found; so it is never reported as
/// more than a weaker machine.
pub(super) fn probe() -> Probe {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let hierarchies = hierarchies(&groups, &mounts());
    let (found, fix) = delegated(&hierarchies)
        .map(|found| (found, None))
        .or_else(|| user_manager().map(|found| (found, None)))
        .or_else(|| version_1(&hierarchies).map(|found| (found, None)))
        .unwrap_or_else(|| (none(&hierarchies), delegation()));
    Probe::weaker(
        NAME,
        found,
        "the strength of these caps is `none` in this version: a task can use all memory and \
         processor time; processes, open files, file sizes and time are capped",
    )
    .fix(fix)
}

/// Version 2 with controllers passed down to a group that can be made here.
fn delegated(hierarchies: &[Hierarchy]) -> Option<String> {
    let unified = hierarchies.iter().find(|hierarchy| hierarchy.unified)?;
    let group = Group::create(&unified.own).ok()?;
    let passed = setting(&group.0.join("cgroup.controllers").to_string_lossy())?;
    let passed = wanted(passed.split(' '));
    (!passed.is_empty()).then(|| format!("cgroup v2 is delegated here ({})", passed.join(", ")))
}

/// A user manager that answers and has controllers to give.
fn user_manager() -> Option<String> {
    let user = rustix::process::getuid().as_raw();
    UnixStream::connect(format!("/run/user/{user}/systemd/private")).ok()?;
    let controllers = setting(&format!(
        "/sys/fs/cgroup/user.slice/user-{user}.slice/user@{user}.service/cgroup.controllers"
    ))?;
    let given = wanted(controllers.split(' '));
    (!given.is_empty()).then(|| {
        let given = given.join(", ");
        format!("cgroup v2: the user manager answers and can delegate {given}")
    })
}

/// Version 1 controllers in which a group can be made.
fn version_1(hierarchies: &[Hierarchy]) -> Option<String> {
    let writable = hierarchies.iter().filter(|hierarchy| !hierarchy.unified);
    let writable = writable.filter(|hierarchy| {
        let names = hierarchy.controllers.iter().map(String::as_str);
        !wanted(names).is_empty() && Group::create(&hierarchy.own).is_ok()
    });
    let names: Vec<&str> = writable
        .flat_map(|hierarchy| hierarchy.controllers.iter().map(String::as_str))
        .collect();
    let names = wanted(names.into_iter());
    (!names.is_empty()).then(|| format!("cgroup v1 is writable ({})", names.join(", ")))
}

fn none(hierarchies: &[Hierarchy]) -> String {
    let there = match (
        hierarchies.iter().any(|hierarchy| hierarchy.unified),
        hierarchies.iter().any(|hierarchy| !hierarchy.unified),
    ) {
        (false, false) => return "no control groups are mounted".to_owned(),
        (true, false) => "v2",
        (false, true) => "v1",
        (true, true) => "v1 and v2",
    };
    format!("cgroup {there}, in which you may make no group with these controllers")
}

/// How an administrator delegates, where systemd runs.
fn delegation() -> Option<String> {
    let fix = "sudo mkdir -p /etc/systemd/system/user@.service.d && printf \
     '[Service]\\nDelegate=cpu memory pids\\n' | sudo tee \
     /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload, then log \
     in anew";
    Path::new("/run/systemd/system")
        .exists()
        .then(|| fix.to_owned())
}

fn wanted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'static str> {
    let names: Vec<&str> = names.collect();
    let mut wanted = WANTED.to_vec();
    wanted.retain(|name| names.contains(name));
    wanted
}

/// A group of the probe's own, removed when dropped.
struct Group(PathBuf);

impl Group {
    fn create(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!("stockade-probe-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// The hierarchies of `/proc/self/cgroup` that `/proc/self/mountinfo` shows
/// (cgroups(7)).
fn hierarchies(groups: &str, mountinfo: &str) -> Vec<Hierarchy> {
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
            let own = mountinfo
                .lines()
                .find_map(|mount| place(mount, &controllers, path))?;
            Some(Hierarchy {
                unified: names.is_empty(),
                controllers,
                own,
            })
        })
        .collect()
}

/// Where the group `path` is, if `mount` shows its hierarchy.
fn place(mount: &str, controllers: &[String], path: &str) -> Option<PathBuf> {
    let (before, after) = mount.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (before.next()?, before.next()?);
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
    (shown && !path.contains("/..")).then(|| Path::new(point).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str =
        "28 25 0:25 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn ones_own_group_is_found_in_a_unified_hierarchy() {
        let own = hierarchies("0::/user.slice/user-1000.slice/session-1.scope\n", UNIFIED);
        assert_eq!(
            own,
            [Hierarchy {
                unified: true,
                controllers: Vec::new(),
                own: "/sys/fs/cgroup/user.slice/user-1000.slice/session-1.scope".into(),
            }]
        );
    }

    #[test]
    fn version_1_hierarchies_are_found_by_their_controllers() {
        let mountinfo = "\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
            35 31 0:32 /docker/a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let own = hierarchies(
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
        assert_eq!(hierarchies("0::/../../other\n", UNIFIED), []);
        let elsewhere = UNIFIED.replace(" / /sys", " /docker/a /sys");
        assert_eq!(hierarchies("0::/docker/b\n", &elsewhere), []);
    }
}
