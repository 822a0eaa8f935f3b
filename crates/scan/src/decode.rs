//! What runs of base64 or hexadecimal in a stream say.

use std::marker::PhantomData;

/// How text spells bytes.
pub(crate) trait Encoding {
    /// How many bits one character stands for.
    const BITS: u32;
    /// Runs with fewer characters say nothing that anybody looks for.
    const LEAST: usize;
    /// Whether long runs are broken into lines.
    const IN_LINES: bool;

    /// The bits that `byte` stands for.
    fn bits(byte: u8) -> Option<u32>;
}

/// Base64 of both alphabets.
#[derive(Debug, Default)]
pub(crate) struct Base64;

impl Encoding for Base64 {
    const BITS: u32 = 6;
    const LEAST: usize = 24;
    const IN_LINES: bool = true;

    fn bits(byte: u8) -> Option<u32> {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        Some(value.into())
    }
}

/// Hexadecimal of both cases.
#[derive(Debug, Default)]
pub(crate) struct Hexadecimal;

impl Encoding for Hexadecimal {
    const BITS: u32 = 4;
    const LEAST: usize = 40;
    const IN_LINES: bool = false;

    fn bits(byte: u8) -> Option<u32> {
        char::from(byte).to_digit(16)
    }
}

/// A part of what a run says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoded<'d> {
    pub(crate) bytes: &'d [u8],
    /// The place in the stream at which the run begins.
    pub(crate) run_at: u64,
    /// Whether the run ends with it.
    pub(crate) ends: bool,
}

/// How many bytes are told at once.
const PART: usize = 4096;

/// Decodes the runs of a stream as it comes. A run is read from its first
/// character on; what is spelled from the middle of one is not found.
#[derive(Debug, Default)]
pub(crate) struct Decoder<E> {
    /// How many bytes of the stream there were.
    at: u64,
    run_at: u64,
    /// Characters of a run that is not long enough yet.
    begun: Vec<u8>,
    is_run: bool,
    bits: u32,
    count: u32,
    out: Vec<u8>,
    encoding: PhantomData<E>,
}

impl<E: Encoding> Decoder<E> {
    /// Takes the next part of the stream and tells what it says.
    pub(crate) fn push(&mut self, chunk: &[u8], mut told: impl FnMut(Decoded<'_>)) {
        let mut rest = chunk;
        while let Some((&byte, after)) = rest.split_first() {
            let is_between = !self.is_run && self.begun.is_empty();
            let ahead = rest.get(..E::LEAST).filter(|_| is_between);
            let end =
                ahead.and_then(|ahead| ahead.iter().rposition(|byte| E::bits(*byte).is_none()));
            if let Some(end) = end {
                // What begins before that byte is too short.
                self.at += end as u64 + 1;
                rest = &rest[end + 1..];
                continue;
            }
            match E::bits(byte) {
                Some(bits) => self.take(byte, bits, &mut told),
                // The next line goes on with it.
                None if E::IN_LINES
                    && self.is_run
                    && self.count == 0
                    && matches!(byte, b'\r' | b'\n') => {}
                None => self.end(&mut told),
            }
            self.at += 1;
            rest = after;
        }
        if !self.out.is_empty() {
            self.tell(false, &mut told);
        }
    }

    /// The stream has ended.
    pub(crate) fn finish(&mut self, mut told: impl FnMut(Decoded<'_>)) {
        self.end(&mut told);
    }

    fn take(&mut self, byte: u8, bits: u32, told: &mut impl FnMut(Decoded<'_>)) {
        if self.is_run {
            self.add(bits);
            if self.out.len() >= PART {
                self.tell(false, told);
            }
            return;
        }
        if self.begun.is_empty() {
            self.run_at = self.at;
        }
        self.begun.push(byte);
        if self.begun.len() == E::LEAST {
            self.is_run = true;
            for byte in std::mem::take(&mut self.begun) {
                self.add(E::bits(byte).unwrap_or_default());
            }
        }
    }

    fn add(&mut self, bits: u32) {
        self.bits = (self.bits << E::BITS) | bits;
        self.count += E::BITS;
        if self.count >= 8 {
            self.count -= 8;
            // The lowest eight of what is complete.
            self.out
                .push(u8::try_from(self.bits >> self.count).unwrap_or_default());
            self.bits &= (1 << self.count) - 1;
        }
    }

    fn end(&mut self, told: &mut impl FnMut(Decoded<'_>)) {
        self.begun.clear();
        if self.is_run {
            self.tell(true, told);
        }
        (self.is_run, self.bits, self.count) = (false, 0, 0);
    }

    fn tell(&mut self, ends: bool, told: &mut impl FnMut(Decoded<'_>)) {
        told(Decoded {
            bytes: &self.out,
            run_at: self.run_at,
            ends,
        });
        self.out.clear();
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use proptest::prelude::*;

    use super::*;

    fn decoded<E: Encoding + Default>(chunks: &[&[u8]]) -> Vec<(u64, Vec<u8>)> {
        let mut decoder = Decoder::<E>::default();
        let (mut runs, mut run) = (Vec::new(), Vec::new());
        let mut tell = |decoded: Decoded<'_>| {
            run.extend_from_slice(decoded.bytes);
            if decoded.ends {
                runs.push((decoded.run_at, std::mem::take(&mut run)));
            }
        };
        for chunk in chunks {
            decoder.push(chunk, &mut tell);
        }
        decoder.finish(&mut tell);
        runs
    }

    #[test]
    fn runs_are_read_in_lines_and_short_words_are_not() {
        let said = b"what a long text says, in more than one line of base64".repeat(3);
        let lines: Vec<_> = STANDARD
            .encode(&said)
            .as_bytes()
            .chunks(76)
            .map(<[u8]>::to_vec)
            .collect();
        let text = [b"short words ".to_vec(), lines.join(&b"\r\n"[..])].concat();
        assert_eq!(decoded::<Base64>(&[&text]), [(12, said)]);
        let said = b"a sentence in hexadecimal";
        let text = format!("x=\"{}\"", hex::encode_upper(said));
        assert_eq!(
            decoded::<Hexadecimal>(&[text.as_bytes()]),
            [(3, said.to_vec())]
        );
        assert!(decoded::<Base64>(&[b"plain words of a text"]).is_empty());
    }

    proptest! {
        #[test]
        fn where_a_stream_is_cut_does_not_matter(text in "[a-zA-Z0-9+/\n =]{0,300}", size in 1_usize..40) {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            prop_assert_eq!(decoded::<Base64>(&chunks), decoded::<Base64>(&[text.as_bytes()]));
            prop_assert_eq!(decoded::<Hexadecimal>(&chunks), decoded::<Hexadecimal>(&[text.as_bytes()]));
        }

        #[test]
        fn what_was_encoded_is_what_is_told(said in prop::collection::vec(any::<u8>(), 30..200)) {
            let text = STANDARD.encode(&said);
            prop_assert_eq!(decoded::<Base64>(&[text.as_bytes()]), [(0, said)]);
        }
    }
}
