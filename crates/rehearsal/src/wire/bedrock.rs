//! Amazon Bedrock's `InvokeModel` for models of Anthropic's: their own events,
//! each in base64 in a message of `application/vnd.amazon.eventstream`.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::json;

use super::Event;

/// The type of a stream of messages.
pub(crate) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";
/// The headers of every message: their names and values.
const HEADERS: [(&str, &str); 3] = [
    (":event-type", "chunk"),
    (":content-type", "application/json"),
    (":message-type", "event"),
];
/// A header's value is text.
const TEXT: u8 = 7;
/// Lengths and their checksum before the headers, a checksum at the end.
const FRAMING: usize = 16;

/// One event as a message; texts here are far shorter than lengths can be.
pub(crate) fn encode(event: &Event) -> Bytes {
    let payload = json!({ "bytes": STANDARD.encode(&event.data) }).to_string();
    let mut headers = Vec::new();
    for (name, value) in HEADERS {
        headers.push(u8::try_from(name.len()).unwrap_or_default());
        headers.extend(name.bytes());
        headers.push(TEXT);
        headers.extend(u16::try_from(value.len()).unwrap_or_default().to_be_bytes());
        headers.extend(value.bytes());
    }
    let length = |count: usize| u32::try_from(count).unwrap_or_default().to_be_bytes();
    let mut message = length(FRAMING + headers.len() + payload.len()).to_vec();
    message.extend(length(headers.len()));
    message.extend(checksum(&message).to_be_bytes());
    message.extend(headers);
    message.extend(payload.bytes());
    message.extend(checksum(&message).to_be_bytes());
    message.into()
}

/// CRC-32 as in Ethernet.
fn checksum(bytes: &[u8]) -> u32 {
    let register = bytes.iter().fold(u32::MAX, |register, byte| {
        (0..8).fold(register ^ u32::from(*byte), |register, _| {
            (register >> 1) ^ (0xedb8_8320 & (register & 1).wrapping_neg())
        })
    });
    !register
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_its_length_and_checksums() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
        let message = encode(&Event::unnamed(&json!({ "type": "ping" })));
        let number = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
        assert_eq!(number(0) as usize, message.len());
        assert_eq!(number(8), checksum(&message[..8]));
        let end = message.len() - 4;
        assert_eq!(number(end), checksum(&message[..end]));
    }
}
