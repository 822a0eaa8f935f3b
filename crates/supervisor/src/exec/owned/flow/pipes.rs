//! The ends that are written to, and the one on which a session's shell tells.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{fs::OFlags, io::Errno};

/// What follows what waits to be read by a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Next {
    /// The end of input.
    End,
    /// What the client types.
    Typed,
    /// The next text of a session, some time.
    Texts,
}

/// A command's standard input.
pub(in super::super) struct Input {
    pipe: OwnedFd,
    waiting: Vec<u8>,
    next: Next,
}

impl Input {
    pub(in super::super) fn new(pipe: OwnedFd, waiting: Vec<u8>, next: Next) -> io::Result<Self> {
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        Ok(Self {
            pipe,
            waiting,
            next,
        })
    }

    pub(super) fn pipe(&self) -> &OwnedFd {
        &self.pipe
    }

    /// Whether nothing waits to be read.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn wants_typing(&self) -> bool {
        self.next == Next::Typed && self.is_idle()
    }

    pub(super) fn give(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// Lets nothing follow what waits.
    pub(super) fn end(&mut self) {
        self.next = Next::End;
    }

    /// Writes what fits; false once nothing more can or will come.
    pub(super) fn write(&mut self) -> bool {
        if !self.is_idle() {
            match rustix::io::write(&self.pipe, &self.waiting) {
                Ok(length) => {
                    self.waiting.drain(..length);
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        self.next != Next::End || !self.is_idle()
    }
}

/// What a session's shell told of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Told {
    /// It is through, and this is its exit code.
    Code(i32),
    /// Something that the shell never tells.
    Nonsense,
}

/// Where a session's shell tells how a text ended: the word that came with it,
/// and its code. The word comes anew with every text, and nothing that a text
/// starts has this descriptor.
pub(in super::super) struct Marker {
    pipe: Option<OwnedFd>,
    word: String,
    heard: Vec<u8>,
}

/// A space, the longest code, and the end of the line.
const CODE_MAX: usize = 5;

impl Marker {
    pub(in super::super) fn new(pipe: OwnedFd) -> Self {
        Self {
            pipe: Some(pipe),
            word: String::new(),
            heard: Vec::new(),
        }
    }

    /// The descriptor, unless the shell has closed its own.
    pub(super) fn pipe(&self) -> Option<&OwnedFd> {
        self.pipe.as_ref()
    }

    pub(super) fn wait_for(&mut self, word: &str) {
        word.clone_into(&mut self.word);
        self.heard.clear();
    }

    /// Reads once.
    pub(super) fn read(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        let mut piece = [0; 128];
        match rustix::io::read(pipe.as_fd(), &mut piece) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(0) | Err(_) => self.pipe = None,
            // More than a line is nonsense and stays so.
            Ok(_) if self.heard.len() > self.line_max() => {}
            Ok(length) => self
                .heard
                .extend_from_slice(piece.get(..length).unwrap_or_default()),
        }
    }

    /// What has been told, if that is known already.
    pub(super) fn told(&self) -> Option<Told> {
        let common = self.heard.len().min(self.word.len());
        if self.heard.get(..common) != self.word.as_bytes().get(..common)
            || self.heard.len() > self.line_max()
        {
            return Some(Told::Nonsense);
        }
        let line = self.heard.strip_suffix(b"\n")?;
        let code = line.get(self.word.len()..).and_then(|rest| {
            let digits = rest.strip_prefix(b" ")?;
            let code: u8 = std::str::from_utf8(digits).ok()?.parse().ok()?;
            Some(code.into())
        });
        Some(code.map_or(Told::Nonsense, Told::Code))
    }

    fn line_max(&self) -> usize {
        self.word.len() + CODE_MAX
    }
}

#[cfg(test)]
mod tests {
    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    fn told(pieces: &[&str]) -> Option<Told> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let mut marker = Marker::new(read);
        marker.wait_for("word");
        for piece in pieces {
            rustix::io::write(&write, piece.as_bytes()).unwrap();
            marker.read();
        }
        marker.told()
    }

    #[test]
    fn a_code_is_believed_only_after_the_word_and_only_whole() {
        assert_eq!(told(&[]), None);
        assert_eq!(told(&["wo"]), None);
        assert_eq!(told(&["word 12"]), None);
        assert_eq!(told(&["wo", "rd 12", "7\n"]), Some(Told::Code(127)));
        for nonsense in [
            "word\n",
            "word 256\n",
            "word -1\n",
            "ward",
            "word  1\n",
            "\n",
        ] {
            assert_eq!(told(&[nonsense]), Some(Told::Nonsense), "{nonsense:?}");
        }
        assert_eq!(told(&["word 0\nword 0\n"]), Some(Told::Nonsense));
        assert_eq!(told(&["word 0\n", "word 1\n"]), Some(Told::Nonsense));
        assert_eq!(told(&[&"x".repeat(128), "y", "z"]), Some(Told::Nonsense));
    }
}
