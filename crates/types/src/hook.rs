//! The messages by which a tool call is told from inside a sandbox, and answered.
//!
//! Whoever is inside may send anything; both sides read no more than is agreed.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Where it is told: an address of the range that stands for names, which no name
/// gets, and one of the ports that are captured everywhere. It leads to the
/// gateway and no further.
pub const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 19, 255, 254), 80);
/// The program that tells it, inside.
pub const CLIENT: &str = "/opt/stockade/hook";
/// The largest event, in bytes. What an agent writes into one file may be in it.
pub const EVENT_MAX: usize = 1 << 20;
/// The largest answer, in bytes.
pub const ANSWER_MAX: usize = 64 << 10;
/// The longest name of an agent, in bytes.
pub const NAME_MAX: usize = 32;
/// The code by which every agent takes a hook's answer for a no; the reason is
/// then on standard error.
pub const REFUSED: u8 = 2;

/// The first bytes of what is told: the name of these messages, and their version.
const MARK: [u8; 5] = *b"hook\x01";
/// The bytes before an event: the mark, the length of the agent's name, and that of
/// the event.
pub const HEAD_SIZE: usize = MARK.len() + 1 + 4;

/// How long the name and the event are that follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The bytes of the agent's name.
    pub name: usize,
    /// The bytes of the event.
    pub event: usize,
}

/// The bytes that tell `event` of `agent`; nothing if either is too long.
pub fn told(agent: &str, event: &[u8]) -> Option<Vec<u8>> {
    if agent.len() > NAME_MAX || event.len() > EVENT_MAX {
        return None;
    }
    let mut bytes = MARK.to_vec();
    bytes.push(u8::try_from(agent.len()).ok()?);
    bytes.extend(u32::try_from(event.len()).ok()?.to_be_bytes());
    bytes.extend(agent.as_bytes());
    bytes.extend(event);
    Some(bytes)
}

impl Head {
    /// Reads the first bytes of what is told; nothing if they are of something else
    /// or announce too much.
    pub fn decode(bytes: [u8; HEAD_SIZE]) -> Option<Self> {
        let [name, a, b, c, d] = *bytes.strip_prefix(&MARK)?.first_chunk()?;
        let head = Self {
            name: usize::from(name),
            event: usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?,
        };
        (head.name <= NAME_MAX && head.event <= EVENT_MAX).then_some(head)
    }
}

/// What the hook is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The exit code: 0, or [`REFUSED`].
    pub code: u8,
    /// For standard output.
    pub output: String,
    /// For standard error.
    pub error: String,
}

impl Answer {
    /// A no, in the way that every agent understands.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self {
            code: REFUSED,
            output: String::new(),
            error: reason.into(),
        }
    }

    /// The bytes of this answer; of one that is too long, those of a no.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.code];
        for text in [&self.output, &self.error] {
            bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        if bytes.len() > ANSWER_MAX {
            return Self::refused("Stockade's answer was too long.").encode();
        }
        bytes
    }

    /// Reads an answer back; nothing if it is no whole answer and nothing else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (code, rest) = bytes.split_first()?;
        let (output, rest) = text(rest)?;
        let (error, rest) = text(rest)?;
        let known = matches!(*code, 0 | REFUSED);
        (known && rest.is_empty()).then_some(Self {
            code: *code,
            output,
            error,
        })
    }
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (text, rest) = rest.split_at_checked(length)?;
    Some((String::from_utf8(text.to_vec()).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_told_says_how_long_it_is() {
        let bytes = told("codex", b"{}").unwrap();
        let (head, rest) = bytes.split_first_chunk().unwrap();
        assert_eq!(Head::decode(*head), Some(Head { name: 5, event: 2 }));
        assert_eq!(rest, b"codex{}");
    }

    #[test]
    fn too_much_is_neither_told_nor_read() {
        assert_eq!(told(&"x".repeat(NAME_MAX + 1), b""), None);
        assert_eq!(told("codex", &vec![0; EVENT_MAX + 1]), None);
        let longest = told("codex", &vec![0; EVENT_MAX]).unwrap();
        let (head, _) = longest.split_first_chunk().unwrap();
        assert!(Head::decode(*head).is_some());
        let mut head: [u8; HEAD_SIZE] = *head;
        head[HEAD_SIZE - 1] += 1;
        assert_eq!(Head::decode(head), None);
        assert_eq!(Head::decode(*b"GET / HTTP"), None);
    }

    #[test]
    fn an_answer_that_is_too_long_becomes_a_no() {
        let answer = Answer {
            code: 0,
            output: "x".repeat(ANSWER_MAX),
            error: String::new(),
        };
        let read = Answer::decode(&answer.encode()).unwrap();
        assert_eq!((read.code, read.output.as_str()), (REFUSED, ""));
    }

    proptest! {
        #[test]
        fn an_answer_arrives_as_it_was_sent(refused: bool, output: String, error: String) {
            let code = if refused { REFUSED } else { 0 };
            let answer = Answer { code, output, error };
            prop_assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }

        #[test]
        fn no_bytes_make_the_decoders_panic(bytes: Vec<u8>, head: [u8; HEAD_SIZE]) {
            let _ = Answer::decode(&bytes);
            let _ = Head::decode(head);
        }

        #[test]
        fn a_part_of_an_answer_is_none(output: String, cut in 1_usize..9) {
            let bytes = Answer { code: 0, output, error: String::new() }.encode();
            prop_assert_eq!(Answer::decode(&bytes[..bytes.len().saturating_sub(cut)]), None);
        }
    }
}
