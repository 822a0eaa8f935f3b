//! Messages of `application/vnd.amazon.eventstream`, read as they pass by.

/// The longest message that is read; a longer one passes unread.
const MESSAGE_MAX: usize = 4 * 1024 * 1024;
/// Lengths of the message and its headers, and a checksum of both.
const PRELUDE: usize = 12;
/// The checksum at a message's end.
const TRAILER: usize = 4;

/// What has arrived of the message that comes next.
#[derive(Debug, Default)]
pub(crate) struct EventStream {
    held: Vec<u8>,
    /// Bytes of a message that is too long, which are still to come.
    skipped: usize,
    /// Whether the stream is not what it says, so that nothing more is read.
    broken: bool,
}

impl EventStream {
    /// Gives the type and payload of each event that is complete with `chunk`.
    pub(crate) fn push(&mut self, chunk: &[u8], mut event: impl FnMut(&str, &[u8])) {
        let mut rest = chunk;
        while !self.broken && !rest.is_empty() {
            let passed = self.skipped.min(rest.len());
            self.skipped -= passed;
            rest = &rest[passed..];
            let wanted = match self.length() {
                Some(length) => length - self.held.len(),
                None => PRELUDE - self.held.len(),
            };
            let (now, later) = rest.split_at(wanted.min(rest.len()));
            self.held.extend_from_slice(now);
            rest = later;
            if self.held.len() == PRELUDE {
                self.begin();
            } else if self.length() == Some(self.held.len()) {
                if let Some((kind, payload)) = read(&self.held) {
                    event(kind, payload);
                }
                self.held.clear();
            }
        }
    }

    /// The length of the message that is being read, once its prelude is there.
    fn length(&self) -> Option<usize> {
        (self.held.len() >= PRELUDE).then(|| number(&self.held, 0).unwrap_or_default())
    }

    /// Looks at a prelude: what is not one ends the reading for good.
    fn begin(&mut self) {
        let length = number(&self.held, 0).unwrap_or_default();
        let headers = number(&self.held, 4).unwrap_or_default();
        let sound = number(&self.held, 8) == usize::try_from(checksum(&self.held[..8])).ok();
        if !sound || length < PRELUDE + TRAILER || headers > length - PRELUDE - TRAILER {
            self.broken = true;
            self.held.clear();
        } else if length > MESSAGE_MAX {
            self.skipped = length - PRELUDE;
            self.held.clear();
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + 4)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(four)).ok()
}

/// The event type and payload of a whole message.
fn read(message: &[u8]) -> Option<(&str, &[u8])> {
    let headers = PRELUDE + number(message, 4)?;
    let payload = message.get(headers..message.len() - TRAILER)?;
    let mut rest = message.get(PRELUDE..headers)?;
    let mut kind = None;
    while let Some((&length, after)) = rest.split_first() {
        let (name, after) = after.split_at_checked(length.into())?;
        let (&form, after) = after.split_first()?;
        let (length, after) = match form {
            // True, false; a byte, 2, 4, 8 of them; a time; an id.
            0 | 1 => (0, after),
            2 => (1, after),
            3 => (2, after),
            4 => (4, after),
            5 | 8 => (8, after),
            9 => (16, after),
            // Bytes and text, with their length.
            6 | 7 => {
                let (length, after) = after.split_at_checked(2)?;
                (u16::from_be_bytes(length.try_into().ok()?).into(), after)
            }
            _ => return None,
        };
        let (value, after) = after.split_at_checked(length)?;
        if name == b":event-type" {
            kind = std::str::from_utf8(value).ok();
        }
        rest = after;
    }
    Some((kind?, payload))
}

/// CRC-32 as in Ethernet (ISO 3309); for eight bytes no table is worth it.
fn checksum(bytes: &[u8]) -> u32 {
    let register = bytes.iter().fold(u32::MAX, |register, byte| {
        (0..8).fold(register ^ u32::from(*byte), |register, _| {
            (register >> 1) ^ (0xedb8_8320 & (register & 1).wrapping_neg())
        })
    });
    !register
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message as AWS sends it.
    pub(crate) fn message(kind: &str, payload: &[u8]) -> Vec<u8> {
        let mut headers = Vec::new();
        for (name, value) in [(":event-type", kind), (":message-type", "event")] {
            headers.push(u8::try_from(name.len()).unwrap());
            headers.extend(name.bytes());
            headers.push(7);
            headers.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            headers.extend(value.bytes());
        }
        let length = PRELUDE + headers.len() + payload.len() + TRAILER;
        let mut bytes = u32::try_from(length).unwrap().to_be_bytes().to_vec();
        bytes.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
        bytes.extend(checksum(&bytes).to_be_bytes());
        bytes.extend(headers);
        bytes.extend(payload);
        bytes.extend(checksum(&bytes).to_be_bytes());
        bytes
    }

    fn events(chunks: &[&[u8]]) -> Vec<(String, Vec<u8>)> {
        let mut stream = EventStream::default();
        let mut found = Vec::new();
        for chunk in chunks {
            stream.push(chunk, |kind, payload| {
                found.push((kind.to_owned(), payload.to_vec()));
            });
            assert!(stream.held.len() <= MESSAGE_MAX);
        }
        found
    }

    #[test]
    fn the_checksum_is_the_usual_one() {
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn events_are_the_same_wherever_the_stream_is_cut() {
        let whole = [message("chunk", b"one"), message("metadata", b"")].concat();
        let expected = [
            ("chunk".to_owned(), b"one".to_vec()),
            ("metadata".to_owned(), Vec::new()),
        ];
        for at in 0..=whole.len() {
            assert_eq!(events(&[&whole[..at], &whole[at..]]), expected, "{at}");
        }
        let bytes: Vec<_> = whole.chunks(1).collect();
        assert_eq!(events(&bytes), expected);
    }

    #[test]
    fn a_message_that_is_too_long_passes_unread_and_the_next_is_read() {
        let long = message("chunk", &vec![0; MESSAGE_MAX]);
        let next = message("metadata", b"2");
        let found = events(&[&long[..9], &long[9..100], &long[100..], &next]);
        assert_eq!(found, [("metadata".to_owned(), b"2".to_vec())]);
    }

    #[test]
    fn after_a_broken_prelude_nothing_is_read() {
        let mut broken = message("chunk", b"1");
        broken[2] ^= 1;
        assert!(events(&[&broken, &message("chunk", b"2")]).is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..400), at in 0..400_usize) {
            let mut whole = message("chunk", b"1");
            whole.extend(&bytes);
            let at = at.min(whole.len());
            prop_assert_eq!(events(&[&whole[..at], &whole[at..]]), events(&[&whole]));
        }
    }
}
