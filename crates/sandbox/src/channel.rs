//! Messages with descriptors between processes of Stockade, over a
//! `SOCK_SEQPACKET` pair: each message arrives whole or not at all.

use std::{io, mem::MaybeUninit, os::fd::BorrowedFd};

use rustix::{
    fd::{AsFd, OwnedFd},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    },
};

/// The most descriptors that one message carries.
const DESCRIPTORS: usize = 8;

/// One end of a channel.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// A message and what came with it.
#[derive(Debug)]
pub struct Received {
    /// The message.
    pub bytes: Vec<u8>,
    /// Its descriptors, closed on exec.
    pub descriptors: Vec<OwnedFd>,
}

impl Channel {
    /// A connected pair, closed on exec.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(one), Self(other)))
    }

    /// The channel whose end `descriptor` is.
    pub fn from_descriptor(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// The descriptor itself.
    pub fn into_descriptor(self) -> OwnedFd {
        self.0
    }

    /// Sends a message with copies of `descriptors`.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors))
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let slices = [io::IoSlice::new(bytes)];
        loop {
            match rustix::net::sendmsg(&self.0, &slices, &mut ancillary, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                other => return Ok(other.map(|_| ())?),
            }
        }
    }

    /// Waits for a message of at most `limit` bytes; `None` once the other
    /// end is closed. A longer one is an error, never a part.
    pub fn receive(&self, limit: usize) -> io::Result<Option<Received>> {
        let mut bytes = vec![0; limit];
        let received = self.receive_in(&mut bytes)?;
        Ok(received.map(|(length, descriptors)| {
            bytes.truncate(length);
            Received { bytes, descriptors }
        }))
    }

    /// The same in a space that is used again, which bounds the message; tells
    /// how much of it the message takes, and what came with it.
    pub fn receive_in(&self, bytes: &mut [u8]) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let message = loop {
            let mut slices = [io::IoSliceMut::new(bytes)];
            match rustix::net::recvmsg(
                &self.0,
                &mut slices,
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR) => {}
                other => break other?,
            }
        };
        let descriptors: Vec<OwnedFd> = ancillary
            .drain()
            .filter_map(|part| match part {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        if message
            .flags
            .intersects(rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC)
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a message was cut",
            ));
        }
        Ok((message.bytes > 0).then_some((message.bytes, descriptors)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_whole_with_its_descriptors() {
        let (one, other) = Channel::pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        one.send(b"hello", &[null.as_fd(), null.as_fd()]).unwrap();
        let received = other.receive(64).unwrap().unwrap();
        assert_eq!(
            (received.bytes.as_slice(), received.descriptors.len()),
            (&b"hello"[..], 2)
        );
    }

    #[test]
    fn a_message_over_the_limit_is_an_error_and_a_closed_end_is_none() {
        let (one, other) = Channel::pair().unwrap();
        one.send(&[7; 65], &[]).unwrap();
        assert!(other.receive(64).is_err());
        drop(one);
        assert!(other.receive(64).unwrap().is_none());
    }
}
