//! Content codings (RFC 9110 §8.4.1), undone piece by piece: a body is searched
//! for what it says, however it is packed.

mod gzip;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::{Decompress, FlushDecompress, Status};
use http::{HeaderMap, header};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation as _};

use self::gzip::Framing;

/// What any body may expand to at once; also what is held of it in memory.
const BURST: u64 = 8 << 20;
/// What it may expand to from then on, for each of its own bytes.
const RATIO: u64 = 256;
/// How much of a body is expanded in one go.
pub(crate) const PIECE: usize = 4 << 10;
/// What a decoder writes to.
const BUFFER: usize = 32 << 10;
/// The largest window that RFC 9659 lets a zstd body ask for, as a power of two.
const ZSTD_WINDOW: u32 = 23;

/// A coding that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodingError {
    #[error(
        "is in a coding that is not read here; gzip, deflate, br and zstd are, one at a time, \
         and no coding at all"
    )]
    Unknown,
    #[error("is not what its Content-Encoding says")]
    Corrupt,
    #[error("ends before what is packed in it does")]
    Truncated,
    #[error("expands to far more than its own length")]
    Bomb,
}

impl Coding {
    /// The coding of the body that `headers` announce; `None` if it stands as
    /// it is.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, CodingError> {
        let mut found = None;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            let value = value.to_str().map_err(|_| CodingError::Unknown)?;
            for name in value.split(',').map(str::trim) {
                let coding = match name.to_ascii_lowercase().as_str() {
                    // Amazon's chunks are lengths and signatures between plain text.
                    "" | "identity" | "aws-chunked" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    "br" => Self::Brotli,
                    "zstd" => Self::Zstd,
                    _ => return Err(CodingError::Unknown),
                };
                if found.replace(coding).is_some() {
                    return Err(CodingError::Unknown);
                }
            }
        }
        Ok(found)
    }

    /// The coding of a file that begins like `body`.
    pub(crate) fn of_file(body: &[u8]) -> Option<Self> {
        match body {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Undoes the coding of one body.
pub(crate) struct Expander {
    engine: Engine,
    /// What it may expand to before more of it has come.
    allowance: u64,
    buffer: Vec<u8>,
    begun: bool,
    complete: bool,
}

enum Engine {
    Gzip(Decompress, Framing),
    /// Of which nothing tells whether there is zlib's frame around it but its
    /// beginning.
    Deflate(Option<Decompress>, Vec<u8>),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(ZstdDecoder<'static>),
}

/// What became of one call to a decoder.
#[derive(Default)]
struct Step {
    read: usize,
    written: usize,
    /// Whether what is packed has ended here.
    ended: bool,
}

impl Expander {
    pub(crate) fn new(coding: Coding) -> Result<Self, CodingError> {
        let engine = match coding {
            Coding::Gzip => Engine::Gzip(Decompress::new(false), Framing::default()),
            Coding::Deflate => Engine::Deflate(None, Vec::new()),
            // Not the one whose window may be a gigabyte.
            Coding::Brotli => Engine::Brotli(Box::new(BrotliState::new_strict(
                StandardAlloc::default(),
                StandardAlloc::default(),
                StandardAlloc::default(),
            ))),
            Coding::Zstd => {
                let mut decoder = ZstdDecoder::new().map_err(|_| CodingError::Unknown)?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))
                    .map_err(|_| CodingError::Unknown)?;
                Engine::Zstd(decoder)
            }
        };
        Ok(Self {
            engine,
            allowance: BURST,
            buffer: vec![0; BUFFER],
            begun: false,
            complete: false,
        })
    }

    /// What the next bytes of the body say, all that can be told by now. They
    /// should be no more than [`PIECE`].
    pub(crate) fn push(&mut self, packed: &[u8]) -> Result<Vec<u8>, CodingError> {
        let mut said = Vec::new();
        let earned = RATIO.saturating_mul(packed.len() as u64);
        self.allowance = self.allowance.saturating_add(earned).min(BURST);
        self.begun |= !packed.is_empty();
        let mut rest = packed;
        loop {
            let is_new = self.complete && !rest.is_empty();
            let step = self.engine.step(rest, &mut self.buffer, is_new)?;
            let written = self.buffer.get(..step.written).unwrap_or_default();
            self.allowance = self
                .allowance
                .checked_sub(step.written as u64)
                .ok_or(CodingError::Bomb)?;
            said.extend_from_slice(written);
            rest = rest.get(step.read..).unwrap_or_default();
            if step.read > 0 || step.ended {
                self.complete = step.ended;
            }
            // A full buffer may not have been all.
            if rest.is_empty() && step.written < BUFFER {
                return Ok(said);
            }
            if step.read == 0 && step.written == 0 && !step.ended {
                return Err(CodingError::Corrupt);
            }
        }
    }

    /// The body has ended.
    pub(crate) fn finish(&self) -> Result<(), CodingError> {
        if self.complete || !self.begun {
            Ok(())
        } else {
            Err(CodingError::Truncated)
        }
    }
}

impl Engine {
    /// Reads of `packed` and writes to `buffer`; `is_new` if what was packed
    /// before has ended.
    fn step(
        &mut self,
        packed: &[u8],
        buffer: &mut [u8],
        is_new: bool,
    ) -> Result<Step, CodingError> {
        match self {
            Self::Gzip(inflater, framing) => framing.step(inflater, packed, buffer),
            Self::Zstd(decoder) => {
                let status = decoder
                    .run_on_buffers(packed, buffer)
                    .map_err(|_| CodingError::Corrupt)?;
                Ok(Step {
                    read: status.bytes_read,
                    written: status.bytes_written,
                    ended: status.remaining == 0,
                })
            }
            // Whoever unpacks it may see less of it than is here.
            Self::Deflate(..) | Self::Brotli(_) if is_new => Err(CodingError::Corrupt),
            Self::Deflate(Some(inflater), _) => inflate(inflater, packed, buffer),
            Self::Deflate(inflater, begun) => {
                begun.extend_from_slice(packed);
                let [method, flags, ..] = begun[..] else {
                    return Ok(Step {
                        read: packed.len(),
                        written: 0,
                        ended: false,
                    });
                };
                let is_framed = method & 0x0f == 8
                    && (u16::from(method) << 8 | u16::from(flags)).is_multiple_of(31);
                let mut fresh = Decompress::new(is_framed);
                let before = begun.len() - packed.len();
                let mut step = inflate(&mut fresh, begun, buffer)?;
                // What came before is one byte at most, and is read first.
                step.read = step.read.saturating_sub(before);
                *begun = Vec::new();
                *inflater = Some(fresh);
                Ok(step)
            }
            Self::Brotli(state) => {
                let (mut available, mut read) = (packed.len(), 0);
                let (mut room, mut written) = (buffer.len(), 0);
                let result = BrotliDecompressStream(
                    &mut available,
                    &mut read,
                    packed,
                    &mut room,
                    &mut written,
                    buffer,
                    &mut 0,
                    state,
                );
                if matches!(result, BrotliResult::ResultFailure) {
                    return Err(CodingError::Corrupt);
                }
                let ended = matches!(result, BrotliResult::ResultSuccess);
                Ok(Step {
                    read,
                    written,
                    ended,
                })
            }
        }
    }
}

fn inflate(
    inflater: &mut Decompress,
    packed: &[u8],
    buffer: &mut [u8],
) -> Result<Step, CodingError> {
    let before = (inflater.total_in(), inflater.total_out());
    let status = inflater
        .decompress(packed, buffer, FlushDecompress::None)
        .map_err(|_| CodingError::Corrupt)?;
    let grown = |now: u64, then: u64| usize::try_from(now - then).unwrap_or(usize::MAX);
    Ok(Step {
        read: grown(inflater.total_in(), before.0),
        written: grown(inflater.total_out(), before.1),
        ended: status == Status::StreamEnd,
    })
}

#[cfg(test)]
mod tests;
