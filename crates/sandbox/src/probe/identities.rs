use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{Probe, STAND_IN, WALL, child::in_child, words};
use crate::identity;

/// The name of this probe.
pub(super) const NAME: &str = "a user id for each task";
/// Where distributions keep the program that maps subordinate ids.
const MAPPERS: [&str; 2] = ["/usr/bin/newuidmap", "/usr/local/bin/newuidmap"];

/// As root, a task becomes a user of its own; otherwise it stays the caller.
pub(super) fn probe(root: bool) -> Probe {
    if root { as_root() } else { ordinary() }
}

fn as_root() -> Probe {
    match in_child(|| identity::assume(STAND_IN)) {
        Ok(()) => Probe::works(
            NAME,
            "root gives each task a user and group of its own",
            WALL,
        ),
        Err(error) => Probe::missing(NAME, words(&error)).fix(
            "this root cannot become other users (it is a container's, or a user namespace's); \
             run Stockade as an ordinary user, or as real root"
                .to_owned(),
        ),
    }
}

fn ordinary() -> Probe {
    let user = rustix::process::getuid().as_raw();
    let range = fs::read_to_string("/etc/subuid")
        .ok()
        .and_then(|text| first_range(&text, user, name_of(user).as_deref()));
    let mapper = MAPPERS
        .iter()
        .map(PathBuf::from)
        .find(|path| may_raise(path));
    let detail = match (mapper, range) {
        (Some(mapper), Some((first, count))) => format!(
            "{} and {count} subordinate ids from {first} are there, but this version does not use \
             them",
            mapper.display()
        ),
        (Some(_), None) => "newuidmap is there, but /etc/subuid has no ids for you".to_owned(),
        (None, Some(_)) => "/etc/subuid has ids for you, but newuidmap is not there".to_owned(),
        (None, None) => "neither newuidmap nor ids in /etc/subuid are there".to_owned(),
    };
    Probe::weaker(
        NAME,
        detail,
        "every task keeps your user id and groups, as the contract says: if a wall failed, what \
         is yours would be open to it",
    )
}

/// Whether a program can map ids that its caller may not: setuid, or with a
/// file capability.
fn may_raise(program: &Path) -> bool {
    const SETUID: u32 = 0o4000;
    let setuid = fs::metadata(program).is_ok_and(|found| found.permissions().mode() & SETUID != 0);
    setuid || rustix::fs::getxattr(program, "security.capability", &mut [0; 64]).is_ok()
}

fn name_of(user: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, id) = (fields.next()?, fields.nth(1)?);
        (id.parse() == Ok(user)).then(|| name.to_owned())
    })
}

/// The first range that a file such as `/etc/subuid` gives to a user, by name
/// or number (subuid(5)).
fn first_range(text: &str, user: u32, name: Option<&str>) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let mine = Some(owner) == name || owner.parse() == Ok(user);
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (mine && count > 0).then_some((first, count))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_found_by_name_or_number_and_only_ones_own() {
        let text = "other:100000:65536\nme:165536:65536\n1001:231072:65536\nbroken\n";
        assert_eq!(first_range(text, 1000, Some("me")), Some((165_536, 65_536)));
        assert_eq!(
            first_range(text, 1001, Some("you")),
            Some((231_072, 65_536))
        );
        assert_eq!(first_range(text, 1002, None), None);
        assert_eq!(first_range("me:1:0\n", 1000, Some("me")), None);
    }
}
