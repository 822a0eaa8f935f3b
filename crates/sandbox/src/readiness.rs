//! Which of many descriptors have something to say, asked at the same cost however
//! many they are.

use std::io;

use rustix::{
    buffer::spare_capacity,
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::{AsFd, OwnedFd},
    io::Errno,
};

/// How many are told at once.
const AT_ONCE: usize = 16;
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Descriptors under numbers of the caller's (epoll(7)).
#[derive(Debug)]
pub(crate) struct Readiness(OwnedFd);

impl Readiness {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Tells of `descriptor` too, by `number`, when it is readable or at its end.
    pub(crate) fn add(&self, descriptor: impl AsFd, number: i32) -> io::Result<()> {
        let number = number.unsigned_abs().into();
        let data = EventData::new_u64(number);
        Ok(epoll::add(&self.0, descriptor, data, EventFlags::IN)?)
    }

    /// Tells of it no more. Closing it does not do, where a child has it still.
    pub(crate) fn remove(&self, descriptor: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.0, descriptor)?)
    }

    /// Waits until some are ready, and tells which.
    pub(crate) fn wait(&self) -> io::Result<Vec<i32>> {
        self.ready(None)
    }

    /// Some of those that are ready now; none if none is.
    pub(crate) fn now(&self) -> io::Result<Vec<i32>> {
        self.ready(Some(&NOW))
    }

    fn ready(&self, limit: Option<&Timespec>) -> io::Result<Vec<i32>> {
        let mut events = Vec::with_capacity(AT_ONCE);
        loop {
            match epoll::wait(&self.0, spare_capacity(&mut events), limit) {
                Err(Errno::INTR) => {}
                other => break other.map(drop)?,
            }
        }
        let numbers = events.iter().map(|event| event.data.u64());
        Ok(numbers
            .filter_map(|number| i32::try_from(number).ok())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeWriter, Write, pipe};

    use super::*;

    #[test]
    fn of_many_descriptors_those_that_can_be_read_or_have_ended_are_told_until_removed() {
        let watched = Readiness::new().unwrap();
        let mut ends: Vec<_> = (0..100).map(|_| pipe().unwrap()).collect();
        for (number, (reader, _)) in (1..).zip(&ends) {
            watched.add(reader, number).unwrap();
        }
        assert!(watched.now().unwrap().is_empty());
        let writer: &mut PipeWriter = &mut ends[41].1;
        writer.write_all(b"x").unwrap();
        assert_eq!(watched.wait().unwrap(), [42]);
        assert_eq!(watched.now().unwrap(), [42]);
        watched.remove(&ends[41].0).unwrap();
        let (reader, writer) = ends.remove(6);
        drop(writer);
        assert_eq!(watched.wait().unwrap(), [7]);
        watched.remove(reader).unwrap();
        assert!(watched.now().unwrap().is_empty());
    }
}
