//! The walls: two user namespaces, mounts by descriptor, Landlock, seccomp,
//! limits, a network that ends at captured listeners, and the checks that all
//! of it holds.
//!
//! [`Sandbox::start`] builds one through an [`anchor`] process; the
//! [`SandboxSpec`] says what it is to be, and [`files`] holds the default
//! answer to "what may an agent see of this machine". Synchronous code, small
//! processes: they fork.

pub mod anchor;
pub mod btrfs;
pub mod caps;
mod channel;
pub mod code;
mod confine;
pub mod disk;
mod error;
mod execs;
pub mod files;
mod handle;
mod identity;
mod inside;
mod kernel;
mod landlock;
pub mod layers;
mod lockdown;
mod mounts;
mod network;
pub mod probe;
mod readiness;
mod root;
mod sealed;
mod seccomp;
mod sight;
mod sources;
mod spec;
mod trust_store;
mod verify;

pub use self::{
    channel::{Channel, Received},
    confine::{HelperLimits, confine, seal},
    error::{Layer, SandboxError},
    execs::{ExecWatch, Ran, SeenExec, Words},
    handle::{ANCHOR_ARGUMENT, FreshSandbox, FreshSandboxes, InitChannel, InnerSockets, Sandbox},
    kernel::{keep_descriptors_from_children, keep_ended_children},
    network::{CAPTURE_PORT, Capture, Listeners, original_destination},
    sight::Sight,
    spec::{
        Access, BuildReport, Cover, Grant, INSIDE_HOME, INSIDE_ID, Identity, InsideFile,
        InsideLink, Isolation, Keeper, Limits, MemoryCap, SandboxSpec, Tree, WORKSPACES,
        WorkspaceMount,
    },
};
