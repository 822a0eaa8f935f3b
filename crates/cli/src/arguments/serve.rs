//! The words of servers: `serve` and `model-server`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where to listen: a path in a folder of your own
    /// [default: serve/socket in the state directory]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// How many commands may run at once, for all clients together
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = commands)]
    pub(crate) commands: usize,
    /// Run commands whatever the policies of their tasks say of them; records say so
    #[arg(long)]
    pub(crate) no_policy: bool,
    /// Only print the OpenAPI description
    #[arg(long)]
    pub(crate) describe: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ModelServer {
    /// Where to listen; port 0 is a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: std::net::SocketAddr,
    /// A built-in script (fix, hostile) or the path of one
    #[arg(long)]
    pub(crate) script: String,
    /// The key that clients must send
    #[arg(long, default_value = "sk-rehearsal")]
    pub(crate) key: String,
    /// NAME=VALUE for the script; may be repeated
    #[arg(long = "var", value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<String>,
    /// Write the base URL to this file once it listens
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Write each request to this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
}

fn commands(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        _ => Err("expected a number from 1 to 1024".to_owned()),
    }
}
