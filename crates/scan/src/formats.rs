//! Keys that are known by how their issuers write them.

mod table;

use std::ops::Range;

use aho_corasick::{AhoCorasick, BuildError};

use self::table::{Check, FORMATS, Format, PRIVATE_KEY};
use crate::decode::{Base64, Decoded, Decoder, Encoding, Hexadecimal};

/// How much of a key is looked at; no format is longer but private keys, of
/// which the beginning is enough.
const LOOKED_AT: usize = 1024;
/// Bytes before a key that tell whether it begins there.
const BEFORE: usize = 3;
/// Prefixes up to this length stand in longer words by chance.
const SHORT_PREFIX: usize = 4;
/// How much is searched at once.
const PART: usize = 16 << 10;
/// Findings that one stream tells; more say nothing new.
const FINDINGS_MAX: usize = 64;

/// What finds keys by their format.
#[derive(Clone, Debug)]
pub struct Formats {
    prefixes: AhoCorasick,
    longest_prefix: usize,
}

/// A key that was found; its characters are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatFinding {
    /// What it is: `a GitHub token`.
    pub kind: &'static str,
    /// The byte at which it begins, or the text in which it is encoded.
    pub at: u64,
    /// Tells two keys apart.
    mark: u64,
    /// How many bytes of it were looked at; nothing where it stands encoded.
    length: Option<usize>,
}

impl FormatFinding {
    /// Whether `other` is the same key, wherever it stands.
    pub fn is_same_key(&self, other: &Self) -> bool {
        (self.kind, self.mark) == (other.kind, other.mark)
    }

    /// Whether it stands as it is, not encoded.
    pub(crate) fn is_plain(&self) -> bool {
        self.length.is_some()
    }

    /// The bytes of `text`, the whole that was searched, that hold it: all of a
    /// private key, and the whole run in which it is encoded.
    pub(crate) fn range_in(&self, text: &[u8]) -> Range<usize> {
        let start = usize::try_from(self.at).map_or(text.len(), |at| at.min(text.len()));
        let rest = &text[start..];
        let length = match self.length {
            Some(length) if self.kind == PRIVATE_KEY => private_key(rest, length),
            Some(length) => length,
            None => {
                let in_run = |byte: &u8| {
                    Base64::bits(*byte).is_some() || matches!(byte, b'=' | b'\r' | b'\n')
                };
                rest.iter().take_while(|byte| in_run(byte)).count()
            }
        };
        start..start + length.min(rest.len())
    }
}

/// How long the private key is with which `text` begins, of which so much was
/// looked at: to the end of its last line, or of the text where that is cut off.
fn private_key(text: &[u8], looked_at: usize) -> usize {
    const END: &[u8] = b"-----END ";
    const DASHES: &[u8] = b"KEY-----";
    let place = |from: usize, wanted: &[u8]| {
        let rest = text.get(from..)?;
        let at = rest.windows(wanted.len()).position(|part| part == wanted)?;
        Some(from + at + wanted.len())
    };
    let end = place(looked_at.min(text.len()), END).and_then(|end| place(end, DASHES));
    end.unwrap_or(text.len())
}

impl Formats {
    /// The formats that are built in.
    ///
    /// # Errors
    /// If there are more than can be searched for at once.
    pub fn new() -> Result<Self, BuildError> {
        let prefixes = FORMATS.iter().map(|format| format.prefix);
        Ok(Self {
            longest_prefix: prefixes.clone().map(str::len).max().unwrap_or(0),
            prefixes: AhoCorasick::new(prefixes)?,
        })
    }

    /// Every key in `text`, also in base64 and hexadecimal, in order.
    pub fn find(&self, text: &[u8]) -> Vec<FormatFinding> {
        self.find_most(text).0
    }

    /// The same, and whether there may be more than are told.
    pub(crate) fn find_most(&self, text: &[u8]) -> (Vec<FormatFinding>, bool) {
        let mut stream = FormatStream::default();
        stream.push(self, text);
        stream.finish_most(self)
    }
}

/// A search for keys over one stream.
#[derive(Debug, Default)]
pub struct FormatStream {
    raw: Search,
    base64: Layer<Base64>,
    hexadecimal: Layer<Hexadecimal>,
    findings: Vec<FormatFinding>,
}

impl FormatStream {
    /// Takes the next part of the stream.
    pub fn push(&mut self, formats: &Formats, chunk: &[u8]) {
        let found = &mut self.findings;
        self.raw.push(formats, chunk, false, found);
        self.base64.push(formats, chunk, found);
        self.hexadecimal.push(formats, chunk, found);
    }

    /// What was found, once the stream has ended.
    pub fn finish(self, formats: &Formats) -> Vec<FormatFinding> {
        self.finish_most(formats).0
    }

    fn finish_most(mut self, formats: &Formats) -> (Vec<FormatFinding>, bool) {
        let found = &mut self.findings;
        self.raw.push(formats, b"", true, found);
        self.base64.finish(formats, found);
        self.hexadecimal.finish(formats, found);
        let mut findings = self.findings;
        let full = findings.len() >= FINDINGS_MAX;
        findings.sort_by_key(|finding| (finding.at, finding.mark));
        findings.dedup();
        (findings, full)
    }
}

/// A search in what one encoding of the stream says.
#[derive(Debug, Default)]
struct Layer<E> {
    decoder: Decoder<E>,
    search: Search,
}

impl<E: Encoding> Layer<E> {
    fn push(&mut self, formats: &Formats, chunk: &[u8], found: &mut Vec<FormatFinding>) {
        let Self { decoder, search } = self;
        decoder.push(chunk, |decoded| search.decoded(formats, decoded, found));
    }

    fn finish(&mut self, formats: &Formats, found: &mut Vec<FormatFinding>) {
        let Self { decoder, search } = self;
        decoder.finish(|decoded| search.decoded(formats, decoded, found));
    }
}

/// A search in one sequence of bytes.
#[derive(Debug, Default)]
struct Search {
    /// What is not decided yet, after a few bytes that are.
    held: Vec<u8>,
    /// How many bytes of `held` are decided.
    decided: usize,
    /// The place of the first byte of `held`.
    at: u64,
}

impl Search {
    /// Takes what a run says. Each is a text of its own, and is named by where
    /// it begins.
    fn decoded(&mut self, formats: &Formats, run: Decoded<'_>, found: &mut Vec<FormatFinding>) {
        let known = found.len();
        self.push(formats, run.bytes, run.ends, found);
        for finding in &mut found[known..] {
            finding.at = run.run_at;
            finding.length = None;
        }
        if run.ends {
            *self = Self::default();
        }
    }

    /// Takes `chunk`, with which the text ends if it is the `last`.
    fn push(
        &mut self,
        formats: &Formats,
        chunk: &[u8],
        last: bool,
        found: &mut Vec<FormatFinding>,
    ) {
        // What is found in one part is put in order: the part has its bounds.
        let mut parts = chunk.chunks(PART).peekable();
        while let Some(part) = parts.next() {
            self.part(formats, part, last && parts.peek().is_none(), found);
        }
        if last && chunk.is_empty() {
            self.part(formats, b"", true, found);
        }
    }

    fn part(&mut self, formats: &Formats, part: &[u8], last: bool, found: &mut Vec<FormatFinding>) {
        self.held.extend_from_slice(part);
        let text = self.held.as_slice();
        // A prefix may be cut here, and so may be what follows it.
        let whole = text.len().saturating_sub(formats.longest_prefix - 1);
        let mut end = if last { text.len() } else { whole };
        let hits = formats.prefixes.find_overlapping_iter(text);
        let mut hits: Vec<_> = hits
            .filter(|hit| (self.decided..end).contains(&hit.start()))
            .collect();
        hits.sort_by_key(|hit| (hit.start(), std::cmp::Reverse(hit.end())));
        let mut taken = self.decided;
        for hit in hits {
            let start = hit.start();
            if start < taken || start >= end {
                continue;
            }
            let format = &FORMATS[hit.pattern()];
            let rest = &text[hit.end()..];
            let key = format.key_in(&rest[..rest.len().min(LOOKED_AT)]);
            if key.len() == rest.len() && key.len() < LOOKED_AT && !last {
                end = start;
            } else if begins_after(&text[..start], format) && format.is_key(key) {
                taken = hit.end() + key.len();
                if found.len() < FINDINGS_MAX {
                    found.push(FormatFinding {
                        kind: format.kind,
                        at: self.at + start as u64,
                        mark: mark(key),
                        length: Some(taken - start),
                    });
                }
            }
        }
        self.decided = end.max(taken);
        let dropped = self.decided.saturating_sub(BEFORE);
        self.held.drain(..dropped);
        self.decided -= dropped;
        self.at += dropped as u64;
    }
}

/// Whether a key can begin after `before`: not in the middle of a word, but
/// what is left of an escape (`\n`, `%3D`) is no word.
fn begins_after(before: &[u8], format: &Format) -> bool {
    let tail = &before[before.len().saturating_sub(BEFORE)..];
    format.prefix.len() > SHORT_PREFIX
        || match tail {
            [] | [.., b'\\', b'n' | b'r' | b't'] => true,
            [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => true,
            [.., last] => !last.is_ascii_alphanumeric(),
        }
}

impl Format {
    /// The beginning of `rest` that its characters reach.
    fn key_in<'t>(&self, rest: &'t [u8]) -> &'t [u8] {
        let end = rest.iter().position(|byte| !self.alphabet.holds(*byte));
        &rest[..end.unwrap_or(rest.len())]
    }

    /// Whether `key` may follow its prefix.
    fn is_key(&self, key: &[u8]) -> bool {
        let fits = (self.least..=self.most).contains(&key.len());
        fits && is_varied(key)
            && !is_made_up(key)
            && match self.check {
                Check::Varied => true,
                Check::Holds(text) => contains(key, text.as_bytes()),
                Check::Crc32 => has_checksum(key),
            }
    }
}

/// How many different characters a random text has at least, for its length
/// or for the 64 first ones: far fewer than random ones have on average.
fn is_varied(key: &[u8]) -> bool {
    let looked_at = &key[..key.len().min(64)];
    let mut seen = [false; 256];
    for byte in looked_at {
        seen[usize::from(*byte)] = true;
    }
    let different = seen.iter().filter(|seen| **seen).count();
    // Of sixteen digits a text of 32 has fourteen, but for one in a million.
    different >= (looked_at.len() / 3).clamp(6, 9)
}

/// What people write where a key would stand.
const MADE_UP: [&str; 10] = [
    "example",
    "placeholder",
    "redacted",
    "xxxx",
    "0123456789",
    "1234567890",
    "abcdefgh",
    "dummy",
    "your-",
    "your_",
];

fn is_made_up(key: &[u8]) -> bool {
    let lower = key.to_ascii_lowercase();
    MADE_UP.iter().any(|word| contains(&lower, word.as_bytes()))
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

/// The digits of base 62 in their order.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// How many of them a checksum has.
const CHECKSUM: usize = 6;

fn has_checksum(key: &[u8]) -> bool {
    let Some(at) = key.len().checked_sub(CHECKSUM) else {
        return false;
    };
    let (key, sum) = key.split_at(at);
    let value = sum.iter().try_fold(0_u64, |value, digit| {
        let digit = BASE62.iter().position(|known| known == digit)?;
        Some(value * 62 + digit as u64)
    });
    value == Some(crc32(key).into())
}

/// The CRC-32 of zip and Ethernet.
fn crc32(text: &[u8]) -> u32 {
    let sum = text.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            let carry = if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
            (sum >> 1) ^ carry
        })
    });
    !sum
}

/// A number by which keys are told apart (FNV-1a).
fn mark(key: &[u8]) -> u64 {
    key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
