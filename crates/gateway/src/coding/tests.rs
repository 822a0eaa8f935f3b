use std::io::Write as _;

use flate2::{Compression, write};
use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const ALL: [Coding; 4] = [Coding::Gzip, Coding::Deflate, Coding::Brotli, Coding::Zstd];

fn packed(coding: Coding, said: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => {
            let mut encoder = flate2::GzBuilder::new()
                .filename("a name")
                .comment("a comment")
                .extra(vec![7; 300])
                .write(Vec::new(), Compression::default());
            encoder.write_all(said).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Deflate => {
            let mut encoder = write::ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(said).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Brotli => {
            let mut packed = Vec::new();
            let mut encoder = brotli::CompressorWriter::new(&mut packed, 4096, 5, 20);
            encoder.write_all(said).unwrap();
            drop(encoder);
            packed
        }
        Coding::Zstd => zstd::encode_all(said, 3).unwrap(),
    }
}

fn without_zlib(said: &[u8]) -> Vec<u8> {
    let mut encoder = write::DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(said).unwrap();
    encoder.finish().unwrap()
}

fn said<'p>(
    coding: Coding,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> Result<Vec<u8>, CodingError> {
    let mut expander = Expander::new(coding)?;
    let mut said = Vec::new();
    for piece in pieces {
        said.extend(expander.push(piece)?);
    }
    expander.finish()?;
    Ok(said)
}

/// Something that packs well here and badly there.
fn text() -> Vec<u8> {
    let lines = (0_u64..4000).map(|n| format!("{n} {:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a)));
    let mut text = lines.collect::<String>().into_bytes();
    text.extend(vec![b'a'; 200_000]);
    text
}

#[test]
fn what_was_packed_is_what_is_told_wherever_it_is_cut() {
    let text = text();
    for coding in ALL {
        let packed = packed(coding, &text);
        for size in [1, 7, 1000, PIECE] {
            let told = said(coding, packed.chunks(size)).unwrap();
            assert!(told == text, "{coding:?} in pieces of {size}");
        }
    }
    let raw = without_zlib(&text);
    assert!(said(Coding::Deflate, raw.chunks(1)).unwrap() == text);
    let members = [packed(Coding::Gzip, b"one "), packed(Coding::Gzip, b"two")].concat();
    assert_eq!(said(Coding::Gzip, members.chunks(3)).unwrap(), b"one two");
    for coding in ALL {
        assert_eq!(said(coding, [&packed(coding, b"")[..]]).unwrap(), b"");
        assert_eq!(said(coding, []).unwrap(), b"");
    }
}

#[test]
fn what_was_flushed_is_told_before_more_comes() {
    let mut gzip = write::GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(b"first").unwrap();
    gzip.flush().unwrap();
    let mut zlib = write::ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(b"first").unwrap();
    zlib.flush().unwrap();
    let mut brotli = brotli::CompressorWriter::new(Vec::new(), 4096, 5, 20);
    brotli.write_all(b"first").unwrap();
    brotli.flush().unwrap();
    let mut zstd = zstd::Encoder::new(Vec::new(), 3).unwrap();
    zstd.write_all(b"first").unwrap();
    zstd.flush().unwrap();
    for (coding, packed) in [
        (Coding::Gzip, gzip.get_ref()),
        (Coding::Deflate, zlib.get_ref()),
        (Coding::Brotli, brotli.get_ref()),
        (Coding::Zstd, zstd.get_ref()),
    ] {
        let mut expander = Expander::new(coding).unwrap();
        assert_eq!(expander.push(packed).unwrap(), b"first", "{coding:?}");
        assert_eq!(expander.finish(), Err(CodingError::Truncated), "{coding:?}");
    }
}

#[test]
fn a_bomb_is_refused_before_it_is_expanded() {
    let zeros = vec![0; 200 << 20];
    for coding in ALL {
        let packed = packed(coding, &zeros);
        let mut expander = Expander::new(coding).unwrap();
        let mut told = 0;
        let end = packed.chunks(PIECE).find_map(|piece| {
            let pushed = expander.push(piece);
            told += pushed.as_ref().map_or(0, Vec::len);
            pushed.err()
        });
        assert_eq!(end, Some(CodingError::Bomb), "{coding:?}");
        assert!(told <= 32 << 20, "{coding:?}: {told}");
    }
}

#[test]
fn what_is_cut_off_or_goes_on_after_its_end_is_not_whole() {
    for coding in ALL {
        let whole = packed(coding, b"something to say");
        let short = &whole[..whole.len() - 1];
        assert_eq!(
            said(coding, [short]),
            Err(CodingError::Truncated),
            "{coding:?}"
        );
        let long = [&whole[..], b"more"].concat();
        for size in [1, 100] {
            assert_eq!(
                said(coding, long.chunks(size)),
                Err(CodingError::Corrupt),
                "{coding:?}"
            );
        }
    }
    assert_eq!(
        said(Coding::Gzip, [&b"plain text"[..]]),
        Err(CodingError::Corrupt)
    );
}

#[test]
fn a_header_names_one_coding_at_most() {
    let of = |values: &[&'static str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        Coding::of(&headers)
    };
    for plain in [&[][..], &["identity"], &["aws-chunked"], &[""]] {
        assert_eq!(of(plain), Ok(None), "{plain:?}");
    }
    assert_eq!(of(&["X-GZip"]), Ok(Some(Coding::Gzip)));
    assert_eq!(of(&["aws-chunked, br"]), Ok(Some(Coding::Brotli)));
    for unknown in [
        &["compress"][..],
        &["gzip, gzip"],
        &["gzip", "zstd"],
        &["dcb"],
    ] {
        assert_eq!(of(unknown), Err(CodingError::Unknown), "{unknown:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_an_expander_fail(
        which in 0..ALL.len(),
        begins in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        size in 1_usize..50,
    ) {
        let coding = ALL[which];
        let mut whole = if begins { packed(coding, &bytes) } else { bytes.clone() };
        if begins && let Some(at) = bytes.first() {
            let at = usize::from(*at) % whole.len();
            whole[at] ^= 0x55;
        }
        drop(said(coding, whole.chunks(size)));
    }
}
