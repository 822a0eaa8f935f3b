//! The system call filter: everything is allowed but what is denied here.
//!
//! A call that this build does not know does not exist for the agent
//! (`ENOSYS`), so a kernel newer than Stockade opens nothing.

mod program;
mod table;

pub(crate) use self::program::Instruction;
use self::program::Program;
use crate::{
    error::{During, Layer, SandboxError},
    kernel,
};

/// Installs `filter` for this process and all it starts. Needs
/// `no_new_privs`, and cannot be undone.
pub(crate) fn install(filter: &[Instruction]) -> Result<(), SandboxError> {
    kernel::set_seccomp_filter(filter).during(Layer::Seccomp, "install the filter")
}

/// The filter's instructions; one that is `nested` lets programs make
/// sandboxes of their own.
pub(crate) fn filter(nested: bool) -> Vec<Instruction> {
    let mut rules = table::rules();
    if nested {
        table::allow_sandboxes(&mut rules);
    }
    Program::compile(&rules, table::NEWEST_KNOWN)
        .instructions()
        .to_vec()
}

/// The filter of a part of Stockade that is sealed.
pub(crate) fn filter_of_sealed() -> Vec<Instruction> {
    let mut rules = table::rules();
    table::seal(&mut rules);
    Program::compile(&rules, table::NEWEST_KNOWN)
        .instructions()
        .to_vec()
}
