//! Lines of JSON over a stream socket.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
};

use rustix::net::{RecvFlags, SendFlags};
use serde::Serialize;

use super::LINE_MAX;

/// How much is read at once.
const PIECE: usize = 16 * 1024;

/// A socket and what of it was read beyond the last whole line.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The socket, for writing whole answers to.
    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Waits for the next line; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.received() {
                return Ok(Some(line));
            }
            let mut piece = [0; PIECE];
            match self.stream.read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(length) => self.take(piece.get(..length).unwrap_or_default())?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A line that has arrived.
    pub(crate) fn received(&mut self) -> Option<Vec<u8>> {
        let end = self.buffer.iter().position(|byte| *byte == b'\n')?;
        let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
        line.pop();
        Some(line)
    }

    /// Takes what has arrived, without waiting. The end is an error.
    pub(crate) fn receive(&mut self) -> io::Result<()> {
        let mut piece = [0; PIECE];
        match rustix::net::recv(&self.stream, &mut piece, RecvFlags::DONTWAIT) {
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((length, _)) => self.take(piece.get(..length).unwrap_or_default()),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends what fits, without waiting; returns how much.
    pub(crate) fn send_some(&self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::net::send(
            &self.stream,
            bytes,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        ) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
            sent => Ok(sent?),
        }
    }

    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.buffer.len() + piece.len() > LINE_MAX + PIECE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a line is too long",
            ));
        }
        self.buffer.extend_from_slice(piece);
        Ok(())
    }
}

/// The line of a message.
pub(crate) fn encode_line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Sends a message whole.
pub(crate) fn write_line(mut stream: &UnixStream, message: &impl Serialize) -> io::Result<()> {
    stream.write_all(&encode_line(message)?)
}
