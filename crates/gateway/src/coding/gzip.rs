use flate2::Decompress;

use super::{CodingError, Step, inflate};

const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const HEADER: usize = 10;
/// The checksum and the length, after what is packed.
const TRAILER: usize = 8;

const HAS_CHECKSUM: u8 = 0x02;
const HAS_EXTRA: u8 = 0x04;
const HAS_NAME: u8 = 0x08;
const HAS_COMMENT: u8 = 0x10;
const RESERVED: u8 = 0xe0;

/// Where in a gzip file (RFC 1952) the next byte stands. Of its members each
/// is read. Checksums are not compared: TLS saw to what they would tell.
#[derive(Debug)]
pub(super) enum Framing {
    /// In the fixed part of a header, of which this is there.
    Header(Vec<u8>),
    /// The length of an extra field, of which this is there, and what else the
    /// header has.
    ExtraLength(Vec<u8>, u8),
    /// In what is passed over: so many bytes.
    Passing(usize, u8),
    /// In a text that a zero ends.
    Text(u8),
    Packed,
    /// So much of it is still to come.
    Trailer(usize),
}

impl Default for Framing {
    fn default() -> Self {
        Self::Header(Vec::with_capacity(HEADER))
    }
}

impl Framing {
    /// What comes next in a header that still has what `flags` say.
    fn after(flags: u8) -> Self {
        if flags & HAS_EXTRA != 0 {
            Self::ExtraLength(Vec::new(), flags & !HAS_EXTRA)
        } else if flags & HAS_NAME != 0 {
            Self::Text(flags & !HAS_NAME)
        } else if flags & HAS_COMMENT != 0 {
            Self::Text(flags & !HAS_COMMENT)
        } else if flags & HAS_CHECKSUM != 0 {
            Self::Passing(2, flags & !HAS_CHECKSUM)
        } else {
            Self::Packed
        }
    }

    /// Reads of `packed` and writes to `buffer`.
    pub(super) fn step(
        &mut self,
        inflater: &mut Decompress,
        packed: &[u8],
        buffer: &mut [u8],
    ) -> Result<Step, CodingError> {
        let mut step = Step::default();
        if matches!(self, Self::Packed) {
            step = inflate(inflater, packed, buffer)?;
            if !step.ended {
                return Ok(step);
            }
            inflater.reset(false);
            *self = Self::Trailer(TRAILER);
            step.ended = false;
        }
        for &byte in packed.get(step.read..).unwrap_or_default() {
            if matches!(self, Self::Packed) {
                break;
            }
            step.read += 1;
            step.ended = self.take(byte)?;
        }
        Ok(step)
    }

    /// Takes one byte that is not packed; whether a member ends with it.
    fn take(&mut self, byte: u8) -> Result<bool, CodingError> {
        match self {
            Self::Header(seen) => {
                seen.push(byte);
                let begins = seen.iter().zip(MAGIC).all(|(seen, wanted)| *seen == wanted);
                let flags = seen.get(3).copied().unwrap_or_default();
                if !begins || flags & RESERVED != 0 {
                    return Err(CodingError::Corrupt);
                }
                if seen.len() == HEADER {
                    *self = Self::after(flags);
                }
            }
            Self::ExtraLength(seen, flags) => {
                seen.push(byte);
                if let [low, high] = seen[..] {
                    let length = usize::from(u16::from_le_bytes([low, high]));
                    *self = match length {
                        0 => Self::after(*flags),
                        _ => Self::Passing(length, *flags),
                    };
                }
            }
            Self::Passing(left, flags) => {
                *left -= 1;
                if *left == 0 {
                    *self = Self::after(*flags);
                }
            }
            Self::Text(flags) if byte == 0 => *self = Self::after(*flags),
            Self::Trailer(1) => {
                *self = Self::default();
                return Ok(true);
            }
            Self::Trailer(left) => *left -= 1,
            Self::Text(_) | Self::Packed => {}
        }
        Ok(false)
    }
}
