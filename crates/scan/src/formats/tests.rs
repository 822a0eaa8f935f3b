use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;

use super::*;

/// Text without a key, of which every word could be the beginning of one.
const AROUND: &str = "task-risk sk-learn ghp_ AKIA key-value SK npm_config_cache xoxb glpat-";

/// A key of `format`, made from `seed`.
fn key(format: &Format, seed: u64) -> String {
    let characters: Vec<u8> = (0x20..0x7f_u8)
        .filter(|byte| byte.is_ascii_alphanumeric() && format.alphabet.holds(*byte))
        .collect();
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut character = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let index = usize::try_from(state >> 33).unwrap() % characters.len();
        char::from(characters[index])
    };
    let mut rest: String = (0..format.least).map(|_| character()).collect();
    match format.check {
        Check::Varied => {}
        Check::Holds(text) => rest.replace_range(10..10 + text.len(), text),
        Check::Crc32 => {
            let at = rest.len() - CHECKSUM;
            let mut sum = crc32(&rest.as_bytes()[..at]);
            for place in (at..rest.len()).rev() {
                let digit = char::from(BASE62[(sum % 62) as usize]);
                rest.replace_range(place..=place, &digit.to_string());
                sum /= 62;
            }
        }
    }
    format!("{}{rest}", format.prefix)
}

fn kinds(findings: &[FormatFinding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_key_of_each_format_is_found_raw_escaped_in_base64_and_in_hexadecimal() {
    let formats = Formats::new().unwrap();
    for (seed, format) in (1..).zip(FORMATS) {
        let key = key(format, seed);
        let texts = [
            format!("{AROUND}\nkey: {key}\n"),
            serde_json::to_string(&format!("a\n{key}\tb")).unwrap(),
            format!("key%3D{key}&b=1"),
            STANDARD.encode(format!("the key {key} of a file")),
            hex::encode(format!("{key} ")),
        ];
        for text in texts {
            let found = formats.find(text.as_bytes());
            assert_eq!(kinds(&found), [format.kind], "{text}");
        }
    }
}

#[test]
fn g3_a_key_of_each_format_is_taken_out_of_a_text_whole_and_so_is_the_run_that_encodes_it() {
    let cleaner = crate::TextCleaner::new([], []).unwrap();
    for (seed, format) in (1..).zip(FORMATS) {
        let key = key(format, seed);
        let marker = format!("[redacted: what looks like {}]", format.kind);
        for (text, expected) in [
            (format!("a: {key}\"; b"), format!("a: {marker}")),
            (STANDARD.encode(format!("the {key} ")), marker.clone()),
            (hex::encode(format!("{key} ")), marker.clone()),
        ] {
            let cleaned = cleaner.clean(&text).unwrap();
            assert!(cleaned.text.starts_with(&expected), "{text}: {cleaned:?}");
            assert!(
                !cleaned.text.contains(&key[format.prefix.len()..]),
                "{cleaned:?}"
            );
            assert_eq!(cleaned.removed.len(), 1, "{text}: {cleaned:?}");
        }
    }
}

#[test]
fn a_published_example_of_a_checksum_is_the_right_one() {
    // Of a token that its issuer has long taken back, in two parts.
    let token = ["ghp_zQWBuTSOoRi4A9spHc", "VY5ncnsDkxkJ0mLq17"].concat();
    let formats = Formats::new().unwrap();
    assert_eq!(kinds(&formats.find(token.as_bytes())), ["a GitHub token"]);
    let other = token.replace("0mLq17", "0mLq18");
    assert!(formats.find(other.as_bytes()).is_empty());
}

#[test]
fn what_only_looks_like_a_key_is_none() {
    let formats = Formats::new().unwrap();
    for text in [
        AROUND,
        "AKIAIOSFODNN7EXAMPLE",
        "sk-ant-api03-your-key-here",
        "ghp_0123456789abcdefABCDEF0123456789abcd",
        "xoxb-xxxxxxxxxxxx-xxxxxxxxxxxx-xxxxxxxxxxxxxxxx",
        "-----BEGIN PRIVATE KEY-----\\n...\\n-----END PRIVATE KEY-----",
        "monkey-0a1b2c3d4e5f60718293a4b5c6d7e8f9 is one word",
        "npm_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "dop_v1_0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        assert_eq!(formats.find(text.as_bytes()), [], "{text}");
    }
}

#[test]
fn the_place_and_the_sameness_of_keys_are_told() {
    let formats = Formats::new().unwrap();
    let [one, other] = [1, 2].map(|seed| key(&FORMATS[0], seed));
    let text = format!("ab\n{one}\n{other}\n{one}");
    let found = formats.find(text.as_bytes());
    let places: Vec<_> = found.iter().map(|finding| finding.at).collect();
    assert_eq!(places, [3, 44, 85]);
    assert!(found[0].is_same_key(&found[2]) && !found[0].is_same_key(&found[1]));
    let encoded = format!("0123 {}", STANDARD.encode(&one));
    assert_eq!(formats.find(encoded.as_bytes())[0].at, 5);
}

/// Every file below `folder` that is not built or git's own.
fn files(folder: &Path, each: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() && !entry.file_name().as_encoded_bytes().starts_with(b".") {
            files(&path, each);
        } else if kind.is_file() {
            each(&path, &fs::read(&path).unwrap_or_default());
        }
    }
}

#[test]
fn in_the_files_of_this_repository_there_is_one_key_at_most() {
    let formats = Formats::new().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    let (mut found, mut bytes) = (Vec::new(), 0);
    for folder in ["crates", "docs"] {
        files(&root.join(folder), &mut |path, text| {
            bytes += text.len();
            found.extend(
                formats
                    .find(text)
                    .iter()
                    .map(|one| (path.to_owned(), one.kind)),
            );
        });
    }
    assert!(bytes > 1 << 20, "only {bytes} bytes were read");
    // Tests of the store have an identity of their own.
    found.retain(|(_, kind)| *kind != "an age identity");
    assert_eq!(found, []);
}

/// A stream of pieces, some of which are keys, raw or encoded.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (0..FORMATS.len(), any::<u64>(), 0..3).prop_map(|(format, seed, how)| {
            let key = key(&FORMATS[format], seed);
            match how {
                0 => key,
                1 => STANDARD.encode(key),
                _ => hex::encode(key),
            }
        }),
        "[a-zA-Z0-9_./+ \\n\"=-]{0,40}",
        (0..FORMATS.len()).prop_map(|format| FORMATS[format].prefix.to_owned()),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn where_a_stream_is_cut_never_matters(text in pieces(), sizes in prop::collection::vec(1_usize..50, 1..20)) {
        let formats = Formats::new().unwrap();
        let mut stream = FormatStream::default();
        let mut rest = text.as_slice();
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, left) = rest.split_at(rest.len().min(*size));
            stream.push(&formats, chunk);
            rest = left;
        }
        prop_assert_eq!(stream.finish(&formats), formats.find(&text));
    }

    #[test]
    fn any_bytes_are_searched(text in prop::collection::vec(any::<u8>(), 0..400)) {
        let formats = Formats::new().unwrap();
        prop_assert!(formats.find(&text).len() <= FINDINGS_MAX);
    }
}

#[test]
fn what_is_held_of_a_stream_is_bounded() {
    let formats = Formats::new().unwrap();
    let mut stream = FormatStream::default();
    let endless = format!("-----BEGIN PRIVATE KEY-----{}", "sk-ghp_AKIA".repeat(100));
    for _ in 0..200 {
        stream.push(&formats, endless.as_bytes());
        assert!(stream.raw.held.len() < 2 * PART);
    }
    assert!(stream.finish(&formats).len() <= FINDINGS_MAX);
}
