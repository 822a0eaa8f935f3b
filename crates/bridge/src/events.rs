//! Server-sent events (HTML, 9.2), as far as MCP uses them: the data of each.

use crate::MESSAGE_MAX;

/// An event that does not end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the server has more than {MESSAGE_MAX} bytes")]
pub struct TooLong;

/// Reads events from a stream as it comes.
#[derive(Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a carriage return, which a line feed may follow.
    after_return: bool,
}

impl Events {
    /// Takes the next piece, and gives the data of each event that it ends.
    /// # Errors
    /// When an event is longer than a message may be.
    pub fn push(&mut self, piece: &[u8], mut event: impl FnMut(Vec<u8>)) -> Result<(), TooLong> {
        for byte in piece {
            let follows = std::mem::take(&mut self.after_return);
            match byte {
                b'\n' if follows => {}
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    if let Some(data) = self.line_ends() {
                        event(data);
                    }
                }
                _ => self.line.push(*byte),
            }
            if self.line.len() + self.data.len() > MESSAGE_MAX {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    /// The data of the event that an empty line ends.
    fn line_ends(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then_some(data);
        }
        let value = line.strip_prefix(b"data")?;
        let value = match value {
            [] => value,
            [b':', b' ', rest @ ..] | [b':', rest @ ..] => rest,
            // Another field, whose name begins so.
            _ => return None,
        };
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend(value);
        self.has_data = true;
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<String> {
        let mut events = Events::default();
        let mut all = Vec::new();
        for piece in pieces {
            let keep = |data| all.push(String::from_utf8(data).unwrap());
            events.push(piece, keep).unwrap();
        }
        all
    }

    #[test]
    fn data_of_events_is_read_whatever_ends_their_lines() {
        let stream = b": hello\r\nevent: message\r\ndata: {\"a\":1}\r\n\r\nid: 7\n\ndata:x\rdata: y\r\rdatum: z\n\ndata\n\n";
        assert_eq!(read(&[stream]), ["{\"a\":1}", "x\ny", ""]);
        // What has no end is none.
        assert_eq!(read(&[b"data: x\n"]), [""; 0]);
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut events = Events::default();
        let piece = vec![b'x'; MESSAGE_MAX + 1];
        assert_eq!(events.push(&piece, |_| {}), Err(TooLong));
    }

    proptest! {
        #[test]
        fn where_a_stream_is_cut_does_not_matter(
            stream in "[dat:x \r\n]{0,60}",
            cut in 0_usize..60,
        ) {
            let bytes = stream.as_bytes();
            let cut = cut.min(bytes.len());
            prop_assert_eq!(read(&[&bytes[..cut], &bytes[cut..]]), read(&[bytes]));
        }
    }
}
