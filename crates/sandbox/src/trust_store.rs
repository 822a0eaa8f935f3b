//! Certificate authorities in the form that Java reads: a PKCS #12 file
//! (RFC 7292) without password, encryption or checksum, since it holds nothing
//! secret and whoever could change it could change everything.

use base64::{Engine, engine::general_purpose::STANDARD};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT: u8 = 0x06;
/// `[0] EXPLICIT`
const CONTEXT_0: u8 = 0xa0;

/// 1.2.840.113549.1.7.1
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
/// 1.2.840.113549.1.12.10.1.3
const CERTIFICATE_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3];
/// 1.2.840.113549.1.9.22.1
const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1];
/// 2.16.840.1.113894.746875.1.1: by it Java knows whom to trust.
const TRUSTED_KEY_USAGE: &[u8] = &[
    0x60, 0x86, 0x48, 1, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 1, 1,
];
/// 2.5.29.37.0
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0];

/// The certificates of `bundle` (PEM) as a PKCS #12 file. What cannot be read
/// is left out, as other programs do.
pub(crate) fn pkcs12(bundle: &str) -> Vec<u8> {
    let mut bags = Vec::with_capacity(bundle.len());
    for certificate in certificates(bundle) {
        bags.extend(bag(&certificate));
    }
    let safes = tlv(SEQUENCE, &data(&tlv(SEQUENCE, &bags)));
    tlv(SEQUENCE, &[tlv(INTEGER, &[3]), data(&safes)].concat())
}

/// The certificates in `bundle`, decoded.
fn certificates(bundle: &str) -> impl Iterator<Item = Vec<u8>> {
    let parts = bundle.split("-----BEGIN CERTIFICATE-----").skip(1);
    parts.filter_map(|part| {
        let (text, _) = part.split_once("-----END CERTIFICATE-----")?;
        let text = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
        STANDARD.decode(text.collect::<Vec<_>>()).ok()
    })
}

/// A SafeBag with a certificate that is trusted for everything.
fn bag(certificate: &[u8]) -> Vec<u8> {
    let certificate = tlv(CONTEXT_0, &tlv(OCTET_STRING, certificate));
    let certificate = tlv(SEQUENCE, &[tlv(OBJECT, X509), certificate].concat());
    let usage = tlv(SET, &tlv(OBJECT, ANY_USAGE));
    let usage = tlv(SEQUENCE, &[tlv(OBJECT, TRUSTED_KEY_USAGE), usage].concat());
    let parts = [
        tlv(OBJECT, CERTIFICATE_BAG),
        tlv(CONTEXT_0, &certificate),
        tlv(SET, &usage),
    ];
    tlv(SEQUENCE, &parts.concat())
}

/// A ContentInfo that holds `content` as it is.
fn data(content: &[u8]) -> Vec<u8> {
    let content = tlv(CONTEXT_0, &tlv(OCTET_STRING, content));
    tlv(SEQUENCE, &[tlv(OBJECT, DATA), content].concat())
}

/// A value of ASN.1 in DER: tag, length, content.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let digits = &length[content.len().leading_zeros() as usize / 8..];
    let mut value = vec![tag];
    match digits {
        [] => value.push(0),
        [short] if *short < 0x80 => value.push(*short),
        // At most eight bytes.
        long => {
            value.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            value.extend(long);
        }
    }
    value.extend(content);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes the first value off `bytes`: its tag and content.
    fn first<'a>(bytes: &mut &'a [u8]) -> (u8, &'a [u8]) {
        let (tag, long) = (bytes[0], usize::from(bytes[1]));
        let (length, from) = if long < 0x80 {
            (long, 2)
        } else {
            let digits = &bytes[2..2 + long - 0x80];
            let length = digits
                .iter()
                .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
            (length, 2 + digits.len())
        };
        let content = &bytes[from..from + length];
        *bytes = &bytes[from + length..];
        (tag, content)
    }

    /// The contents of what stands directly in a value.
    fn children(mut content: &[u8]) -> Vec<&[u8]> {
        let mut found = Vec::new();
        while !content.is_empty() {
            found.push(first(&mut content).1);
        }
        found
    }

    #[test]
    fn each_certificate_that_can_be_read_is_in_the_store_once() {
        let certificates = [vec![1; 5], vec![2; 200], vec![3; 70_000]];
        let pem = |bytes: &Vec<u8>| {
            let text = STANDARD.encode(bytes);
            format!("name\n-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
        };
        let bundle: String = certificates.iter().map(pem).collect();
        let broken = "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        let store = pkcs12(&format!("{broken}{bundle}-----BEGIN CERTIFICATE-----"));

        let mut rest = &store[..];
        let (tag, file) = first(&mut rest);
        assert_eq!((tag, rest.len()), (SEQUENCE, 0));
        let held = |info: &[u8]| children(children(info)[1])[0].to_vec();
        let safes = held(children(file)[1]);
        let bags = held(children(children(&safes)[0])[0]);
        let bags = children(&bags)[0];
        let found: Vec<Vec<u8>> = children(bags)
            .into_iter()
            .map(|bag| held(children(children(bag)[1])[0]))
            .collect();
        assert_eq!(found, certificates);
    }
}
