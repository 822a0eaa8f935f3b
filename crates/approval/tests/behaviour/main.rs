//! The room as its callers see it: questions, answers, and the signatures that
//! OpenSSH and a security key make.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a step of a test that fails fails the test; what the machine lacks is said"
)]

mod device;
mod openssh;
mod queue;
