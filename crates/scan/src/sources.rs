//! Fingerprints of a repository's own files.
//!
//! A hash rolls over the visible characters of a text, 32 at a time. Those
//! hashes that end in enough zero bits are kept of the files, and looked up of
//! what is sent: the same piece gives the same ones wherever it stands, and
//! whatever spaces, line ends and escapes are between its characters. The
//! larger the repository, the fewer of its hashes are kept, and the longer a
//! piece must be to be told.

use std::collections::{HashMap, HashSet};

use crate::decode::{Base64, Decoder};

/// Characters that one hash is of.
const WINDOW: usize = 32;
/// The base of the hash's polynomial; odd, with its bits well spread.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
/// Hashes that are kept of a repository.
const HASHES_MAX: usize = 1 << 16;
/// One hash in so many is kept of a small one, as a power of two.
const LEAST_SHIFT: u32 = 2;
/// What stands in more files than this is nobody's own.
const FILES_MAX: u8 = 8;
/// By how many hashes a piece is told.
const HITS: usize = 8;
/// And by how many characters of it, about.
const CHARACTERS: u64 = 1024;

/// Bytes that an index has at most.
pub const INDEX_BYTES_MAX: usize = (1 + HASHES_MAX) * 8;

/// A hash over the last characters of a text.
#[derive(Debug)]
struct Rolling {
    window: [u8; WINDOW],
    at: usize,
    count: usize,
    hash: u64,
    /// After a backslash, of which there may be several.
    escape: bool,
    /// What of a percent escape there was.
    percent: Percent,
}

#[derive(Clone, Copy, Debug)]
enum Percent {
    No,
    Sign,
    High(u8),
}

impl Default for Rolling {
    fn default() -> Self {
        Self {
            window: [0; WINDOW],
            at: 0,
            count: 0,
            hash: 0,
            escape: false,
            percent: Percent::No,
        }
    }
}

/// What leaves the window is worth this: the base to the power of its length.
const LEAVING: u64 = BASE.wrapping_pow(32);

impl Rolling {
    /// Takes a byte and tells the hashes that are complete with it.
    fn push(&mut self, byte: u8, told: &mut impl FnMut(u64)) {
        match (self.percent, char::from(byte).to_digit(16)) {
            (Percent::Sign, Some(_)) => self.percent = Percent::High(byte),
            (Percent::High(high), Some(low)) => {
                self.percent = Percent::No;
                let high = char::from(high).to_digit(16).unwrap_or_default();
                self.escaped(u8::try_from(high * 16 + low).unwrap_or_default(), told);
            }
            (Percent::No, _) if byte == b'%' => self.percent = Percent::Sign,
            (Percent::No, _) => self.escaped(byte, told),
            (begun, _) => {
                // It was none.
                self.percent = Percent::No;
                self.escaped(b'%', told);
                if let Percent::High(high) = begun {
                    self.escaped(high, told);
                }
                self.push(byte, told);
            }
        }
    }

    /// Takes a byte that may be a part of an escape as strings have them.
    fn escaped(&mut self, byte: u8, told: &mut impl FnMut(u64)) {
        if byte == b'\\' {
            self.escape = true;
            return;
        }
        let of_escape = std::mem::take(&mut self.escape) && matches!(byte, b'n' | b'r' | b't');
        // A form writes a space as a plus sign.
        if !of_escape && byte.is_ascii_graphic() && byte != b'+' {
            self.roll(byte, told);
        }
    }

    fn roll(&mut self, byte: u8, told: &mut impl FnMut(u64)) {
        let leaving = std::mem::replace(&mut self.window[self.at], byte);
        self.at = (self.at + 1) % WINDOW;
        self.count = (self.count + 1).min(WINDOW);
        // A byte is worth one more than its number: zeros count too.
        let value = |byte: u8| u64::from(byte) + 1;
        self.hash = self.hash.wrapping_mul(BASE).wrapping_add(value(byte));
        // The window begins empty.
        if leaving != 0 {
            self.hash = self.hash.wrapping_sub(value(leaving).wrapping_mul(LEAVING));
        }
        if self.count == WINDOW {
            told(mixed(self.hash));
        }
    }
}

/// Spreads a hash over all of its bits (the finish of SplitMix64).
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn is_kept(hash: u64, shift: u32) -> bool {
    hash.trailing_zeros() >= shift
}

/// Makes an index of files.
#[derive(Debug)]
pub struct SourceIndexBuilder {
    shift: u32,
    /// Of each hash the last file that has it, and how many have.
    hashes: HashMap<u64, (u32, u8)>,
    file: u32,
}

impl Default for SourceIndexBuilder {
    fn default() -> Self {
        Self {
            shift: LEAST_SHIFT,
            hashes: HashMap::new(),
            file: 0,
        }
    }
}

impl SourceIndexBuilder {
    /// Adds a file.
    pub fn add(&mut self, content: &[u8]) {
        self.file = self.file.wrapping_add(1);
        let mut rolling = Rolling::default();
        for &byte in content {
            rolling.push(byte, &mut |hash| self.note(hash));
        }
    }

    fn note(&mut self, hash: u64) {
        if !is_kept(hash, self.shift) {
            return;
        }
        let (last, files) = self.hashes.entry(hash).or_insert((0, 0));
        if *last != self.file {
            (*last, *files) = (self.file, files.saturating_add(1));
        }
        while self.hashes.len() > HASHES_MAX {
            self.shift += 1;
            let shift = self.shift;
            self.hashes.retain(|hash, _| is_kept(*hash, shift));
        }
    }

    /// The index of all that was added.
    pub fn finish(self) -> SourceIndex {
        let own = self.hashes.into_iter();
        let own = own.filter(|(_, (_, files))| *files <= FILES_MAX);
        let mut hashes: Vec<u64> = own.map(|(hash, _)| hash).collect();
        hashes.sort_unstable();
        SourceIndex {
            shift: self.shift,
            hashes,
        }
    }
}

/// Fingerprints of a repository's own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceIndex {
    shift: u32,
    /// In order.
    hashes: Vec<u64>,
}

impl SourceIndex {
    /// Whether nothing can be found by it.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The index as a file holds it: numbers of eight bytes, the lowest first.
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = std::iter::once(u64::from(self.shift)).chain(self.hashes.iter().copied());
        numbers.flat_map(u64::to_le_bytes).collect()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `None` if it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let (shift, hashes) = numbers.split_first()?;
        let shift = u32::try_from(u64::from_le_bytes(*shift)).ok()?;
        let hashes: Vec<u64> = hashes
            .iter()
            .map(|hash| u64::from_le_bytes(*hash))
            .collect();
        let sound = rest.is_empty()
            && bytes.len() <= INDEX_BYTES_MAX
            && (LEAST_SHIFT..u64::BITS).contains(&shift)
            && hashes.is_sorted();
        sound.then_some(Self { shift, hashes })
    }
}

/// A search for pieces of a repository's files over one stream, also in base64.
#[derive(Debug, Default)]
pub struct SourceStream {
    raw: Rolling,
    base64: Decoder<Base64>,
    decoded: Rolling,
    found: HashSet<u64>,
}

impl SourceStream {
    /// Takes the next part of the stream.
    pub fn push(&mut self, index: &SourceIndex, chunk: &[u8]) {
        let mut look_up = |hash: u64| {
            if is_kept(hash, index.shift) && index.hashes.binary_search(&hash).is_ok() {
                self.found.insert(hash);
            }
        };
        for &byte in chunk {
            self.raw.push(byte, &mut look_up);
        }
        let decoded = &mut self.decoded;
        self.base64.push(chunk, |run| {
            for &byte in run.bytes {
                decoded.push(byte, &mut look_up);
            }
        });
    }

    /// About how many visible characters of the repository's files the stream
    /// holds, if these are enough to say that it holds some.
    pub fn characters(&self, index: &SourceIndex) -> Option<u64> {
        let characters = (self.found.len() as u64) << index.shift;
        let told = self.found.len() >= HITS && characters >= CHARACTERS;
        told.then_some(characters)
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use proptest::prelude::*;

    use super::*;

    /// A text of `lines` lines that is like no other.
    fn source(seed: u64, lines: usize) -> String {
        let mut state = seed;
        let mut word = || {
            state = mixed(state.wrapping_add(BASE));
            format!("{:x}", state & 0xffff_ffff)
        };
        let mut line = || format!("    let {} = \"{}\" + {}(100%);\n", word(), word(), word());
        let lines: Vec<_> = (0..lines).map(|_| line()).collect();
        lines.concat()
    }

    fn index(files: &[String]) -> SourceIndex {
        let mut builder = SourceIndexBuilder::default();
        for file in files {
            builder.add(file.as_bytes());
        }
        builder.finish()
    }

    fn characters(index: &SourceIndex, sent: &[u8]) -> Option<u64> {
        let mut stream = SourceStream::default();
        stream.push(index, sent);
        stream.characters(index)
    }

    fn percent(text: &str) -> String {
        let escape = |byte: u8| match byte {
            b' ' => "+".to_owned(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(escape).collect()
    }

    #[test]
    fn a_piece_of_a_file_is_told_however_it_is_wrapped() {
        let files: Vec<_> = (0..5).map(|seed| source(seed, 200)).collect();
        let index = index(&files);
        let piece = &files[3][1000..5000];
        for sent in [
            piece.to_owned(),
            serde_json::json!({ "text": piece }).to_string(),
            piece.replace('\n', " ").replace("    ", ""),
            STANDARD.encode(piece),
            format!("title=x&text={}", percent(piece)),
        ] {
            let about = characters(&index, sent.as_bytes());
            assert!(
                about.is_some_and(|about| about > 1500),
                "{about:?}: {sent:.200}"
            );
        }
        for other in [
            source(77, 200),
            files[3][1000..1200].to_owned(),
            String::new(),
        ] {
            assert_eq!(characters(&index, other.as_bytes()), None, "{other:.100}");
        }
    }

    #[test]
    fn what_stands_in_many_files_is_nobodys_own() {
        let notice = source(1, 100);
        let files: Vec<_> = (2..14)
            .map(|seed| notice.clone() + &source(seed, 50))
            .collect();
        let index = index(&files);
        assert_eq!(characters(&index, notice.as_bytes()), None);
        assert!(characters(&index, files[0].as_bytes()).is_some());
    }

    #[test]
    fn of_a_large_repository_less_is_kept_and_a_longer_piece_is_told() {
        let files: Vec<_> = (0..100).map(|seed| source(seed, 600)).collect();
        let index = index(&files);
        assert!(index.hashes.len() <= HASHES_MAX && index.shift > LEAST_SHIFT);
        let bytes = index.to_bytes();
        assert!(bytes.len() <= INDEX_BYTES_MAX);
        assert_eq!(SourceIndex::from_bytes(&bytes), Some(index.clone()));
        assert!(characters(&index, files[42].as_bytes()).is_some());
    }

    #[test]
    fn what_is_no_index_is_refused() {
        let bytes = index(&[source(1, 100)]).to_bytes();
        assert!(SourceIndex::from_bytes(&bytes[..bytes.len() - 1]).is_none());
        let mut wrong = bytes.clone();
        wrong[0] = 200;
        assert!(SourceIndex::from_bytes(&wrong).is_none());
        let mut disordered = bytes;
        disordered[8..16].fill(0xff);
        assert!(SourceIndex::from_bytes(&disordered).is_none());
        assert!(SourceIndex::from_bytes(b"").is_none());
    }

    proptest! {
        #[test]
        fn where_a_stream_is_cut_never_matters(seed: u64, sizes in prop::collection::vec(1_usize..400, 1..10)) {
            let text = source(seed, 60);
            let index = index(std::slice::from_ref(&text));
            let sent = format!("{{\"a\": {:?}, \"b\": \"{}\"}}", text, STANDARD.encode(&text));
            let mut stream = SourceStream::default();
            let mut rest = sent.as_bytes();
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, left) = rest.split_at(rest.len().min(*size));
                stream.push(&index, chunk);
                rest = left;
            }
            prop_assert_eq!(stream.characters(&index), characters(&index, sent.as_bytes()));
            prop_assert!(stream.characters(&index).is_some());
        }
    }
}
