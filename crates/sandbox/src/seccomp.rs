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

/// Installs the filter for this process and all it starts; one that is
/// `nested` lets them make sandboxes of their own. Needs `no_new_privs`, and
/// cannot be undone.
pub(crate) fn install(nested: bool) -> Result<(), SandboxError> {
    let mut rules = table::rules();
    if nested {
        table::allow_sandboxes(&mut rules);
    }
    let program = Program::compile(&rules, table::NEWEST_KNOWN);
    kernel::set_seccomp_filter(program.instructions()).during(Layer::Seccomp, "install the filter")
}

/// The filter's instructions, for a child that installs it itself.
pub(crate) fn filter() -> Vec<Instruction> {
    Program::compile(&table::rules(), table::NEWEST_KNOWN)
        .instructions()
        .to_vec()
}

/// The same with no way to start a program either.
pub(crate) fn filter_without_exec() -> Vec<Instruction> {
    let mut rules = table::rules();
    table::deny_exec(&mut rules);
    Program::compile(&rules, table::NEWEST_KNOWN)
        .instructions()
        .to_vec()
}
