//! How a client inside a sandbox reaches an MCP server of its task: it says which, hears
//! whether it may, and from then on the connection carries MCP's lines.
//!
//! Whoever is inside may send anything; both sides read no more than is agreed.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Where it is said: an address of the range that stands for names, which no name gets,
/// and one of the ports that are captured everywhere. It leads to the gateway and no
/// further.
pub const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 19, 255, 253), 80);
/// The program that says it, inside; its argument is the server's name.
pub const CLIENT: &str = "/opt/stockade/mcp";
/// The longest name of a server, in bytes.
pub const NAME_MAX: usize = 64;
/// The longest reason why there is no server, in bytes.
pub const REASON_MAX: usize = 1024;

/// The first bytes of what is said: the name of these messages, and their version.
const MARK: [u8; 4] = *b"mcp\x01";
/// The bytes before the server's name: the mark, and the name's length.
pub const HEAD_SIZE: usize = MARK.len() + 1;
/// The bytes before a reason: whether there is a server, and the reason's length.
pub const ANSWER_SIZE: usize = 3;

/// The bytes that ask for the server `name`; nothing if that is too long.
pub fn asked(name: &str) -> Option<Vec<u8>> {
    if name.len() > NAME_MAX {
        return None;
    }
    let mut bytes = MARK.to_vec();
    bytes.push(u8::try_from(name.len()).ok()?);
    bytes.extend(name.as_bytes());
    Some(bytes)
}

/// How long the name is that follows `head`; nothing if that is of something else or
/// announces too much.
pub fn name_size(head: [u8; HEAD_SIZE]) -> Option<usize> {
    let [length] = *head.strip_prefix(&MARK)?.first_chunk()?;
    let length = usize::from(length);
    (length <= NAME_MAX).then_some(length)
}

/// The bytes that say that the server is there, or why not.
pub fn answer(server: Result<(), &str>) -> Vec<u8> {
    let reason = server.err().unwrap_or_default();
    let reason = &reason[..reason.floor_char_boundary(REASON_MAX)];
    let mut bytes = vec![u8::from(server.is_err())];
    bytes.extend(
        u16::try_from(reason.len())
            .unwrap_or_default()
            .to_be_bytes(),
    );
    bytes.extend(reason.as_bytes());
    bytes
}

/// Whether there is a server, and how long the reason is that follows if not; nothing if
/// `bytes` are no such answer.
pub fn answered(bytes: [u8; ANSWER_SIZE]) -> Option<Result<(), usize>> {
    let [refused, length @ ..] = bytes;
    let length = usize::from(u16::from_be_bytes(length));
    match refused {
        0 if length == 0 => Some(Ok(())),
        1 if length <= REASON_MAX => Some(Err(length)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_asked_says_how_long_the_name_is() {
        let bytes = asked("files").unwrap();
        let (head, name) = bytes.split_first_chunk().unwrap();
        assert_eq!((name_size(*head), name), (Some(5), &b"files"[..]));
        assert_eq!(asked(&"x".repeat(NAME_MAX + 1)), None);
        assert_eq!(name_size(*b"mcp\x01\xff"), None);
        assert_eq!(name_size(*b"GET /"), None);
    }

    #[test]
    fn a_reason_arrives_and_a_long_one_is_cut() {
        let bytes = answer(Err("nobody knows it"));
        let (head, reason) = bytes.split_first_chunk().unwrap();
        assert_eq!(answered(*head), Some(Err(reason.len())));
        let bytes = answer(Err(&"ä".repeat(REASON_MAX)));
        assert_eq!(bytes.len(), ANSWER_SIZE + REASON_MAX);
        assert_eq!(answer(Ok(())), [0, 0, 0]);
        assert_eq!(answered([0, 0, 0]), Some(Ok(())));
        assert_eq!(answered([0, 0, 1]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(head: [u8; HEAD_SIZE], bytes: [u8; ANSWER_SIZE]) {
            let _ = name_size(head);
            let _ = answered(bytes);
        }
    }
}
