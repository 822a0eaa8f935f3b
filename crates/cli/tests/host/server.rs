//! An HTTP server of the host that a task knows by a name.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// What every reply holds.
pub const REPLY: &str = "from outside";

/// Request lines, each with the length of its body.
type Seen = Arc<Mutex<Vec<(String, usize)>>>;

/// A server on this machine, which ends with the test.
#[derive(Debug)]
pub struct Server {
    /// What it got.
    pub seen: Seen,
    /// The words for `--service`.
    pub service: String,
}

impl Server {
    /// A server that a task knows as `name`.
    pub fn start(name: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = format!("{name}=http://{}", listener.local_addr().unwrap());
        let seen = Seen::default();
        let keep = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let keep = Arc::clone(&keep);
                // Clients may hold a connection that they do not use.
                std::thread::spawn(move || answer(stream, &keep));
            }
        });
        Self { seen, service }
    }

    /// The request lines that it got, in order.
    pub fn lines(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(line, _)| line.clone()).collect()
    }
}

fn answer(mut stream: TcpStream, seen: &Seen) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if head.is_empty() {
            line.trim().clone_into(&mut head);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    seen.lock().unwrap().push((head, length));
    let length = REPLY.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{REPLY}"
    )
}
