//! The way from inside to an MCP server of the task, which Stockade holds outside.
//!
//! Only the server's name is read here; whoever holds servers gets the connection.

use std::{io, os::fd::OwnedFd, time::Duration};

use stockade_types::mcp::{HEAD_SIZE, name_size};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

/// How long a client may take to say which server it wants.
const LONGEST: Duration = Duration::from_secs(5);

/// Who holds a task's MCP servers.
pub trait McpServers: Send + Sync {
    /// Joins `client`, which has said nothing yet but that it wants the server `name`, to
    /// that server, or tells it why not. Both are as they came.
    fn connect(&self, name: String, client: OwnedFd);
}

/// Reads which server `stream` wants and hands it on.
pub(crate) async fn serve(stream: TcpStream, servers: &dyn McpServers) {
    if let Ok(Ok((name, client))) = timeout(LONGEST, wanted(stream)).await {
        servers.connect(name, client);
    }
}

async fn wanted(mut stream: TcpStream) -> io::Result<(String, OwnedFd)> {
    let mut head = [0; HEAD_SIZE];
    stream.read_exact(&mut head).await?;
    let mut name = vec![0; name_size(head).ok_or(io::ErrorKind::InvalidData)?];
    stream.read_exact(&mut name).await?;
    let name = String::from_utf8(name).map_err(|_| io::ErrorKind::InvalidData)?;
    stream.set_nodelay(true)?;
    Ok((name, stream.into_std()?.into()))
}
