//! Git's own server over HTTP.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Command, Stdio},
};

use super::{Host, skip};

/// A server of bare repositories, which ends with the test.
#[derive(Debug)]
pub struct GitServer {
    /// Where it is.
    pub url: String,
}

impl GitServer {
    /// Serves the bare repositories in `root` to anybody, who may push; nothing where
    /// git cannot.
    pub fn start(host: &Host, root: PathBuf) -> Option<Self> {
        Self::asking_for(host, root, None)
    }

    /// Serves them to whoever sends this `Authorization`, and asks others for it.
    pub fn asking_for(host: &Host, root: PathBuf, login: Option<&str>) -> Option<Self> {
        let login = login.map(str::to_owned);
        let programs = PathBuf::from(host.git(&["--exec-path"]).trim());
        if !programs.join("git-http-backend").exists() {
            skip("git over HTTP", "this git has no http-backend");
            return None;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let backend = {
            let mut backend = host.other_command("git");
            backend.arg("http-backend").env("GIT_PROJECT_ROOT", root);
            backend
                .env("GIT_HTTP_EXPORT_ALL", "1")
                .env("REMOTE_USER", "anybody");
            backend
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null());
            std::sync::Mutex::new(backend)
        };
        // It ends with the test.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = serve(stream, &mut backend.lock().unwrap(), login.as_deref());
            }
        });
        Some(Self { url })
    }
}

/// One request by the rules of CGI.
fn serve(mut stream: TcpStream, backend: &mut Command, login: Option<&str>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let (path, query) = words[1].split_once('?').unwrap_or((&words[1], ""));
    backend
        .env("REQUEST_METHOD", &words[0])
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query);
    let (mut length, mut known) = (0, login.is_none());
    for name in [
        "CONTENT_TYPE",
        "CONTENT_LENGTH",
        "HTTP_CONTENT_ENCODING",
        "HTTP_GIT_PROTOCOL",
    ] {
        backend.env_remove(name);
    }
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "authorization" => known |= Some(value) == login,
            "content-type" => drop(backend.env("CONTENT_TYPE", value)),
            "content-encoding" => drop(backend.env("HTTP_CONTENT_ENCODING", value)),
            "git-protocol" => drop(backend.env("HTTP_GIT_PROTOCOL", value)),
            "content-length" => {
                length = value.parse().unwrap_or(0);
                backend.env("CONTENT_LENGTH", value);
            }
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if !known {
        return stream.write_all(
            b"HTTP/1.1 401 Who\r\nwww-authenticate: Basic realm=\"git\"\r\ncontent-length: 0\r\n\
              connection: close\r\n\r\n",
        );
    }
    let mut running = backend.spawn()?;
    running.stdin.take().unwrap().write_all(&body)?;
    let reply = running.wait_with_output()?.stdout;
    let status = reply
        .strip_prefix(b"Status: ")
        .map(|rest| rest[..3].to_vec());
    let status = status.unwrap_or_else(|| b"200".to_vec());
    stream.write_all(
        &[
            b"HTTP/1.1 ",
            &status[..],
            b" CGI\r\nconnection: close\r\n",
            &reply[..],
        ]
        .concat(),
    )
}
