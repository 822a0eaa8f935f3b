//! A client of the legacy era.

use std::{
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

/// A server that was started and has told its tools.
pub(crate) struct Client {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    line: String,
    call: String,
}

impl Client {
    #[expect(
        clippy::disallowed_methods,
        reason = "what is measured is started here"
    )]
    pub(crate) fn start(words: &[String], state: &Path) -> io::Result<Self> {
        let (program, words) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = Command::new(program)
            .args(words)
            .env("STOCKADE_STATE_DIR", state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let argument = "an argument of text ".repeat(1024 / 20);
        let call = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "echo", "arguments": { "text": argument } } });
        let mut client = Self {
            child,
            input,
            output: BufReader::new(output),
            line: String::new(),
            call: format!("{call}\n"),
        };
        let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "bench", "version": "1" } } });
        client.send(&format!("{hello}\n"))?;
        client.hear()?;
        client.send("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/list\"}\n")?;
        client.hear()?;
        Ok(client)
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(text.as_bytes())
    }

    fn hear(&mut self) -> io::Result<()> {
        self.line.clear();
        match self.output.read_line(&mut self.line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ if self.line.contains("\"error\"") => Err(io::Error::other(self.line.clone())),
            _ => Ok(()),
        }
    }

    /// How long one call takes.
    pub(crate) fn call(&mut self) -> io::Result<Duration> {
        let call = self.call.clone();
        let begun = Instant::now();
        self.send(&call)?;
        self.hear()?;
        Ok(begun.elapsed())
    }

    /// So many calls, of which so many are on their way at once.
    pub(crate) fn call_many(&mut self, count: usize, at_once: usize) -> io::Result<()> {
        let calls = (0..count).map(|id| {
            self.call
                .replace("\"id\":7", &format!("\"id\":{}", id + 100))
        });
        let calls: Vec<_> = calls.collect();
        for (sent, call) in calls.iter().enumerate() {
            self.send(call)?;
            if sent >= at_once {
                self.hear()?;
            }
        }
        (0..at_once.min(count)).try_for_each(|_| self.hear())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.input = None;
        let _ = self.child.wait();
    }
}
