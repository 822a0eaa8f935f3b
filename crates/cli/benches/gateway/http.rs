//! As much of HTTP as client and origin need.

use std::io::{self, BufRead, Read, Write};

/// A line of a head, at most.
const LINE_MAX: u64 = 16 * 1024;

/// The head of a request or reply.
#[derive(Debug)]
pub(crate) struct Head {
    /// Its first line.
    pub(crate) first: String,
    length: Option<u64>,
    chunked: bool,
}

/// An error of whoever speaks to us.
pub(crate) fn garbled(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Head {
    /// The next head, unless the connection has ended.
    pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let first = line(from)?;
        if first.is_empty() {
            return Ok(None);
        }
        let mut head = Self {
            first,
            length: None,
            chunked: false,
        };
        loop {
            let line = line(from)?;
            let Some((name, value)) = line.split_once(':') else {
                return Ok(Some(head));
            };
            if name.eq_ignore_ascii_case("content-length") {
                head.length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.chunked = true;
            }
        }
    }

    /// The second word of the first line: a path, or a status.
    pub(crate) fn second(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    /// Reads the body, a part at a time.
    pub(crate) fn body(
        &self,
        from: &mut impl BufRead,
        mut part: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        if !self.chunked {
            return exactly(from, self.length.unwrap_or(0), &mut part);
        }
        loop {
            let size = u64::from_str_radix(&line(from)?, 16).map_err(|_| garbled("a chunk"))?;
            exactly(from, size, &mut part)?;
            line(from)?;
            if size == 0 {
                return Ok(());
            }
        }
    }
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    Read::take(&mut *from, LINE_MAX).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn exactly(from: &mut impl BufRead, length: u64, part: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        let bytes = from.fill_buf()?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        part(&bytes[..taken]);
        from.consume(taken);
        left -= taken as u64;
    }
    Ok(())
}

/// Writes and sends at once.
pub(crate) fn send(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}
