//! Groups of the user that stay with a rootless agent: the kernel lets nobody
//! but root give groups up.

/// Groups that reach beyond ordinary files on common distributions.
const POWERFUL: [&str; 14] = [
    "root",
    "docker",
    "lxd",
    "libvirt",
    "kvm",
    "disk",
    "sudo",
    "wheel",
    "adm",
    "shadow",
    "input",
    "video",
    "render",
    "systemd-journal",
];

/// What to say of the caller's groups, a line each.
pub(super) fn that_matter() -> Vec<String> {
    if rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    let groups = rustix::process::getgroups().unwrap_or_default();
    let groups: Vec<u32> = groups.iter().map(|group| group.as_raw()).collect();
    let names = std::fs::read_to_string("/etc/group").unwrap_or_default();
    lines(&groups, &names)
}

/// A line for each of `groups` that matters, by the names in a text as group(5) has it.
fn lines(groups: &[u32], names: &str) -> Vec<String> {
    let name_of = |id: u32| {
        names.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(id)).then_some(name)
        })
    };
    groups
        .iter()
        .filter_map(|group| name_of(*group))
        .filter(|name| POWERFUL.contains(name))
        .map(|name| {
            format!("your group `{name}` stays with the agent; nothing it opens is shown inside")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_reach_beyond_files_are_told_and_others_are_not() {
        let names = "root:x:0:\nstaff:x:50:ann\ndocker:x:998:ann\nbroken\n";
        let told = lines(&[50, 998, 4711], names);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains("`docker` stays with the agent"),
            "{told:?}"
        );
    }
}
