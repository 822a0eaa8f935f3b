//! Caps that the user's systemd keeps: where this process may make no group, it
//! asks that one for a transient scope (org.freedesktop.systemd1(5),
//! systemd.scope(5)).

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use stockade_types::TaskId;

use super::{
    Controller, Hierarchy,
    bus::{Bus, Method, Property, Values, text},
    hierarchies,
    hierarchy::{hierarchies_of, passes_on},
};

/// How long the manager may take in all; then it counts as absent.
const LONGEST: Duration = Duration::from_secs(1);
/// How long is waited between two looks at where a process is.
const PAUSE: Duration = Duration::from_millis(2);
/// Where a user is named whose manager lives on when he has logged out
/// (loginctl(1)). That of another ends with his last session, and with it
/// every scope; a task outlives its terminal.
const LINGERING: &str = "/var/lib/systemd/linger";

/// The user's manager, asked and willing.
#[derive(Debug)]
pub(super) struct UserManager {
    bus: Bus,
    /// Its own group.
    group: PathBuf,
}

impl UserManager {
    /// The manager of this process's user, if there is one that lives on.
    pub(super) fn find() -> io::Result<Self> {
        let user = rustix::process::geteuid().as_raw();
        if !lingers(user) {
            return Err(io::Error::other(
                "the user's systemd ends with the last session (`loginctl enable-linger`)",
            ));
        }
        let top = hierarchies().into_iter().find(|found| found.unified);
        let top = top.ok_or_else(|| io::Error::other("cgroup v2 is not mounted"))?;
        Self::at(
            &Path::new("/run/user").join(user.to_string()).join("bus"),
            &top,
        )
    }

    /// The manager at the bus `socket`, in the hierarchy `unified`.
    fn at(socket: &Path, unified: &Hierarchy) -> io::Result<Self> {
        let mut bus = Bus::connect(socket, LONGEST)?;
        let get = Method {
            interface: "org.freedesktop.DBus.Properties",
            member: "Get",
            ..MANAGER
        };
        let property = Values::default()
            .string(MANAGER.interface)
            .string("ControlGroup");
        let reply = bus.call(get, &property)?;
        let path = text(&reply).ok_or_else(|| io::Error::other("it is in no group"))?;
        let below = Path::new(&path)
            .strip_prefix("/")
            .map_err(io::Error::other)?;
        Ok(Self {
            bus,
            group: unified.top.join(below),
        })
    }

    /// Whether the kernel lets it cap this.
    pub(super) fn caps(&self, controller: Controller) -> bool {
        passes_on(&self.group, controller.name())
    }

    /// Has `process` moved into a scope with these properties; its group, once
    /// the process is there.
    pub(super) fn start_scope(
        &mut self,
        task: &TaskId,
        process: u32,
        caps: &[(&str, u64)],
    ) -> io::Result<PathBuf> {
        let name = format!("stockade-{task}-{process}.scope");
        let mut properties = vec![
            (
                "Description",
                Property::Text(format!("Stockade task {task}")),
            ),
            (
                "CollectMode",
                Property::Text("inactive-or-failed".to_owned()),
            ),
            ("PIDs", Property::Processes(process)),
        ];
        properties.extend(
            caps.iter()
                .map(|(cap, most)| (*cap, Property::Number(*most))),
        );
        let start = Method {
            member: "StartTransientUnit",
            ..MANAGER
        };
        let values = Values::default().string(&name).string("fail");
        let values = values.properties(&properties).no_units();
        self.bus.call(start, &values)?;
        // The reply only says that it will be done.
        let deadline = Instant::now() + LONGEST;
        while Instant::now() < deadline {
            if let Some(group) = group_of(process)
                && group.file_name().is_some_and(|found| *found == *name)
            {
                return Ok(group);
            }
            std::thread::sleep(PAUSE);
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("it did not move a process into {name}"),
        ))
    }
}

const MANAGER: Method<'static> = Method {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "",
};

/// Where a process is in the unified hierarchy.
pub(super) fn group_of(process: u32) -> Option<PathBuf> {
    let found = hierarchies_of(&process.to_string());
    let unified = found.into_iter().find(|hierarchy| hierarchy.unified);
    unified.map(|hierarchy| hierarchy.own)
}

fn lingers(user: u32) -> bool {
    let Ok(users) = fs::read_to_string("/etc/passwd") else {
        return false;
    };
    let user = user.to_string();
    users.lines().any(|line| {
        let mut fields = line.split(':');
        let name = fields.next().unwrap_or_default();
        fields.nth(1) == Some(user.as_str()) && Path::new(LINGERING).join(name).exists()
    })
}

#[cfg(test)]
mod tests;
