//! What travels between a supervisor and its recorder: to the recorder, a
//! four-byte little-endian length, whose highest bit says that nobody waits, and an
//! event as JSON; back, replies of one fixed size, in the order of the requests. The
//! first reply comes unasked and says whether the log could be opened.

use crate::{
    hash::Hash,
    record::{Appended, MAX_EVENT_BYTES},
};

/// Bytes of the length in front of an event.
pub(crate) const LENGTH_BYTES: usize = 4;
/// The bit of the length that says that nobody waits for the event.
const UNAWAITED: u32 = 1 << 31;
/// Bytes of a reply: status, sequence number, root.
pub(crate) const REPLY_BYTES: usize = 1 + 8 + 32;

/// Why the recorder did not record an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No room left on the disk, in the quota or under the file size limit.
    #[error("the disk, the quota or the file size limit is full; free some space")]
    Full,
    /// The event was longer than [`MAX_EVENT_BYTES`].
    #[error("the event is longer than {MAX_EVENT_BYTES} bytes")]
    TooLarge,
    /// The bytes were not an event.
    #[error("the message is not an event")]
    Malformed,
    /// Writing failed for another reason; nothing is recorded any more.
    #[error("the log could not be written; the recorder stopped writing to it")]
    Write,
    /// Another recorder has the log open.
    #[error("another recorder holds this log")]
    Locked,
    /// The log does not fit its checkpoint.
    #[error("the log is damaged; look at it with `stockade audit verify`")]
    Damaged,
    /// The log could not be opened or created.
    #[error("the log could not be opened")]
    Open,
    /// The key that signs the log cannot be used.
    #[error(
        "the key that signs the record is missing or no key; it belongs into `audit/key` of the state directory"
    )]
    Key,
}

/// The one-byte code of each refusal; 0 means recorded.
const CODES: [(u8, Refusal); 8] = [
    (1, Refusal::Full),
    (2, Refusal::TooLarge),
    (3, Refusal::Malformed),
    (4, Refusal::Write),
    (5, Refusal::Locked),
    (6, Refusal::Damaged),
    (7, Refusal::Open),
    (8, Refusal::Key),
];

/// The answer to an event, or the greeting: the state of the log (`seq` then is
/// the number of records).
pub(crate) type Reply = Result<Appended, Refusal>;

pub(crate) fn encode_reply(reply: &Reply) -> [u8; REPLY_BYTES] {
    let mut bytes = [0; REPLY_BYTES];
    match reply {
        Ok(appended) => {
            bytes[1..9].copy_from_slice(&appended.seq.to_le_bytes());
            bytes[9..].copy_from_slice(appended.root.as_bytes());
        }
        Err(refusal) => {
            bytes[0] = CODES
                .iter()
                .find(|(_, known)| known == refusal)
                .map_or(u8::MAX, |(code, _)| *code);
        }
    }
    bytes
}

/// `None` when the status is one that this version does not know.
pub(crate) fn decode_reply(bytes: &[u8; REPLY_BYTES]) -> Option<Reply> {
    let (status, rest) = bytes.split_first()?;
    if *status != 0 {
        return CODES
            .iter()
            .find(|(code, _)| code == status)
            .map(|(_, refusal)| Err(*refusal));
    }
    let (seq, root) = rest.split_first_chunk::<8>()?;
    let root = Hash::from_bytes(root.try_into().ok()?);
    Some(Ok(Appended {
        seq: u64::from_le_bytes(*seq),
        root,
    }))
}

/// What stands at the front of a buffer of received bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Front<'a> {
    /// A whole event.
    Event {
        json: &'a [u8],
        /// Whether somebody waits until it is on the disk.
        is_awaited: bool,
        /// How many bytes it takes with its length.
        taken: usize,
    },
    /// More bytes must arrive first.
    Incomplete,
    /// A length beyond the cap: the stream cannot be followed any further.
    TooLarge,
}

/// An event as it is sent; `None` if it is too long.
pub(crate) fn encode_event(json: &[u8], is_awaited: bool) -> Option<Vec<u8>> {
    let length = u32::try_from(json.len()).ok()?;
    let flag = if is_awaited { 0 } else { UNAWAITED };
    (json.len() <= MAX_EVENT_BYTES).then(|| [&(length | flag).to_le_bytes()[..], json].concat())
}

pub(crate) fn front(buffer: &[u8]) -> Front<'_> {
    let Some((length, rest)) = buffer.split_first_chunk::<LENGTH_BYTES>() else {
        return Front::Incomplete;
    };
    let length = u32::from_le_bytes(*length);
    let is_awaited = length & UNAWAITED == 0;
    match usize::try_from(length & !UNAWAITED) {
        Ok(length) if length <= MAX_EVENT_BYTES => match rest.get(..length) {
            Some(json) => Front::Event {
                json,
                is_awaited,
                taken: LENGTH_BYTES + length,
            },
            None => Front::Incomplete,
        },
        _ => Front::TooLarge,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_survive_the_wire() {
        let appended = Appended {
            seq: 0x0102_0304_0506_0708,
            root: Hash::of(b"x"),
        };
        for reply in CODES
            .iter()
            .map(|(_, refusal)| Err(*refusal))
            .chain([Ok(appended)])
        {
            assert_eq!(decode_reply(&encode_reply(&reply)), Some(reply));
        }
    }

    #[test]
    fn an_unknown_status_is_not_taken_for_success() {
        let mut bytes = encode_reply(&Err(Refusal::Full));
        bytes[0] = 200;
        assert_eq!(decode_reply(&bytes), None);
    }

    #[test]
    fn a_frame_is_taken_whole_or_not_at_all() {
        for is_awaited in [true, false] {
            let mut whole = encode_event(b"abc", is_awaited).unwrap();
            whole.push(b'd');
            let event = Front::Event {
                json: b"abc",
                is_awaited,
                taken: 7,
            };
            assert_eq!(front(&whole), event);
            assert_eq!(front(&whole[..6]), Front::Incomplete);
            assert_eq!(front(&whole[..2]), Front::Incomplete);
        }
        assert_eq!(encode_event(&vec![b'x'; MAX_EVENT_BYTES + 1], true), None);
        assert_eq!(front(&u32::MAX.to_le_bytes()), Front::TooLarge);
    }
}
