//! What a client of MCP starts inside as its server: leads to the one outside, which
//! Stockade holds.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    process::ExitCode,
    time::Duration,
};

use stockade_types::mcp::{ADDRESS, ANSWER_SIZE, answered, asked};

/// The name under which the executable does this.
pub(crate) const NAME: &str = "mcp";
/// How long the server's sandbox may take to stand.
const LONGEST: Duration = Duration::from_secs(30);

/// Moves lines between the caller and the server that `words` name.
pub(crate) fn run(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let name = words.next().and_then(|word| word.into_string().ok());
    let connected = name
        .ok_or_else(|| "it is started without the server's name".to_owned())
        .and_then(|name| connect(&name));
    match connected.and_then(|server| relay(server).map_err(|error| error.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let line = format!("Stockade has no MCP server here: {reason}.\n");
            let _ = io::stderr().write_all(line.as_bytes());
            ExitCode::FAILURE
        }
    }
}

/// A connection to the server `name`.
fn connect(name: &str) -> Result<TcpStream, String> {
    let asked = asked(name).ok_or("the server's name is too long")?;
    let unreached = |_| "nobody outside answers".to_owned();
    let mut server = TcpStream::connect_timeout(&ADDRESS.into(), LONGEST).map_err(unreached)?;
    // Lines are short, and the other side waits for each.
    let _ = server.set_nodelay(true);
    server.set_read_timeout(Some(LONGEST)).map_err(unreached)?;
    server.write_all(&asked).map_err(unreached)?;
    let mut answer = [0; ANSWER_SIZE];
    server.read_exact(&mut answer).map_err(unreached)?;
    match answered(answer).ok_or("nobody outside answers")? {
        Ok(()) => {
            server.set_read_timeout(None).map_err(unreached)?;
            Ok(server)
        }
        Err(length) => {
            let mut reason = vec![0; length];
            server.read_exact(&mut reason).map_err(unreached)?;
            Err(String::from_utf8_lossy(&reason).into_owned())
        }
    }
}

/// Moves bytes both ways until the server is gone, or the caller and then the server.
fn relay(mut server: TcpStream) -> io::Result<()> {
    let mut to_server = server.try_clone()?;
    std::thread::Builder::new().spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut to_server);
        // The server hears that nobody asks any more.
        let _ = to_server.shutdown(Shutdown::Write);
    })?;
    let mut output = io::stdout().lock();
    let mut piece = [0; 16 * 1024];
    loop {
        match server.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                output.write_all(&piece[..length])?;
                output.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
