//! The client's side of HTTP, as much of it as the tests need.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    path::Path,
};

use serde_json::Value;

use crate::host::LONGEST;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    /// The document of an answer with this status.
    pub(crate) fn done(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_str(&self.body).unwrap()
    }

    /// The problem of an answer with this status, whose kind is `kind`.
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(problem["type"], format!("urn:stockade:problem:{kind}"));
        assert_eq!(problem["status"], status);
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        problem
    }
}

/// A request that was sent, and a connection on which the answer comes.
#[derive(Debug)]
pub(crate) struct Open(BufReader<UnixStream>);

/// A connection to the socket at `path`, which may be longer than names of
/// sockets are.
pub(crate) fn connect(path: &Path) -> std::io::Result<UnixStream> {
    let folder = File::open(path.parent().unwrap())?;
    let name = path.file_name().unwrap().to_str().unwrap();
    let stream = UnixStream::connect(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))?;
    stream.set_read_timeout(Some(LONGEST))?;
    Ok(stream)
}

impl Open {
    pub(crate) fn ask(
        socket: &Path,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&str>,
    ) -> Self {
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        text += "connection: close\r\n";
        for (name, value) in headers {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if let Some(body) = body {
            let _ = write!(text, "content-length: {}\r\n", body.len());
        }
        text += "\r\n";
        text += body.unwrap_or_default();
        Self::raw(socket, text.as_bytes())
    }

    /// Sends another request on the same connection, once the last answer was
    /// read whole; unless the first said otherwise it stays open.
    pub(crate) fn again(&mut self, path: &str) -> Value {
        let text = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
        let (status, headers) = self.head();
        assert_eq!(status, 200);
        let mut body = vec![0; headers["content-length"].parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    /// Sends these bytes, as far as they are taken.
    pub(crate) fn raw(socket: &Path, bytes: &[u8]) -> Self {
        let mut stream = connect(socket).unwrap();
        // A server that refuses need not read it all.
        let _ = stream.write_all(bytes);
        Self(BufReader::new(stream))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Status and headers.
    pub(crate) fn head(&mut self) -> (u16, BTreeMap<String, String>) {
        let status = self.line();
        let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line();
            match line.split_once(": ") {
                Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
                None => break,
            };
        }
        (code.unwrap_or_else(|| panic!("{status:?}")), headers)
    }

    /// The next chunk of a body without a length; `None` at its end.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let length = usize::from_str_radix(&self.line(), 16).unwrap_or(0);
        let mut chunk = vec![0; length];
        self.0.read_exact(&mut chunk).unwrap();
        self.line();
        (length > 0).then_some(chunk)
    }

    /// All of the answer.
    pub(crate) fn finish(mut self) -> Answer {
        let (status, headers) = self.head();
        let mut body = Vec::new();
        if headers.contains_key("transfer-encoding") {
            while let Some(chunk) = self.chunk() {
                body.extend(chunk);
            }
        } else {
            let length = headers.get("content-length");
            body.resize(length.map_or(0, |length| length.parse().unwrap()), 0);
            self.0.read_exact(&mut body).unwrap();
        }
        Answer {
            status,
            headers,
            body: String::from_utf8(body).unwrap(),
        }
    }
}
