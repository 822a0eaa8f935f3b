//! The resolver that the sandbox sees. It answers every well-formed name with
//! a made-up address and asks nobody, so that no byte can leave as a question
//! and a refused host still gets as far as a sentence that says why.

mod names;
mod server;
mod wire;

pub(crate) use self::{
    names::{FakeAddresses, is_fake},
    server::{serve_tcp, serve_udp},
};
