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
    let names = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let name_of = |id: u32| {
        names.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(id)).then_some(name)
        })
    };
    groups
        .iter()
        .filter_map(|group| name_of(group.as_raw()))
        .filter(|name| POWERFUL.contains(name))
        .map(|name| {
            format!("your group `{name}` stays with the agent; nothing it opens is shown inside")
        })
        .collect()
}
