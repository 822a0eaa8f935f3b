//! Descriptors of the host that a program started meanwhile inherits.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::FileExt, net::UnixStream},
    },
    path::Path,
};

use rustix::{
    fs::{MemfdFlags, OFlags, fcntl_setfl, fstat, memfd_create},
    io::{FdFlags, fcntl_setfd},
    pipe::pipe,
};
use stockade_attempt::Lent;

/// Descriptors of several kinds, and what is kept to see what became of them.
#[derive(Debug)]
pub(crate) struct Loan {
    /// Those that are inherited.
    lent: Vec<(&'static str, OwnedFd)>,
    /// What comes out of the pipe and the socket.
    heard: [(&'static str, File); 2],
    memory: File,
    said: String,
}

impl Loan {
    /// Opens them; the file and the folder are in `outside`, and what is in
    /// memory says `secret`.
    pub(crate) fn open(outside: &Path, secret: &str) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open(outside.join("open.txt"))?;
        let folder = File::open(outside)?;
        let memory = File::from(memfd_create("lent", MemfdFlags::CLOEXEC)?);
        (&memory).write_all(secret.as_bytes())?;
        let (from_pipe, pipe) = pipe()?;
        fcntl_setfd(&from_pipe, FdFlags::CLOEXEC)?;
        let (from_socket, socket) = UnixStream::pair()?;
        let lent: Vec<(&str, OwnedFd)> = vec![
            ("a file", file.into()),
            ("a folder", folder.into()),
            ("a file in memory", memory.try_clone()?.into()),
            ("a pipe", pipe),
            ("a socket", socket.into()),
        ];
        for (_, descriptor) in &lent {
            fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        let from_socket = OwnedFd::from(from_socket);
        for descriptor in [from_pipe.as_fd(), from_socket.as_fd()] {
            fcntl_setfl(descriptor, OFlags::NONBLOCK)?;
        }
        Ok(Self {
            lent,
            heard: [
                ("a pipe", from_pipe.into()),
                ("a socket", from_socket.into()),
            ],
            memory,
            said: secret.to_owned(),
        })
    }

    /// What they are, as an order names them.
    pub(crate) fn names(&self) -> Vec<Lent> {
        let name = |(name, descriptor): &(&'static str, OwnedFd)| {
            let found = fstat(descriptor).ok()?;
            Some(Lent {
                name: (*name).to_owned(),
                device: found.st_dev,
                inode: found.st_ino,
            })
        };
        self.lent.iter().filter_map(name).collect()
    }

    /// What came by them.
    pub(crate) fn findings(mut self) -> io::Result<Vec<String>> {
        let mut findings = Vec::new();
        for (name, source) in &mut self.heard {
            let read = source.read(&mut [0; 64]);
            // Closed with nothing in it, or still open elsewhere.
            if read.is_ok_and(|length| length > 0) {
                findings.push(format!("something came through {name} that was lent"));
            }
        }
        let mut found = vec![0; self.said.len() + 1];
        let length = self.memory.read_at(&mut found, 0)?;
        if found.get(..length) != Some(self.said.as_bytes()) {
            findings.push("a file in memory that was lent was changed".to_owned());
        }
        Ok(findings)
    }
}
