//! The executable that this crate carries, built by its build script.

/// What becomes process 1 and, in a file of the sandbox's root, the client of agents'
/// hooks.
pub(crate) static INSIDE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/stockade-inside"));
