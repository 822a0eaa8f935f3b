//! User namespaces and who the agent is in them.

use std::io;

use rustix::{
    process::{DumpableBehavior, Gid, Uid, set_dumpable_behavior},
    thread::UnshareFlags,
};

use crate::{
    error::{During, Layer, SandboxError},
    kernel::{self, Fork},
    spec::{INSIDE_ID, Identity},
};

/// The ids this process has now.
pub(crate) fn current() -> Identity {
    Identity {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    }
}

/// Becomes `identity` for good, without supplementary groups.
pub(crate) fn assume(identity: Identity) -> Result<(), SandboxError> {
    if identity.uid == 0 || identity.gid == 0 {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied))
            .during(Layer::Identity, "refuse to run an agent as root");
    }
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::thread::set_thread_groups(&[]).during(Layer::Identity, "drop the groups")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).during(Layer::Identity, "set the group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).during(Layer::Identity, "set the user")
}

/// Enters a new user namespace in which `outside` is [`INSIDE_ID`], along
/// with the other namespaces of `flags`.
pub(crate) fn enter_user_namespace(
    outside: Identity,
    flags: UnshareFlags,
) -> Result<(), SandboxError> {
    // A process that may not be dumped does not own its own `/proc` entries.
    set_dumpable_behavior(DumpableBehavior::Dumpable).during(Layer::Identity, "open /proc/self")?;
    kernel::unshare(UnshareFlags::NEWUSER | flags).during(Layer::UserNamespaces, "create one")?;
    let write = |name: &str, text: String| {
        std::fs::write(format!("/proc/self/{name}"), text)
            .during(Layer::UserNamespaces, format!("write {name}"))
    };
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("{INSIDE_ID} {} 1", outside.uid))?;
    write("gid_map", format!("{INSIDE_ID} {} 1", outside.gid))
}

/// Closes this process's `/proc` entries and memory to others of its user.
pub(crate) fn refuse_dumps() -> Result<(), SandboxError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during(Layer::Processes, "hide the anchor")
}

/// A user namespace that maps files of the host's root to `identity`; only
/// its mapping is used, for an id-mapped mount (mount_setattr(2)).
pub(crate) fn owner_map(identity: Identity) -> Result<rustix::fd::OwnedFd, SandboxError> {
    let (hold, release) = rustix::pipe::pipe().during(Layer::Identity, "make a pipe")?;
    let (ready, made) = rustix::pipe::pipe().during(Layer::Identity, "make a pipe")?;
    match kernel::fork().during(Layer::Identity, "start a process for the mapping")? {
        Fork::Child => {
            drop(release);
            let entered = kernel::unshare(UnshareFlags::NEWUSER).is_ok();
            let _ = rustix::io::write(&made, &[u8::from(entered)]);
            let _ = rustix::io::read(&hold, &mut [0]);
            kernel::exit_now(0)
        }
        Fork::Parent(child) => {
            drop((hold, made));
            let mut entered = [0];
            let _ = rustix::io::read(&ready, &mut entered);
            let directory = format!("/proc/{}", child.as_raw_pid());
            let map = (|| {
                if entered != [1] {
                    return Err(io::Error::other("no user namespace"));
                }
                std::fs::write(
                    format!("{directory}/uid_map"),
                    format!("0 {} 1", identity.uid),
                )?;
                std::fs::write(
                    format!("{directory}/gid_map"),
                    format!("0 {} 1", identity.gid),
                )?;
                std::fs::File::open(format!("{directory}/ns/user"))
            })();
            drop(release);
            let _ = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
            map.map(Into::into)
                .during(Layer::Identity, "map the owner of files")
        }
    }
}
